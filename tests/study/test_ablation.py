"""Which runs a study has, how they differ, and in which order they come."""

import dataclasses
from pathlib import Path

import pytest

from mien.config import RunConfig, SAMConfig
from mien.errors import InputError
from mien.study.ablation import find_recipe, plan_study, recipe_columns

RECIPE = """
[model.se]
reduction = 4
[optim.sam]
rho = 0.05
[train]
epochs = 3
seed = 7
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "full.toml"
    path.write_text(RECIPE)
    return path


def planned(recipe: Path, study: str = "ablation", **options: object) -> dict[str, RunConfig]:
    return {run.name: run.config for run in plan_study(recipe, study, **{"seeds": 1, **options})}  # type: ignore[arg-type]


def test_one_file_is_ablated_to_the_columns_of_table_2(recipe: Path) -> None:
    swin, swin_se, swin_se_sam = recipe_columns(recipe).values()
    assert swin.model.se.position == "none"
    assert swin_se.model == swin_se_sam.model
    assert swin_se.optim == dataclasses.replace(swin_se_sam.optim, sam=SAMConfig())
    assert swin_se_sam.optim.sam.rho == 0.05


def test_table_2_and_the_control_come_first_for_every_seed_then_the_places_of_se(recipe: Path) -> None:
    first = ("swin", "swin_se", "swin_se_sam", "swin_se_equal_cost")
    then = ("swin_se_feature_map", "swin_se_stem")
    expected = [f"{name}-seed{seed}" for group in (first, then) for seed in (7, 8) for name in group]
    plan = planned(recipe, seeds=2)
    assert list(plan) == expected
    assert [config.train.seed for config in plan.values()] == [7] * 4 + [8] * 4 + [7] * 2 + [8] * 2
    table_2 = planned(recipe, "table2", seeds=2)
    assert list(table_2) == [f"{name}-seed{seed}" for seed in (7, 8) for name in first[:3]]


def test_the_control_is_swin_se_with_twice_the_epochs_and_nothing_else(recipe: Path) -> None:
    plan = planned(recipe)
    base, control = plan["swin_se-seed7"], plan["swin_se_equal_cost-seed7"]
    assert control.train.epochs == 6
    assert control.optim.sam.rho == 0
    assert dataclasses.replace(control, train=base.train) == base
    longer = planned(recipe, epochs=5)
    assert longer["swin_se_sam-seed7"].train.epochs == 5
    assert longer["swin_se_equal_cost-seed7"].train.epochs == 10


def test_the_controls_step_schedule_falls_at_the_same_shares_of_the_run() -> None:
    control = planned(Path("paper"))["swin_se_equal_cost-seed0"]
    assert (control.train.epochs, control.optim.step_epochs) == (50, 20)


@pytest.mark.parametrize(("method", "epochs"), [("looksam", 24), ("esam", 34), ("msam", None)])
def test_the_control_costs_what_a_relative_of_sam_costs(
    recipe: Path, method: str, epochs: int | None
) -> None:
    recipe.write_text(f'[optim.sam]\nrho = 0.05\nmethod = "{method}"\nevery = 5\n')
    # LookSAM climbs in every fifth of 20 epochs' steps; momentum-SAM costs no more than its base.
    control = planned(recipe).get("swin_se_equal_cost-seed0")
    assert (control and control.train.epochs) == epochs


def test_a_budget_of_time_is_equal_cost_already(recipe: Path) -> None:
    recipe.write_text(RECIPE + "max_minutes = 5\n")
    assert "swin_se_equal_cost-seed7" not in planned(recipe)


def test_the_places_of_se_differ_in_nothing_else(recipe: Path) -> None:
    plan = planned(recipe)
    for place in ("feature_map", "stem"):
        config = plan[f"swin_se_{place}-seed7"]
        assert config.model.se == dataclasses.replace(plan["swin_se-seed7"].model.se, position=place)
        assert dataclasses.replace(config, model=plan["swin_se-seed7"].model) == plan["swin_se-seed7"]


def test_the_columns_wanted_and_the_threads(recipe: Path) -> None:
    plan = planned(recipe, columns=["swin_se_stem", "swin"], threads=3)
    assert list(plan) == ["swin-seed7", "swin_se_stem-seed7"]
    assert {config.train.threads for config in plan.values()} == {3}
    with pytest.raises(InputError, match="swin_x is no column of this study; it has swin, swin_se"):
        planned(recipe, columns=["swin_x"])
    with pytest.raises(InputError, match="at least one"):
        planned(recipe, seeds=0)


def test_miens_own_recipes_are_found_by_name(tmp_path: Path) -> None:
    assert list(recipe_columns(find_recipe(Path("compact")))) == ["swin", "swin_se", "swin_se_sam"]
    assert find_recipe(Path("smoke")).name == "smoke.toml"
    assert find_recipe(tmp_path) == tmp_path
    with pytest.raises(InputError, match="no such config file"):
        find_recipe(tmp_path / "none")


def test_a_folder_of_other_columns_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text("[train]\nepochs = 2\n")
    (tmp_path / "a.toml").write_text("[train]\nepochs = 3\n")
    assert list(planned(tmp_path)) == ["a-seed0", "b-seed0"]


def test_recipes_that_cannot_be_used_are_refused(tmp_path: Path, recipe: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \.toml file"):
        recipe_columns(tmp_path / "empty")
    recipe.write_text("[train]\nepochs = 2\n")
    with pytest.raises(InputError, match=r"needs model\.se\.position other than none"):
        recipe_columns(recipe)
