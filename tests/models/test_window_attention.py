import copy

import onnxruntime
import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from mien.models.window_attention import replace_blocks, window_order


def pair(size: int, window: int, drop_path: float = 0.0) -> tuple[SwinTransformer, SwinTransformer]:
    """timm's network with every parameter drawn, and ours with the same weights."""
    theirs = SwinTransformer(
        img_size=size,
        in_chans=1,
        num_classes=5,
        embed_dim=8,
        depths=(2, 2),
        num_heads=(2, 4),
        window_size=window,
        drop_path_rate=drop_path,
    )
    for parameter in theirs.parameters():
        if parameter.ndim == 1 or parameter.shape[1] <= 4:
            nn.init.normal_(parameter, std=0.5)
    ours = copy.deepcopy(theirs)
    replace_blocks(ours)
    return theirs, ours


def outcome(network: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the gradients of x and of all parameters, each divided by its own norm."""
    x = x.clone().requires_grad_()
    torch.manual_seed(3)
    logits = network(x)
    gradients = torch.autograd.grad(logits.float().square().sum(), [x, *network.parameters()])
    return logits.detach(), [gradient / (gradient.norm() + 1e-3) for gradient in gradients]


@pytest.mark.parametrize(
    ("size", "window"),
    [(48, 6), (48, 3), (48, 4), (48, 12), (48, 20), (40, 4), (44, 6), (36, 4), (28, 4)],
    ids=lambda value: str(value),
)
@pytest.mark.parametrize("training", [False, True])
def test_logits_and_all_gradients_are_timms(size: int, window: int, training: bool) -> None:
    theirs, ours = pair(size, window, drop_path=0.3)
    x = torch.randn(3, 1, size, size)
    expected, gradients = outcome(theirs.train(training), x)
    logits, own_gradients = outcome(ours.train(training), x)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    for own, gradient in zip(own_gradients, gradients, strict=True):
        torch.testing.assert_close(own, gradient, rtol=0, atol=1e-5)


def test_names_order_and_values_of_the_state_stay() -> None:
    theirs, ours = pair(48, 6)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for value, expected in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(value, expected)


def test_under_autocast_gradients_are_no_further_from_float32_than_timms() -> None:
    theirs, ours = pair(48, 6)
    x = torch.randn(16, 1, 48, 48)
    _, exact = outcome(theirs, x)
    distances = []
    for network in (theirs, ours):
        with torch.autocast("cpu", torch.bfloat16):
            _, gradients = outcome(network, x)
        pairs = zip(gradients, exact, strict=True)
        distances.append(torch.stack([(own - gradient).norm() for own, gradient in pairs]).mean())
    assert 0 < distances[1] < 1.1 * distances[0]


def test_an_images_result_does_not_depend_on_its_batch_nor_on_earlier_ones() -> None:
    _, ours = pair(48, 6)
    x = torch.randn(5, 1, 48, 48)
    whole = ours(x)
    for rows in ([4], [0, 2, 3], [1]):
        torch.testing.assert_close(ours(x[rows]), whole[rows])


def test_the_same_seed_gives_the_same_bits() -> None:
    _, ours = pair(48, 6, drop_path=0.3)
    x = torch.randn(4, 1, 48, 48)
    (first, gradients), (second, again) = outcome(ours, x), outcome(ours, x)
    assert torch.equal(first, second)
    assert all(map(torch.equal, gradients, again))


def test_window_order_by_hand() -> None:
    order, back = window_order((2, 3), (2, 2), (1, 1))
    # Rolled: rows 4 5 3 / 1 2 0, then a column of padding (place 6).
    assert order.tolist() == [4, 5, 1, 2, 3, 6, 0, 6]
    assert back.tolist() == [6, 2, 3, 4, 0, 1]


def test_the_exported_graph_takes_any_batch_and_gives_the_same_logits() -> None:
    _, ours = pair(44, 6)
    ours.eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.onnx.export(
        ours,
        (torch.zeros(2, 1, 44, 44),),
        dynamo=True,
        dynamic_shapes=({0: batch},),
        input_names=["x"],
        verbose=False,
    )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    for count in (1, 5):
        x = torch.randn(count, 1, 44, 44)
        (logits,) = session.run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), ours(x).detach(), rtol=0, atol=1e-4)
