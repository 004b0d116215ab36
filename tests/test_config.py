import dataclasses
import json
from pathlib import Path

import pytest

from mien.config import RunConfig, read_run_config, run_config_from, to_dict
from mien.errors import InputError
from mien.study.ablation import recipe_columns

CONFIGS = Path(__file__).parents[1] / "configs"


def test_a_resolved_config_comes_back_from_json() -> None:
    config = dataclasses.replace(RunConfig(), optim=dataclasses.replace(RunConfig().optim, clip_norm=1.0))
    assert run_config_from(json.loads(json.dumps(to_dict(config))), where="config.json") == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"modle": {"size": 48}}, "modle"),
        ({"model": {"sise": 48}}, "sise"),
        ({"optim": {"lr": "fast"}}, "optim.lr"),
        ({"model": {"se": {"position": "everywhere"}}}, "model.se.position"),
    ],
)
def test_unknown_keys_and_wrong_types_are_refused_in_one_sentence(
    values: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        run_config_from(values, where="c.toml")
    assert str(caught.value).startswith("c.toml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"train": {"epochs": 0}},
        {"train": {"batch_size": 0}},
        {"train": {"seed": -1}},
        {"train": {"threads": -3}},
        {"train": {"ema": 1.5}},
        {"model": {"size": 0}},
        {"model": {"std": 0}},
        {"model": {"se": {"reduction": 0}}},
        {"model": {"depths": []}},
        {"optim": {"momentum": -1}},
        {"optim": {"sam": {"rho": -1}}},
        {"augment": {"scale": 1.0}},
        {"augment": {"mixup": -1}},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match="must be"):
        run_config_from(values, where="c.toml")


def test_a_missing_and_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such config file"):
        read_run_config(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("[model\n")
    with pytest.raises(InputError, match="not TOML"):
        read_run_config(tmp_path / "broken.toml")


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_config_is_read(path: Path) -> None:
    assert read_run_config(path) != RunConfig()


def test_the_paper_configs_are_the_papers_recipe() -> None:
    columns = recipe_columns(CONFIGS / "paper")
    assert list(columns) == ["swin", "swin_se", "swin_se_sam"]
    for config in columns.values():
        assert (config.optim.name, config.optim.momentum, config.optim.schedule) == ("sgd", 0.9, "step")
        assert (config.optim.step_epochs, config.optim.gamma, config.train.epochs) == (10, 0.1, 25)
        assert (config.model.size, config.model.channels, config.model.mean, config.model.std) == (
            224,
            3,
            0.5,
            0.5,
        )
        assert (config.train.batch_size, config.optim.weight_decay, config.training_set.balance) == (
            64,
            0.0,
            "copies",
        )
        assert (config.augment.rotation, config.augment.flip, config.augment.erasing, config.train.ema) == (
            10,
            0,
            0,
            0,
        )
    assert [c.model.se.position for c in columns.values()] == ["none", "pooled", "pooled"]
    assert [c.optim.sam.rho for c in columns.values()] == [0.0, 0.0, 0.05]


@pytest.mark.parametrize("recipe", ["compact", "paper", "smoke.toml"])
def test_the_three_columns_differ_only_in_se_and_sam(recipe: str) -> None:
    swin, swin_se, swin_se_sam = recipe_columns(CONFIGS / recipe).values()
    se = dataclasses.replace(swin.model, se=swin_se.model.se)
    assert dataclasses.replace(swin, model=se) == swin_se
    sam = dataclasses.replace(swin_se.optim, sam=swin_se_sam.optim.sam)
    assert dataclasses.replace(swin_se, optim=sam) == swin_se_sam
    assert swin.model.se.position == "none"
    assert swin_se_sam.optim.sam.rho > 0
