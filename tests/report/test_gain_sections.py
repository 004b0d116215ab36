"""Verdicts in words: the paper's claims, the pairs, the summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mien.report.comparisons import ColumnGain, gains_of
from mien.report.document import Table, Text
from mien.report.gain_sections import (
    claim_verdict,
    claims_table,
    gains_section,
    steps_sentence,
    verdict_sentence,
)
from mien.report.gains import Gain
from mien.report.runs import read_runs
from mien.report.tables import columns_of

from .conftest import run_config

MakeRun = Callable[..., Path]
MOST = [i % 10 < 7 for i in range(400)]
MORE = [i % 10 < 9 for i in range(400)]
EVEN = [i % 20 < 7 or 10 <= i % 20 < 14 or i % 20 in (18, 19) for i in range(400)]


def steps_of(*folders: Path) -> tuple[ColumnGain, ...]:
    return gains_of(columns_of(read_runs(folders)))


@pytest.fixture
def steps(make_run: MakeRun) -> tuple[ColumnGain, ...]:
    """SE brings nothing, SAM 20 points, the control nothing."""
    control = run_config(se="pooled")
    control = replace(control, train=replace(control.train, epochs=6))
    return steps_of(
        make_run("a", run_config(), MOST),
        make_run("b", run_config(se="pooled"), MOST),
        make_run("c", run_config(se="pooled", rho=0.05), MORE),
        make_run("d", control, MOST),
    )


def gain(
    verdict: str, interval: tuple[float, float], *seeds: tuple[float, float], differing: int = 99
) -> Gain:
    middle = sum(interval) / 2
    over_seeds = seeds[0] if seeds else None
    return Gain("7", 1000, differing, (0, 1, 2), middle, interval, over_seeds, verdict)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (gain("gain", (0.01, 0.03)), "gain, in line with the paper's"),
        (gain("gain", (0.001, 0.01)), "gain, smaller than the paper's"),
        (gain("gain", (0.03, 0.05)), "gain, larger than the paper's"),
        (gain("gain", (0.001, 0.01), (0.001, 0.05)), "gain, in line with the paper's"),
        (gain("loss", (-0.03, -0.01)), "loss"),
        (gain("no difference", (-0.02, 0.01)), "no difference; a gain as large as the paper's is ruled out"),
        (
            gain("no difference", (-0.02, 0.02)),
            "no difference; a gain as large as the paper's is not ruled out",
        ),
        (
            gain("no difference", (-0.02, 0.01), (-0.1, 0.1)),
            "no difference; a gain as large as the paper's is not ruled out",
        ),
        (
            gain("no difference", (0.0, 0.0), differing=3),
            "no difference; they differ on too few images to say more",
        ),
        (
            Gain("7", 0, 0, (), 0.1, None, None, "not paired", "other images"),
            "not comparable: other images",
        ),
    ],
)
def test_a_claim_is_judged_by_every_interval(found: Gain, verdict: str) -> None:
    assert claim_verdict(found, 0.0183) == verdict


def test_the_claims_stand_beside_what_was_measured(steps: tuple[ColumnGain, ...]) -> None:
    table = claims_table(steps)
    assert table is not None
    assert [row[:3] for row in table.rows] == [
        ("SE: Swin → Swin-SE", "+1.83", "+0.00"),
        # 60 of 350: a wrong answer of contempt for the first class is masked, which leaves the right one.
        ("SAM: Swin-SE → Swin-SE-SAM", "+2.06", "+17.14"),
        ("SE and SAM: Swin → Swin-SE-SAM", "+3.89", "+17.14"),
    ]
    assert table.rows[1][-1] == "gain, larger than the paper's"


def test_without_a_claim_there_is_no_table_of_claims(make_run: MakeRun) -> None:
    names = ("smile", "frown")
    plain = make_run("a", run_config(), MOST, classes=names, views=("all",))
    se = make_run("b", run_config(se="pooled"), MORE, classes=names, views=("all",))
    steps = steps_of(plain, se)
    assert claims_table(steps) is None
    assert [type(block) for block in gains_section(steps).blocks] == [Text, Table]


def test_the_section_has_a_sentence_a_pair_and_a_row_a_view(steps: tuple[ColumnGain, ...]) -> None:
    claims, *sentences, table = gains_section(steps).blocks
    assert isinstance(claims, Table)
    assert len(sentences) == len(steps) == 5
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == [step.question for step in steps for _ in ("all", "7")]
    assert table.rows[0][6:] == ("no difference", "–", "model.se.position")
    # 400 differences, 80 of them 1: 0.2 +- 1.96 * 0.02.
    assert float(table.rows[2][7]) == pytest.approx(3.9, abs=0.3)


def test_the_control_says_that_it_took_as_long(steps: tuple[ColumnGain, ...]) -> None:
    sentence = verdict_sentence(steps[-1], steps[-1].gains[0])
    assert steps[-1].question == "SAM at equal cost"
    assert sentence.startswith("Swin-SE (6 epochs) to Swin-SE-SAM, 8 classes: a gain (+20.00 points")
    assert sentence.endswith("Swin-SE (6 epochs) took 3.0 minutes to train and Swin-SE-SAM 3.0.")


def test_no_difference_says_what_could_have_been_seen(make_run: MakeRun) -> None:
    (step,) = steps_of(make_run("a", run_config(), MOST), make_run("b", run_config(se="pooled"), EVEN))
    found = step.gains[0]
    assert found.verdict == "no difference"
    sentence = verdict_sentence(step, found)
    assert f"below about {100 * found.smallest_seen:.2f} points are too small" in sentence  # type: ignore[operator]


def test_a_model_with_itself_is_told_so(make_run: MakeRun) -> None:
    (step,) = steps_of(make_run("a", run_config(), MOST), make_run("b", run_config(), MOST))
    sentence = verdict_sentence(step, step.gains[0])
    assert "no difference; both are right on the same of 400 images" in sentence


def test_seeds_that_are_compared_are_named_where_others_are_left_out(make_run: MakeRun) -> None:
    def runs(name: str, se: str, correct: Sequence[bool], seeds: Sequence[int]) -> list[Path]:
        return [
            make_run(f"{name}{seed}", run_config(se=se, seed=seed), correct)  # type: ignore[arg-type]
            for seed in seeds
        ]

    (step,) = steps_of(*runs("a", "none", MOST, range(4)), *runs("b", "pooled", MORE, range(3)))
    sentence = verdict_sentence(step, step.gains[0])
    assert "over 3 seeds +20.00 to +20.00" in sentence
    assert sentence.endswith("Compared on what both have, seeds 0, 1, 2.")


def test_the_summary_gathers_verdicts(steps: tuple[ColumnGain, ...]) -> None:
    assert steps_sentence(steps) == (
        "Gain: Swin-SE to Swin-SE-SAM (+20.00 points), Swin to Swin-SE-SAM (+20.00 points) and "
        "Swin-SE (6 epochs) to Swin-SE-SAM (+20.00 points). No difference: Swin to Swin-SE (+0.00 points) "
        "and Swin-SE to Swin-SE (6 epochs) (+0.00 points). Without three seeds each, this ranks the models "
        "that were trained, not the methods."
    )
