import os
import re

import numpy as np
import pytest

from mien.data.pack import decode
from mien.data.sets import affectnet
from mien.data.sources.landmarks import five_points
from mien.errors import InputError, UnreadableImage

from .layouts_affectnet import (
    EMOTIONS,
    HEADER,
    NO_EMOTION,
    faces_of,
    save,
    write_affectnet_2017,
    write_affectnet_2021,
    write_affectnet_folders,
)


def check(records, expected, *, cropped, tolerance=0.01):
    """Every record is what its writer says, none is missing, and its pixels can be had or cannot."""
    found = {record.key: record for record in records}
    assert len(found) == len(records)
    assert found.keys() == expected.keys()
    for key, record in found.items():
        what = expected[key]
        assert (record.set, record.labels) == ("affectnet", {"affectnet": what.label}), key
        said = (record.split, record.valence, record.arousal, record.drop_reason, record.cropped)
        assert said == (what.split, what.valence, what.arousal, what.drop_reason, cropped), key
        assert record.face_box == what.face_box, key
        assert (record.landmarks is None) == (what.landmarks is None), key
        if what.landmarks is not None:
            np.testing.assert_allclose(record.landmarks, what.landmarks, atol=tolerance)
        if what.drop_reason != "missing file" and what.readable:
            assert decode(record.image).ndim == 3
        else:
            with pytest.raises(UnreadableImage):
                decode(record.image)
    return found


def counts(records):
    return {name: sum(r.labels["affectnet"] == name for r in records) for name in EMOTIONS}


@pytest.mark.parametrize("lists", [".", "Manually_Annotated_Images", "Manually_Annotated_file_lists"])
def test_the_lists_of_2017(tmp_path, lists):
    root = tmp_path / "AffectNet"
    expected = write_affectnet_2017(root, lists=lists, headers=(True, lists == "."))
    assert affectnet.find(root) == affectnet.find(tmp_path) == ("2017", root)
    records = list(affectnet.read(tmp_path))
    found = check(records, expected, cropped=False)
    assert set(counts(records).values()) != {0}
    assert {name for r in records for name in r.labels.values()} == {*EMOTIONS, *NO_EMOTION.values()}
    repeated = [key for key in found if "#" in key]
    assert len(repeated) == 1
    for record in records:
        assert record.source_file == f"Manually_Annotated_Images/{record.key.split('#')[0]}"
    assert [r.source_row for r in records if r.split == "validation"] == list(range(11))


def test_the_landmarks_of_2017_are_those_of_five_points(tmp_path):
    rng = np.random.default_rng(4)
    (tmp_path / "Manually_Annotated_Images").mkdir()
    points = rng.uniform(-50, 900, (20, 68, 2)).round(2)
    texts = [";".join(map(str, face.ravel())) for face in points]
    lines = [f"1/{i}.jpg,1,2,3,4,{text},0,0.5,-0.5" for i, text in enumerate(texts)]
    (tmp_path / "training.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    for record, face in zip(affectnet.read(tmp_path), points, strict=True):
        np.testing.assert_allclose(record.landmarks, five_points(face), atol=1e-9)
        assert record.face_box == (1, 2, 4, 6)


def test_columns_in_another_order_a_byte_order_mark_and_windows_line_ends(tmp_path):
    (tmp_path / "Manually_Annotated_Images").mkdir()
    names = [*HEADER.split(",")[::-1], "extra"]
    row = "0.25,-0.5,3,NULL,40,30,20,10,1/a.jpg,x"
    text = f"{','.join(names)}\r\n\r\n{row}\r\n"
    (tmp_path / "validation.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (record,) = affectnet.read(tmp_path)
    assert (record.labels, record.valence, record.arousal) == ({"affectnet": "surprise"}, -0.5, 0.25)
    assert (record.face_box, record.split) == ((10, 20, 40, 60), "validation")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{HEADER}\n1/a.jpg,1,2,3,4,NULL,happy,0,0\n",
            r"training\.csv, row 0: expression 'happy' is no whole",
        ),
        (f"{HEADER}\n\n1/a.jpg,1,2,3,4,NULL,,0,0\n", r"training\.csv, row 0: expression '' is no whole"),
        (
            f"{HEADER}\n1/a.jpg,1,2,3,4,NULL,0,0,0\n1/b.jpg,1,2,3,4,NULL,11,0,0\n",
            r"training\.csv, row 1: label code 11 is not one of 0 neutral",
        ),
        (f"{HEADER}\n,1,2,3,4,NULL,0,0,0\n", r"training\.csv, row 0 names no picture"),
        (f"{HEADER}\n1/a.jpg,1,2\n", r"training\.csv, row 0: 3 cells instead of 9"),
        ("1/a.jpg,1,2,3,4,NULL,0,0,0\n1/b.jpg,1\n", r"training\.csv, row 1: 2 cells instead of 9"),
        (HEADER.replace("expression", "emotion"), r"training\.csv has no column expression; it needs subDir"),
        ("", r"training\.csv has no column subDirectory_filePath"),
        ("1/a.jpg,0\n", r"training\.csv has no column subDirectory_filePath"),
    ],
)
def test_a_broken_list_is_named(tmp_path, text, message):
    (tmp_path / "Manually_Annotated_Images").mkdir()
    (tmp_path / "training.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        list(affectnet.read(tmp_path))


def test_a_list_that_is_no_text(tmp_path):
    (tmp_path / "Manually_Annotated_Images").mkdir()
    (tmp_path / "training.csv").write_bytes(HEADER.encode() + b"\n\xff\xfe\n")
    with pytest.raises(InputError, match=r"training\.csv cannot be read as a UTF-8 csv"):
        list(affectnet.read(tmp_path))


@pytest.mark.parametrize("text", [False, True])
def test_the_arrays_of_2021(tmp_path, text):
    root = tmp_path / "AffectNet"
    expected = write_affectnet_2021(root, text=text)
    assert affectnet.find(root) == affectnet.find(tmp_path) == ("2021", root)
    records = list(affectnet.read(tmp_path))
    check(records, expected, cropped=True, tolerance=1e-4)
    reasons = {record.drop_reason for record in records}
    assert reasons == {None, "missing file", "missing annotation", "garbled annotation"}


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return (os.mkdir, (str(self.folder),))


def test_nothing_is_unpickled(tmp_path):
    write_affectnet_2021(tmp_path, dirt=False)
    for kind in ("exp", "val", "aro", "lnd"):
        trap = np.array(Trap(tmp_path / "sprung"), dtype=object)
        np.save(tmp_path / "val_set" / "annotations" / f"0_{kind}.npy", trap, allow_pickle=True)
    records = {record.key: record for record in affectnet.read(tmp_path)}
    assert records["val_set/images/0.jpg"].drop_reason == "garbled annotation"
    assert not (tmp_path / "sprung").exists()
    np.load(tmp_path / "val_set" / "annotations" / "0_exp.npy", allow_pickle=True)
    assert (tmp_path / "sprung").exists()


def test_no_damage_to_an_array_escapes(tmp_path):
    write_affectnet_2021(tmp_path, dirt=False)
    note = tmp_path / "train_set" / "annotations" / "0_val.npy"
    good = note.read_bytes()
    assert next(affectnet.read_arrays(tmp_path)).drop_reason is None
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(good)
        # The header's braces, quotes and commas: what numpy's parser says of them is no one kind of error.
        damaged[rng.integers(10, 65)] = rng.choice(list(b"{}(),':"))
        note.write_bytes(damaged if damaged != good else b"")
        assert next(affectnet.read_arrays(tmp_path)).drop_reason == "garbled annotation"


def test_a_code_of_2021_that_is_none_of_the_eleven(tmp_path):
    write_affectnet_2021(tmp_path, dirt=False)
    np.save(tmp_path / "train_set" / "annotations" / "3_exp.npy", np.array(11))
    with pytest.raises(InputError, match=r"^train_set/annotations/3_exp\.npy: label code 11 is not one of"):
        list(affectnet.read(tmp_path))


def test_two_pictures_of_one_number(tmp_path):
    write_affectnet_2021(tmp_path, dirt=False)
    save(tmp_path / "train_set" / "images" / "0.png", faces_of("fear", 1, 48, 0).images[0])
    keys = [record.key for record in affectnet.read(tmp_path)]
    assert {"train_set/images/0.jpg", "train_set/images/0.png"} <= set(keys)


@pytest.mark.parametrize("splits", [("train", "val", "test"), ()])
@pytest.mark.parametrize("by", ["number", "name"])
def test_folders(tmp_path, by, splits):
    root = tmp_path / "archive"
    expected = write_affectnet_folders(root, by, splits=splits, size=32)
    claimed = ("folders", root) if by == "number" else None
    assert affectnet.find(root) == affectnet.find(tmp_path) == claimed
    for path in (root, tmp_path):
        check(list(affectnet.read(path)), expected, cropped=True)


def test_images_and_annotations_of_another_set_are_not_claimed(tmp_path):
    write_affectnet_2021(tmp_path, dirt=False)
    for note in tmp_path.rglob("*_exp.npy"):
        note.rename(note.with_name("class.npy"))
    assert affectnet.find(tmp_path) is None


@pytest.mark.parametrize(
    ("names", "claimed"),
    [
        ([str(i) for i in range(8)], True),
        ([str(i) for i in range(11)], True),
        ([str(i) for i in range(1, 8)], False),
        ([str(i) for i in range(7)], False),
        ([str(i) for i in range(10)], False),
        ([*map(str, range(8)), "more"], False),
        ([*map(str, range(8)), "train"], False),
        (["happy", "sad"], False),
        (["images", "annotations"], False),
        (["train_set/images", "train_set/annotations"], False),
        (["Manually_Annotated_Images"], False),
        ([], False),
    ],
)
def test_which_folders_are_claimed(tmp_path, names, claimed):
    for name in names:
        (tmp_path / "set" / name).mkdir(parents=True)
    (tmp_path / "set").mkdir(exist_ok=True)
    assert (affectnet.find(tmp_path / "set") is not None) == claimed
    assert (affectnet.find(tmp_path) is not None) == claimed
    (tmp_path / "other").mkdir()
    assert affectnet.find(tmp_path) is None


def test_the_numbers_of_no_emotion_have_folders_in_some_copies(tmp_path):
    for code in range(11):
        save(tmp_path / str(code) / "a.png", faces_of("neutral", 1, 24, code).images[0])
    labels = [record.labels["affectnet"] for record in affectnet.read(tmp_path)]
    assert sorted(labels) == sorted([*EMOTIONS, *NO_EMOTION.values()])


def test_a_folder_that_is_no_class_is_named(tmp_path):
    write_affectnet_folders(tmp_path, "name", splits=("train",), size=24, dirt=False)
    (tmp_path / "train" / "Boredom").mkdir()
    with pytest.raises(InputError, match=r"^train/Boredom is no class of AffectNet \(0 neutral, 1 happiness"):
        list(affectnet.read(tmp_path))
    (tmp_path / "more").mkdir()
    with pytest.raises(InputError, match="holds both split folders and more"):
        list(affectnet.read(tmp_path))


def test_two_sets_in_one_folder_are_not_chosen_from(tmp_path):
    write_affectnet_2017(tmp_path / "old", dirt=False)
    write_affectnet_2021(tmp_path / "new", dirt=False)
    with pytest.raises(InputError, match=r"holds AffectNet more than once \(new, old\)"):
        affectnet.find(tmp_path)


@pytest.mark.parametrize("path", ["empty", "file.csv", "none"])
def test_nothing_there_says_what_was_looked_for(tmp_path, path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.csv").write_text(HEADER)
    message = f"{path} holds no AffectNet: looked for Manually_Annotated_Images with training.csv or valid"
    with pytest.raises(InputError, match=re.escape(message)):
        affectnet.read(tmp_path / path)
    assert affectnet.find(tmp_path / path) is None
