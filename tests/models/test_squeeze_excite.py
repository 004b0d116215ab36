import torch

from mien.models.squeeze_excite import Excitation, SqueezeExcite


def test_excitation_equals_the_formula() -> None:
    block = Excitation(8, reduction=2)
    x = torch.randn(3, 8)
    hidden = torch.clamp(x @ block.reduce.weight.T + block.reduce.bias, min=0)
    gate = 1 / (1 + torch.exp(-(hidden @ block.expand.weight.T + block.expand.bias)))
    torch.testing.assert_close(block(x), x * gate)


def test_squeeze_excite_equals_timms_channels_first_block() -> None:
    from timm.layers import SEModule

    ours, theirs = SqueezeExcite(32, reduction=4), SEModule(32, rd_channels=8)
    with torch.no_grad():
        theirs.fc1.weight.copy_(ours.reduce.weight[:, :, None, None])
        theirs.fc1.bias.copy_(ours.reduce.bias)
        theirs.fc2.weight.copy_(ours.expand.weight[:, :, None, None])
        theirs.fc2.bias.copy_(ours.expand.bias)
    x = torch.randn(2, 5, 6, 32)
    torch.testing.assert_close(ours(x), theirs(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


def test_gates_lie_between_0_and_1() -> None:
    gates = Excitation(64).gates(torch.randn(10, 64) * 100)
    assert gates.min() >= 0
    assert gates.max() <= 1


def test_the_hidden_layer_is_never_empty() -> None:
    assert Excitation(16, reduction=16).reduce.out_features == 4
