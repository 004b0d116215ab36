from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mien.config import ModelConfig, OptimConfig, SAMConfig
from mien.models.build import build_model
from mien.train.checkpoint import Position, load_state, save_state
from mien.train.muon import MuonAdamW, orthogonalised
from mien.train.optim import build_optimizer, set_learning_rate
from mien.train.sam import SAM

TINY = ModelConfig(embed_dim=16, depths=(1, 2), num_heads=(2, 2), stem_convolutions=4, local="depthwise")


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 12, 12)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    result = orthogonalised(matrices)
    values = torch.linalg.svdvals(result)
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    inside = u.transpose(1, 2) @ result @ v.transpose(1, 2)
    off = inside - torch.diag_embed(inside.diagonal(dim1=1, dim2=2))
    assert float(off.abs().max()) < 0.05


def test_a_matrix_of_zeros_stays_zero_beside_another() -> None:
    result = orthogonalised(torch.stack([torch.zeros(4, 6), torch.eye(4, 6)]))
    assert not result[0].any()
    assert float(result[1].norm()) > 1


def test_steps_are_those_of_torchs_muon_and_adamw() -> None:
    torch.manual_seed(0)
    start = [torch.randn(24, 16), torch.randn(24, 16), torch.randn(8, 4, 3, 3), torch.randn(16)]
    ours = [nn.Parameter(p.clone()) for p in start]
    theirs = [nn.Parameter(p.clone().flatten(1) if p.ndim == 4 else p.clone()) for p in start]
    optimizer = MuonAdamW(
        [
            {"params": ours[:3], "matrices": True, "weight_decay": 0.1},
            {"params": ours[3:], "matrices": False, "weight_decay": 0.2},
        ],
        lr=0.02,
        betas=(0.8, 0.9),
        momentum=0.9,
    )
    muon = torch.optim.Muon(
        theirs[:3], lr=0.02, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(theirs[3:], lr=0.02, betas=(0.8, 0.9), weight_decay=0.2)
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.reshape(other.shape)
        optimizer.step()
        muon.step()
        adamw.step()
    for mine, other, first in zip(ours, theirs, start, strict=True):
        expected = other.detach().reshape(first.shape)
        # bfloat16 products of a batch of matrices round otherwise than one by one.
        assert float((mine.detach() - expected).norm()) < 0.02 * float((expected - first).norm())
    torch.testing.assert_close(ours[3], theirs[3])


def test_muon_takes_all_between_the_first_layer_and_the_head() -> None:
    model = build_model(TINY, 8)
    base = build_optimizer(model, OptimConfig(name="muon", momentum=0.8)).base
    assert isinstance(base, MuonAdamW)
    assert {group["momentum"] for group in base.param_groups} == {0.8}
    names = {id(p): n for n, p in model.named_parameters()}
    taken = {names[id(p)] for group in base.param_groups if group["matrices"] for p in group["params"]}
    left = {names[id(p)] for group in base.param_groups if not group["matrices"] for p in group["params"]}
    assert taken.isdisjoint(left)
    assert taken | left == set(names.values())
    assert {n for n in left if model.get_parameter(n).ndim > 1} == {
        "head.weight",
        "encoder.patch_embed.layers.0.weight",
        *(n for n in names.values() if n.endswith(("relative_position_bias_table", "local.weight"))),
    }
    assert {"encoder.layers.0.blocks.0.attn.qkv.weight", "encoder.patch_embed.layers.3.weight"} < taken


def test_layer_decay_and_the_schedule_reach_the_matrices() -> None:
    model = build_model(TINY, 8)
    optimizer = build_optimizer(model, OptimConfig(name="muon", layer_decay=0.5, weight_decay=0.3))
    set_learning_rate(optimizer, 1.0)
    matrices = [group for group in optimizer.base.param_groups if group["matrices"]]
    assert {group["lr"] for group in matrices} == {1.0, 0.5, 0.25, 0.125, 0.0625}
    assert {group["weight_decay"] for group in matrices} == {0.3}


def _step(model: nn.Module, optimizer: SAM, seed: int) -> None:
    x = torch.randn(4, 1, 48, 48, generator=torch.Generator().manual_seed(seed))

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(x).float().square().mean()
        loss.backward()
        return loss

    torch.manual_seed(seed)
    optimizer.step(closure)


@pytest.mark.parametrize("method", ["sam", "looksam", "msam"])
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path, method: str) -> None:
    sam = SAMConfig(method=method, rho=0.05)  # type: ignore[arg-type]
    config = OptimConfig(name="muon", lr=1e-2, sam=sam)
    torch.manual_seed(0)
    model = build_model(TINY, 8)
    optimizer = build_optimizer(model, config)
    for seed in range(2):
        _step(model, optimizer, seed)
    save_state(tmp_path / "s.safetensors", Position(), model, None, optimizer)
    again = build_model(TINY, 8)
    resumed = build_optimizer(again, config)
    load_state(tmp_path / "s.safetensors", again, None, resumed)
    for seed in (2, 3):
        _step(model, optimizer, seed)
        _step(again, resumed, seed)
    for (name, mine), other in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(mine, other), name
