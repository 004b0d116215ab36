"""How well classes separate in a feature space (the paper's section 3.6, claims C7 and C8).

The paper says that clusters are tighter before SE and farther apart after it. Two feature spaces are compared
here on the same images, whichever they are: before and after SE, or those of two networks.

Both halves of that sentence hang on scale. Plain distances shrink, since an excitation multiplies by gates in
0..1; cosine distances grow wherever what all features share gets weaker. Over the mean distance of any two
images (`relative_`) the two cannot both rise where classes are equally large: their weighted mean is 1. So
whether classes separate better is judged by what does not hang on scale: the ratio of the distances between
and within classes, the same with cosine distances, and the silhouette (Rousseeuw 1987).
Distances are means over classes, or pairs of classes, of the mean over pairs of images, so that a small class
counts as a large one.

Intervals are a bootstrap over images within their class, of the basic kind (Davison and Hinkley 1997, chapter
5). The fewer different images a class has, the more its mean distances scatter, and the nearer the nearest
other class comes out: a resample's silhouette lies below its sample's, as that lies below the truth.
Percentiles would double this bias instead of taking it away. An image that is drawn twice is no pair with
itself: counting its distance 0 would make small classes look tight. Davies-Bouldin (1979) is left out: of
classes of fifteen images its centres are so biased that its intervals missed the truth two times of three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import stdtrit  # type: ignore[import-untyped]
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from mien.config import ModelConfig
from mien.errors import InputError
from mien.evaluate.feature_space import MEASURES, Features, FeatureSpace, Index
from mien.evaluate.landscape import undisturbed
from mien.evaluate.predict import input_batches

RESAMPLES = 500
"""Bootstrap resamples; each is a silhouette of all images."""
_PERPLEXITY = 30.0
"""Of t-SNE: about how many neighbours count; lowered where there are few images."""
_INVERSE_PENALTY = 0.1
"""C of scikit-learn's l2 penalty; smaller is stronger."""


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

    def to_dict(self) -> dict[str, Any]:
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
        for x in input_batches(pack, rows, config):
            pair = model.features(x.to(device))  # type: ignore[operator]
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
) -> Comparison:
    """How well the classes separate in two feature spaces of the same images, and in which better.

    Args:
        first: float [N, F], before SE, or of one network.
        second: float [N, G], after SE, or of another network.
        labels: int64 [N], index into `names`.
        names: class names.
        resamples: bootstrap resamples, at least 2.

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
    weights = _resampled(index, resamples, np.random.default_rng(0))
    figures = [FeatureSpace(space[kept], index).figures(weights) for space in (first, second)]
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

    A difference counts where its interval over images leaves out 0: with two runs that of each, from three on
    the mean of theirs and a t interval over the runs as well. Better is a larger ratio of the distances
    between and within classes together with a larger silhouette.

    Args:
        comparisons: one a run, all of one kind.
        what: what the two spaces are.
    """
    judged = {m: _judge([c.difference[m] for c in comparisons]) for m in ("ratio", "silhouette")}
    words = {1: "larger", -1: "smaller", 0: "no different"}
    ratio, silhouette = (f"{words[sign]} ({_moved(comparisons, m)})" for m, sign in judged.items())
    better = sum(judged.values())
    verdict = {2: "the classes separate better", -2: "the classes separate worse"}.get(
        better, "the classes separate neither clearly better nor clearly worse"
    )
    runs = "1 run" if len(comparisons) == 1 else f"{len(comparisons)} runs"
    return (
        f"From {what[0]} to {what[1]} the distance between classes over that within them is {ratio} and the "
        f"silhouette is {silhouette}: {verdict} ({runs})."
    )


def se_verdict(comparisons: Sequence[Comparison]) -> str:
    """`cluster_verdict` of features before and after SE, and whether the paper's claim C8 holds as printed,
    that clusters are tighter before SE and farther apart after it: by cosine and by Euclidean distance, since
    it hangs on their scale."""
    halves = {
        (True, True): "holds",
        (True, False): "holds in its first half only",
        (False, True): "holds in its second half only",
    }
    found = []
    for prefix, title in (("cosine_", "cosine distance"), ("", "Euclidean distance")):
        sides = (f"{prefix}within", f"{prefix}between")
        wider, farther = (_judge([c.difference[m] for c in comparisons]) > 0 for m in sides)
        within, between = (_moved(comparisons, m) for m in sides)
        holds = halves.get((wider, farther), "does not hold in either half")
        found.append(f"{holds} by {title} (within {within}, between {between})")
    return (
        f"{cluster_verdict(comparisons)} The paper's claim that clusters are tighter before SE and farther "
        f"apart after it {found[0]} and {found[1]}, which gates between 0 and 1 shrink."
    )


def _moved(comparisons: Sequence[Comparison], measure: str) -> str:
    """A measure in both spaces, means over runs."""
    first = np.mean([c.first[measure][0] for c in comparisons])
    second = np.mean([c.second[measure][0] for c in comparisons])
    return f"{first:.3f} to {second:.3f}"


def embed(features: Features) -> Features:
    """A picture of a feature space in two dimensions, by t-SNE (van der Maaten and Hinton, JMLR 2008).

    Neighbours are kept; sizes of clusters and distances between them mean nothing, which is why claims rest
    on `compare_features` alone.

    Args:
        features: float [N, F], N at least 4.

    Returns:
        float32 [N, 2], the same for the same features.
    """
    if len(features) < 4:
        raise InputError(f"an embedding needs 4 images or more, not {len(features)}.")
    # Distances to neighbours hardly change beyond 50 components, and the search costs by the component.
    components = min(50, *features.shape)
    reduced = PCA(components, svd_solver="full").fit_transform(features.astype(np.float64))
    embedding = TSNE(
        perplexity=min(_PERPLEXITY, (len(features) - 1) / 3),
        init="pca",
        random_state=0,
        n_jobs=1,
    ).fit_transform(reduced.astype(np.float32))
    result: Features = np.asarray(embedding, dtype=np.float32)
    return result


def linear_probe(
    features: Features,
    labels: Index,
    test_features: Features,
    test_labels: Index,
) -> float:
    """Test accuracy of logistic regression on standardised features: what a line can tell apart.

    Args:
        features: float [N, F], of training images.
        labels: int64 [N].
        test_features: float [M, F].
        test_labels: int64 [M].
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000))
    return float(probe.fit(features, labels).score(test_features, test_labels))


def _resampled(labels: Index, resamples: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """[1 + R, N]: ones, then how often each image is drawn, with replacement within its class."""
    weights = np.ones((1 + resamples, len(labels)))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        weights[1:, rows] = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), resamples)
    return weights


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """The first value, which is of all images once, and its 95 % basic bootstrap interval by the others."""
    value = float(values[0])
    low, high = (float(bound) for bound in np.quantile(values[1:], [0.025, 0.975]))
    return value, 2 * value - high, 2 * value - low


def _judge(differences: Sequence[tuple[float, float, float]]) -> int:
    """1 for larger, -1 for smaller, 0 for neither; what has to leave out 0 is said in `cluster_verdict`."""
    if len(differences) < 3:
        signs = {_sign(low, high) for _, low, high in differences}
        return signs.pop() if len(signs) == 1 else 0
    values, lows, highs = np.array(differences).T
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    # Runs are of the same images, whose chance does not average out over them.
    over_images = _sign(lows.mean(), highs.mean())
    over_runs = _sign(values.mean() - half, values.mean() + half)
    return over_images if over_images == over_runs else 0


def _sign(low: float, high: float) -> int:
    return int(low > 0) - int(high < 0)
