"""The card: what it refuses, and that JSON loses nothing."""

import dataclasses
import json
import math
from types import MappingProxyType

import pytest

from mien.card import CARD_FORMAT, RESEARCH_USE_LICENCE, USE_WARNING, CropTemplate, ModelCard
from mien.errors import InputError
from mien.labels import EMOTIONS, SEVEN

TEMPLATE = CropTemplate(left_eye=(0.3, 0.4), right_eye=(0.7, 0.41), detected=0.9, spread=0.1, count=600)


def card(**changes):
    values = {
        "name": "tiny",
        "labels": EMOTIONS,
        "size": 48,
        "channels": 1,
        "views": {"7": SEVEN},
        "template": TEMPLATE,
        "temperature": 1.3,
        "prior": dict.fromkeys(EMOTIONS, 1 / 8),
        "abstain_threshold": 0.4,
        "metrics": ({"split": "test", "rule": "majority", "count": 10, "values": {"accuracy": 0.5}},),
        "training_data": ({"set": "fer2013", "images": 28709},),
        "manifest_hash": "ab" * 32,
        "licence": RESEARCH_USE_LICENCE,
        "notes": "naïve",
    }
    return ModelCard(**{**values, **changes})


def test_json_round_trip_is_equal():
    assert ModelCard.from_json(card().to_json()) == card()


def test_the_smallest_card_round_trips():
    small = ModelCard(name="", labels=("x",), size=1, channels=3)
    assert ModelCard.from_json(small.to_json()) == small


def test_read_only_mappings_are_written():
    assert ModelCard.from_json(card(prior=MappingProxyType(dict(card().prior))).to_json()) == card()


def test_training_data_may_be_a_sentence():
    said = card(training_data="FER-2013, training split")
    assert ModelCard.from_json(said.to_json()) == said


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ()},
        {"labels": ("a", "a")},
        {"labels": ("a", "")},
        {"size": 0},
        {"size": 48.0},
        {"size": True},
        {"channels": 2},
        {"channels": True},
        {"mean": math.nan},
        {"std": 0.0},
        {"temperature": 0.0},
        {"temperature": math.inf},
        {"abstain_threshold": 1.5},
        {"prior": {"anger": 1.0}},
        {"prior": dict.fromkeys(EMOTIONS, 0.5)},
        {"prior": {name: -1 / 8 if i else 15 / 8 for i, name in enumerate(EMOTIONS)}},
        {"views": {"7": ("anger", "joy")}},
        {"views": {"7": ()}},
        {"metrics": ({"split": "test"},)},
        {"training_data": (1,)},
        {"licence": None},
        {"format": CARD_FORMAT + 1},
    ],
)
def test_contradictions_are_refused(changes):
    with pytest.raises(InputError, match="card"):
        card(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"left_eye": (0.3,)},
        {"left_eye": (0.3, math.inf)},
        {"left_eye": (0.7, 0.41)},
        {"detected": 1.2},
        {"spread": -0.1},
        {"count": -1},
    ],
)
def test_impossible_templates_are_refused(changes):
    with pytest.raises(InputError, match="template"):
        dataclasses.replace(TEMPLATE, **changes)


def spoiled(**changes):
    values = {**json.loads(card().to_json()), **changes}
    return json.dumps({key: value for key, value in values.items() if value != "absent"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        ("[1]", "object"),
        (spoiled(format=2), "format is 2"),
        (spoiled(format="absent"), "format is None"),
        (spoiled(std="absent"), "lacks std"),
        (spoiled(sdt=1), "unknown keys: sdt"),
        (spoiled(labels="abc"), "labels"),
        (spoiled(labels=[["a"]]), "labels"),
        (spoiled(views={"7": "anger"}), "views"),
        (spoiled(prior=[1]), "prior"),
        (spoiled(metrics={"a": 1}), "metrics"),
        (spoiled(training_data=3), "training_data"),
        (spoiled(template=3), "template"),
        (spoiled(template={"left_eye": [0, 0]}), "lacks"),
        (spoiled(template={**dataclasses.asdict(TEMPLATE), "left_eye": "ab"}), "left_eye"),
    ],
)
def test_other_json_is_refused(text, words):
    with pytest.raises(InputError, match=words):
        ModelCard.from_json(text)


def test_a_card_that_json_cannot_hold_is_refused_on_writing():
    with pytest.raises(InputError, match="JSON"):
        card(training_data=({"images": math.nan},)).to_json()


def test_views_come_from_the_card_before_the_taxonomy():
    own = ModelCard(name="", labels=("c", "b", "a"), size=8, channels=1, views={"7": ("a", "c")})
    assert own.view("7") == ("c", "a")
    assert own.view("all") == ("c", "b", "a")
    assert own.view(["b"]) == ("b",)
    with pytest.raises(InputError, match="boredom"):
        own.view(["boredom"])


def test_the_paper_view_needs_no_entry():
    assert card(views={}).view("7") == SEVEN


def test_the_warning_names_the_law():
    assert "Article 5" in USE_WARNING
    assert "research" in RESEARCH_USE_LICENCE.lower()
