import numpy as np
import polars as pl
import pytest

from mien.data.sets import fer2013
from mien.data.sources.named import readers
from mien.errors import InputError


def read(named):
    return iter(readers([*named.items()])())


def labels_of(records):
    return [dict(record.labels) for record in records]


@pytest.mark.parametrize("header", ["emotion,pixels,Usage", "emotion, Usage, pixels"])
def test_both_csv_spellings_give_the_same_records(tmp_path, raw, header):
    name = "fer2013.csv" if header.startswith("emotion,pixels") else "icml_face_data.csv"
    rows = raw.fer_rows(per_class=1)
    records = list(fer2013.read(raw.write_fer(tmp_path / name, rows, header).parent))
    assert len(records) == 21
    names = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    assert labels_of(records) == [{"fer2013": name} for name in names * 3]
    assert [r.split for r in records] == ["train"] * 7 + ["validation"] * 7 + ["test"] * 7
    assert records[9].key == "00009"
    assert records[9].source_row == 9
    assert records[9].source_file == name
    np.testing.assert_array_equal(records[9].image, raw.picture(9))


def test_the_file_itself_can_be_named_and_a_byte_order_mark_is_no_matter(tmp_path, raw):
    path = raw.write_fer(tmp_path / "faces.csv", raw.fer_rows(per_class=1))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n", b"\n") + b"\n\n")
    assert len(list(fer2013.read(path))) == 21


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            (3, " ".join(["7"] * 2303), "Training"),
            r"fer2013\.csv, row 2: 2,303 pixels instead of 2,304 \(48x48\)",
        ),
        (
            (3, " ".join(["7"] * 2303 + ["256"]), "Training"),
            r"row 2: a pixel is not a whole number in 0\.\.255",
        ),
        ((3, " ".join(["7"] * 2303 + ["x"]), "Training"), r"row 2: a pixel is not a whole number"),
        ((7, " ".join(["7"] * 2304), "Training"), r"row 2: label code 7 is not one of 0 anger"),
        (("happy", " ".join(["7"] * 2304), "Training"), r"row 2: emotion 'happy' is not a number"),
        ((3, " ".join(["7"] * 2304), "Test"), r"row 2: Usage 'Test' is not one of Training"),
    ],
)
def test_a_broken_row_is_named(tmp_path, raw, row, message):
    rows = raw.fer_rows(per_class=1)
    path = raw.write_fer(tmp_path / "fer2013.csv", [*rows[:2], row, *rows[2:]])
    with pytest.raises(InputError, match=message):
        list(fer2013.read(path))


def test_a_missing_column_and_a_short_row_are_named(tmp_path):
    path = tmp_path / "fer2013.csv"
    path.write_text("emotion,pixels\n0,1 2 3\n")
    with pytest.raises(InputError, match=r"fer2013\.csv has no column Usage \(found: emotion, pixels\)"):
        list(fer2013.read(path))
    path.write_text("emotion,pixels,Usage\n0,1 2 3\n")
    with pytest.raises(InputError, match=r"row 0: 2 cells instead of 3"):
        list(fer2013.read(path))
    path.write_text("")
    with pytest.raises(InputError, match="an empty file"):
        list(fer2013.read(path))
    path.write_bytes(b"emotion,pixels,Usage\n0,\xff\xfe\x00,Training\n")
    with pytest.raises(InputError, match="cannot be read as a UTF-8 csv"):
        list(fer2013.read(path))


def test_kaggle_folders_take_the_split_from_the_prefix(tmp_path, raw):
    names = [
        "train/happy/Training_10.png",
        "test/sad/PublicTest_3.png",
        "test/angry/PrivateTest_4.png",
        "test/fear/9.png",
    ]
    for i, name in enumerate(names):
        raw.save(tmp_path / name, raw.picture(i))
    (tmp_path / "train" / "happy" / ".DS_Store").write_text("x")
    records = {record.source_file: record for record in fer2013.read(tmp_path)}
    assert {name: (r.split, r.labels["fer2013"]) for name, r in records.items()} == {
        names[0]: ("train", "happiness"),
        names[1]: ("validation", "sadness"),
        names[2]: ("test", "anger"),
        names[3]: ("test", "fear"),
    }
    assert all(record.source_row is None for record in records.values())


def test_kaggle_folders_without_prefixes_are_known_by_class_and_size(tmp_path, raw, class_folders):
    for part in ("train", "test"):
        for i, name in enumerate(sorted(fer2013.KAGGLE_CLASSES)):
            raw.save(tmp_path / "faces" / part / name / "im0.png", raw.picture(i))
            raw.save(tmp_path / "photos" / part / name / "im0.png", raw.picture(i, 60, 60))
    assert {r.split for r in fer2013.read(tmp_path / "faces")} == {"train", "test"}
    assert not fer2013.is_folders(tmp_path / "photos")


def test_an_unknown_class_folder_is_named(tmp_path, raw):
    raw.save(tmp_path / "train" / "happy" / "Training_1.png", raw.picture(0))
    raw.save(tmp_path / "train" / "contempt" / "Training_2.png", raw.picture(1))
    with pytest.raises(InputError, match="train/contempt is no class of FER-2013"):
        list(fer2013.read(tmp_path))


def test_nothing_there_says_what_was_looked_for(tmp_path):
    with pytest.raises(
        InputError, match=r"holds no FER-2013: looked for fer2013\.csv, icml_face_data\.csv, parquet"
    ):
        fer2013.read(tmp_path)
    pl.DataFrame({"other": [1]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(InputError, match="holds no FER-2013"):
        fer2013.read(tmp_path)


def write_shards(folder, raw, rows):
    """Two parquet shards of (row, usage, emotion)."""
    folder.mkdir(exist_ok=True)
    for part, chunk in enumerate((rows[:2], rows[2:])):
        pngs = [raw.save(folder / "t.png", raw.picture(row)).read_bytes() for row, _, _ in chunk]
        (folder / "t.png").unlink()
        pl.DataFrame(
            {
                "row": [row for row, _, _ in chunk],
                "usage": [usage for _, usage, _ in chunk],
                "emotion": [code for _, _, code in chunk],
                "png": pngs,
            }
        ).write_parquet(folder / f"fer2013-{part}.parquet")


def test_shards_join_ferplus_by_official_row(tmp_path, raw):
    shards = [(0, "Training", 3), (2, "Training", 6), (3, "PublicTest", 0)]
    write_shards(tmp_path / "shards", raw, shards)
    lines = [
        ("Training", "fer0000000.png", raw.votes(happiness=8, neutral=2)),
        ("Training", "", raw.votes(NF=10)),
        ("Training", "fer0000001.png", raw.votes(neutral=5, sadness=5)),
        ("PublicTest", "fer0000002.png", raw.votes(anger=9, contempt=1)),
    ]
    raw.write_ferplus(tmp_path / "shards" / "fer2013new.csv", lines)
    records = list(read({"fer2013": tmp_path / "shards"}))
    assert [record.key for record in records] == ["00000", "00002", "00003"]
    assert labels_of(records) == [
        {"fer2013": "happiness", "ferplus": "happiness"},
        {"fer2013": "neutral", "ferplus": None},
        {"fer2013": "anger", "ferplus": "anger"},
    ]
    assert records[2].votes["ferplus"]["contempt"] == 1
    (tmp_path / "shards" / "fer2013new.csv").rename(tmp_path / "votes.csv")
    assert labels_of(read({"fer2013": tmp_path / "shards"}))[0] == {"fer2013": "happiness"}
    joined = list(read({"fer2013": tmp_path / "shards", "ferplus": tmp_path / "votes.csv"}))
    assert labels_of(joined) == labels_of(records)
