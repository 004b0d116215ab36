"""What a model is worth under each prior that its user may choose."""

from __future__ import annotations

from typing import Final, get_args

import numpy as np

from mien.card import ModelCard
from mien.evaluate.bootstrap import bootstrap_intervals
from mien.evaluate.prior import prior_shift
from mien.report.document import Section, Table, Text
from mien.report.tables import Column
from mien.report.wording import percent, percent_interval
from mien.runtime.probabilities import NamedPrior

_FIGURES: Final = ("accuracy", "macro_recall")


def prior_section(column: Column, card: ModelCard) -> Section | None:
    """Accuracy and macro recall of one run's logits under each named prior, at the card's temperature.

    Args:
        column: one column of one run.
        card: of that run; gives the training prior.

    Returns:
        None where the card has no training prior, or the run kept no logits.
    """
    (run,) = column.runs
    if not card.prior or run.tensors is None:
        return None
    labels = run.tensors["labels"].astype(np.int64)
    logits = run.tensors["logits"].astype(np.float64) / card.temperature
    rows, values = [], {}
    for prior in get_args(NamedPrior):
        found = bootstrap_intervals(labels, [logits + prior_shift(card, prior)], _FIGURES)
        values[prior] = {name: found[name].to_dict() for name in _FIGURES}
        rows.append(
            (
                prior,
                *(
                    cell
                    for name in _FIGURES
                    for cell in (percent(found[name].value), percent_interval(found[name].interval))
                ),
            )
        )
    table = Table(
        f"All classes, {run.split} split",
        ("prior", "accuracy", "95 % interval", "macro recall", "95 % interval"),
        tuple(rows),
        notes=(
            "uniform expects each class alike often, moderate shares that go with the square roots of those "
            "in training: mien.load().read(..., prior=...), mien predict --prior.",
        ),
    )
    sentence = (
        "The same weights answer under the prior that is chosen at use: training's suits pictures whose "
        "classes are as unevenly frequent as there, the others find more of the rare ones."
    )
    return Section("The prior at use", (Text(sentence), table), values=values)
