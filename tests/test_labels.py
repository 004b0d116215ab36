import pytest

from mien import labels
from mien.errors import InputError

TABLES = {
    "FER2013": labels.FER2013_CODES,
    "CKPLUS": labels.CKPLUS_CODES,
    "CKEXTENDED": labels.CKEXTENDED_CODES,
    "AFFECTNET": labels.AFFECTNET_CODES,
    "RAFDB": labels.RAFDB_CODES,
}


def test_the_eight_are_alphabetical_and_the_seven_leave_contempt_out():
    assert list(labels.EMOTIONS) == sorted(labels.EMOTIONS)
    assert len(labels.EMOTIONS) == 8
    assert set(labels.EMOTIONS) - set(labels.SEVEN) == {"contempt"}


@pytest.mark.parametrize("table", TABLES)
def test_every_code_names_an_emotion_or_says_that_it_is_none(table):
    names = list(TABLES[table].values())
    assert len(set(names)) == len(names)
    assert set(names) <= set(labels.EMOTIONS) | labels.NOT_AN_EMOTION


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("FER2013", {0: "anger", 3: "happiness", 5: "surprise", 6: "neutral"}),
        ("CKPLUS", {0: "neutral", 1: "anger", 5: "happiness", 7: "surprise"}),
        ("CKEXTENDED", {0: "anger", 6: "neutral", 7: "contempt"}),
        ("AFFECTNET", {0: "neutral", 1: "happiness", 7: "contempt", 8: "none", 10: "no-face"}),
        ("RAFDB", {1: "surprise", 4: "happiness", 7: "neutral"}),
    ],
)
def test_codes_are_the_published_ones(table, expected):
    assert {code: TABLES[table][code] for code in expected} == expected
    assert 0 not in labels.RAFDB_CODES


def test_the_papers_table_1_is_not_the_csv():
    paper, csv = labels.PAPER_TABLE1_CODES, labels.FER2013_CODES
    assert set(paper.values()) == set(csv.values())
    differing = {csv[code] for code in csv if paper[code] != csv[code]}
    assert differing == {"anger", "disgust", "fear", "happiness", "sadness"}
    assert {code for code in csv if paper[code] == csv[code]} == {5, 6}


def test_ferplus_columns_hold_the_eight_and_the_two_that_are_none():
    assert set(labels.FERPLUS_COLUMNS) == set(labels.EMOTIONS) | {"unknown", "NF"}
    assert len(labels.FERPLUS_COLUMNS) == 10


def test_tables_cannot_be_changed():
    with pytest.raises(TypeError):
        labels.FER2013_CODES[0] = "fear"


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Happy", "happiness"),
        (" sad ", "sadness"),
        ("ANGRY", "anger"),
        ("anger", "anger"),
        ("NF", "NF"),
        ("Bored", "bored"),
    ],
)
def test_spellings_become_the_taxonomys(spelling, name):
    assert labels.canonical_name(spelling) == name


def test_an_unknown_code_is_named_with_its_place():
    with pytest.raises(InputError, match=r"fer2013\.csv, row 7: label code 7 is not one of 0 anger"):
        labels.decode(7, labels.FER2013_CODES, where="fer2013.csv, row 7")


def test_views_keep_the_order_of_the_labels():
    assert labels.class_view(labels.EMOTIONS, "7") == labels.SEVEN
    assert labels.class_view(labels.EMOTIONS, "all") == labels.EMOTIONS
    assert labels.class_view(labels.EMOTIONS, "sad, anger") == ("anger", "sadness")
    assert labels.class_view(("b", "a", "c"), ["c", "b"]) == ("b", "c")


def test_the_seven_class_view_of_other_classes_is_refused():
    with pytest.raises(InputError, match="classes are yes, no"):
        labels.class_view(("yes", "no"), "7")
