import json

import pytest

from mien.data.sources import folder
from mien.data.sources.folders import files_in
from mien.data.sources.named import readers, sniff
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
    (root / "__MACOSX" / "train").mkdir(parents=True)
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


def test_everything_in_a_class_folder_is_yielded_but_litter(class_folders):
    root = class_folders(["happy", "sad"], 1)
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._000.png", "__MACOSX/x.png", ".cache/x.png"):
        (root / "happy" / name).parent.mkdir(exist_ok=True)
        (root / "happy" / name).write_bytes(b"\0")
    (root / "__MACOSX" / "happy").mkdir(parents=True)
    (root / "happy" / "empty.jpg").write_bytes(b"")
    (root / "happy" / "README.txt").write_text("x")
    (root / "happy" / "list.csv").write_text("a,b\n")
    (root / "happy" / "broken.jpg").symlink_to(root / "nowhere.jpg")
    (root / "happy" / "linked.png").symlink_to(root / "sad" / "000.png")
    found = {r.source_file: r.drop_reason for r in folder.read(root)}
    assert found == {
        "happy/000.png": None,
        "happy/README.txt": None,
        "happy/broken.jpg": "missing file",
        "happy/empty.jpg": None,
        "happy/linked.png": None,
        "happy/list.csv": None,
        "sad/000.png": None,
    }


def test_files_come_in_name_order(tmp_path, raw):
    for name in ("b/2.png", "b/10.png", "b/1.png", "a/9.png", "3.png"):
        raw.save(tmp_path / name, raw.picture(0))
    names = [file.relative_to(tmp_path).as_posix() for file in files_in(tmp_path)]
    assert names == ["3.png", "a/9.png", "b/1.png", "b/10.png", "b/2.png"]
    with pytest.raises(OSError, match="nowhere"):
        list(files_in(tmp_path / "nowhere"))


def test_a_set_of_a_name_of_its_own(class_folders, tmp_path):
    root = class_folders(["happy", "sad"], 1)
    (tmp_path / "faces.csv").write_text("path,label\nphotos/happy/000.png,happy\n")
    for path in (root, tmp_path):
        for record in folder.read(path, "mine"):
            assert (record.set, [*record.labels], record.cropped) == ("mine", ["mine"], True)


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
    assert (one.key, one.source_file, one.source_row, one.drop_reason) == ("000000", "a/1.png", 0, None)
    assert (two.source_file, two.subject, two.split) == ("outside.png", None, "validation")
    assert three.drop_reason == "missing file"
    assert two.user == {}


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("path", ["path", "File", "image", "filename", "FILE_NAME"])
@pytest.mark.parametrize("label", ["label", "Labels", "EMOTION"])
def test_a_csv_of_other_names_and_separators(tmp_path, raw, mark, path, label):
    raw.save(tmp_path / "1.png", raw.picture(1))
    rows = [["", path, "note", label, "Valence", "arousal"], ["0", "1.png", "a, b", "Happy", "-0.5", ""]]
    text = "\r\n".join(mark.join(f'"{cell}"' if "," in cell else cell for cell in row) for row in rows)
    (tmp_path / "faces.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (record,) = folder.read(tmp_path)
    assert (record.labels, record.drop_reason) == ({"folder": "happiness"}, None)
    assert (record.valence, record.arousal, record.user) == (-0.5, None, {"note": "a, b"})


def test_of_several_names_for_a_column_the_first_known_counts(tmp_path):
    (tmp_path / "faces.csv").write_text("emotion,image,label,path\nsad,b.png,happy,a.png\n")
    (record,) = folder.read(tmp_path)
    assert (record.source_file, record.labels) == ("a.png", {"folder": "happiness"})
    assert record.user == {"emotion": "sad", "image": "b.png"}


def write_metadata(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    else:
        lines = [
            ",".join(rows[0]),
            *(",".join("" if v is None else str(v) for v in r.values()) for r in rows),
        ]
        path.write_text("\n".join(lines))


ROWS = (
    {"file_name": "1.png", "label": "happy", "age": 30, "subject": None, "arousal": 0.25},
    {"file_name": "sub/2.png", "label": "sad", "age": None, "subject": "p2", "arousal": None},
)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_hugging_face_metadata_in_each_split(tmp_path, raw, name, class_folders):
    write_metadata(tmp_path / "photos" / "train" / name, ROWS)
    write_metadata(tmp_path / "photos" / "validation" / name, ROWS[1:])
    raw.save(tmp_path / "photos" / "train" / "1.png", raw.picture(1))
    root = class_folders(["test/happy"], 1)
    one, two, three, four = folder.read(root)
    assert (one.key, one.source_file, one.split) == ("train/000000", "train/1.png", "train")
    assert (one.labels, one.user, one.subject, one.arousal) == (
        {"folder": "happiness"},
        {"age": "30"},
        None,
        0.25,
    )
    assert (two.source_file, two.subject, two.user) == ("train/sub/2.png", "p2", {})
    assert (three.key, three.split, three.where) == (
        "validation/000000",
        "validation",
        "validation/sub/2.png, row 0",
    )
    assert (four.source_file, four.split) == ("test/happy/000.png", "test")
    raw.save(root / "train" / "happy" / "1.png", raw.picture(1))
    assert [record.source_file for record in folder.read(root)] == [
        record.source_file for record in (one, two, three, four)
    ]
    assert [r.drop_reason for r in (one, two, three, four)] == [None, "missing file", "missing file", None]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_hugging_face_metadata_at_the_root(tmp_path, name):
    names = ("train/a.png", "VAL/b.png", "c.png", "mine/d.png")
    write_metadata(tmp_path / name, [{"file_name": f, "label": 3} for f in names])
    records = list(folder.read(tmp_path))
    assert [r.split for r in records] == ["train", "validation", None, None]
    assert {r.labels["folder"] for r in records} == {"3"}
    # In a csv of a user's own making a folder called train says nothing.
    if name == "metadata.csv":
        (tmp_path / name).rename(tmp_path / "faces.csv")
        assert {r.split for r in folder.read(tmp_path)} == {None}


def test_metadata_without_labels_leaves_the_class_folders(class_folders):
    root = class_folders(["train/happy", "train/sad"], 1)
    write_metadata(root / "train" / "metadata.csv", [{"file_name": "happy/000.png", "text": "x"}])
    write_metadata(root / "metadata.jsonl", [{"file_name": "train/happy/000.png", "text": "x"}])
    assert [r.labels["folder"] for r in folder.read(root)] == ["happiness", "sadness"]


def test_two_tables_are_not_chosen_from(tmp_path):
    for name in ("a.csv", "metadata.jsonl"):
        write_metadata((tmp_path / name), ROWS)
    with pytest.raises(InputError, match=r"holds several tables of pictures \(a\.csv, metadata\.jsonl\)"):
        list(folder.read(tmp_path))
    assert (
        len(list(folder.read(tmp_path / "a.csv"))) == len(list(folder.read(tmp_path / "metadata.jsonl"))) == 2
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"file_name": "a.png"}\n', r"metadata\.jsonl, row 0: path or label is empty"),
        ('{"file_name": "a.png", "label": "x"}\n\nnot json\n', r"metadata\.jsonl, row 1 is no JSON object"),
        ("[1]\n", r"metadata\.jsonl, row 0 is no JSON object"),
        ('{"file_name": "a.png", "label": "x", "valence": true}\n', r"row 0: valence 'true' is not a number"),
        (b"\xff\n", r"metadata\.jsonl cannot be read as UTF-8"),
    ],
)
def test_broken_metadata_is_named(tmp_path, text, message):
    path = tmp_path / "metadata.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        list(folder.read(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,name\na.png,happy\n", r"faces\.csv has no column label \(found: path, name\)"),
        ("path,label\na.png\n", r"faces\.csv, row 0: 1 cells instead of 2"),
        ("path,label\na.png,\n", r"faces\.csv, row 0: path or label is empty"),
        ("path,label,split\na.png,happy,holdout\n", r"faces\.csv, row 0: split 'holdout' is not one of"),
        ("path,label,label\na.png,happy,sad\n", r"has the column 'label' twice"),
        ("path,label,Label\na.png,happy,sad\n", r"has the column 'label' twice"),
        ("path;label\na.png;happy;x\n", r"faces\.csv, row 0: 3 cells instead of 2"),
        ("path,label,valence\na.png,happy,1.5\n", r"row 0: valence '1\.5' is not a number in \[-1, 1\]"),
        ("path,label,arousal\na.png,happy,nan\n", r"row 0: arousal 'nan' is not a number in \[-1, 1\]"),
        ("path,label,arousal\na.png,happy,\nb.png,sad,high\n", r"row 1: arousal 'high' is not a number"),
        ("", r"faces\.csv has no column path \(found: an empty file\)"),
        ("path,label\na.png,h\udcff\n", r"faces\.csv cannot be read as a UTF-8 csv"),
    ],
)
def test_a_broken_csv_is_named(tmp_path, text, message):
    path = tmp_path / "faces.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message):
        list(folder.read(path))


def test_finding_says_which_layout(tmp_path, class_folders):
    assert folder.find(tmp_path) is None
    assert folder.find(tmp_path / "none") is None
    root = class_folders(["happy"], 1)
    assert folder.find(root) == ("folders", root)
    table = tmp_path / "photos" / "faces.tsv"
    table.write_text("file\temotion\n")
    assert folder.find(root) == folder.find(table) == ("table", table)
    table.write_text("file\tage\n")
    assert folder.find(root) == ("folders", root)
    assert folder.find(table) is None


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
    with pytest.raises(
        InputError,
        match=r"is no known data set: looked for the layouts of affectnet, .*rafdb,",
    ):
        sniff(tmp_path / "empty")
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(InputError, match="is no known data set"):
        sniff(tmp_path / "note.txt")


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(InputError, match=r"fer2013: .* does not exist"):
        readers([("fer2013", tmp_path / "none")])
