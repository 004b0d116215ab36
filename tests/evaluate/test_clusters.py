from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_score

from mien.config import RunConfig
from mien.errors import InputError
from mien.evaluate.clusters import (
    Comparison,
    cluster_verdict,
    compare_features,
    embed,
    linear_probe,
    network_features,
    se_verdict,
)
from mien.evaluate.feature_space import MEASURES, FeatureSpace

NAMES = ("a", "b", "c")


def _blobs(
    spread: float = 1.0, counts: tuple[int, ...] = (30, 12, 20), seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = np.array([[3.0, 0, 0, 1], [0, 3, 0, 1], [0, 0, 3, 1]])
    return (centres[labels] + spread * random.normal(size=(len(labels), 4))).astype(np.float32), labels


def _by_hand(x: np.ndarray, labels: np.ndarray, metric: str) -> tuple[float, float, float]:
    """Within, between and over all pairs, by lists of pairs."""
    within = [
        np.mean(cdist(x[labels == c], x[labels == c], metric)[np.triu_indices(n, 1)])
        for c, n in enumerate(np.bincount(labels))
    ]  # fmt: skip
    between = [
        cdist(x[labels == a], x[labels == b], metric).mean() for a, b in combinations(np.unique(labels), 2)
    ]
    overall = cdist(x, x, metric)[np.triu_indices(len(x), 1)].mean()
    return float(np.mean(within)), float(np.mean(between)), float(overall)


def test_every_measure_against_scipy_and_scikit_learn() -> None:
    x, labels = _blobs()
    found = compare_features(x, x, labels, NAMES, resamples=2).first
    within, between, overall = _by_hand(x.astype(float), labels, "euclidean")
    cosine_within, cosine_between, _ = _by_hand(x.astype(float), labels, "cosine")
    expected = {
        "within": within,
        "between": between,
        "relative_within": within / overall,
        "relative_between": between / overall,
        "ratio": between / within,
        "cosine_within": cosine_within,
        "cosine_between": cosine_between,
        "cosine_ratio": cosine_between / cosine_within,
        "silhouette": silhouette_score(x, labels),
    }
    assert set(found) == set(expected) == set(MEASURES)
    for measure, value in expected.items():
        assert found[measure][0] == pytest.approx(value, rel=1e-5), measure


def test_a_resample_is_the_set_of_its_images() -> None:
    # An integer weighting must equal a set in which those images stand so often, copies not paired.
    x, labels = _blobs(counts=(6, 4, 5))
    # Of the second class one image alone is drawn, three times.
    weights = np.array([[2, 0, 1, 1, 2, 0, 0, 3, 0, 0, 3, 1, 0, 1, 0]], float)
    found = {m: float(v[0]) for m, v in FeatureSpace(x, labels).figures(weights).items()}
    rows = np.repeat(np.arange(15), weights[0].astype(int))
    d, own = cdist(x.astype(float), x.astype(float)), labels[rows]
    pairs = [(i, j) for i, j in combinations(rows, 2) if i != j]
    within = [np.mean([d[i, j] for i, j in pairs if labels[i] == labels[j] == c]) for c in (0, 2)]
    between = [d[np.ix_(rows[own == a], rows[own == b])].mean() for a, b in combinations(range(3), 2)]
    assert found["within"] == pytest.approx(np.mean(within), rel=1e-5)
    assert found["between"] == pytest.approx(np.mean(between), rel=1e-5)
    assert found["relative_within"] == pytest.approx(
        np.mean(within) / np.mean([d[i, j] for i, j in pairs]), rel=1e-5
    )
    values = []
    for i in rows:
        others = [d[i, j] for j in rows if labels[j] == labels[i] and j != i]
        nearest = min(d[i, rows[own == c]].mean() for c in range(3) if c != labels[i])
        a = np.mean(others) if others else nearest
        values.append((nearest - a) / max(a, nearest))
    assert found["silhouette"] == pytest.approx(np.mean(values), rel=1e-5)


def test_scaling_moves_plain_distances_and_nothing_else() -> None:
    x, labels = _blobs()
    found = compare_features(x, (x * 0.25).astype(np.float32), labels, NAMES, resamples=20)
    for measure, (value, low, high) in found.difference.items():
        if measure in ("within", "between", "cosine_within"):
            continue
        assert value == pytest.approx(0, abs=1e-5), measure
        assert low - 1e-5 <= 0 <= high + 1e-5
    assert found.second["within"][0] == pytest.approx(found.first["within"][0] / 4, rel=1e-5)
    assert found.difference["between"][2] < 0


def test_a_space_with_itself_has_no_difference() -> None:
    x, labels = _blobs()
    found = compare_features(x, x, labels, NAMES, resamples=20)
    assert set(found.difference.values()) == {(0.0, 0.0, 0.0)}
    assert "neither clearly better nor clearly worse (1 run)" in cluster_verdict([found])


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    # The mean distance of two images of one class is known: 2 / sqrt(pi) for one standard normal axis.
    covered = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        labels = np.repeat([0, 1], 25)
        x = (random.normal(size=(50, 1)) + 10 * labels[:, None]).astype(np.float32)
        _, low, high = compare_features(x, x, labels, NAMES[:2], resamples=60).first["within"]
        covered += low <= 2 / np.sqrt(np.pi) <= high
    assert 33 <= covered <= 40


def test_the_interval_of_a_silhouette_is_not_biased_by_small_classes() -> None:
    # Of percentiles 5 of 30 would cover the silhouette of very many such images.
    names, counts = tuple("abcde"), (60, 40, 6, 6, 6)
    centres = 0.35 * np.random.default_rng(0).normal(size=(5, 32))

    def drawn(times: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(5), np.multiply(counts, times))
        noise = np.random.default_rng(seed).normal(size=(len(labels), 32))
        return (centres[labels] + noise).astype(np.float32), labels

    truth = silhouette_score(*drawn(20, 1))
    covered = 0
    for seed in range(10, 40):
        x, labels = drawn(1, seed)
        _, low, high = compare_features(x, x, labels, names, resamples=60).first["silhouette"]
        covered += low <= truth <= high
    assert covered >= 25


def test_an_image_drawn_twice_does_not_make_a_small_class_tight() -> None:
    x, labels = _blobs(counts=(40, 40, 3))
    value, low, high = compare_features(x, x, labels, NAMES, resamples=300).first["within"]
    assert low <= value <= high
    assert (low + high) / 2 == pytest.approx(value, rel=0.1)


def test_small_and_absent_classes() -> None:
    x, labels = _blobs(counts=(5, 1, 2))
    found = compare_features(x, x, labels, (*NAMES, "d"), resamples=50)
    assert found.counts == {"a": 5, "c": 2}
    assert found.skipped == ("b", "d")
    without = labels != 1
    expected = silhouette_score(x[without], labels[without])
    assert found.first["silhouette"][0] == pytest.approx(expected, rel=1e-5)
    json.dumps(found.to_dict(), allow_nan=False)
    with pytest.raises(InputError, match="two classes"):
        compare_features(x[:6], x[:6], labels[:6], NAMES)


def test_repeatable_to_the_bit_and_paired() -> None:
    x, labels = _blobs()
    y, _ = _blobs(seed=0, spread=0.5)
    found = compare_features(x, y, labels, NAMES, resamples=50)
    assert found == compare_features(x, y, labels, NAMES, resamples=50)
    width = [high - low for _, low, high in (found.difference["ratio"], found.second["ratio"])]
    assert found.difference["ratio"][0] == pytest.approx(found.second["ratio"][0] - found.first["ratio"][0])
    assert width[0] < 1.5 * width[1]


def _comparison(differences: dict[str, tuple[float, float, float]]) -> Comparison:
    flat = dict.fromkeys(MEASURES, (1.0, 0.9, 1.1))
    return Comparison(flat, flat, dict.fromkeys(MEASURES, (0.0, -0.1, 0.1)) | differences, {}, ())


def _agreeing(difference: tuple[float, float, float]) -> Comparison:
    return _comparison({"ratio": difference, "silhouette": difference})


UP, DOWN = (0.2, 0.1, 0.3), (-0.2, -0.3, -0.1)


def test_verdicts() -> None:
    better = _comparison({"ratio": UP, "silhouette": UP})
    assert "separate better (1 run)" in cluster_verdict([better])
    assert cluster_verdict([better], ("Swin", "ResNet-50")).startswith("From Swin to ResNet-50 ")
    worse = _comparison({"ratio": DOWN, "silhouette": DOWN})
    assert "separate worse" in cluster_verdict([worse])
    assert "neither" in cluster_verdict([better, worse])
    assert "neither" in cluster_verdict([_comparison({"ratio": UP})])
    assert "better (2 runs)" in cluster_verdict([better, better])
    # Three runs that agree, and three of which one is far off: the interval is over the runs.
    near = [_agreeing((v, v - 0.01, v + 0.01)) for v in (0.2, 0.21, 0.22)]
    assert "better (3 runs)" in cluster_verdict(near)
    off = [*near[:2], _agreeing((0.9, 0.8, 1.0))]
    assert "neither" in cluster_verdict(off)


def test_runs_that_agree_do_not_make_the_images_more() -> None:
    # Three runs on the same few images: alike, and each within what other images would have given.
    uncertain = [_agreeing((v, v - 0.5, v + 0.5)) for v in (0.2, 0.21, 0.22)]
    assert "neither" in cluster_verdict(uncertain)


def test_a_verdict_shows_the_figures_that_it_rests_on() -> None:
    x, labels = _blobs(spread=2.0)
    y, _ = _blobs(spread=0.5)
    found = compare_features(x, y, labels, NAMES, resamples=50)
    told = cluster_verdict([found])
    for measure in ("ratio", "silhouette"):
        before, after = (space[measure][0] for space in (found.first, found.second))
        assert f"larger ({before:.3f} to {after:.3f})" in told


def test_the_papers_claim_has_two_halves_and_two_distances() -> None:
    both = {"cosine_within": UP, "cosine_between": UP}

    def claim(**differences: tuple[float, float, float]) -> str:
        return se_verdict([_comparison(differences)]).split("after it ")[1]

    assert claim(**both).startswith("holds by cosine distance (within 1.000 to 1.000, between")
    assert "does not hold in either half by Euclidean distance" in claim(**both, within=DOWN, between=DOWN)
    assert " and holds by Euclidean distance" in claim(**both, within=UP, between=UP)
    assert claim(**both | {"cosine_between": DOWN}).startswith("holds in its first half only by cosine")
    assert claim(**both | {"cosine_within": DOWN}).startswith("holds in its second half only by cosine")


def test_equal_classes_cannot_show_both_halves_relative_to_all_distances() -> None:
    # Why the claim is not judged by them: W / K' + B (1 - 1 / K') = 1, K' from the numbers of pairs.
    x, labels = _blobs(counts=(10, 10, 10))
    figures = compare_features(x, x, labels, NAMES, resamples=2).first
    share = 3 * 45 / (15 * 29)
    mean = share * figures["relative_within"][0] + (1 - share) * figures["relative_between"][0]
    assert mean == pytest.approx(1, rel=1e-5)


def test_a_common_part_that_goes_holds_by_cosine_alone() -> None:
    # The features of all images share a large part; afterwards it is gone, and everything is smaller.
    x, labels = _blobs(counts=(30, 30, 30))
    before = x + np.array([0, 0, 0, 8], np.float32)
    found = compare_features(before, x * np.float32(0.5), labels, NAMES, resamples=50)
    told = se_verdict([found])
    assert "after it holds by cosine distance" in told
    assert "does not hold in either half by Euclidean distance" in told
    assert "neither clearly better nor clearly worse" in told


def test_features_are_the_networks_in_evaluation_mode(
    trained: Path, drawn_folder: Path, tiny: RunConfig
) -> None:
    from mien.data.prepared import load_prepared
    from mien.evaluate.predict import predict_logits
    from mien.models.saved import read_run

    model = read_run(trained).model()
    pack = load_prepared(drawn_folder).pack
    rows = np.array([5, 3, 200])
    model.train()
    before, after = network_features(model, pack, rows, tiny.model)
    assert model.training
    assert before.shape == after.shape == (3, 32)
    with torch.no_grad():
        logits = model.head(torch.from_numpy(after))
        excited = model.se(torch.from_numpy(before))
    np.testing.assert_allclose(logits, predict_logits(model, pack, rows, tiny.model), atol=1e-5)
    np.testing.assert_allclose(excited, after, atol=1e-6)
    with pytest.raises(InputError, match="shows no features"):
        network_features(torch.nn.Linear(1, 1), pack, rows, tiny.model)


def test_an_embedding_keeps_neighbours_and_is_repeatable() -> None:
    x, labels = _blobs(spread=0.3)
    picture = embed(x)
    assert picture.shape == (62, 2)
    assert np.array_equal(picture, embed(x))
    assert silhouette_score(picture, labels) > 0.5
    with pytest.raises(InputError, match="4 images"):
        embed(x[:3])
    assert embed(x[:4]).shape == (4, 2)


def test_a_linear_probe_learns_what_is_linear() -> None:
    (x, labels), (y, test_labels) = _blobs(0.5), _blobs(0.5, seed=1)
    assert linear_probe(x, labels, y, test_labels) > 0.95
    shuffled = np.random.default_rng(0).permutation(labels)
    assert linear_probe(x, shuffled, y, test_labels) < 0.75


def test_what_does_not_match_is_refused() -> None:
    x, labels = _blobs()
    with pytest.raises(InputError, match="must be of the same"):
        compare_features(x, x[1:], labels, NAMES)
    broken = x.copy()
    broken[0, 0] = np.nan
    with pytest.raises(InputError, match="diverged"):
        compare_features(x, broken, labels, NAMES)
