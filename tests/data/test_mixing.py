from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import scipy.stats  # type: ignore[import-untyped]
import torch
from torch import Tensor

from mien.config import AugmentConfig
from mien.data.mixing import mix_faces

MIXUP = AugmentConfig(mixup=0.4)
CUTMIX = AugmentConfig(cutmix=1.0)
BOTH = AugmentConfig(mixup=0.4, cutmix=1.0)


def _numbered(count: int, height: int = 48, width: int = 48) -> tuple[Tensor, Tensor]:
    """Pictures that hold nothing but their own number, and that number as a one-hot label."""
    x = torch.arange(float(count))[:, None, None, None].expand(count, 1, height, width).contiguous()
    return x, torch.eye(count)


def _mixtures(augment: AugmentConfig, batches: int, *shape: int) -> Iterator[tuple[Tensor, Tensor]]:
    x, targets = _numbered(*shape)
    for seed in range(batches):
        yield mix_faces(x, targets, augment, torch.Generator().manual_seed(seed))


def _own_share(targets: Tensor) -> float:
    """The weight of an image's own label; who is his own partner keeps 1."""
    return float(targets.diagonal().min())


def test_off_returns_the_arguments_and_draws_nothing() -> None:
    x, targets = _numbered(6)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    mixed, labels = mix_faces(x, targets, AugmentConfig(), generator)
    assert mixed is x
    assert labels is targets
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("augment", [MIXUP, CUTMIX, BOTH])
def test_images_and_labels_are_mixed_alike(augment: AugmentConfig) -> None:
    numbers = torch.arange(6.0)
    for mixed, labels in _mixtures(augment, 20, 6, 48, 48):
        torch.testing.assert_close(labels.sum(1), torch.ones(6))
        assert int((labels > 0).sum(1).max()) <= 2
        # Whatever was mixed, and how: a picture's mean is the mean number that its label says.
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), labels @ numbers)
        # Partners are a permutation, so nobody is lost.
        torch.testing.assert_close(labels.sum(0), torch.ones(6))


def test_soft_labels_stay_soft() -> None:
    votes = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.0, 0.4, 0.6], [0.2, 0.2, 0.6]])
    x = torch.arange(4.0)[:, None, None, None].expand(4, 1, 8, 8).contiguous()
    for augment in (MIXUP, CUTMIX):
        _, identity = mix_faces(x, torch.eye(4), augment, torch.Generator().manual_seed(1))
        _, labels = mix_faces(x, votes, augment, torch.Generator().manual_seed(1))
        assert _own_share(identity) < 0.99
        torch.testing.assert_close(labels, identity @ votes)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixups_weight_is_a_beta_draw(alpha: float) -> None:
    drawn = [_own_share(labels) for _, labels in _mixtures(AugmentConfig(mixup=alpha), 800, 8, 1, 1)]
    assert scipy.stats.kstest(drawn, scipy.stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_mixup_blends_every_pixel_alike() -> None:
    for mixed, labels in _mixtures(MIXUP, 10, 6, 5, 7):
        wanted = (labels @ torch.arange(6.0))[:, None, None, None].expand(6, 1, 5, 7)
        torch.testing.assert_close(mixed, wanted)


def _pasted(mixed: Tensor) -> Tensor:
    """bool [B, H, W]: which pixels are not the picture's own number."""
    return mixed[:, 0] != torch.arange(float(len(mixed)))[:, None, None]


def test_cutmix_pastes_one_rectangle_at_one_place_and_weighs_labels_by_its_pixels() -> None:
    clipped = 0
    for mixed, labels in _mixtures(CUTMIX, 60, 6, 40, 64):
        pasted = _pasted(mixed)
        rectangle = pasted.any(0)
        rows, columns = rectangle.any(1), rectangle.any(0)
        assert torch.equal(rectangle, rows[:, None] & columns[None, :])
        assert int(rows.int().diff().abs().sum()) <= 2
        assert int(columns.int().diff().abs().sum()) <= 2
        for own, mask, picture, label in zip(range(6), pasted, mixed[:, 0], labels, strict=True):
            # A picture that is its own partner shows no rectangle.
            assert torch.equal(mask, rectangle) or not mask.any()
            assert len(picture[mask].unique()) <= 1
            assert float(label[own]) == pytest.approx(1 - float(mask.float().mean()), abs=1e-6)
        if rows[0] or rows[-1] or columns[0] or columns[-1]:
            clipped += 1
        else:
            assert int(rows.sum()) / 40 == pytest.approx(
                int(columns.sum()) / 64, abs=0.5 / 40 + 0.5 / 64 + 0.02
            )
    assert 10 < clipped < 60


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_cutmixs_areas_are_the_papers(alpha: float) -> None:
    drawn = [1 - _own_share(labels) for _, labels in _mixtures(AugmentConfig(cutmix=alpha), 600, 8, 192, 192)]
    # Equation 2 of the paper, in the unit square: r_x, r_y uniform, r_w = r_h = sqrt(1 - lambda), clipped.
    random = np.random.default_rng(5)
    side = np.sqrt(1 - random.beta(alpha, alpha, 50_000))
    sides = [
        np.minimum(centre + side / 2, 1) - np.maximum(centre - side / 2, 0)
        for centre in random.random((2, 50_000))
    ]
    assert scipy.stats.ks_2samp(drawn, sides[0] * sides[1]).pvalue > 0.01


def test_with_both_on_a_batch_takes_one_of_them_at_even_odds() -> None:
    kinds = {"mixup": 0, "cutmix": 0}
    for mixed, _ in _mixtures(BOTH, 400, 6, 16, 16):
        flat = mixed.flatten(1)
        if bool((flat != flat[:, :1]).any()):
            kinds["cutmix"] += 1
            assert torch.equal(mixed, mixed.round())
        elif not torch.equal(mixed, mixed.round()):
            kinds["mixup"] += 1
    # The few left over had a rectangle of no pixels or of all.
    assert 160 < kinds["mixup"] < 240
    assert 150 < kinds["cutmix"] < 240


@pytest.mark.parametrize("augment", [MIXUP, CUTMIX])
def test_the_arguments_are_left_as_they_are(augment: AugmentConfig) -> None:
    x, targets = _numbered(6)
    mix_faces(x, targets, augment, torch.Generator().manual_seed(1))
    assert torch.equal(x, _numbered(6)[0])
    assert torch.equal(targets, torch.eye(6))


def test_a_batch_depends_on_its_generator_alone() -> None:
    x, targets = _numbered(16)
    results = []
    for ambient, seed in [(1, 7), (2, 7), (1, 8)]:
        torch.manual_seed(ambient)
        np.random.seed(ambient)  # noqa: NPY002
        results.append(mix_faces(x, targets, BOTH, torch.Generator().manual_seed(seed)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][0], results[2][0])


def test_batches_that_follow_each_other_differ() -> None:
    x, targets = _numbered(16)
    generator = torch.Generator().manual_seed(0)
    first, second = (mix_faces(x, targets, MIXUP, generator)[1] for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("augment", [MIXUP, CUTMIX])
def test_faces_stay_on_their_device(augment: AugmentConfig) -> None:
    # The meta device refuses to be mixed with the CPU, as any accelerator does.
    x, targets = torch.zeros(6, 3, 8, 8, device="meta"), torch.zeros(6, 4, device="meta")
    mixed, labels = mix_faces(x, targets, augment, torch.Generator().manual_seed(0))
    assert (mixed.device.type, labels.device.type) == ("meta", "meta")
    assert (mixed.shape, labels.shape) == (x.shape, targets.shape)
