"""What the comparisons of a report found: the paper's claims beside what was measured, then every pair.

A verdict is `gain`, `loss` or `no difference`, and stands with the intervals that it comes from and the
smallest difference that the comparison could have seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mien.report.comparisons import ColumnGain
from mien.report.document import Block, Section, Table, Text
from mien.report.gains import SEEDS_FOR_INTERVAL, Gain
from mien.report.wording import DASH, joined, points, points_interval

_HEADS = {"gain": "Gain", "loss": "Loss", "no difference": "No difference", "not paired": "Not comparable"}
"""How the summary begins the sentence of each verdict."""


def gains_section(steps: Sequence[ColumnGain]) -> Section:
    """The claims of the paper where some of the pairs test them, a sentence and a row for every pair."""
    claims = claims_table(steps)
    sentences: list[Block] = [Text(verdict_sentence(step, step.gains[0])) for step in steps]
    return Section("Gains", (*([claims] if claims else []), *sentences, _gains_table(steps)))


def steps_sentence(steps: Sequence[ColumnGain]) -> str:
    """The verdicts on all classes, one sentence a verdict, for the summary."""
    told: dict[str, list[str]] = {}
    for step in steps:
        gain = step.gains[0]
        points_told = "" if gain.verdict == "not paired" else f" ({points(gain.difference)} points)"
        told.setdefault(gain.verdict, []).append(f"{_pair(step)}{points_told}")
    text = " ".join(
        f"{head}: {joined(told[verdict])}." for verdict, head in _HEADS.items() if verdict in told
    )
    if any(min(len(step.earlier.runs), len(step.later.runs)) < SEEDS_FOR_INTERVAL for step in steps):
        text += " Without three seeds each, this ranks the models that were trained, not the methods."
    return text


def claims_table(steps: Sequence[ColumnGain]) -> Table | None:
    """The gains in 7-class accuracy that the paper's Table 2 claims, and what was measured of each.

    Returns:
        The table; None where no pair tests a claim.
    """
    rows = []
    for step in steps:
        gain = next((gain for gain in step.gains if gain.view == "7"), None)
        if step.published is None or gain is None:
            continue
        rows.append(
            (
                f"{step.question}: {step.earlier.name} → {step.later.name}",
                points(step.published),
                points(gain.difference),
                points_interval(gain.interval),
                points_interval(gain.seed_interval),
                claim_verdict(gain, step.published),
            )
        )
    if not rows:
        return None
    return Table(
        caption="The gains that the paper claims, 7 classes, in percentage points of accuracy",
        columns=("claim", "paper", "measured", "95 % interval, images", "95 % interval, seeds", "verdict"),
        rows=tuple(rows),
        notes=(
            "The paper's gains are differences between the columns of its Table 2, on other images, from one "
            "run each and without an interval. A verdict is about the data and the models of this report.",
        ),
        words=frozenset({5}),
    )


def claim_verdict(gain: Gain, published: float) -> str:
    """Whether a measured gain bears the paper's out: its direction, and whether it may be as large.

    Args:
        gain: measured.
        published: the paper's, above 0.
    """
    if gain.verdict == "not paired":
        return f"not comparable: {gain.reason}"
    lowest = min(low for low, _ in gain.intervals)
    highest = max(high for _, high in gain.intervals)
    if gain.verdict == "loss":
        return "loss"
    if gain.verdict == "no difference":
        if gain.smallest_seen is None:
            return "no difference; they differ on too few images to say more"
        ruled_out = "ruled out" if highest < published else "not ruled out"
        return f"no difference; a gain as large as the paper's is {ruled_out}"
    if lowest <= published <= highest:
        return "gain, in line with the paper's"
    return f"gain, {'smaller' if highest < published else 'larger'} than the paper's"


def verdict_sentence(step: ColumnGain, gain: Gain) -> str:
    """A comparison in plain words."""
    name = f"{_pair(step)}, {_classes(step, gain)}"
    if gain.verdict == "not paired":
        return f"{name}: no verdict, since the two cannot be compared image by image: {gain.reason}."
    if not gain.differing:
        return f"{name}: no difference; both are right on the same of {gain.count:,} images."
    found = f"{points(gain.difference)} points, 95 % interval over images {points_interval(gain.interval)}"
    if gain.seed_interval is not None:
        found += f", over {len(gain.seeds)} seeds {points_interval(gain.seed_interval)}"
    word = gain.verdict if gain.verdict == "no difference" else f"a {gain.verdict}"
    return f"{name}: {word} ({found}).{_power(gain)}{_shared_seeds(step, gain)}{_cost(step)}"


def _power(gain: Gain) -> str:
    if gain.verdict != "no difference" or gain.smallest_seen is None:
        return ""
    smallest = 100 * gain.smallest_seen
    return f" Differences below about {smallest:.2f} points are too small for this comparison to see."


def _shared_seeds(step: ColumnGain, gain: Gain) -> str:
    """Which seeds were compared, where a column has others besides."""
    if not gain.seeds or {*step.earlier.seeds, *step.later.seeds} == set(gain.seeds):
        return ""
    seeds = ", ".join(map(str, gain.seeds))
    return f" Compared on what both have, seed{'s' if len(gain.seeds) > 1 else ''} {seeds}."


def _cost(step: ColumnGain) -> str:
    """That the control of an equal-cost comparison took as long."""
    minutes = (step.earlier.minutes, step.later.minutes)
    if step.question != "SAM at equal cost" or any(map(math.isnan, minutes)):
        return ""
    return (
        f" {step.earlier.name} took {minutes[0]:.1f} minutes to train and {step.later.name} {minutes[1]:.1f}."
    )


def _gains_table(steps: Sequence[ColumnGain]) -> Table:
    rows = []
    for step in steps:
        for gain in step.gains:
            seen = gain.smallest_seen
            rows.append(
                (
                    step.question,
                    f"{step.earlier.name} → {step.later.name}",
                    _classes(step, gain),
                    points(gain.difference),
                    points_interval(gain.interval),
                    points_interval(gain.seed_interval),
                    gain.verdict,
                    DASH if seen is None else f"{100 * seen:.2f}",
                    ", ".join(step.changed) or (DASH if step.question == "another model" else "nothing"),
                )
            )
    return Table(
        caption="Difference in accuracy between one model and another, in percentage points",
        columns=(
            "what is added",
            "from → to",
            "labels",
            "points",
            "95 % interval, images",
            "95 % interval, seeds",
            "verdict",
            "smallest that could be seen",
            "changed",
        ),
        rows=tuple(rows),
        notes=(
            "Paired bootstrap over images, from the logits that the runs kept in half precision: both models "
            "answered the same images. From three seeds on, paired by seed, the difference also has an "
            "interval over seeds. It is a gain or a loss only where every interval leaves out 0.",
            "The smallest difference that could be seen is half the width of the wider interval: of true "
            "differences of that size about half would be called one.",
        ),
        words=frozenset({1, 2, 6, 8}),
    )


def _pair(step: ColumnGain) -> str:
    return f"{step.earlier.name} to {step.later.name}"


def _classes(step: ColumnGain, gain: Gain) -> str:
    return f"{len(step.later.figures[gain.view].labels)} classes"
