"""How well classes separate in a feature space (the paper's section 3.6, claims C7 and C8).

The paper says that clusters are tighter before SE and farther apart after it. Two feature spaces are compared
here on the same images, whichever they are: before and after SE, or those of two networks.

Plain distances cannot answer it: an excitation multiplies by gates in 0..1, so that everything comes closer
together. Each distance is therefore given a second time over the mean distance of any two images
(`relative_`), and beside it what does not hang on scale at all: the ratio of the distances between and within
classes, the same with cosine distances, silhouette (Rousseeuw 1987) and Davies-Bouldin (1979).
Distances are means over classes, or pairs of classes, of the mean over pairs of images, so that a small class
counts as a large one.

Intervals are a bootstrap over images within their class. An image that is drawn twice is no pair with itself:
counting its distance 0 would make small classes look tight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import stdtrit  # type: ignore[import-untyped]
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from mien.config import ModelConfig
from mien.errors import InputError
from mien.evaluate.landscape import undisturbed
from mien.evaluate.predict import BATCH
from mien.preprocess import to_input

RESAMPLES = 500
"""Bootstrap resamples; each is a silhouette of all images."""

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
    "davies_bouldin": "Davies-Bouldin index, lower is more separate",
}
"""What is measured, in words."""


@dataclass(frozen=True)
class Comparison:
    """Two feature spaces of the same images; each figure is a value and its 95 % bootstrap interval."""

    first: dict[str, tuple[float, float, float]]
    """Measure to value, low, high."""
    second: dict[str, tuple[float, float, float]]
    """As `first`."""
    difference: dict[str, tuple[float, float, float]]
    """Second less first, paired: both are taken on the same resample."""
    counts: dict[str, int]
    """Images of each class that was measured."""
    skipped: tuple[str, ...]
    """Classes with fewer than two images, which have no distance within."""

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: for each space a mapping of measure to `value`, `interval` and `unit`."""
        spaces = {"first": self.first, "second": self.second, "difference": self.difference}
        return {
            name: {m: {"value": v, "interval": [low, high]} for m, (v, low, high) in figures.items()}
            for name, figures in spaces.items()
        } | {"counts": self.counts, "skipped": list(self.skipped), "measures": dict(MEASURES)}


@torch.no_grad()
def network_features(
    model: nn.Module, pack: npt.NDArray[np.uint8], rows: Index, config: ModelConfig
) -> tuple[Features, Features]:
    """Features of faces before and after the SE block; the same twice where there is none.

    Args:
        model: has `features`, as `ExpressionSwin` and `Baseline` do; put into evaluation mode for the call.
        pack: uint8 [N, C, H, W].
        rows: int64 [n].
        config: the network's input.

    Returns:
        float32 [n, F] twice.

    Raises:
        InputError: the network shows no features.
    """
    if not hasattr(model, "features"):
        raise InputError(f"{type(model).__name__} shows no features, so its clusters cannot be measured.")
    device = next(model.parameters()).device
    before, after = [], []
    with undisturbed(model):
        for start in range(0, len(rows), BATCH):
            faces = np.asarray(pack[rows[start : start + BATCH]]).transpose(0, 2, 3, 1)
            x = to_input(faces, size=config.size, channels=config.channels, mean=config.mean, std=config.std)
            pair = model.features(torch.from_numpy(x).to(device))  # type: ignore[operator]
            before.append(pair.before_se.float().cpu().numpy())
            after.append(pair.after_se.float().cpu().numpy())
    return np.concatenate(before), np.concatenate(after)


def compare_features(
    first: Features,
    second: Features,
    labels: Index,
    names: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """How well the classes separate in two feature spaces of the same images, and in which better.

    Args:
        first: float [N, F], before SE, or of one network.
        second: float [N, G], after SE, or of another network.
        labels: int64 [N], index into `names`.
        names: class names.
        resamples: bootstrap resamples, at least 2.
        seed: of the resamples.

    Raises:
        InputError: rows do not match, a feature is not finite, or fewer than two classes have two images.
    """
    if not len(first) == len(second) == len(labels):
        raise InputError(
            f"features and labels are of {len(first)}, {len(second)} and {len(labels)} images; they must be "
            "of the same."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InputError("a feature is NaN or infinite; the network has diverged.")
    counts = np.bincount(labels, minlength=len(names))
    measured = np.flatnonzero(counts >= 2)
    if len(measured) < 2:
        raise InputError("clusters need two classes with two images each or more.")
    kept = np.isin(labels, measured)
    index = np.searchsorted(measured, labels[kept])
    weights = _resampled(index, resamples, np.random.default_rng(seed))
    figures = [_Space(space[kept], index).figures(weights) for space in (first, second)]
    return Comparison(
        first={m: _interval(v) for m, v in figures[0].items()},
        second={m: _interval(v) for m, v in figures[1].items()},
        difference={m: _interval(figures[1][m] - figures[0][m]) for m in MEASURES},
        counts={names[c]: int(counts[c]) for c in measured.tolist()},
        skipped=tuple(names[c] for c in np.flatnonzero(counts < 2).tolist()),
    )


def cluster_verdict(
    comparisons: Sequence[Comparison], what: tuple[str, str] = ("before SE", "after SE")
) -> str:
    """One sentence: whether the classes separate better in the second space.

    With one run the interval is over its images. With several the differences of the runs are averaged; from
    three on a t interval over the runs has to leave out 0 too, and below three every run's own has to.

    Args:
        comparisons: one a run, all of one kind.
        what: what the two spaces are.
    """
    judged = {m: _judge([c.difference[m] for c in comparisons]) for m in MEASURES}
    first = {m: np.mean([c.first[m][0] for c in comparisons]) for m in MEASURES}
    second = {m: np.mean([c.second[m][0] for c in comparisons]) for m in MEASURES}
    words = {1: "larger", -1: "smaller", 0: "no different"}
    parts = [
        f"{title} is {words[judged[m]]} ({first[m]:.3f} to {second[m]:.3f})"
        for m, title in (
            ("relative_within", "the distance within classes, relative to all distances,"),
            ("relative_between", "that between classes"),
            ("silhouette", "the silhouette"),
        )
    ]
    better = judged["ratio"] + judged["silhouette"]
    verdict = {2: "the classes separate better", -2: "the classes separate worse"}.get(
        better, "the classes separate neither clearly better nor clearly worse"
    )
    runs = "1 run" if len(comparisons) == 1 else f"{len(comparisons)} runs"
    return f"From {what[0]} to {what[1]} {parts[0]}, {parts[1]}, and {parts[2]}: {verdict} ({runs})."


def se_verdict(comparisons: Sequence[Comparison]) -> str:
    """`cluster_verdict` of features before and after SE, and whether the paper's claim C8 holds as printed,
    that clusters are tighter before SE and farther apart after it: by Euclidean distances relative to all of
    them, and by cosine distances, which also see how far all features lie from the origin."""
    halves = {
        (1, 1): "holds",
        (1, 0): "holds in its first half only",
        (0, 1): "holds in its second half only",
    }
    found = {}
    for prefix in ("relative_", "cosine_"):
        sides = (f"{prefix}within", f"{prefix}between")
        within, between = (int(_judge([c.difference[m] for c in comparisons]) > 0) for m in sides)
        found[prefix] = halves.get((within, between), "does not hold in either half")
    return (
        f"{cluster_verdict(comparisons)} The paper's claim that clusters are tighter before SE and farther "
        f"apart after it {found['relative_']} by relative Euclidean distance and {found['cosine_']} by "
        "cosine distance."
    )


def embed(features: Features, *, perplexity: float = 30.0, seed: int = 0) -> Features:
    """A picture of a feature space in two dimensions, by t-SNE (van der Maaten and Hinton, JMLR 2008).

    Neighbours are kept; sizes of clusters and distances between them mean nothing, which is why claims rest
    on `compare_features` alone.

    Args:
        features: float [N, F], N at least 4.
        perplexity: about how many neighbours count; lowered where there are few images.
        seed: of the optimisation.

    Returns:
        float32 [N, 2], the same for the same features and seed.
    """
    if len(features) < 4:
        raise InputError(f"an embedding needs 4 images or more, not {len(features)}.")
    # Distances to neighbours hardly change beyond 50 components, and the search costs by the component.
    components = min(50, *features.shape)
    reduced = PCA(components, svd_solver="full").fit_transform(features.astype(np.float64))
    embedding = TSNE(
        perplexity=min(perplexity, (len(features) - 1) / 3),
        init="pca",
        random_state=seed,
        n_jobs=1,
    ).fit_transform(reduced.astype(np.float32))
    result: Features = np.asarray(embedding, dtype=np.float32)
    return result


def linear_probe(
    features: Features,
    labels: Index,
    test_features: Features,
    test_labels: Index,
    *,
    inverse_penalty: float = 0.1,
) -> float:
    """Test accuracy of logistic regression on standardised features: what a line can tell apart.

    Args:
        features: float [N, F], of training images.
        labels: int64 [N].
        test_features: float [M, F].
        test_labels: int64 [M].
        inverse_penalty: C of scikit-learn's l2 penalty, smaller is stronger.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=1000))
    return float(probe.fit(features, labels).score(test_features, test_labels))


class _Space:
    """One feature space, measured under any weighting of its images."""

    def __init__(self, features: Features, labels: Index) -> None:
        self.features = features.astype(np.float64)
        self.labels = labels
        self.member = np.eye(labels.max() + 1)[labels]
        # Not from squared norms: their difference loses the digits of close pairs.
        distances = {m: pairwise_distances(self.features, metric=m) for m in ("euclidean", "cosine")}
        for matrix in distances.values():
            np.fill_diagonal(matrix, 0.0)
        self.distances = {m: matrix.astype(np.float32) for m, matrix in distances.items()}

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
        figures["davies_bouldin"] = self._davies_bouldin(weighted)
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

    def _davies_bouldin(self, weighted: npt.NDArray[np.float64]) -> float:
        sizes = weighted.sum(0)
        centres = weighted.T @ self.features / sizes[:, None]
        offsets = np.linalg.norm(self.features - centres[self.labels], axis=1)
        scatter = weighted.T @ offsets / sizes
        apart = pairwise_distances(centres)
        np.fill_diagonal(apart, np.inf)
        return float(((scatter[:, None] + scatter) / apart).max(1).mean())


def _resampled(labels: Index, resamples: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """[1 + R, N]: ones, then how often each image is drawn, with replacement within its class."""
    weights = np.ones((1 + resamples, len(labels)))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        weights[1:, rows] = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), resamples)
    return weights


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """The first value, which is of all images once, and the 95 % interval of the others."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return float(values[0]), float(low), float(high)


def _judge(differences: Sequence[tuple[float, float, float]]) -> int:
    """1 for larger, -1 for smaller, 0 for neither."""
    signs = {int(low > 0) - int(high < 0) for _, low, high in differences}
    if len(differences) < 3:
        return signs.pop() if len(signs) == 1 else 0
    values = np.array([value for value, _, _ in differences])
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    mean = values.mean()
    return int(mean - half > 0) - int(mean + half < 0)
