"""A verdict on each claim of the paper, by one rule, from what a study's folder holds.

A claim is turned into a difference that it says is above 0: of correctness, image by image, between runs of
the same seeds (for C5 and C6 a difference of two such gains), or of a measure of the features. Two intervals
of 95 % are asked for: over images (paired bootstrap, of the mean over seeds) and, from three seeds on, over
seeds (paired t interval). C4 alone is a ratio, judged over seeds by whether its interval lies within `COST`.
The rule:

- supported: every interval lies above 0;
- not supported: every interval lies below the least gain that would matter, one point of accuracy
  (`LEAST_GAIN`; 0 for what is no accuracy), so that such a gain is ruled out;
- undecided: neither, or there are no runs yet.

Both can hold where a small gain is sure; it is supported then, and the size stands beside it. With fewer than
three seeds the verdict is about these trainings, not about the method, and says so by its seeds. The headline
of a claim is its first row; the others tell whether it holds elsewhere.

Only test figures are judged. They come from the kept half-precision logits, so that verdicts can be made
again from committed results without weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mien.evaluate.analysis_files import read_analyses
from mien.evaluate.bootstrap import LEAST_DIFFERING, mean_interval
from mien.evaluate.evaluated_model import is_evaluated, read_evaluated
from mien.evaluate.split import read_evaluation, read_logits
from mien.files import write_json
from mien.models.saved import HISTORY, RUN, read_run
from mien.report.gains import Interval, answers_of, seed_interval
from mien.study.comparisons import CLAIMS, COMPARED, Terms, gain

Verdict: TypeAlias = Literal["supported", "not supported", "undecided"]
Float: TypeAlias = npt.NDArray[np.float64]

VERDICTS: Final = "verdicts.json"
FORMAT: Final = 1
LEAST_GAIN: Final = 0.01
"""The least difference in accuracy that matters: one point."""
SEPARATION: Final = "separation.json"
"""`mien.evaluate.clusters.Comparison` of `SEPARATION_RUNS`."""
SEPARATION_RUNS: Final = ("resnet50-seed0", "swin-seed0")
COST: Final = (1.8, 2.2)
"""What `about twice` (C4) is taken to mean."""


@dataclass(frozen=True)
class Judged:
    """One comparison of a claim."""

    claim: str
    """Such as `C1`."""
    asked: str
    """What is compared, in words."""
    unit: str
    """`points` (accuracy, as a share), `times`, `nats` or `distance`."""
    difference: float | None
    """In the direction of the claim; None where there is nothing yet."""
    interval: Interval | None
    """95 %, over images."""
    seed_interval: Interval | None
    """95 %, over seeds; None below three."""
    seeds: tuple[int, ...]
    """That all columns have."""
    images: int
    """That were compared."""
    verdict: Verdict
    reason: str = ""
    """Why it is undecided, where that is not the intervals."""


def write_verdicts(out: Path) -> Path:
    """Write verdicts.json: for each claim its headline's verdict, and all that was compared."""
    rows = judge(out)
    path = out / VERDICTS
    claims = {
        claim: {
            "says": says,
            "verdict": next(row.verdict for row in rows if row.claim == claim),
            "comparisons": [asdict(row) for row in rows if row.claim == claim],
        }
        for claim, says in CLAIMS.items()
    }
    write_json(path, {"format": FORMAT, "least_gain": LEAST_GAIN, "claims": claims})
    return path


def judge(out: Path) -> tuple[Judged, ...]:
    """All comparisons, in the order of the claims, a claim's headline first.

    Args:
        out: a study's folder, or committed results of one.
    """
    rows = [_accuracy(out, *asked) for asked in COMPARED]
    rows += [_cost(out), _separation(out), *_clusters(out), _sharpness(out)]
    order = list(CLAIMS)
    return tuple(sorted(rows, key=lambda row: order.index(row.claim)))


def rule(intervals: Sequence[Interval], least: float) -> Verdict:
    """The rule of this module.

    Args:
        intervals: at least one, in the direction of the claim.
        least: the least difference that matters.
    """
    if all(low > 0 for low, _ in intervals):
        return "supported"
    return "not supported" if all(high < least for _, high in intervals) else "undecided"


def seeds_of(out: Path, column: str) -> dict[int, Path]:
    """Seed to the folder of each scored run of a column, or of its answers judged by other labels."""
    name, _, annotation = column.partition("@")
    suffix = f"-on-{annotation}" if annotation else ""
    found = {}
    for folder in out.glob(f"{name}-seed*{suffix}"):
        number = folder.name.removeprefix(f"{name}-seed").removesuffix(suffix)
        if number.isdigit() and read_evaluation(folder, "test") is not None:
            found[int(number)] = folder
    return found


def _values(
    out: Path, terms: Terms, read: Callable[[Path], Mapping[int, float] | None]
) -> tuple[tuple[int, ...], Float, str]:
    """The seeds that all columns have, and the weighted sum for each seed and unit, float64 [S, N].

    Units (images, batches) that one run has and another lacks are left out. Without a common seed the array
    is empty and a reason is given.
    """
    columns = {name: seeds_of(out, name) for _, name in terms}
    lacking = [name for name, seeds in columns.items() if not seeds]
    shared = sorted(set.intersection(*(set(seeds) for seeds in columns.values())))
    if lacking or not shared:
        return (), np.empty((0, 0)), f"not measured yet: {', '.join(lacking) or 'no seed in common'}"
    sums, used = [], []
    for seed in shared:
        read_ = {name: read(seeds[seed]) for name, seeds in columns.items()}
        if any(values is None for values in read_.values()):
            continue
        known = {name: values for name, values in read_.items() if values is not None}
        units = sorted(set.intersection(*(set(values) for values in known.values())))
        sums.append({u: sum(weight * known[name][u] for weight, name in terms) for u in units})
        used.append(seed)
    if not used:
        return (), np.empty((0, 0)), "not measured yet: no analysis of all of these runs"
    units = sorted(set.intersection(*(set(one) for one in sums)))
    return tuple(used), np.array([[one[u] for u in units] for one in sums], dtype=np.float64), ""


def _judged(
    claim: str, asked: str, unit: str, seeds: tuple[int, ...], values: Float, reason: str, least: float
) -> Judged:
    if reason or values.size == 0:
        reason = reason or "the runs have no image in common"
        return Judged(claim, asked, unit, None, None, None, seeds, 0, "undecided", reason)
    means = values.mean(axis=0)
    interval = mean_interval(means).interval
    over_seeds = seed_interval(values.mean(axis=1).tolist())
    verdict = rule([one for one in (interval, over_seeds) if one is not None], least)
    # On a handful of differing images a percentile interval means nothing (mien.evaluate.bootstrap).
    if verdict == "supported" and np.count_nonzero(means) < LEAST_DIFFERING:
        verdict = "undecided"
    return Judged(
        claim, asked, unit, float(means.mean()), interval, over_seeds, seeds, values.shape[1], verdict
    )


def _accuracy(out: Path, claim: str, asked: str, terms: Terms) -> Judged:
    return _judged(claim, asked, "points", *_values(out, terms, _correct), LEAST_GAIN)


def _correct(folder: Path) -> dict[int, float]:
    """Pack row to 1 where a run was right on the test image."""
    labels = read_evaluated(folder).labels if is_evaluated(folder) else read_run(folder).labels
    answers = answers_of(read_logits(folder, "test"), labels, "all")
    return dict(zip(answers.pack_rows.tolist(), answers.correct.astype(float).tolist(), strict=True))


def _sharpness(out: Path) -> Judged:
    """C9: the rise of the training loss after SAM's ascent step, without SAM less with it, batch by batch."""
    terms = gain("swin_se", "swin_se_sam")
    asked = "rise of the loss after an ascent step, Swin-SE less Swin-SE-SAM"
    return _judged("C9", asked, "nats", *_values(out, terms, _rises), 0.0)


def _rises(folder: Path) -> dict[int, float] | None:
    entry = read_analyses(folder).get("train-sharpness")
    return None if entry is None else dict(enumerate(entry["values"]["sam"]["values"]))


def _cost(out: Path) -> Judged:
    """C4: seconds of an epoch with SAM over those without, on the same processor and with as many threads."""
    asked = "seconds of an epoch, Swin-SE-SAM over Swin-SE (median epoch)"
    sam, base = seeds_of(out, "swin_se_sam"), seeds_of(out, "swin_se")
    shared = tuple(seed for seed in sorted(set(sam) & set(base)) if _alike(sam[seed], base[seed]))
    if not shared:
        reason = "not measured yet: swin_se and swin_se_sam on one machine"
        return Judged("C4", asked, "times", None, None, None, (), 0, "undecided", reason)
    ratios = [_epoch_seconds(sam[seed]) / _epoch_seconds(base[seed]) for seed in shared]
    interval, mean = seed_interval(ratios), float(np.mean(ratios))
    if interval is None:
        reason = "fewer than three seeds: one epoch beside other work moves the ratio too far"
        return Judged("C4", asked, "times", mean, None, None, shared, 0, "undecided", reason)
    low, high = interval
    verdict: Verdict = "undecided"
    if COST[0] <= low and high <= COST[1]:
        verdict = "supported"
    elif high < COST[0] or low > COST[1]:
        verdict = "not supported"
    return Judged("C4", asked, "times", mean, None, interval, shared, 0, verdict)


def _alike(one: Path, other: Path) -> bool:
    records = [json.loads((run / RUN).read_text(encoding="utf-8")) for run in (one, other)]
    return all(records[0].get(key) == records[1].get(key) for key in ("processor", "threads"))


def _epoch_seconds(run: Path) -> float:
    lines = (run / HISTORY).read_text(encoding="utf-8").splitlines()
    # Other work on the machine makes single epochs slow; the median epoch is one that it left alone.
    return float(np.median(np.diff([0.0, *(json.loads(line)["seconds"] for line in lines)])))


def _separation(out: Path) -> Judged:
    """C7: the ratio of the distances between and within classes, of Swin's features less ResNet-50's."""
    asked = "distance between classes over that within, Swin less ResNet-50 of equal minutes"
    path = out / SEPARATION
    if not path.is_file():
        reason = f"not measured yet: {' and '.join(SEPARATION_RUNS)} with weights"
        return Judged("C7", asked, "distance", None, None, None, (), 0, "undecided", reason)
    comparison = json.loads(path.read_text(encoding="utf-8"))
    return _moved("C7", asked, [(0, comparison, "ratio")])


def _clusters(out: Path) -> list[Judged]:
    """C8: the smaller of the two moves that the claim is made of, by each of two distances; both have to be
    above 0."""
    runs = {
        seed: read_analyses(folder).get("test-features") for seed, folder in seeds_of(out, "swin_se").items()
    }
    found = [(seed, entry["values"]["comparison"]) for seed, entry in sorted(runs.items()) if entry]
    rows = []
    for prefix, title in (("cosine_", "cosine"), ("", "Euclidean")):
        asked = (
            f"the smaller rise from before to after SE of the {title} distances within and between classes"
        )
        if not found:
            reason = "not measured yet: features of swin_se"
            rows.append(Judged("C8", asked, "distance", None, None, None, (), 0, "undecided", reason))
            continue
        sides = [
            _moved("C8", asked, [(seed, comparison, f"{prefix}{side}") for seed, comparison in found])
            for side in ("within", "between")
        ]
        rows.append(min(sides, key=lambda row: (_ORDER.index(row.verdict), row.difference or 0.0)))
    return rows


_ORDER: Final[tuple[Verdict, ...]] = ("not supported", "undecided", "supported")


def _moved(claim: str, asked: str, moves: Sequence[tuple[int, Mapping[str, Any], str]]) -> Judged:
    """A measure of two feature spaces, second less first; images are the same for all runs, so that their
    chance does not average out over them."""
    differences = [comparison["difference"][measure] for _, comparison, measure in moves]
    lows, highs = zip(*(difference["interval"] for difference in differences), strict=True)
    interval = (float(np.mean(lows)), float(np.mean(highs)))
    values = [float(difference["value"]) for difference in differences]
    over_seeds = seed_interval(values)
    verdict = rule([one for one in (interval, over_seeds) if one is not None], 0.0)
    images = sum(moves[0][1]["counts"].values())
    seeds = tuple(seed for seed, _, _ in moves)
    return Judged(
        claim, asked, "distance", float(np.mean(values)), interval, over_seeds, seeds, images, verdict
    )
