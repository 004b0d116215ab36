"""Which parts of a face decided.

`occlusion_maps` covers one square after another and notes how far the probability of a class falls (Zeiler
and Fergus, ECCV 2014, section 4.2): it is exact, says what it means in the unit of the answer, and works for
whatever classifies, an exported file too. `deletion` measures how far any map can be trusted.

Grad-CAM (Selvaraju et al., ICCV 2017) is some twenty times faster, and was measured and left out. Its usual
place, the last map, is 3x3 for a Swin at 48 px, too coarse to tell an eye from a brow; at an earlier stage it
is finer, but one mean gradient of a channel no longer stands for what the later layers do with it. By
`deletion` it came out below covering from the centre outwards, and the earlier stages no better than chance
(docs/lab-log.md). Attention rollout is left out: windows shift and merge, and attention says what was read,
not what for.

Maps of single faces are close to pictures of them; `mean_maps` over many faces shows none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.evaluate.predict import BATCH

Faces = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]
Classify = Callable[[Faces], npt.NDArray[np.float32]]
"""Faces uint8 [N, H, W, C], grey or RGB, to probabilities float32 [N, K]."""


@dataclass(frozen=True)
class Deletion:
    """What is left of a class's probability while a face is covered, most important cells first."""

    shares: npt.NDArray[np.float64]
    """float64 [T], share of the cells that is covered, from 0 to 1."""
    curve: npt.NDArray[np.float64]
    """float64 [T], mean probability, cells in the order of the map."""
    random_curve: npt.NDArray[np.float64]
    """float64 [T], the same in random order."""
    area: float
    """Under `curve`, 0..1: lower is more faithful."""
    random_area: float
    """Under `random_curve`."""
    gain: float
    """Mean over images of the random area less the map's; above 0 the map knows something."""
    gain_interval: tuple[float, float]
    """95 % bootstrap interval of the gain over images."""
    count: int
    """Images."""

    def to_dict(self) -> dict[str, Any]:
        """The fields, arrays as lists."""
        return {
            "shares": self.shares.tolist(),
            "curve": self.curve.tolist(),
            "random_curve": self.random_curve.tolist(),
            "area": self.area,
            "random_area": self.random_area,
            "gain": self.gain,
            "gain_interval": list(self.gain_interval),
            "count": self.count,
        }


def occlusion_maps(
    classify: Classify,
    faces: Faces,
    classes: Index,
    *,
    patch: int,
    stride: int,
    advance: Callable[[int], object] | None = None,
) -> Maps:
    """How far the probability of a class falls when a square of the face is covered.

    A square is filled with the face's own mean colour. A pixel's value is the mean over the squares that
    cover it; squares reach every edge.

    Args:
        classify: see `Classify`.
        faces: uint8 [N, H, W, C].
        classes: int64 [N], the class to explain for each face.
        patch: side of the square, in pixels.
        stride: step of the square, in pixels, at most `patch`.
        advance: told how many faces are done.

    Returns:
        float32 [N, H, W], in probability: above 0 where the square spoke for the class, below 0 where it
        spoke against it.

    Raises:
        InputError: patch or stride does not fit the faces.
    """
    height, width = faces.shape[1:3]
    if not 0 < stride <= patch <= min(height, width):
        raise InputError(
            f"occlusion needs 0 < stride <= patch <= {min(height, width)}, not stride {stride} and patch "
            f"{patch}."
        )
    corners = [
        (top, left) for top in _starts(height, patch, stride) for left in _starts(width, patch, stride)
    ]
    covered = np.zeros((len(corners), height, width), bool)
    for mask, (top, left) in zip(covered, corners, strict=True):
        mask[top : top + patch, left : left + patch] = True
    weights = covered.reshape(len(corners), -1).astype(np.float64)
    weights /= weights.sum(0)
    maps = np.empty((len(faces), height, width), np.float32)
    # The plain faces are one more square, of nothing.
    masks = np.concatenate([np.zeros((1, height, width), bool), covered])
    for row, (face, shown) in enumerate(zip(faces, classes.tolist(), strict=True)):
        variants = np.where(masks[..., None], _mean_colour(face), face)
        probability = _in_batches(classify, variants)[:, shown].astype(np.float64)
        maps[row] = ((probability[0] - probability[1:]) @ weights).reshape(height, width)
        if advance is not None:
            advance(1)
    return maps


def mean_maps(maps: Maps, labels: Index, names: Sequence[str], *, at_least: int = 20) -> dict[str, Any]:
    """The mean map of each class, over many faces that lie alike: no picture of any of them.

    Args:
        maps: float32 [N, H, W].
        labels: int64 [N], the class of each map, index into `names`.
        names: class names.
        at_least: images below which a class is left out, since its mean map would show them.

    Returns:
        JSON-ready, by class name: `map` [H][W], `count`, and `standard_error`, the largest of the map's
        pixels over images.
    """
    shown = {}
    for index, name in enumerate(names):
        own = maps[labels == index].astype(np.float64)
        if len(own) >= max(at_least, 2):
            error = own.std(0, ddof=1).max() / np.sqrt(len(own))
            shown[name] = {
                "map": own.mean(0).round(6).tolist(),
                "count": len(own),
                "standard_error": float(error),
            }
    return shown


def deletion(
    classify: Classify, faces: Faces, classes: Index, maps: Maps, *, cell: int, steps: int = 12
) -> Deletion:
    """Cover a face cell by cell in the order of its map, and watch the probability (Petsiuk et al., BMVC
    2018, section 4.1).

    Cells, not pixels: scattered pixels are noise that no network was trained on, and a random order would
    win by making it. Random orders get the same cells.

    Args:
        classify: see `Classify`.
        faces: uint8 [N, H, W, C].
        classes: int64 [N], the class to follow for each face.
        maps: float [N, H, W], higher is more important.
        cell: side of a cell in pixels, a divisor of height and width.
        steps: how many times more is covered, up to everything.

    Raises:
        InputError: cells do not divide the faces, or maps are of another size.
    """
    count, height, width = faces.shape[:3]
    if maps.shape != (count, height, width) or height % cell or width % cell:
        raise InputError(
            f"maps {list(maps.shape)} and cells of {cell} px do not fit faces {list(faces.shape)}; maps must "
            "be as large as the faces, and cells divide them."
        )
    random = np.random.default_rng(0)
    grid = (height // cell, width // cell)
    importance = maps.reshape(count, grid[0], cell, grid[1], cell).mean((2, 4)).reshape(count, -1)
    orders = np.argsort(-importance, axis=1, kind="stable")
    shuffled = random.permuted(np.tile(np.arange(orders.shape[1]), (count, 1)), axis=1)
    shares = np.linspace(0, 1, steps + 1)
    curves = [_deleted(classify, faces, classes, o, grid, cell, shares) for o in (orders, shuffled)]
    areas = [(curve[:, 1:] + curve[:, :-1]) @ np.diff(shares) / 2 for curve in curves]
    gains = areas[1] - areas[0]
    resampled = gains[random.integers(0, count, (2000, count))].mean(1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Deletion(
        shares,
        curves[0].mean(0),
        curves[1].mean(0),
        float(areas[0].mean()),
        float(areas[1].mean()),
        float(gains.mean()),
        (float(low), float(high)),
        count,
    )


def _deleted(
    classify: Classify,
    faces: Faces,
    classes: Index,
    orders: Index,
    grid: tuple[int, int],
    cell: int,
    shares: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Probability of each face's class at each share, float64 [N, T]."""
    curves = np.empty((len(faces), len(shares)))
    ranks = np.argsort(orders, axis=1)
    for row, (face, shown) in enumerate(zip(faces, classes.tolist(), strict=True)):
        gone = ranks[row] < np.round(shares * orders.shape[1])[:, None]
        masks = gone.reshape(-1, *grid).repeat(cell, axis=1).repeat(cell, axis=2)
        variants = np.where(masks[..., None], _mean_colour(face), face)
        curves[row] = _in_batches(classify, variants)[:, shown]
    return curves


def _starts(length: int, patch: int, stride: int) -> list[int]:
    return sorted({*range(0, length - patch + 1, stride), length - patch})


def _mean_colour(face: Faces) -> Faces:
    mean: Faces = face.mean((0, 1)).round().astype(np.uint8)
    return mean


def _in_batches(classify: Classify, faces: Faces) -> npt.NDArray[np.float32]:
    return np.concatenate([classify(part) for part in _parts(faces)])


def _parts(faces: Faces) -> Iterator[Faces]:
    for start in range(0, len(faces), BATCH):
        yield faces[start : start + BATCH]
