"""model.json: what is written is read, and what is damaged or of another model is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mien.card import ModelCard
from mien.errors import InputError
from mien.evaluate.evaluated_model import MODEL, EvaluatedFolder, is_evaluated, read_evaluated

CARD = ModelCard(name="theirs", labels=("happiness", "sadness"), size=12, channels=1, temperature=2.0)


@pytest.fixture
def model(tmp_path: Path) -> EvaluatedFolder:
    return EvaluatedFolder(
        folder=tmp_path / "evaluated" / "theirs",
        name="theirs",
        kind="onnx",
        spec="theirs.onnx",
        labels=("happiness", "sadness"),
        views={"7": ("happiness", "sadness")},
        target="ferplus.votes",
        rule="majority",
        sets=("fer2013",),
        data="../../data/hybrid",
        manifest_hash="ab" * 32,
        weights_sha256="cd" * 32,
        parameters=1234,
        card=CARD.to_dict(),
    )


def test_what_is_written_is_read(model: EvaluatedFolder, tmp_path: Path) -> None:
    assert not is_evaluated(model.folder)
    model.write()
    assert is_evaluated(model.folder)
    read = read_evaluated(model.folder)
    assert replace(read, card=None) == replace(model, card=None)
    assert read.model_card == CARD
    assert read.data_folder == tmp_path / "data" / "hybrid"


def test_a_function_has_neither_card_nor_parameters(model: EvaluatedFolder) -> None:
    replace(model, kind="function", weights_sha256="", parameters=None, card=None).write()
    read = read_evaluated(model.folder)
    assert (read.parameters, read.card, read.model_card, read.weights_sha256) == (None, None, None, "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", None),
        ("kind", "pickle"),
        ("labels", []),
        ("labels", "happiness"),
        ("views", None),
        ("views", {"7": "happiness"}),
        ("sets", [1]),
        ("data", 3),
        ("parameters", "many"),
        ("card", "theirs"),
    ],
)
def test_a_value_of_another_kind_is_named(model: EvaluatedFolder, name: str, value: Any) -> None:
    model.write()
    path = model.folder / MODEL
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(
        InputError, match=rf"model\.json: {name} is not as mien writes it; evaluate the model"
    ):
        read_evaluated(model.folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not in the format of this mien"),
        ('{"format": 1, "name": "theirs"}', "not in the format of this mien"),
        ('{"format": 2}', "not in the format of this mien"),
    ],
)
def test_another_text_is_refused(model: EvaluatedFolder, text: str, said: str) -> None:
    model.write()
    (model.folder / MODEL).write_text(text)
    with pytest.raises(InputError, match=said):
        read_evaluated(model.folder)


def test_an_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no model\.json; give what mien evaluate MODEL --out wrote"):
        read_evaluated(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "another"),
        ("labels", ("sadness", "happiness")),
        ("target", "fer2013"),
        ("manifest_hash", "00" * 32),
        ("weights_sha256", "00" * 32),
    ],
)
def test_a_folder_keeps_to_one_model_and_data(model: EvaluatedFolder, name: str, value: Any) -> None:
    model.check()
    model.write()
    model.check()
    with pytest.raises(InputError, match=rf"another model or data \({name} differs\)"):
        replace(model, **{name: value}).check()


def test_a_run_or_a_file_is_no_place(model: EvaluatedFolder) -> None:
    model.folder.mkdir(parents=True)
    (model.folder / "run.json").write_text("{}")
    with pytest.raises(InputError, match="is a run's folder; name another --out"):
        model.check()
    with pytest.raises(InputError, match="is no folder; name another --out"):
        replace(model, folder=model.folder / "run.json").check()
