import shutil

import numpy as np
import pytest
from PIL import Image

from mien.data.sets import ckplus
from mien.data.sources import pixel_csv
from mien.errors import InputError

from . import layouts_ckplus as layouts

SMALL = {"picture": (98, 128), "face": 64}
CLASSES = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A folder around the four trees, with dirt, and what should be read."""
    root = tmp_path_factory.mktemp("official") / "CK+"
    return root, layouts.write_ckplus_official(root, **SMALL)


@pytest.fixture(scope="module")
def ck48(tmp_path_factory):
    root = tmp_path_factory.mktemp("kaggle") / "CK+48"
    return root, layouts.write_ck48(root)


def by_key(records):
    found = {}
    for record in records:
        assert record.key not in found
        assert record.set == "ckplus"
        assert set(record.labels) == {"ckplus"}
        found[record.key] = record
    return found


def said(record):
    return record.labels["ckplus"], record.action_units, record.split, record.drop_reason


def assert_as_expected(records, expected):
    found = by_key(records)
    assert {key: said(record) for key, record in found.items()} == {
        key: (e.label, e.action_units, e.split, e.drop_reason) for key, e in expected.items()
    }
    for key, record in found.items():
        assert record.landmarks == (
            None if expected[key].landmarks is None else pytest.approx(expected[key].landmarks, abs=1e-3)
        )
    return found


def test_official_frames_carry_what_the_four_trees_say(official):
    root, expected = official
    records = assert_as_expected(ckplus.read(root), expected)
    assert {"S005/001/S005_001_00000001", "S010/007/S010_007_00000006"} <= records.keys()
    for key, record in records.items():
        subject, sequence, stem = key.split("/")
        assert (record.subject, record.sequence) == (subject, sequence)
        assert record.frame == int(stem[-8:])
        assert record.source_file == f"cohn-kanade-images/{key}.png"
        assert record.image == root / record.source_file
        assert not record.cropped
        assert record.size is None
    notes = [record.note for record in records.values() if record.note]
    text = "\n".join(notes)
    assert all("S999" in note for note in notes)
    assert text.count("garbled") == 5 + 2 + 3, "one sentence for each garbled FACS or landmarks"
    assert "FACS/S999/011/S999_011_00000004_facs.txt is garbled (a line has not 2 numbers)" in text
    assert "FACS/S999/013/S999_013_00000004_facs.txt is garbled (a unit stands twice)" in text
    assert "Landmarks/S999/015/S999_015_00000003_landmarks.txt is garbled" in text


def test_present_with_unknown_strength_no_unit_and_no_file_are_three_things(official):
    records = by_key(ckplus.read(official[0]))
    assert records["S005/005/S005_005_00000007"].action_units == {6: 0.0, 12: 5.0, 25: 2.0}
    assert records["S999/010/S999_010_00000004"].action_units == {}
    assert records["S999/008/S999_008_00000003"].action_units is None
    assert records["S005/005/S005_005_00000006"].action_units is None, "only the peak is coded"


def test_archives_unpacked_into_their_own_folders_read_alike(tmp_path, official):
    expected = layouts.write_ckplus_official(tmp_path, subjects=("S005",), dirt=False, nested=True, **SMALL)
    assert expected == {key: e for key, e in official[1].items() if key.startswith("S005")}
    records = assert_as_expected(ckplus.read(tmp_path), expected)
    first = records["S005/001/S005_001_00000001"]
    images = "extended-cohn-kanade-images/cohn-kanade-images"
    assert first.source_file == f"{images}/S005/001/S005_001_00000001.png"
    for given in (tmp_path / images, tmp_path / "extended-cohn-kanade-images"):
        assert ckplus.find(given) == ("official", tmp_path)
        records = assert_as_expected(ckplus.read(given), expected)
        assert (given / records["S005/001/S005_001_00000001"].source_file).is_file()


def test_frames_are_in_the_order_of_their_numbers_whatever_the_kind_of_file(tmp_path, raw):
    folder = tmp_path / "cohn-kanade-images" / "S010" / "004"
    for number, suffix in ((2, ".png"), (9, ".jpg"), (10, ".PNG"), (11, ".bmp")):
        raw.save(folder / f"S010_004_{number:08d}{suffix}", raw.picture(number))
    raw.save(folder / "S010_004_00000011.png", raw.picture(12))
    (folder / "S010_004_00000012.txt").write_text("no picture")
    label = tmp_path / "Emotion" / "S010" / "004" / "S010_004_00000011_emotion.txt"
    label.parent.mkdir(parents=True)
    label.write_text("4")
    records = list(ckplus.read(tmp_path))
    read = [(record.frame, record.labels["ckplus"]) for record in records]
    assert read == [(2, "neutral"), (9, "fear"), (10, "fear"), (11, "fear")]
    assert [record.image.suffix for record in records] == [".png", ".jpg", ".PNG", ".bmp"]
    shutil.copy(label, label.with_name("S010_004_00000002_emotion.txt"))
    assert {record.drop_reason for record in ckplus.read(tmp_path)} == {"label of another frame"}


def test_pictures_without_any_emotions_are_an_error_and_other_trees_may_be_missing(tmp_path, official):
    root, expected = official
    for tree in ("cohn-kanade-images", "Emotion"):
        shutil.copytree(root / tree, tmp_path / tree)
    labelled = {key for key, e in expected.items() if e.label or e.drop_reason}
    records = by_key(ckplus.read(tmp_path))
    assert records.keys() == labelled
    assert {(record.action_units, record.landmarks) for record in records.values()} == {(None, None)}
    shutil.rmtree(tmp_path / "Emotion")
    (tmp_path / "Emotion").mkdir()
    with pytest.raises(InputError, match=r"not their emotions: looked for Emotion and Emotion_labels"):
        ckplus.read(tmp_path)


def test_ck48_gives_subject_sequence_and_frame_from_the_name(ck48):
    root, expected = ck48
    records = assert_as_expected(ckplus.read(root), expected)
    assert len(records) == 2 * 7 * 3 + 2
    record = records["S005/005/S005_005_00000007"]
    assert (record.subject, record.sequence, record.frame) == ("S005", "005", 7)
    assert record.source_file == "happy/S005_005_00000007.png"
    assert record.image == root / record.source_file
    assert record.cropped
    assert record.size == (48, 48)
    with Image.open(record.image) as image:
        assert image.size == (48, 48)
    odd = records["anger/face (1).png"]
    assert (odd.subject, odd.sequence, odd.frame) == (None, None, None)


def test_ck48_has_the_keys_and_labels_of_the_official_frames(official, ck48):
    pictures = {key: e.label for key, e in ck48[1].items() if e.drop_reason is None}
    read = {key: record.labels["ckplus"] for key, record in by_key(ckplus.read(official[0])).items()}
    assert len(pictures) == 42
    assert {key: read[key] for key in pictures} == pictures


def test_a_class_that_ck48_has_not_is_an_error(tmp_path, raw):
    layouts.write_ck48(tmp_path, subjects=("S005",), per_class=1, dirt=False)
    raw.save(tmp_path / "neutral" / "S005_001_00000001.png", raw.picture(0))
    with pytest.raises(InputError, match=r"neutral is no class of CK\+48 \(anger, contempt, .*surprise\)"):
        list(ckplus.read(tmp_path))


def test_ckextended_has_its_own_codes_and_splits_and_no_subject(tmp_path):
    expected = layouts.write_ckextended(tmp_path, per_class=2)
    records = assert_as_expected(ckplus.read(tmp_path), expected)
    assert len(records) == 48
    first, last = records["ckextended/00000"], records["ckextended/00047"]
    assert (first.labels["ckplus"], first.split) == ("anger", "train")
    assert (last.labels["ckplus"], last.split, last.source_row) == ("contempt", "test", 47)
    assert {record.subject for record in records.values()} == {None}
    assert last.source_file == "ckextended.csv"
    assert last.cropped
    assert last.size == last.image.shape == (48, 48)
    line = (tmp_path / "ckextended.csv").read_text().splitlines()[48]
    np.testing.assert_array_equal(last.image.ravel(), np.array(line.split(",")[1].split(), dtype=np.uint8))


GREY = " ".join(["7"] * 2304)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((3, GREY[:-2], "Training"), r"2,303 pixels instead of 2,304 \(48x48\); repair or delete that row"),
        ((3, GREY[:-1] + "256", "Training"), r"a pixel is not a whole number in 0\.\.255"),
        ((3, GREY[:-1] + "x", "Training"), r"a pixel is not a whole number in 0\.\.255"),
        ((8, GREY, "Training"), r"label code 8 is not one of 0 anger, 1 disgust, .*7 contempt"),
        (("happy", GREY, "Training"), r"emotion 'happy' is not a number"),
        ((3, GREY, "Test"), r"Usage 'Test' is not one of Training, PublicTest, PrivateTest"),
    ],
)
def test_a_broken_row_is_named(tmp_path, row, message):
    layouts.write_ckextended(tmp_path, wrong_rows=[row])
    with pytest.raises(InputError, match=rf"^ckextended\.csv, row 24: {message}"):
        list(ckplus.read(tmp_path))


def test_rows_of_pixels_are_found_by_column_name(tmp_path, raw):
    path = raw.write_fer(tmp_path / "a.csv", raw.fer_rows(per_class=1), "emotion, Usage, pixels")
    rows = list(pixel_csv.read_rows(path))
    assert [row.row for row in rows] == list(range(21))
    assert [row.code for row in rows] == [*range(7)] * 3
    assert rows[9].where == "a.csv, row 9"
    assert pixel_csv.split_of(rows[9].usage + " ", rows[9].where) == "validation"
    np.testing.assert_array_equal(rows[9].pixels, raw.picture(9))


def test_each_layout_is_found_at_its_folder_and_around_it(tmp_path, official, ck48):
    for layout, root in (("official", official[0]), ("ck48", ck48[0])):
        assert ckplus.find(root) == (layout, root)
        assert ckplus.find(root.parent) == (layout, root)
        first = next(iter(ckplus.read(root.parent)))
        assert first.source_file.startswith(f"{root.name}/")
        assert ckplus.find(root.parent.parent) is None
    layouts.write_ckextended(tmp_path / "archive", name="CKextended.CSV")
    table = tmp_path / "archive" / "CKextended.CSV"
    for path in (table, table.parent, tmp_path):
        assert ckplus.find(path) == ("ckextended", table)
    assert next(iter(ckplus.read(tmp_path))).source_file == "archive/CKextended.CSV"
    assert next(iter(ckplus.read(table))).source_file == "CKextended.CSV"


def test_of_several_layouts_in_a_folder_the_one_that_says_most_is_taken(tmp_path, ck48):
    layouts.write_ckextended(tmp_path / "a")
    shutil.copytree(ck48[0], tmp_path / "b" / "CK+48")
    shutil.copytree(ck48[0], tmp_path / "CK+48")
    assert ckplus.find(tmp_path) == ("ck48", tmp_path / "CK+48")
    shutil.copytree(ck48[0], tmp_path / "copy")
    assert ckplus.find(tmp_path) is None, "half of a set in two parts must not pass for all of it"


def test_what_is_not_ckplus_is_not_claimed(tmp_path, raw, class_folders, ck48):
    assert ckplus.find(class_folders(CLASSES, 1, root="photos")) is None
    raw.write_fer(tmp_path / "fer" / "fer2013.csv", raw.fer_rows(per_class=1))
    assert ckplus.find(tmp_path / "fer") is None
    assert ckplus.find(tmp_path / "fer" / "fer2013.csv") is None
    six = tmp_path / "six"
    shutil.copytree(ck48[0], six)
    shutil.rmtree(six / "contempt")
    assert ckplus.find(six) is None
    assert ckplus.find(tmp_path / "nowhere") is None
    (tmp_path / "cohn-kanade-images" / "photos").mkdir(parents=True)
    assert ckplus.find(tmp_path) is None
    with pytest.raises(
        InputError,
        match=r"holds no CK\+: looked for cohn-kanade-images/S005/.*anger, contempt.*ckextended\.csv",
    ):
        ckplus.read(tmp_path / "fer")


def test_a_csv_of_another_name_is_read_when_it_is_said_to_be_ckplus(tmp_path):
    expected = layouts.write_ckextended(tmp_path, name="faces.csv")
    assert ckplus.find(tmp_path) is None
    assert_as_expected(ckplus.read(tmp_path / "faces.csv"), expected)


def test_a_good_tree_is_read_without_a_word(tmp_path):
    expected = layouts.write_ckplus_official(tmp_path, subjects=("S130",), dirt=False, **SMALL)
    records = assert_as_expected(ckplus.read(tmp_path), expected)
    assert len(records) == 28
    assert {record.note for record in records.values()} == {None}
