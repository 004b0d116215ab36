"""Analyses as `mien evaluate --also` keeps them, computed on small things whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mien.evaluate.analysis_files import AnalysisName, write_analysis
from mien.evaluate.clusters import compare_features, se_verdict
from mien.evaluate.explain import deletion, mean_maps, occlusion_maps
from mien.evaluate.landscape import Landscape
from mien.evaluate.robustness import robustness
from mien.labels import EMOTIONS


def keep(
    folder: Path, name: AnalysisName, values: Mapping[str, Any], *, manifest_hash: str = "ab" * 32
) -> None:
    """Write an analysis into a folder that `run_maker` made, whose data it is of by default."""
    split = "train" if name in ("sharpness", "landscape") else "test"
    write_analysis(folder, split, name, values, manifest_hash=manifest_hash, weights_sha256="", seconds=1.0)


def robustness_values(seed: int = 0) -> dict[str, Any]:
    """Of a model that sees nothing but the mean grey of a face: brightness hurts it most."""
    rng = np.random.default_rng(seed)
    labels = np.arange(40) % 4
    faces = (rng.normal(0, 4, (40, 32, 32, 1)) + 40 + 50 * labels[:, None, None, None]).clip(0, 255)

    def classify(part: Any) -> Any:
        distance = np.abs(part.mean((1, 2, 3))[:, None] - (40 + 50 * np.arange(4)))
        return (-distance).astype(np.float32)

    table = robustness(
        classify,
        faces.astype(np.uint8),
        labels,
        EMOTIONS[:4],
        corruptions=("brightness", "gaussian_noise", "mouth_mask"),
    )
    return {**table.to_dict(), "template": True}


def landscape_values(curvature: float) -> dict[str, Any]:
    """A bowl of a curvature, whose loss is infinite in one corner."""
    places = np.linspace(-1, 1, 5)
    loss = 0.5 + curvature * (places[:, None] ** 2 + places[None] ** 2)
    loss[0, 0] = math.inf
    accuracy = np.clip(1 - loss / 10, 0, 1)
    accuracy[0, 0] = 0
    return Landscape(places, loss, accuracy, 100, 0, 0.02, 0.98).to_dict()


def sharpness_values(rise: float) -> dict[str, Any]:
    """Estimates around a rise, with a Hessian whose trace did not converge."""
    values = [rise * factor for factor in (0.9, 1.0, 1.1)]
    estimate = {"value": rise, "standard_error": 0.01, "values": values}
    return {
        "sam": {"rho": 0.05, "m": 64, **estimate},
        "asam": {"rho": 0.5, "m": 64, **estimate},
        "random": {"radius": 0.1, **estimate},
        "hessian_top": {"value": 1234.5, "residual": 0.1, "standard_error": None, "products": 9},
        "hessian_trace": None,
    }


def features_values(*, has_se: bool = True) -> dict[str, Any]:
    """Two clusters that SE draws apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    before = rng.normal(0, 1, (60, 5)) + labels[:, None]
    after = rng.normal(0, 1, (60, 5)) + 6 * labels[:, None]
    comparison = compare_features(before, after, labels, ("anger", "fear"), resamples=20)
    points = before[:, :2].round(2).tolist()
    return {
        "se_position": "pooled" if has_se else "none",
        "count": 60,
        "comparison": comparison.to_dict() if has_se else None,
        "verdict": se_verdict([comparison]) if has_se else "The network has no SE block.",
        "embedding": {
            "before": points,
            "after": after[:, :2].round(2).tolist() if has_se else None,
            "labels": labels.tolist(),
            "names": ["anger", "fear"],
        },
        "probe": {"before": 0.75, "after": 0.875},
    }


def maps_values() -> dict[str, Any]:
    """Of a model that looks at the top left corner of a face, and at nothing else."""
    rng = np.random.default_rng(0)
    classes = np.zeros(24, dtype=np.int64)
    faces = rng.integers(100, 200, (24, 24, 24, 1)).astype(np.uint8)

    def classify(part: Any) -> Any:
        share = np.clip((part[:, :8, :8].std((1, 2, 3)) / 40), 0, 1)
        return np.stack([share, 1 - share], 1).astype(np.float32)

    maps = occlusion_maps(classify, faces, classes, patch=8, stride=4)
    return {
        "method": "occlusion",
        "patch": 8,
        "stride": 4,
        "count": 24,
        "mean_maps": mean_maps(maps, classes, ("anger", "fear")),
        "deletion": deletion(classify, faces, classes, maps, cell=4).to_dict(),
    }
