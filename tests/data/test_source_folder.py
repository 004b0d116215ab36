import pytest

from mien.data.sources import SOURCES, folder, read, sniff
from mien.errors import InputError


def test_a_folder_a_class(class_folders, raw):
    root = class_folders(["happy", "Sad", "bored"], 2)
    raw.save(root / "happy" / "more" / "deep.png", raw.picture(9))
    records = list(folder.read(root))
    assert {(r.source_file, r.labels["folder"], r.split) for r in records} == {
        ("Sad/000.png", "sadness", None),
        ("Sad/001.png", "sadness", None),
        ("bored/000.png", "bored", None),
        ("bored/001.png", "bored", None),
        ("happy/000.png", "happiness", None),
        ("happy/001.png", "happiness", None),
        ("happy/more/deep.png", "happiness", None),
    }


def test_split_folders(class_folders):
    for part, seed in (("train", 0), ("val", 100), ("test", 200)):
        root = class_folders(["happy", "sad"], 1, root=f"photos/{part}", seed=seed).parent
    assert [(r.split, r.labels["folder"]) for r in folder.read(root)] == [
        ("test", "happiness"),
        ("test", "sadness"),
        ("train", "happiness"),
        ("train", "sadness"),
        ("validation", "happiness"),
        ("validation", "sadness"),
    ]


def test_split_and_class_folders_side_by_side_are_refused(class_folders):
    root = class_folders(["train/happy", "sad"], 1)
    with pytest.raises(InputError, match="holds both split folders and sad"):
        list(folder.read(root))


def test_no_class_folder(tmp_path):
    with pytest.raises(InputError, match="holds no class folders"):
        list(folder.read(tmp_path))


def test_a_csv_with_split_subject_and_columns_of_its_own(tmp_path, raw):
    raw.save(tmp_path / "a" / "1.png", raw.picture(1))
    outside = raw.save(tmp_path.parent / "outside.png", raw.picture(2))
    (tmp_path / "faces.csv").write_text(
        "label, path,subject,split,age\n"
        "happy,a/1.png,p1,train,30\n"
        f"sad,{outside},,val,\n"
        "sad,a/none.png,p2,test,41\n"
    )
    one, two, three = folder.read(tmp_path)
    assert (one.labels, one.subject, one.split, one.user) == (
        {"folder": "happiness"},
        "p1",
        "train",
        {"age": "30"},
    )
    assert (one.source_file, one.source_row, one.drop_reason) == ("a/1.png", 0, None)
    assert (two.source_file, two.subject, two.split) == ("outside.png", None, "validation")
    assert three.drop_reason == "missing file"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,name\na.png,happy\n", r"faces\.csv has no column label \(found: path, name\)"),
        ("path,label\na.png\n", r"faces\.csv, row 0: 1 cells instead of 2"),
        ("path,label\na.png,\n", r"faces\.csv, row 0: path or label is empty"),
        ("path,label,split\na.png,happy,holdout\n", r"faces\.csv, row 0: split 'holdout' is not one of"),
        ("path,label,label\na.png,happy,sad\n", r"has the column 'label' twice"),
    ],
)
def test_a_broken_csv_is_named(tmp_path, text, message):
    path = tmp_path / "faces.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        list(folder.read(path))


def test_sniffing_finds_each_layout(tmp_path, raw, class_folders):
    fer = raw.write_fer(tmp_path / "k" / "fer2013.csv", raw.fer_rows(per_class=1))
    assert sniff(fer) == sniff(fer.parent) == "fer2013"
    raw.write_fer(tmp_path / "nested" / "fer2013" / "fer2013.csv", raw.fer_rows(per_class=1))
    assert sniff(tmp_path / "nested") == "fer2013"
    raw.save(tmp_path / "kaggle" / "train" / "happy" / "Training_1.jpg", raw.picture(0))
    assert sniff(tmp_path / "kaggle") == "fer2013"
    (tmp_path / "plus" / "FER2013Train").mkdir(parents=True)
    assert sniff(tmp_path / "plus") == "ferplus"
    assert sniff(class_folders(["happy"], 1)) == "folder"
    (tmp_path / "own.csv").write_text("path,label\n")
    assert sniff(tmp_path / "own.csv") == "folder"
    votes = raw.write_ferplus(tmp_path / "k" / "fer2013new.csv", [])
    assert sniff(votes) == "ferplus"
    assert sniff(fer.parent) == "fer2013"


def test_sniffing_nothing_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        sniff(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"is no known data set: looked for FER-2013 \(fer2013\.csv"):
        sniff(tmp_path / "empty")
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(InputError, match="is no known data set"):
        sniff(tmp_path / "note.txt")


def test_unknown_names_and_missing_paths(tmp_path):
    with pytest.raises(
        InputError, match=r"data set 'imagenet' is not known; known are fer2013, ferplus, folder, drawn"
    ):
        list(read({"imagenet": tmp_path}))
    with pytest.raises(InputError, match=r"fer2013: .* does not exist"):
        list(read({"fer2013": tmp_path / "none"}))
    assert set(SOURCES) == {"fer2013", "ferplus", "folder"}
