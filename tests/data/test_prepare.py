from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from mien.config import BalanceConfig, PrepareConfig, SplitConfig
from mien.data import pack as packs
from mien.data.manifest import Manifest
from mien.data.prepare import audit, finish, prepare, read_sources
from mien.data.prepared import load_prepared
from mien.data.stages import Stages, claimed
from mien.errors import InputError, ManifestError
from mien.labels import SEVEN

FER = PrepareConfig(template_sample=0, jobs=1)
OWN = PrepareConfig(template_sample=0, jobs=1, labels="own", size=24, channels=3)


def test_a_prepared_folder_holds_manifest_pack_and_twins(tmp_path, small_fer, raw):
    manifest = prepare({"fer2013": small_fer}, tmp_path / "out", FER)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.parquet",
        manifest.info.pack_file,
        "stages",
        manifest.info.twins_file,
    ]
    prepared = load_prepared(tmp_path / "out")
    assert prepared.manifest.hash() == manifest.hash()
    assert prepared.pack.shape == (42, 1, 48, 48)
    np.testing.assert_array_equal(prepared.pack[9, 0], raw.picture(9))
    info = manifest.info
    assert (info.labels, info.target, info.views) == (SEVEN, "fer2013", {"7": SEVEN})
    assert manifest.counts()["test"] == dict.fromkeys(SEVEN, 2)


def test_nothing_of_the_machine_is_in_the_manifest(tmp_path, small_fer):
    manifest = prepare({"fer2013": small_fer}, tmp_path / "out", FER)
    assert str(tmp_path) not in manifest.frame.write_json()
    assert str(tmp_path) not in str(manifest.info)


def test_same_input_and_seed_give_the_same_hash_wherever_it_lies(tmp_path, raw, class_folders):
    config = replace(OWN, splits=SplitConfig("balanced", 2, 2))
    first = class_folders(["yes", "no"], 12, root="one/photos")
    second = class_folders(["yes", "no"], 12, root="two/photos")
    one = prepare({"folder": first}, tmp_path / "a", config)
    two = prepare({"folder": second}, tmp_path / "b", config)
    assert one.hash() == two.hash()
    assert prepare({"folder": first}, tmp_path / "c", replace(config, seed=1)).hash() != one.hash()
    raw.save(first / "yes" / "000.png", raw.picture(77, 60, 70, 3))
    assert prepare({"folder": first}, tmp_path / "a", config).hash() != one.hash()


def test_bad_pictures_are_dropped_counted_and_listed(tmp_path, raw):
    for i in range(8):
        split = "train" if i < 4 else "test"
        raw.save(
            tmp_path / "raw" / split / "happy" / f"{'Training' if i < 4 else 'PrivateTest'}_{i}.png",
            raw.picture(i),
        )
        raw.save(tmp_path / "raw" / "test" / "happy" / f"PublicTest_{i}.png", raw.picture(20 + i))
    folder = tmp_path / "raw" / "train" / "happy"
    raw.save(folder / "Training_b.png", np.zeros((48, 48), np.uint8))
    raw.save(folder / "Training_w.png", raw.picture(0, 50, 48))
    raw.save(folder / "Training_c.png", np.full((48, 48), 200, np.uint8))
    (folder / "Training_x.png").write_bytes((folder / "Training_0.png").read_bytes()[:70])
    (folder / "notes.txt").write_text("not a picture")
    manifest = prepare({"fer2013": tmp_path / "raw"}, tmp_path / "out", FER)
    assert manifest.dropped() == {
        "black": 1,
        "damaged": 1,
        "not a picture": 1,
        "one colour": 1,
        "wrong size": 1,
    }
    assert sum(manifest.counts()["train"].values()) == 4
    row = manifest.frame.row(by_predicate=pl.col("drop_reason") == "wrong size", named=True)
    assert (row["height"], row["width"], row["pack_row"], row["labels.fer2013"]) == (
        50,
        48,
        None,
        "happiness",
    )
    assert load_prepared(tmp_path / "out").pack.shape[0] == 16


def test_a_users_folder_is_resized_split_and_named_by_its_own_classes(tmp_path, class_folders):
    root = class_folders(["Calm", "tense"], 20)
    manifest = prepare({"folder": root}, tmp_path / "out", OWN)
    assert manifest.info.labels == ("calm", "tense")
    assert manifest.info.views == {}
    assert manifest.counts() == {
        "train": {"calm": 14, "tense": 14},
        "validation": {"calm": 3, "tense": 3},
        "test": {"calm": 3, "tense": 3},
    }
    row = manifest.frame.row(0, named=True)
    assert (row["height"], row["width"], row["channels"], row["crop"]) == (60, 70, 3, "came_cropped")
    assert row["crop_transform"] == pytest.approx([0.4, 0, -2, 0, 0.4, 0])
    assert load_prepared(tmp_path / "out").pack.shape == (40, 3, 24, 24)
    assert any("70/15/15" in note for note in manifest.info.notes)


def test_a_label_outside_the_taxonomy_is_an_error_with_its_place(tmp_path, class_folders):
    root = class_folders(["happy", "bored"], 1)
    with pytest.raises(
        InputError, match=r"bored/000\.png: label 'bored' is not one of anger, .* use labels=own"
    ):
        prepare({"folder": root}, tmp_path / "out", FER)
    assert not (tmp_path / "out").exists()


def test_chosen_names_leave_the_other_emotions_out(tmp_path, class_folders):
    root = class_folders(["happy", "sad", "fear", "unknown"], 8)
    config = replace(FER, labels="happy, sadness,unknown")
    manifest = prepare({"folder": root}, tmp_path / "out", config)
    assert manifest.info.labels == ("happiness", "sadness", "unknown")
    assert manifest.dropped() == {"class not wanted": 8}
    manifest = prepare({"folder": root}, tmp_path / "out", FER)
    assert manifest.dropped() == {"not an emotion": 8}
    with pytest.raises(InputError, match="labels is empty"):
        prepare({"folder": root}, tmp_path / "out", replace(FER, labels=" , "))


def test_exact_twins_share_a_group_and_a_drawn_split(tmp_path, class_folders, raw):
    root = class_folders(["happy", "sad"], 10)
    for i in range(4):
        raw.save(root / "happy" / f"copy{i}.png", raw.picture(0, 60, 70, 3))
    manifest = prepare({"folder": root}, tmp_path / "out", FER)
    twins = manifest.frame.filter(pl.col("twin_group").is_not_null())
    assert set(twins["twin_group"]) == {"folder/happy/000.png"}
    assert len(twins) == 5
    assert twins["split"].n_unique() == 1


def test_subjects_of_a_csv_stay_in_one_split(tmp_path, raw):
    lines = ["path,label,subject,age"]
    for i in range(60):
        raw.save(tmp_path / "raw" / f"{i}.png", raw.picture(i))
        lines.append(f"{i}.png,{'happy' if i % 2 else 'sad'},p{i // 4},{i}")
    (tmp_path / "raw" / "faces.csv").write_text("\n".join(lines) + "\n")
    manifest = prepare({"folder": tmp_path / "raw"}, tmp_path / "out", FER)
    assert manifest.frame.group_by("subject").agg(pl.col("split").n_unique())["split"].max() == 1
    assert manifest.frame["subject"][0] == "folder/p0"
    assert manifest.frame["user.age"][7] == "7"


def test_balanced_splits_and_their_surplus(tmp_path, raw):
    lines = ["path,label,subject"]
    for i in range(120):
        raw.save(tmp_path / "raw" / f"{i}.png", raw.picture(i))
        lines.append(f"{i}.png,{'sad' if i % 3 else 'happy'},p{i // 5}")
    (tmp_path / "raw" / "faces.csv").write_text("\n".join(lines) + "\n")
    config = replace(FER, splits=SplitConfig("balanced", 4, 6), labels="own")
    manifest = prepare({"folder": tmp_path / "raw"}, tmp_path / "out", config)
    counts = manifest.counts()
    assert counts["validation"] == {"happiness": 4, "sadness": 4}
    assert counts["test"] == {"happiness": 6, "sadness": 6}
    dropped = manifest.dropped()
    assert set(dropped) <= {"surplus of a balanced split"}
    assert sum(dropped.values()) + sum(sum(c.values()) for c in counts.values()) == 120
    assert load_prepared(tmp_path / "out").pack.shape[0] == 120
    with pytest.raises(
        InputError, match="class happiness has 40 images, too few for validation_per_class=20"
    ):
        prepare(
            {"folder": tmp_path / "raw"},
            tmp_path / "out",
            replace(config, splits=SplitConfig("balanced", 20, 20)),
        )


def test_the_balance_plan_is_in_the_manifest(tmp_path, class_folders):
    root = class_folders(["happy"], 20)
    class_folders(["sad"], 10, seed=500)
    manifest = prepare({"folder": root}, tmp_path / "out", replace(FER, balance=BalanceConfig(9)))
    train = manifest.target().only("train")
    assert np.bincount(train.labels, train.copies).tolist() == [9, 9]
    held_out = manifest.frame.filter(pl.col("split") != "train")
    assert held_out["copies"].null_count() == len(held_out) > 0


def test_a_split_without_images_is_an_error(tmp_path, raw):
    rows = raw.fer_rows(usages=["Training", "PrivateTest"])
    path = raw.write_fer(tmp_path / "fer2013.csv", [row for row in rows if row[2] == "PrivateTest"])
    with pytest.raises(InputError, match="the train split has no image with a label of target fer2013"):
        prepare({"fer2013": path}, tmp_path / "out", FER)


def test_a_set_without_validation_gets_one_out_of_training(tmp_path, raw):
    rows = raw.fer_rows(per_class=10, usages=["Training", "PrivateTest"])
    manifest = prepare({"fer2013": raw.write_fer(tmp_path / "fer2013.csv", rows)}, tmp_path / "out", FER)
    sizes = {split: sum(by_class.values()) for split, by_class in manifest.counts().items()}
    assert sizes["test"] == 70
    assert sizes["validation"] in range(12, 20)
    assert "drawn from its training split" in manifest.info.notes[0]


def test_two_sets_are_joined_in_one_target(tmp_path, small_fer, class_folders):
    root = class_folders(["happy", "contempt"], 6)
    manifest = prepare({"fer2013": small_fer, "folder": root}, tmp_path / "out", FER)
    assert manifest.info.target == "fer2013+folder"
    assert sum(sum(c.values()) for c in manifest.counts().values()) == 54
    assert sum(manifest.counts()["train"].values()) > sum(manifest.counts("fer2013")["train"].values())


def test_nothing_usable_is_an_error(tmp_path, raw):
    raw.save(tmp_path / "photos" / "happy" / "a.png", np.zeros((30, 30), np.uint8))
    with pytest.raises(InputError, match=r"no usable picture was found \(1 black\)"):
        prepare({"folder": tmp_path / "photos"}, tmp_path / "out", FER)
    (tmp_path / "empty" / "happy").mkdir(parents=True)
    with pytest.raises(InputError, match="no picture was found"):
        prepare({"folder": tmp_path / "empty"}, tmp_path / "other", FER)
    assert not (tmp_path / "other").exists()


def test_a_failure_keeps_the_old_folder_and_leaves_nothing(tmp_path, small_fer, raw, monkeypatch):
    old = prepare({"fer2013": small_fer}, tmp_path / "out", FER)
    broken = raw.write_fer(
        tmp_path / "broken" / "fer2013.csv", [*raw.fer_rows(), (3, " ".join(["1"] * 2303), "Training")]
    )
    with pytest.raises(InputError, match=r"fer2013\.csv, row 42: 2,303 pixels"):
        prepare({"fer2013": broken}, tmp_path / "out", FER)
    monkeypatch.setattr(Manifest, "write", lambda self, path: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        prepare({"fer2013": small_fer}, tmp_path / "out", replace(FER, seed=5))
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "out", "raw"]
    assert load_prepared(tmp_path / "out").manifest.hash() == old.hash()
    again = prepare({"fer2013": small_fer}, tmp_path / "out", replace(FER, seed=5))
    assert load_prepared(tmp_path / "out").manifest.hash() == again.hash() != old.hash()


def test_another_folder_is_never_replaced(tmp_path, small_fer, class_folders):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="holds other files than prepared data"):
        prepare({"fer2013": small_fer}, tmp_path / "mine", FER)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        prepare({"fer2013": small_fer}, tmp_path / "file", FER)
    root = class_folders(["happy"], 1)
    with pytest.raises(InputError, match="lies inside"):
        prepare({"folder": root}, root / "out", FER)
    with pytest.raises(InputError, match="size is 4"):
        prepare({"fer2013": small_fer}, tmp_path / "out", replace(FER, size=4))


def test_a_target_that_is_not_there_is_an_error(tmp_path, small_fer):
    with pytest.raises(InputError, match=r"target 'ferplus\.votes' is not in this data; it has fer2013"):
        prepare({"fer2013": small_fer}, tmp_path / "out", replace(FER, target="ferplus.votes"))


def test_loading_what_is_not_prepared_is_refused(tmp_path, small_fer):
    with pytest.raises(InputError, match="is not a folder; make one with `mien data prepare"):
        load_prepared(tmp_path / "none")
    with pytest.raises(InputError, match=r"manifest\.parquet does not exist"):
        load_prepared(small_fer)
    prepare({"fer2013": small_fer}, tmp_path / "out", FER)
    packs.write_pack(
        next((tmp_path / "out").glob("pack-*.npy")), np.zeros((3, 1, 48, 48), np.uint8), size=48, channels=1
    )
    with pytest.raises(
        InputError, match=r"the pack is \(3, 1, 48, 48\) and the manifest's is \(42, 1, 48, 48\)"
    ):
        load_prepared(tmp_path / "out")
    (tmp_path / "out" / "manifest.parquet").write_bytes(b"PAR1")
    with pytest.raises(ManifestError):
        load_prepared(tmp_path / "out")


def test_the_template_is_measured_on_a_sample(tmp_path, small_fer, monkeypatch):
    from mien.card import CropTemplate
    from mien.data import crop_templates

    shapes = []

    def measure(faces):
        shapes.append(faces.shape)
        return CropTemplate(left_eye=(0.3, 0.4), right_eye=(0.7, 0.4), detected=0.5, spread=0.1, count=10)

    monkeypatch.setattr(crop_templates, "measure_template", measure)
    manifest = prepare({"fer2013": small_fer}, tmp_path / "out", replace(FER, template_sample=10))
    assert shapes == [(10, 48, 48, 1)]
    assert load_prepared(tmp_path / "out").manifest.info.template["detected"] == 0.5
    assert manifest.info.templates["fer2013"] == manifest.info.template
    assert prepare({"fer2013": small_fer}, tmp_path / "b", FER).hash() == manifest.hash()


def test_a_folder_that_another_process_works_on_is_refused(tmp_path, small_fer):
    out = tmp_path / "out"
    made = prepare({"fer2013": small_fer}, out, FER)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with claimed(out):
        for work in (
            lambda: prepare({"fer2013": small_fer}, out, replace(FER, seed=5)),
            lambda: read_sources({"fer2013": small_fer}, out, FER),
            lambda: finish(out, FER),
            lambda: audit(out, FER),
        ):
            with pytest.raises(InputError, match=r"out is being prepared by another process; wait until"):
                work()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert prepare({"fer2013": small_fer}, out, FER).hash() == made.hash()


def test_of_two_that_begin_a_folder_the_second_is_refused(tmp_path, small_fer):
    out = tmp_path / "out"
    with claimed(out) as claim:
        assert not out.exists()
        claim()
        with pytest.raises(InputError, match="by another process"), claimed(out):
            pass
    with claimed(out):
        pass


def test_the_state_of_a_folder_is_read_once(tmp_path, small_fer, monkeypatch):
    prepare({"fer2013": small_fer}, tmp_path / "out", FER)
    reads = []
    find = Stages.find
    monkeypatch.setattr(Stages, "find", lambda out: reads.append(out) or find(out))
    prepare({"fer2013": small_fer}, tmp_path / "out", replace(FER, seed=5))
    assert reads == [tmp_path / "out"]
