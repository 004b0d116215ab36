import csv

import pytest

from mien.data.sets import ferplus
from mien.data.sources.named import readers
from mien.errors import InputError


def read(named):
    return iter(readers([*named.items()])())


def write_folder(root, raw, name, lines, missing=()):
    """A FER+ folder: (picture, ten counts) a line of label.csv; each picture is written once."""
    folder = root / name
    folder.mkdir(parents=True)
    with (folder / "label.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        for i, (picture, counts) in enumerate(lines):
            writer.writerow([picture, "(0, 0, 48, 48)", *counts])
            if picture not in missing:
                raw.save(folder / picture, raw.picture(i))


def test_votes_beside_fer2013_make_one_row_with_two_annotations(tmp_path, raw):
    rows = raw.fer_rows(per_class=1)
    raw.write_fer(tmp_path / "fer2013.csv", rows)
    lines = [
        (usage, f"fer{i:07d}.png", raw.votes(contempt=7, neutral=3)) for i, (_, _, usage) in enumerate(rows)
    ]
    raw.write_ferplus(tmp_path / "fer2013new.csv", lines)
    for name in ("fer2013", "ferplus"):
        records = list(read({name: tmp_path}))
        assert len(records) == len(rows)
        assert records[0].labels == {"fer2013": "anger", "ferplus": "contempt"}
        assert records[0].votes["ferplus"]["neutral"] == 3
    by_file = list(read({"ferplus": tmp_path / "fer2013new.csv"}))
    assert [r.key for r in by_file] == [r.key for r in records]
    both = list(read({"fer2013": tmp_path, "ferplus": tmp_path}))
    assert len(both) == len(rows)


def test_a_dropped_picture_has_no_ferplus_label_but_keeps_its_fer2013_label(tmp_path, raw):
    rows = raw.fer_rows(per_class=1)
    raw.write_fer(tmp_path / "fer2013.csv", rows)
    lines = [(usage, "", raw.votes(happiness=9)) for _, _, usage in rows]
    raw.write_ferplus(tmp_path / "fer2013new.csv", lines)
    assert next(read({"fer2013": tmp_path})).labels == {"fer2013": "anger", "ferplus": None}


def test_votes_that_do_not_line_up_are_refused(tmp_path, raw):
    rows = raw.fer_rows(per_class=1)
    raw.write_fer(tmp_path / "fer2013.csv", rows)
    lines = [(usage, "x.png", raw.votes(neutral=10)) for _, _, usage in rows]
    raw.write_ferplus(tmp_path / "fer2013new.csv", lines[:-1])
    with pytest.raises(InputError, match=r"fer2013\.csv has 21 rows and fer2013new\.csv beside it 20"):
        list(read({"fer2013": tmp_path}))
    raw.write_ferplus(tmp_path / "fer2013new.csv", [*lines[1:], lines[0]])
    with pytest.raises(
        InputError, match=r"fer2013\.csv, row 6: row 6 of fer2013new\.csv is not the same picture"
    ):
        list(read({"fer2013": tmp_path}))


def test_votes_cannot_be_joined_to_folders(tmp_path, raw):
    raw.save(tmp_path / "train" / "happy" / "Training_1.png", raw.picture(0))
    votes = raw.write_ferplus(tmp_path / "fer2013new.csv", [("Training", "a.png", raw.votes(neutral=10))])
    with pytest.raises(InputError, match="no official row"):
        list(read({"fer2013": tmp_path, "ferplus": votes}))
    (tmp_path / "FER2013Train").mkdir()
    with pytest.raises(InputError, match=r"FER2013Train has no label\.csv"):
        list(read({"fer2013": tmp_path, "ferplus": tmp_path / "FER2013Train"}))


def test_the_authors_folders(tmp_path, raw):
    same, other = raw.votes(neutral=9, fear=1), raw.votes(neutral=5, unknown=3, fear=2)
    lines = [
        ("fer0000001.png", raw.votes(happiness=10)),
        ("fer0000002.png", raw.votes(NF=10)),
        ("fer0000003.png", same),
        ("fer0000003.png", same),
        ("fer0000004.png", same),
        ("fer0000004.png", other),
        ("fer0000005.png", same),
    ]
    write_folder(tmp_path, raw, "FER2013Train", lines, missing={"fer0000005.png"})
    write_folder(tmp_path, raw, "FER2013Valid", [("fer0000006.png", same)])
    write_folder(tmp_path, raw, "FER2013Test", [("fer0000007.png", same)])
    records = list(read({"ferplus": tmp_path}))
    assert [(r.source_file, r.split, r.labels["ferplus"], r.drop_reason) for r in records] == [
        ("FER2013Train/fer0000001.png", "train", "happiness", None),
        ("FER2013Train/fer0000002.png", "train", None, None),
        ("FER2013Train/fer0000003.png", "train", "neutral", None),
        ("FER2013Train/fer0000004.png", "train", None, "name with two sets of votes"),
        ("FER2013Train/fer0000005.png", "train", None, "missing file"),
        ("FER2013Valid/fer0000006.png", "validation", "neutral", None),
        ("FER2013Test/fer0000007.png", "test", "neutral", None),
    ]
    assert {record.set for record in records} == {"fer2013"}


def test_a_box_without_quotes_is_read_as_well(tmp_path, raw):
    folder = tmp_path / "FER2013Train"
    raw.save(folder / "fer1.png", raw.picture(0))
    (folder / "label.csv").write_text("fer1.png,(0, 0, 48, 48),0,10,0,0,0,0,0,0,0,0\n")
    assert next(ferplus.read(tmp_path)).labels == {"ferplus": "happiness"}


def test_broken_votes_are_named(tmp_path, raw):
    folder = tmp_path / "FER2013Train"
    folder.mkdir()
    with pytest.raises(InputError, match=r"FER2013Train has no label\.csv"):
        list(ferplus.read(tmp_path))
    (folder / "label.csv").write_text('fer1.png,"(0, 0, 48, 48)",1,2,3\n')
    with pytest.raises(InputError, match=r"FER2013Train/label\.csv, row 0: needs 10 vote counts"):
        list(ferplus.read(tmp_path))
    with pytest.raises(InputError, match=r"holds neither fer2013new\.csv nor FER2013Train"):
        ferplus.read(tmp_path / "elsewhere")
    path = tmp_path / "fer2013new.csv"
    path.write_text("Usage,Image name,neutral\nTraining,a.png,10\n")
    with pytest.raises(InputError, match=r"fer2013new\.csv has no column happiness, surprise"):
        ferplus.read_votes(path)
    raw.write_ferplus(path, [("Training", "a.png", [*raw.votes()[:9], -1])])
    with pytest.raises(InputError, match=r"fer2013new\.csv, row 0: needs 10 vote counts"):
        ferplus.read_votes(path)
