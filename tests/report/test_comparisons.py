"""Which columns are compared, and as what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mien.config import RunConfig, SAMConfig
from mien.report.comparisons import ColumnGain, equal_epochs, gains_of, passes_of
from mien.report.published import SWIN_SE
from mien.report.runs import read_runs
from mien.report.tables import Column, columns_of
from mien.study.ablation import plan_study

from .conftest import run_config

MakeRun = Callable[..., Path]
MOST = [i % 10 < 7 for i in range(400)]
MORE = [i % 10 < 9 for i in range(400)]


def longer(config: RunConfig, epochs: int) -> RunConfig:
    return replace(config, train=replace(config.train, epochs=epochs))


def pairs(steps: tuple[ColumnGain, ...]) -> list[tuple[str, str, str]]:
    return [(step.question, step.earlier.name, step.later.name) for step in steps]


def columns(make_run: MakeRun, *configs: RunConfig, **options: object) -> tuple[Column, ...]:
    return columns_of(
        read_runs([make_run(f"r{i}", config, MOST, **options) for i, config in enumerate(configs)])
    )


def test_the_pairs_of_the_ablation(make_run: MakeRun) -> None:
    """Those of the configs that the study runner trains, whatever order they are read in."""
    plan = plan_study(Path("compact"), "ablation", seeds=1)
    found = columns(make_run, *(run.config for run in reversed(plan)))
    assert [column.name for column in found] == [
        "Swin",
        "Swin-SE",
        "Swin-SE-SAM",
        "Swin-SE (feature map)",
        "Swin-SE (stem)",
        "Swin-SE (32 epochs)",
    ]
    # The paper has no column that was trained longer.
    assert [column.published is None for column in found] == [False] * 5 + [True]
    steps = gains_of(found)
    assert pairs(steps) == [
        ("SE", "Swin", "Swin-SE"),
        ("SE", "Swin", "Swin-SE (feature map)"),
        ("SE", "Swin", "Swin-SE (stem)"),
        ("SAM", "Swin-SE", "Swin-SE-SAM"),
        ("SE and SAM", "Swin", "Swin-SE-SAM"),
        ("longer training", "Swin-SE", "Swin-SE (32 epochs)"),
        ("SAM at equal cost", "Swin-SE (32 epochs)", "Swin-SE-SAM"),
    ]
    claimed = [step.published for step in steps]
    assert claimed[:5] == pytest.approx([0.0183] * 3 + [0.0206, 0.0389])
    assert claimed[5:] == [None, None]


def test_a_step_says_what_changed_and_what_it_brings(make_run: MakeRun) -> None:
    folders = [
        make_run("a", run_config(), MOST),
        make_run("b", run_config(se="pooled"), MOST),
        make_run("c", run_config(se="pooled", rho=0.05), MORE),
    ]
    to_se, to_sam, to_both = gains_of(columns_of(read_runs(folders)))
    assert (to_se.changed, to_sam.changed) == (("model.se.position",), ("optim.sam.rho",))
    assert [gain.verdict for gain in to_se.gains] == ["no difference", "no difference"]
    assert [gain.verdict for gain in to_sam.gains] == ["gain", "gain"]
    assert [gain.view for gain in to_both.gains] == ["all", "7"]
    assert to_both.gains[0].difference == pytest.approx(0.2)


def test_only_as_many_epochs_as_sam_costs_are_equal_cost(make_run: MakeRun) -> None:
    sam, base = run_config(se="pooled", rho=0.05), run_config(se="pooled")
    found = columns(make_run, sam, base, longer(base, 6), longer(base, 9))
    assert pairs(gains_of(found)) == [
        ("SAM", "Swin-SE", "Swin-SE-SAM"),
        ("longer training", "Swin-SE", "Swin-SE (6 epochs)"),
        ("longer training", "Swin-SE", "Swin-SE (9 epochs)"),
        ("longer training", "Swin-SE (6 epochs)", "Swin-SE (9 epochs)"),
        ("SAM at equal cost", "Swin-SE (6 epochs)", "Swin-SE-SAM"),
    ]


def test_a_model_with_itself_is_no_difference(make_run: MakeRun) -> None:
    found = columns(make_run, run_config(), run_config())
    (step,) = gains_of(found)
    assert (step.question, step.changed) == ("the same again", ())
    assert [(gain.verdict, gain.differing) for gain in step.gains] == [("no difference", 0)] * 2


def test_what_differs_otherwise_stands_against_the_first(make_run: MakeRun) -> None:
    other = run_config()
    other = replace(other, optim=replace(other.optim, lr=0.5))
    several = run_config(se="stem", rho=0.05)
    several = replace(several, optim=replace(several.optim, lr=0.25))
    found = columns(make_run, run_config(), run_config(se="pooled"), other, several)
    first = found[0].name
    assert pairs(gains_of(found))[1:] == [
        ("other settings", first, column.name) for column in found if column.config.optim.lr < 1e-3
    ] + [("other settings", first, column.name) for column in found if column.config.optim.lr > 1e-3]


def test_pairs_elsewhere_are_joined_to_the_first_by_one_step(make_run: MakeRun) -> None:
    base = run_config()
    far = replace(base, model=replace(base.model, embed_dim=8))
    far_se = replace(far, model=replace(far.model, se=run_config(se="pooled").model.se))
    found = columns(make_run, base, far, far_se)
    steps = gains_of(found)
    assert sorted(step.question for step in steps) == ["SE", "other settings"]


def test_a_single_column_has_no_pair(make_run: MakeRun) -> None:
    assert gains_of(columns(make_run, run_config())) == ()


def test_other_data_is_not_paired(make_run: MakeRun) -> None:
    one = make_run("one", run_config(), MOST)
    other = make_run("other", run_config(se="pooled"), MORE, manifest_hash="cd" * 32)
    (step,) = gains_of(columns_of(read_runs([one, other])))
    assert (step.question, step.published) == ("other settings", None)
    assert {gain.verdict for gain in step.gains} == {"not paired"}
    assert step.gains[0].difference == pytest.approx(0.2)
    assert "data differ" in step.gains[0].reason


def test_a_run_without_logits_has_no_verdict(make_run: MakeRun) -> None:
    one, other = make_run("one", run_config(), MOST), make_run("other", run_config(se="pooled"), MORE)
    (other / "evaluation" / "test.safetensors").unlink()
    (step,) = gains_of(columns_of(read_runs([one, other])))
    assert step.gains[0].verdict == "not paired"
    assert "not kept" in step.gains[0].reason


def test_the_place_of_se_is_the_papers_claim_only_for_its_own_columns(make_run: MakeRun) -> None:
    """SE on top of SAM is a step that the paper did not take."""
    (step,) = gains_of(columns(make_run, run_config(rho=0.05), run_config(se="pooled", rho=0.05)))
    assert (step.question, step.published) == ("SE", None)


def test_the_relatives_of_sam_are_not_the_papers(make_run: MakeRun) -> None:
    base = run_config(se="pooled")
    look = replace(base, optim=replace(base.optim, sam=SAMConfig(method="looksam", rho=0.05)))
    se, sam = columns(make_run, base, look)
    assert (se.published, sam.published, sam.name) == (SWIN_SE, None, "Swin-SE-LookSAM")


def test_passes_and_equal_epochs() -> None:
    assert passes_of(SAMConfig()) == 1
    assert passes_of(SAMConfig(rho=0.05)) == 2
    assert passes_of(SAMConfig(rho=0.05, method="looksam", every=4)) == 1.25
    assert passes_of(SAMConfig(rho=0.05, method="msam")) == 1
    assert equal_epochs(longer(run_config(rho=0.05), 16)) == 32
