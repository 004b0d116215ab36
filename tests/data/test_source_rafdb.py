import pytest

from mien.data.pack import decode
from mien.data.sets import rafdb
from mien.errors import InputError, UnreadableImage

from .layouts_rafdb import EMOTIONS, write_rafdb, write_rafdb_kaggle


def check(records, expected, *, cropped=True):
    """Every record is what its writer says, none is missing, and its pixels can be had or cannot."""
    assert len({record.key for record in records}) == len(records)
    assert {record.key for record in records} == expected.keys()
    for record in records:
        what = expected[record.key]
        assert (record.set, record.labels) == ("rafdb", {"rafdb": what.label}), record.key
        assert (record.split, record.drop_reason) == (what.split, what.drop_reason), record.key
        assert record.cropped == cropped
        if what.drop_reason != "missing file" and what.readable:
            assert decode(record.image).ndim == 3
        else:
            with pytest.raises(UnreadableImage):
                decode(record.image)


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("spelling", ["list_patition_label.txt", "list_partition_label.txt"])
def test_the_authors_layout(tmp_path, spelling, windows):
    root = tmp_path / "RAF-DB" / "basic"
    expected = write_rafdb(root, spelling=spelling, windows=windows, size=40)
    for path in (root, root.parent):
        assert rafdb.find(path) == ("official", root)
        records = list(rafdb.read(path))
        check(records, expected)
    kept = {r.key: r.source_file for r in records if r.drop_reason is None}
    assert kept["train_00001"] == "Image/aligned/train_00001_aligned.jpg"
    assert {r.labels["rafdb"] for r in records if r.split == "test"} == set(EMOTIONS)


def test_photographs_are_read_where_there_are_no_crops(tmp_path):
    expected = write_rafdb(tmp_path, images="original", size=40)
    check(list(rafdb.read(tmp_path)), expected, cropped=False)
    write_rafdb(tmp_path / "both", size=40, dirt=False)
    (tmp_path / "both" / "Image" / "original").mkdir()
    assert {r.cropped for r in rafdb.read(tmp_path / "both")} == {True}


def test_only_a_list_and_no_pictures(tmp_path):
    write_rafdb(tmp_path, size=40)
    (tmp_path / "Image").rename(tmp_path / "Images")
    assert rafdb.find(tmp_path) == ("official", tmp_path)
    with pytest.raises(InputError, match=r"has no Image/aligned and no Image/original; unpack aligned\.zip"):
        list(rafdb.read(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train_00001.jpg 1\n\ntrain_00002.jpg\n",
            r"list_patition_label\.txt, line 3: 'train_00002\.jpg' is not",
        ),
        ("train_00001.jpg 1 2\n", r"line 1: 'train_00001\.jpg 1 2' is not `name code`"),
        ("face_1.jpg 1\n", r"line 1: 'face_1\.jpg 1' is not `name code`"),
        ("train_00001.jpg happy\n", r"line 1: label 'happy' is no whole number"),
        ("train_00001.jpg 0\n", r"line 1: label code 0 is not one of 1 surprise"),
        ("train_00001.jpg 1\ntrain_00002.jpg 11\n", r"line 2: label code 11 is a compound emotion"),
        ("train_00001.jpg 12\n", r"line 1: label code 12 is not one of 1 surprise"),
        (b"train_00001.jpg 1\n\xff\n", r"list_patition_label\.txt cannot be read as UTF-8"),
    ],
)
def test_a_broken_line_is_named(tmp_path, text, message):
    write_rafdb(tmp_path, size=40, dirt=False)
    table = tmp_path / "EmoLabel" / "list_patition_label.txt"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        list(rafdb.read(tmp_path))


@pytest.mark.parametrize("tables", [False, True])
def test_the_copy_on_kaggle(tmp_path, tables):
    root = tmp_path / "archive"
    expected = write_rafdb_kaggle(root, size=40, tables=tables)
    for path in (tmp_path, root, root / "DATASET"):
        assert rafdb.find(path) == ("kaggle", root / "DATASET")
        check(list(rafdb.read(path)), expected)


def test_both_layouts_give_a_picture_one_key(tmp_path):
    authors = write_rafdb(tmp_path / "a", size=40, dirt=False)
    assert write_rafdb_kaggle(tmp_path / "b", size=40, dirt=False) == authors
    found = [{r.key: r.labels for r in rafdb.read(tmp_path / part)} for part in ("a", "b")]
    assert found[0] == found[1]


def test_the_tables_may_lie_in_the_folder(tmp_path):
    write_rafdb_kaggle(tmp_path, size=40, dirt=False)
    for name in ("train_labels.csv", "test_labels.csv"):
        (tmp_path / name).rename(tmp_path / "DATASET" / name)
    table = tmp_path / "DATASET" / "train_labels.csv"
    table.write_text(table.read_text().replace("train_00002_aligned.jpg,2", "train_00002_aligned.jpg,3"))
    reasons = {r.key: r.drop_reason for r in rafdb.read(tmp_path)}
    assert [key for key, reason in reasons.items() if reason] == ["train_00002"]
    assert reasons["train_00002"] == "two labels"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("train_00001_aligned.jpg,8", r"train_labels\.csv, row 7: label code 8 is a compound emotion"),
        ("train_00001_aligned.jpg,", r"train_labels\.csv, row 7: label '' is no whole number"),
        ("train_00001_aligned.jpg", r"train_labels\.csv, row 7: 1 cells instead of 2"),
    ],
)
def test_a_broken_row_is_named(tmp_path, row, message):
    write_rafdb_kaggle(tmp_path, size=40, dirt=False)
    with (tmp_path / "train_labels.csv").open("a") as file:
        file.write(f"{row}\n")
    with pytest.raises(InputError, match=message):
        list(rafdb.read(tmp_path))


@pytest.mark.parametrize(
    ("folders", "picture", "claimed"),
    [
        ([f"train/{i}" for i in range(1, 8)], "train_00001_aligned.jpg", True),
        ([f"train/{i}" for i in range(1, 8)], "train_00001.jpg", True),
        ([f"train/{i}" for i in range(1, 8)], "smile.jpg", False),
        ([f"train/{i}" for i in range(1, 7)], "train_00001_aligned.jpg", False),
        ([f"train/{i}" for i in range(8)], "train_00001_aligned.jpg", False),
        ([f"{i}" for i in range(1, 8)], "train_00001_aligned.jpg", False),
        (["train/happy"], "train_00001_aligned.jpg", False),
        ([*(f"train/{i}" for i in range(1, 8)), "more"], "train_00001_aligned.jpg", False),
        (["EmoLabel", "Image/aligned"], "train_00001_aligned.jpg", False),
    ],
)
def test_which_folders_are_claimed(tmp_path, folders, picture, claimed):
    for name in folders:
        (tmp_path / "set" / name).mkdir(parents=True)
    (tmp_path / "set" / folders[-1] / picture).write_bytes(b"")
    assert (rafdb.find(tmp_path / "set") is not None) == claimed
    assert (rafdb.find(tmp_path) is not None) == claimed


def test_two_sets_in_one_folder_are_not_chosen_from(tmp_path):
    write_rafdb(tmp_path / "a", size=40, dirt=False)
    write_rafdb_kaggle(tmp_path / "b", size=40, dirt=False)
    with pytest.raises(InputError, match=r"holds RAF-DB more than once \(a, b/DATASET\)"):
        rafdb.read(tmp_path)


@pytest.mark.parametrize("path", ["empty", "file.txt", "none"])
def test_nothing_there_says_what_was_looked_for(tmp_path, path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("train_00001.jpg 5")
    message = rf"{path} holds no RAF-DB: looked for EmoLabel/list_patition_label\.txt and Image/aligned"
    with pytest.raises(InputError, match=message):
        rafdb.read(tmp_path / path)
    assert rafdb.find(tmp_path / path) is None
