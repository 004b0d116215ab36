"""Which columns of a report are set against each other, and what each comparison asks.

Two columns are a pair where their configs differ in what the paper claims something about (SE, SAM, both) or
in what such a claim has to be checked against (longer training; SAM against training that costs as much).
Pairs come from the configs alone, so that `mien report runs/*` asks what `mien reproduce` asks. A column that
is in no such pair stands against the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final, Literal, TypeAlias, get_args

from mien.config import RunConfig, SAMConfig
from mien.report.gains import Gain, answers_of_runs, compare
from mien.report.tables import VIEWS, Column, differing

Question: TypeAlias = Literal[
    "SE",
    "SAM",
    "SE and SAM",
    "longer training",
    "SAM at equal cost",
    "the same again",
    "other settings",
    "another model",
]
"""What the later column has that the earlier one lacks. `SAM at equal cost` is SAM against its base optimizer
with as many more epochs as SAM takes passes a step; `the same again` are copies that differ in nothing."""
QUESTIONS: Final[tuple[Question, ...]] = get_args(Question)
"""In the order of a report."""
CLAIMED: Final[tuple[Question, ...]] = ("SE", "SAM", "SE and SAM")
"""Those that the paper claims a gain for (Table 2)."""
PASSES: Final = {"sam": 2.0, "esam": 1.7, "msam": 1.0}
"""Cost of a step in steps of the base optimizer; ESAM's as measured (docs/lab-log.md)."""


@dataclass(frozen=True)
class ColumnGain:
    """What the step from one column to another brings."""

    earlier: Column
    """Compared from."""
    later: Column
    """Compared to."""
    question: Question
    """What the later one has that the earlier one lacks."""
    changed: tuple[str, ...]
    """Config keys in which they differ, the seed left out; empty where one of them is no run."""
    gains: tuple[Gain, ...]
    """One a label view that both have."""
    published: float | None
    """The paper's difference in 7-class accuracy, where the pair is one of its claims."""


def gains_of(columns: Sequence[Column]) -> tuple[ColumnGain, ...]:
    """The comparisons of a report, in the order of `QUESTIONS`; each column is in at least one of them."""
    asked: dict[tuple[int, int], Question] = {}
    for i, j in permutations(range(len(columns)), 2):
        question = question_of(columns[i], columns[j])
        if question is not None and (j, i) not in asked:
            asked[i, j] = question
    reached = _connected(0, asked)
    for k in range(1, len(columns)):
        if k not in reached:
            trained = columns[0].config is not None and columns[k].config is not None
            asked[0, k] = "other settings" if trained else "another model"
            reached |= _connected(k, asked)
    ordered = sorted(asked.items(), key=lambda item: (QUESTIONS.index(item[1]), item[0]))
    return tuple(_column_gain(columns[i], columns[j], question) for (i, j), question in ordered)


def question_of(earlier: Column, later: Column) -> Question | None:
    """What a comparison of two columns asks; None where they differ in more than one thing, or in data.

    Both directions of a pair that differs in nothing ask the same.
    """
    if earlier.config is None or later.config is None or not _same_data(earlier, later):
        return None
    a, b = earlier.config, later.config
    parts = {_part(key) for key in differing([earlier, later])}
    adds_se = a.model.se.position == "none" != b.model.se.position
    adds_sam = a.optim.sam.rho == 0 < b.optim.sam.rho
    found: dict[frozenset[str], tuple[Question, bool]] = {
        frozenset(): ("the same again", True),
        frozenset({"se"}): ("SE", adds_se),
        frozenset({"sam"}): ("SAM", adds_sam),
        frozenset({"se", "sam"}): ("SE and SAM", adds_se and adds_sam),
        frozenset({"epochs"}): ("longer training", a.train.epochs < b.train.epochs),
        frozenset({"epochs", "sam"}): ("SAM at equal cost", adds_sam and a.train.epochs == equal_epochs(b)),
    }
    question, holds = found.get(frozenset(parts), ("other settings", False))
    return question if holds else None


def passes_of(config: SAMConfig) -> float:
    """What a step costs in steps of the base optimizer alone: 2 for SAM, 1 where rho is 0."""
    if config.rho == 0:
        return 1.0
    return 1 + 1 / config.every if config.method == "looksam" else PASSES[config.method]


def equal_epochs(config: RunConfig) -> int:
    """Epochs of the base optimizer alone that cost what a config with SAM costs."""
    return round(config.train.epochs * passes_of(config.optim.sam))


def _part(key: str) -> str:
    """What a config key belongs to."""
    if key.startswith("model.se."):
        return "se"
    if key.startswith("optim.sam."):
        return "sam"
    # The step schedule is stretched with the epochs.
    return "epochs" if key in ("train.epochs", "optim.step_epochs") else key


def _same_data(earlier: Column, later: Column) -> bool:
    keys = ("labels", "manifest_hash", "target")
    return all(earlier.record.get(key) == later.record.get(key) for key in keys)


def _connected(start: int, pairs: dict[tuple[int, int], Question]) -> set[int]:
    """The columns that are compared with one of them, directly or through others."""
    reached, waiting = {start}, [start]
    while waiting:
        one = waiting.pop()
        for pair in pairs:
            if one in pair and (other := sum(pair) - one) not in reached:
                reached.add(other)
                waiting.append(other)
    return reached


def _unlike(earlier: Column, later: Column, view: str) -> str:
    """Why two columns must not be compared on a view; empty where they may."""
    if earlier.figures[view].labels != later.figures[view].labels:
        return "their classes differ"
    if earlier.record.get("manifest_hash") != later.record.get("manifest_hash"):
        return "their data differ (another manifest)"
    return ""


def _column_gain(earlier: Column, later: Column, question: Question) -> ColumnGain:
    gains = []
    for view in VIEWS:
        if view not in earlier.figures or view not in later.figures:
            continue
        reason = _unlike(earlier, later, view)
        difference = later.figures[view].accuracy - earlier.figures[view].accuracy
        before = {} if reason else answers_of_runs(earlier.runs, view)
        after = {} if reason else answers_of_runs(later.runs, view)
        gains.append(compare(before, after, view=view, difference=difference, reason=reason))
    published = None
    if question in CLAIMED and earlier.published and later.published:
        published = later.published.accuracy - earlier.published.accuracy
    trained = earlier.config is not None and later.config is not None
    changed = tuple(differing([earlier, later])) if trained else ()
    return ColumnGain(earlier, later, question, changed, tuple(gains), published)
