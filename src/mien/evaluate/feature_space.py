"""How far apart the images of classes lie in a feature space; `mien.evaluate.clusters` says what for.

Memory goes with the square of the images: some 16 bytes a pair, 400 MB for 5,000.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sklearn.metrics import pairwise_distances

Features = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]

MEASURES: Mapping[str, str] = {
    "within": "mean Euclidean distance of two images of a class",
    "between": "mean Euclidean distance of two images of two classes",
    "relative_within": "within, over the mean distance of any two images",
    "relative_between": "between, over the mean distance of any two images",
    "ratio": "between over within",
    "cosine_within": "mean cosine distance of two images of a class",
    "cosine_between": "mean cosine distance of two images of two classes",
    "cosine_ratio": "cosine between over within",
    "silhouette": "mean silhouette of the images, -1..1, higher is more separate",
}
"""What is measured, in words."""


class FeatureSpace:
    """One feature space, measured under any weighting of its images.

    Args:
        features: float [N, F].
        labels: int64 [N], each of 0..K-1 met at least once.
    """

    def __init__(self, features: Features, labels: Index) -> None:
        self.labels = labels
        self.member = np.eye(labels.max() + 1)[labels]
        self.distances = {m: _distances(features, m) for m in ("euclidean", "cosine")}

    def figures(self, weights: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
        """Every measure under every weighting.

        Args:
            weights: [R, N], how often each image counts; each class has one at least that counts.

        Returns:
            Measure to float64 [R].
        """
        rows = [self._one(row) for row in weights]
        return {m: np.array([row[m] for row in rows]) for m in MEASURES}

    def _one(self, weight: npt.NDArray[np.float64]) -> dict[str, float]:
        weighted = self.member * weight[:, None]
        # Pairs (i, i) leave numerator and denominator: their distance is 0 and they are not counted.
        pairs = weighted.sum(0)[:, None] * weighted.sum(0)
        pairs[np.diag_indices_from(pairs)] -= (weighted**2).sum(0)
        figures: dict[str, float] = {}
        for metric, prefix in (("euclidean", ""), ("cosine", "cosine_")):
            sums = self.distances[metric] @ weighted.astype(np.float32)
            between_classes = weighted.T @ sums.astype(np.float64)
            means = between_classes / np.maximum(pairs, 1e-12)
            within = float(means.diagonal()[pairs.diagonal() > 0].mean())
            between = float(means[np.triu_indices_from(means, 1)].mean())
            figures |= {f"{prefix}within": within, f"{prefix}between": between}
            figures[f"{prefix}ratio"] = between / within
            if not prefix:
                overall = float(between_classes.sum() / pairs.sum())
                figures |= {"relative_within": within / overall, "relative_between": between / overall}
                figures["silhouette"] = self._silhouette(weight, weighted.sum(0), sums)
        return figures

    def _silhouette(
        self, weight: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64], sums: npt.NDArray[np.float32]
    ) -> float:
        rows = np.arange(len(self.labels))
        others = sizes[self.labels] - weight
        own = sums[rows, self.labels] / np.maximum(others, 1e-12)
        means = sums / sizes
        means[rows, self.labels] = np.inf
        nearest = means.min(1)
        values = (nearest - own) / np.maximum(np.maximum(nearest, own), 1e-12)
        # As scikit-learn has it: alone in its class, an image is 0.
        values[others <= 0] = 0.0
        return float(np.average(values, weights=weight))


def _distances(features: Features, metric: str) -> Features:
    # In float64: scikit-learn subtracts products, which in float32 loses the digits of close pairs.
    matrix = pairwise_distances(features.astype(np.float64), metric=metric)
    np.fill_diagonal(matrix, 0.0)
    kept: Features = matrix.astype(np.float32)
    return kept
