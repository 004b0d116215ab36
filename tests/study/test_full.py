"""What the whole study trains: its order, that each run changes one thing, and what it costs."""

import dataclasses
from pathlib import Path

import pytest

from mien.config import RunConfig, TrainingSetConfig
from mien.errors import InputError
from mien.study.ablation import PlannedRun, find_recipe, recipe_columns
from mien.study.full import RADII, chosen_radius, plan_full


@pytest.fixture(scope="module")
def recipe() -> dict[str, RunConfig]:
    return dict(recipe_columns(find_recipe(Path("study"))))


@pytest.fixture(scope="module")
def plan(recipe: dict[str, RunConfig]) -> tuple[PlannedRun, ...]:
    return plan_full(recipe)


def named(plan: tuple[PlannedRun, ...], name: str) -> RunConfig:
    (run,) = (run for run in plan if run.name == name)
    return run.config


def test_every_run_has_its_own_name_and_the_steps_come_in_order(plan: tuple[PlannedRun, ...]) -> None:
    names = [run.name for run in plan]
    assert len(set(names)) == len(names)
    steps = [run.step for run in plan]
    assert steps == sorted(steps)
    assert set(steps) == set(range(1, 8))
    assert {claim for run in plan for claim in run.claims} == {f"C{i}" for i in range(1, 10)}


@pytest.mark.parametrize(
    "column",
    [
        "swin",
        "swin_se",
        "swin_se_sam",
        "swin_se_equal_cost",
        "swin_se_noise40",
        "swin_se_sam_noise40",
        "swin_se_feature_map",
        "swin_se_stem",
        "swin_se_asam",
        "swin_se_looksam",
        "swin_se_noise20",
        "swin_se_fer2013",
    ],
)
def test_what_the_study_rests_on_has_three_seeds(plan: tuple[PlannedRun, ...], column: str) -> None:
    assert [run.config.train.seed for run in plan if run.column == column] == [0, 1, 2]


def test_the_radius_is_tried_before_what_trains_with_it(plan: tuple[PlannedRun, ...]) -> None:
    names = [run.name for run in plan]
    scan = [names.index(f"swin_se_sam_rho{rho:g}-seed0") for rho in RADII]
    assert max(scan) < min(names.index(run.name) for run in plan if run.tuned)
    assert [named(plan, names[i]).optim.sam.rho for i in scan] == list(RADII)


def test_the_chosen_radius_reaches_all_that_train_with_sam(recipe: dict[str, RunConfig]) -> None:
    plan = plan_full(recipe, rho=0.1)
    radii = {run.column: run.config.optim.sam.rho for run in plan if run.tuned}
    tenfold = {"swin_se_asam", "swin_se_msam"}
    assert all(rho == pytest.approx(1.0 if name in tenfold else 0.1) for name, rho in radii.items())
    assert named(plan, "swin_se_sam-seed0") == named(plan, "swin_se_sam_rho0.1-seed0")


def test_noise_and_other_labels_change_the_training_set_alone(plan: tuple[PlannedRun, ...]) -> None:
    for name, base in (("swin_se", "swin_se-seed0"), ("swin_se_sam", "swin_se_sam-seed0")):
        for suffix, wanted in (
            ("noise20", TrainingSetConfig(label_noise=0.2)),
            ("noise40", TrainingSetConfig(label_noise=0.4)),
            ("fer2013", TrainingSetConfig(target="fer2013", labelled_by="ferplus")),
        ):
            config = named(plan, f"{name}_{suffix}-seed0")
            assert config.training_set == wanted
            assert dataclasses.replace(config, training_set=TrainingSetConfig()) == named(plan, base)


@pytest.mark.parametrize(("share", "epochs"), [(0.1, 100), (0.3, 33)])
def test_a_share_of_the_images_has_as_many_updates(
    plan: tuple[PlannedRun, ...], share: float, epochs: int
) -> None:
    config = named(plan, f"swin_se_share{share:.0%}".rstrip("%") + "-seed0")
    assert (config.training_set.share, config.train.epochs) == (share, epochs)
    assert config.train.epochs * share == pytest.approx(10, rel=0.02)
    assert config.optim.warmup_epochs * share == pytest.approx(1)


def test_copies_have_as_many_updates_by_the_plans_own_count(plan: tuple[PlannedRun, ...]) -> None:
    epochs = named(plan, "swin_se_copies-seed0").train.epochs
    # FER+ `clean`: 8 classes of 8,598 images an epoch instead of 24,106.
    assert epochs * 8 * 8598 == pytest.approx(10 * 24106, rel=0.15)


def test_comparators_differ_in_network_and_minutes_alone(plan: tuple[PlannedRun, ...]) -> None:
    swin = named(plan, "swin-seed0")
    for name in ("resnet50", "vit_se", "efficientnet_b2", "dan"):
        config = named(plan, f"{name}-seed0")
        assert config.train.max_minutes is not None
        assert config.train.max_minutes < 40
        assert dataclasses.replace(config, model=swin.model, train=swin.train) == swin


def test_adamw_takes_the_place_of_muon_with_and_without_sam(plan: tuple[PlannedRun, ...]) -> None:
    for name in ("swin_se", "swin_se_sam"):
        config, base = (named(plan, f"{name}{suffix}-seed0") for suffix in ("_adamw", ""))
        assert (config.optim.name, base.optim.name) == ("adamw", "muon")
        assert dataclasses.replace(config, optim=base.optim, train=base.train) == base
        assert config.optim.sam == base.optim.sam


def test_the_radius_is_the_best_and_of_equal_ones_the_smallest() -> None:
    assert chosen_radius({0.1: 0.7, 0.05: 0.7, 0.2: 0.6}) == 0.05


def test_a_recipe_without_the_three_columns_is_refused(recipe: dict[str, RunConfig]) -> None:
    with pytest.raises(InputError, match="swin_se_sam"):
        plan_full({name: recipe[name] for name in ("swin", "swin_se")})
