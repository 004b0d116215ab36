import dataclasses
import json
from pathlib import Path

import pytest

from mien.config import RunConfig, SAMConfig
from mien.errors import InputError
from mien.progress import Reporter
from mien.study import reproduce as module
from mien.study.reproduce import columns_of, find_recipe, reproduce

RECIPE = """
[model]
embed_dim = 16
depths = [1, 1]
num_heads = [2, 4]
[optim.sam]
rho = 0.05
[train]
epochs = 1
batch_size = 32
precision = "fp32"
threads = 1
"""


def test_one_file_is_ablated_to_three_columns(tmp_path: Path) -> None:
    (tmp_path / "full.toml").write_text(RECIPE)
    swin, swin_se, swin_se_sam = columns_of(tmp_path / "full.toml").values()
    assert swin.model.se.position == "none"
    assert swin_se.model == swin_se_sam.model
    assert swin_se.optim == dataclasses.replace(swin_se_sam.optim, sam=SAMConfig())
    assert swin_se_sam.optim.sam.rho == 0.05


def test_miens_own_recipes_are_found_by_name(tmp_path: Path) -> None:
    assert list(columns_of(find_recipe(Path("compact")))) == ["swin", "swin_se", "swin_se_sam"]
    assert find_recipe(Path("smoke")).name == "smoke.toml"
    assert find_recipe(tmp_path) == tmp_path
    with pytest.raises(InputError, match="no such config file"):
        find_recipe(tmp_path / "none")


def test_a_folder_without_configs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.toml file"):
        columns_of(tmp_path)


def test_start_to_end_then_a_second_call_trains_nothing(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = tmp_path / "full.toml", tmp_path / "out"
    recipe.write_text(RECIPE)
    made = reproduce(recipe, drawn_folder, out, reporter=Reporter(quiet=True))
    assert [run.name for run in made.runs] == ["swin-seed0", "swin_se-seed0", "swin_se_sam-seed0"]
    assert made.exported is not None
    assert made.exported.difference <= 1e-4
    assert made.exported.checked > 20
    ranks = {
        run.name: json.loads((run / "evaluation" / "validation.json").read_text())[0]["accuracy"]
        for run in made.runs
    }
    assert ranks[made.exported.run] == max(ranks.values())
    page = made.report.read_text(encoding="utf-8")
    for words in ("Swin-SE-SAM", "contempt", "differ from torch"):
        assert words in page

    def never(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "train_run", never)
    monkeypatch.setattr(module, "resume_run", never)
    with pytest.raises(InputError, match="at least one"):
        reproduce(recipe, drawn_folder, out, reporter=Reporter(quiet=True), seeds=0)
    # Committed results have no weights: they are scored, not trained; there is nothing to export.
    for run in made.runs:
        (run / "best.safetensors").unlink()
        (run / "last.safetensors").unlink()
    again = reproduce(recipe, drawn_folder, out, reporter=Reporter(quiet=True))
    assert again.exported is None
    with pytest.raises(InputError, match="another config"):
        reproduce(recipe, drawn_folder, out, reporter=Reporter(quiet=True), epochs=2)


def test_seeds_get_folders_of_their_own(
    drawn_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []

    def noted(run: Path, config: RunConfig, *_: object) -> None:
        seen.append((run.name, config.train.seed))

    (tmp_path / "full.toml").write_text(RECIPE)
    monkeypatch.setattr(module, "_complete", noted)
    monkeypatch.setattr(module, "write_report", lambda *_a, **_k: tmp_path / "report.html")
    reproduce(tmp_path / "full.toml", drawn_folder, tmp_path / "out", reporter=Reporter(quiet=True), seeds=2)
    assert seen == [
        (f"{name}-seed{seed}", seed) for name in ("swin", "swin_se", "swin_se_sam") for seed in (0, 1)
    ]
