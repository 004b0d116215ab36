"""Runs to columns of Table 2: names, grouping by seed, the paper's column, gains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mien.config import RunConfig
from mien.errors import InputError
from mien.report.comparisons import gains_of
from mien.report.published import SWIN, SWIN_SE, SWIN_SE_SAM, TABLE_2
from mien.report.runs import read_runs
from mien.report.tables import columns_of, published_of, variant_of

from .conftest import run_config

MakeRun = Callable[..., Path]
MOST = [i % 10 < 7 for i in range(400)]
MORE = [i % 10 < 9 for i in range(400)]


@pytest.mark.parametrize(
    ("config", "name", "published"),
    [
        (run_config(), "Swin", SWIN),
        (run_config(se="pooled"), "Swin-SE", SWIN_SE),
        (run_config(se="pooled", rho=0.05), "Swin-SE-SAM", SWIN_SE_SAM),
        (run_config(se="feature_map", rho=0.05), "Swin-SE (feature map)-SAM", SWIN_SE_SAM),
        (run_config(se="stem"), "Swin-SE (stem)", SWIN_SE),
        (run_config(rho=0.05), "Swin-SAM", None),
        (run_config(se="pooled", rho=0.5, adaptive=True), "Swin-SE-ASAM", None),
    ],
)
def test_what_a_run_is_comes_from_its_config(config: RunConfig, name: str, published: object) -> None:
    assert variant_of(config) == name
    assert published_of(config) == published


def test_the_published_table_holds_the_papers_numbers() -> None:
    assert [(c.accuracy, c.precision, c.recall, c.f1) for c in TABLE_2] == [
        (0.4921, 0.5090, 0.5000, 0.4943),
        (0.5104, 0.5470, 0.5225, 0.5169),
        (0.5310, 0.5485, 0.5410, 0.5420),
    ]


def test_columns_stand_in_the_papers_order_and_carry_the_runs_figures(make_run: MakeRun) -> None:
    folders = [
        make_run("c", run_config(se="pooled", rho=0.05), MORE),
        make_run("a", run_config(), MOST),
        make_run("b", run_config(se="pooled"), MOST),
    ]
    columns = columns_of(read_runs(folders))
    assert [column.name for column in columns] == ["Swin", "Swin-SE", "Swin-SE-SAM"]
    last = columns[-1]
    assert last.figures["all"].accuracy == pytest.approx(np.mean(MORE))
    assert last.figures["all"].count == 400
    assert last.figures["7"].count == 350
    assert last.figures["all"].seed_interval is None
    assert (last.minutes, last.epochs, last.kept_epochs) == (3.0, 3, (2,))
    assert (last.parameters, last.checkpoint_rule) == (1234, "best validation accuracy")
    assert last.published == SWIN_SE_SAM


def test_seeds_of_one_config_are_one_column_and_a_copy_is_another(make_run: MakeRun) -> None:
    folders = [make_run(f"s{seed}", run_config(seed=seed), MOST if seed else MORE) for seed in range(3)]
    column, copy = columns_of(read_runs([*folders, make_run("copy", run_config(), MORE)]))
    assert column.seeds == (0, 1, 2)
    assert column.figures["all"].accuracy == pytest.approx((0.9 + 0.7 + 0.7) / 3)
    assert column.figures["all"].seed_interval is not None
    assert column.figures["all"].interval is not None
    assert sum(map(sum, column.figures["all"].confusion)) == 3 * 400
    assert copy.seeds == (0,)
    assert column.name != copy.name


def test_other_data_is_not_paired(make_run: MakeRun) -> None:
    one = make_run("one", run_config(), MOST)
    other = make_run("other", run_config(se="pooled"), MORE, manifest_hash="cd" * 32)
    (step,) = gains_of(columns_of(read_runs([one, other])))
    assert {gain.verdict for gain in step.gains} == {"not paired"}
    assert step.gains[0].difference == pytest.approx(0.2)
    assert "data differ" in step.gains[0].reason


def test_other_classes_have_no_published_column(make_run: MakeRun) -> None:
    folder = make_run("own", run_config(), MOST, classes=("smile", "frown"), views=("all",))
    (column,) = columns_of(read_runs([folder]))
    assert column.published is None
    assert tuple(column.figures) == ("all",)


def test_validation_stands_in_for_a_missing_test_split(make_run: MakeRun) -> None:
    both = make_run("both", run_config(), MOST, splits=("test", "validation"))
    one = make_run("one", run_config(se="pooled"), MORE, splits=("validation",), views=("all",))
    runs = read_runs([both, one])
    assert [run.split for run in runs] == ["validation", "validation"]
    # Training scores validation on all classes only; the seven come from the logits it kept.
    assert runs[1].figures["7"]["count"] == 350


def test_runs_without_figures_are_refused_in_one_sentence(make_run: MakeRun, tmp_path: Path) -> None:
    bare = make_run("bare", run_config(), MOST, splits=())
    with pytest.raises(InputError, match="nothing was evaluated there; run mien evaluate"):
        read_runs([bare])
    with pytest.raises(InputError, match="at least one folder"):
        read_runs([])
    with pytest.raises(InputError, match="no run and no evaluated model there"):
        read_runs([tmp_path / "nowhere"])
    tested = make_run("tested", run_config(), MOST)
    validated = make_run("validated", run_config(), MOST, splits=("validation",))
    with pytest.raises(InputError, match="only its validation split"):
        read_runs([tested, validated])
    broken = make_run("broken", run_config(), MOST)
    (broken / "evaluation" / "test.json").write_text("[{}]", encoding="utf-8")
    with pytest.raises(InputError, match="no figures of all classes"):
        read_runs([broken])


def test_logits_of_another_evaluation_are_refused(make_run: MakeRun) -> None:
    one, other = make_run("one", run_config(), MOST), make_run("other", run_config(), MORE)
    logits = other / "evaluation" / "test.safetensors"
    logits.replace(one / "evaluation" / "test.safetensors")
    with pytest.raises(InputError, match=r"not those that test\.json was scored from"):
        read_runs([one])


def test_files_and_repeated_folders_are_passed_over(make_run: MakeRun) -> None:
    folder = make_run("a", run_config(), MOST)
    page = folder.parent / "report.html"
    page.write_text("", encoding="utf-8")
    assert len(read_runs([folder, page, folder])) == 1


def test_a_run_without_logits_or_history_is_still_told(make_run: MakeRun) -> None:
    one, other = make_run("one", run_config(), MOST), make_run("other", run_config(se="pooled"), MORE)
    (other / "evaluation" / "test.safetensors").unlink()
    (other / "history.jsonl").unlink()
    columns = columns_of(read_runs([one, other]))
    assert np.isnan(columns[1].minutes)
    (step,) = gains_of(columns)
    assert step.gains[0].verdict == "not paired"
    assert "not kept" in step.gains[0].reason
