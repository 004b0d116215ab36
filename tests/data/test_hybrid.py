"""Several public sets become one data set with one command."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mien.config import AuditConfig, BalanceConfig, PrepareConfig, SplitConfig
from mien.data.chunks import read_chunk
from mien.data.manifest import Manifest
from mien.data.prepare import finish, prepare, read_sources
from mien.data.prepared import load_prepared
from mien.data.summary import summarise
from mien.data.synthetic import draw_faces
from mien.errors import InputError
from mien.labels import EMOTIONS, FER2013_CODES

from .layouts_affectnet import write_affectnet_2021
from .layouts_ckplus import write_ck48, write_ckplus_official

SETS = ("fer2013", "ferplus", "ckplus", "affectnet")


@pytest.fixture(scope="module")
def raw_sets(tmp_path_factory, raw):
    """FER-2013 and FER+ (csv), CK+48 and AffectNet of 2021, of drawn faces, with planted twins."""
    root = tmp_path_factory.mktemp("raw")
    faces = draw_faces(220, size=48, seed=3, frontal=True)
    codes = {name: code for code, name in FER2013_CODES.items()}
    usages = np.resize(["Training"] * 6 + ["PublicTest", "PrivateTest"], 220)
    rows, votes = [], []
    for i, image in enumerate(faces.images[..., 0]):
        name = EMOTIONS[int(faces.labels[i])]
        # Every twentieth picture is the one before it, which lies in another split as often as not.
        pixels = faces.images[i - 7, ..., 0] if i % 20 == 19 else image
        rows.append((codes.get(name, 6), " ".join(map(str, pixels.ravel())), str(usages[i])))
        votes.append(
            (
                str(usages[i]),
                f"fer{i:07d}.png",
                raw.votes(**{name: 8, "neutral" if name != "neutral" else "sadness": 2}),
            )
        )
    raw.write_fer(root / "fer" / "fer2013.csv", rows)
    (root / "plus").mkdir()
    raw.write_ferplus(root / "plus" / "fer2013new.csv", votes)
    write_ck48(root / "CK+48", subjects=["S010", "S011", "S014", "S022", "S026", "S028"])
    write_affectnet_2021(root / "AffectNet", per_class=6, size=96)
    return [
        ("fer2013", root / "fer"),
        ("ferplus", root / "plus"),
        ("ckplus", root / "CK+48"),
        ("affectnet", root / "AffectNet"),
    ]


CONFIG = PrepareConfig(template_sample=0, jobs=1, splits=SplitConfig("balanced", 2, 3))


@pytest.fixture(scope="module")
def hybrid(raw_sets, tmp_path_factory):
    out = tmp_path_factory.mktemp("hybrid") / "out"
    return out, prepare(raw_sets, out, CONFIG)


def test_four_sets_become_one(hybrid):
    _, manifest = hybrid
    assert set(manifest.frame["set"]) == {"fer2013", "ckplus", "affectnet"}
    assert manifest.info.labels == EMOTIONS
    assert manifest.info.target == "ferplus.votes+ckplus+affectnet"
    both = manifest.frame.filter(pl.col("set") == "fer2013")
    assert both["labels.fer2013"].null_count() == both["votes.ferplus"].null_count() == 0
    assert set(manifest.target().sets) == {"fer2013", "ckplus", "affectnet"}


def _check(manifest, out, config):
    frame = manifest.frame.filter("kept")
    for group in ("subject", "twin_group"):
        shared = frame.drop_nulls(group).group_by(group).agg(pl.col("split").n_unique().alias("n"))
        if config.splits.policy != "official":
            assert shared["n"].max() in (None, 1)
    counts = manifest.counts()
    if config.splits.policy == "balanced":
        assert set(counts["validation"].values()) == {config.splits.validation_per_class}
        assert set(counts["test"].values()) == {config.splits.test_per_class}
    train = manifest.target().only("train")
    images = np.bincount(train.labels, train.copies, minlength=len(EMOTIONS))
    assert set(images) <= {0, config.balance.target or max(train.class_counts().values())}
    assert load_prepared(out).pack.shape[0] == manifest.info.pack_count
    assert frame["pack_row"].n_unique() == len(frame)


def test_every_kept_row_is_traced_to_its_source(hybrid, raw_sets):
    _, manifest = hybrid
    roots = dict(raw_sets)
    lines = (roots["fer2013"] / "fer2013.csv").read_text().splitlines()
    pack = load_prepared(hybrid[0]).pack
    for row in manifest.frame.filter("kept").iter_rows(named=True):
        file = roots[row["set"]] / row["source_file"]
        assert file.is_file(), row["source_file"]
        if row["set"] == "fer2013":
            face = pack[row["pack_row"], 0]
            assert lines[row["source_row"] + 1].split(",")[1] == " ".join(map(str, face.ravel()))


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    policy=st.sampled_from(["official", "clean", "balanced"]),
    validation=st.integers(1, 3),
    test=st.integers(1, 3),
    target=st.one_of(st.none(), st.integers(1, 60)),
    seed=st.integers(0, 5),
)
def test_nobody_is_in_two_splits_and_the_counts_are_as_asked(hybrid, policy, validation, test, target, seed):
    out, _ = hybrid
    config = replace(
        CONFIG, splits=SplitConfig(policy, validation, test), balance=BalanceConfig(target), seed=seed
    )
    manifest = finish(out, config)
    _check(manifest, out, config)
    assert finish(out, config).hash() == manifest.hash()


def test_the_same_input_and_seed_give_the_same_hash(hybrid, raw_sets, tmp_path):
    out, _ = hybrid
    known = prepare(raw_sets, out, CONFIG).hash()
    assert prepare(raw_sets, tmp_path / "again", replace(CONFIG, jobs=2)).hash() == known
    assert prepare(raw_sets, out, replace(CONFIG, seed=1)).hash() != known
    assert prepare(raw_sets, out, CONFIG).hash() == known


def test_clean_leaves_the_test_split_alone_and_takes_its_twins_away(hybrid, raw_sets):
    out, _ = hybrid
    official = finish(out, replace(CONFIG, splits=SplitConfig("official")))
    clean = finish(out, replace(CONFIG, splits=SplitConfig("clean")))
    tests = [m.frame.filter(pl.col("kept") & (pl.col("split") == "test")) for m in (official, clean)]
    assert tests[0].drop("copies").equals(tests[1].drop("copies"))
    pairs = pl.read_parquet(out / clean.info.twins_file)
    leaks = pairs.filter(pl.col("split_a") != pl.col("split_b"))
    assert len(leaks) >= 3
    dropped = set(clean.frame.filter(pl.col("drop_reason").str.starts_with("twin of"))["id"])
    order = {"train": 0, "validation": 1, "test": 2}
    for row in leaks.iter_rows(named=True):
        earlier = min("a", "b", key=lambda side: order[row[f"split_{side}"]])
        assert row[f"id_{earlier}"] in dropped
    assert len(official.frame.filter("kept")) - len(clean.frame.filter("kept")) == len(dropped)


def test_reading_again_reads_nothing(hybrid, raw_sets, monkeypatch):
    out, _ = hybrid

    def refuse(task):
        raise AssertionError(f"{task.path} was read again")

    monkeypatch.setattr("mien.data.reading.read_chunk", refuse)
    monkeypatch.setattr("mien.data.prepare.find_twins", refuse)
    assert read_sources(raw_sets, out, CONFIG).reading.rows()["kept"].sum() > 200
    prepare(raw_sets, out, CONFIG)


def _count_reading(monkeypatch):
    """What every chunk that is read from here on holds: how many records, and whether they came cropped."""
    read = []

    def reading(task):
        read.append((len(task.records), task.settings.cropped))
        return read_chunk(task)

    monkeypatch.setattr("mien.data.reading.read_chunk", reading)
    return read


def test_one_new_picture_reads_its_chunk_alone(tmp_path, raw, monkeypatch):
    config = replace(CONFIG, splits=SplitConfig("official"), audit=AuditConfig(near=False))
    for i in range(1200):
        raw.save(tmp_path / "mine" / ("happy" if i % 2 else "sad") / f"{i:04d}.png", raw.picture(i, 24, 24))
    read = _count_reading(monkeypatch)
    before = prepare([("mine", tmp_path / "mine")], tmp_path / "out", config)
    assert sum(count for count, _ in read) == 1200
    assert len(read) > 2
    read.clear()
    raw.save(tmp_path / "mine" / "happy" / "0000a.png", raw.picture(9999, 24, 24))
    monkeypatch.chdir(tmp_path)
    after = prepare([("mine", Path("mine"))], tmp_path / "out", config)
    assert len(read) == 1
    assert len(after) == len(before) + 1
    assert after.hash() == prepare([("mine", Path("mine"))], tmp_path / "fresh", config).hash()


def test_one_new_crop_does_not_detect_the_photos_again(tmp_path, raw, monkeypatch):
    subjects = ("S005", "S010", "S011")
    write_ckplus_official(tmp_path / "CK+", subjects=subjects, dirt=False, picture=(98, 128), face=64)
    write_ck48(tmp_path / "CK+48", subjects=("S130", "S132"))
    config = replace(CONFIG, template_sample=20, splits=SplitConfig("official"))
    sources = [("ckplus", tmp_path / "CK+"), ("ckplus", tmp_path / "CK+48")]
    read = _count_reading(monkeypatch)
    manifest = prepare(sources, tmp_path / "out", config)
    assert {cropped for _, cropped in read} == {True, False}
    assert manifest.frame.filter(pl.col("crop") == "aligned")["faces_found"].min() == 1
    read.clear()
    raw.save(tmp_path / "CK+48" / "happy" / "S133_003_00000009.png", raw.picture(1))
    prepare(sources, tmp_path / "out", config)
    assert {cropped for _, cropped in read} == {True}


def test_ckplus_in_two_layouts_is_joined_by_frame(tmp_path):
    subjects = ("S005", "S010", "S011")
    write_ckplus_official(tmp_path / "CK+", subjects=subjects, dirt=False, picture=(98, 128), face=64)
    write_ck48(tmp_path / "CK+48", subjects=subjects)
    sources = [("ckplus", tmp_path / "CK+"), ("ckplus", tmp_path / "CK+48")]
    frame = prepare(sources, tmp_path / "out", replace(CONFIG, splits=SplitConfig("official"))).frame
    kept = frame.filter("kept")
    joined = frame.filter(pl.col("drop_reason") == "joined to another row")
    assert len(joined) == 63
    assert set(joined["crop"].drop_nulls()) <= {"came_cropped"}
    assert kept["id"].str.contains("#").any() is False
    assert set(kept["set"]) == {"ckplus"}
    assert kept.filter(pl.col("joined_from").is_not_null())["action_units"].null_count() < 63


def test_ferplus_folders_are_joined_to_recompressed_pictures_by_content(tmp_path, raw):
    faces = draw_faces(60, size=48, seed=8)
    usages = np.resize(["Training", "Training", "PublicTest", "PrivateTest"], 60)
    folders = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
    lines = {folder: [] for folder in folders.values()}
    for i in range(60):
        # One picture stands in all three splits.
        pixels = faces.images[0 if i in (2, 3) else i, ..., 0]
        name = "happy" if i % 2 else "sad"
        part = "train" if usages[i] == "Training" else "test"
        path = tmp_path / "kaggle" / part / name / f"{usages[i]}_{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)
        folder = folders[str(usages[i])]
        raw.save(tmp_path / "plus" / folder / f"fer{i:07d}.png", pixels)
        counts = ",".join(map(str, raw.votes(happiness=9 if i % 2 else 1, sadness=1 if i % 2 else 9)))
        lines[folder].append(f'fer{i:07d}.png,"(0, 0, 48, 48)",{counts}')
    for folder, rows in lines.items():
        (tmp_path / "plus" / folder / "label.csv").write_text("\n".join(rows) + "\n")
    sources = [("fer2013", tmp_path / "kaggle"), ("ferplus", tmp_path / "plus")]
    manifest = prepare(sources, tmp_path / "out", replace(CONFIG, splits=SplitConfig("official")))
    kept = manifest.frame.filter("kept")
    assert len(kept) == 60
    assert (kept["labels.fer2013"] == kept["labels.ferplus"]).all()
    assert kept["votes.ferplus"].null_count() == 0
    summary = summarise(manifest, None, None)
    assert summary.read == 60


def test_the_users_own_columns_outlive_a_later_stage(hybrid):
    out, manifest = hybrid
    frame = manifest.frame.with_columns(pl.lit("yes").alias("user.seen"))
    Manifest(frame, manifest.info).write(out / "manifest.parquet")
    again = finish(out, replace(CONFIG, balance=BalanceConfig(7)))
    assert set(again.frame["user.seen"]) == {"yes"}


def test_only_files_of_its_own_are_written_over_or_removed(tmp_path, raw, class_folders):
    root = class_folders(["happy", "sad"], 12)
    mine = tmp_path / "thesis"
    (mine / "stages").mkdir(parents=True)
    (mine / "stages" / "act1.txt").write_text("x")
    with pytest.raises(InputError, match="holds other files"):
        prepare({"mine": root}, mine, CONFIG)
    config = replace(CONFIG, splits=SplitConfig("official"))
    prepare({"mine": root}, tmp_path / "out", config)
    for name in ("notes.txt", "pack-2019.npy", "stages/notes.txt", ".x.tmp"):
        (tmp_path / "out" / name).write_text("mine")
    prepare({"mine": root}, tmp_path / "out", replace(config, size=32))
    assert all((tmp_path / "out" / name).is_file() for name in ("notes.txt", "pack-2019.npy", ".x.tmp"))


def test_own_classes_are_none_of_what_a_public_set_calls_no_emotion(tmp_path):
    write_affectnet_2021(tmp_path / "AffectNet", per_class=3, size=48)
    config = replace(CONFIG, labels="own", splits=SplitConfig("official"))
    manifest = prepare([("affectnet", tmp_path / "AffectNet")], tmp_path / "out", config)
    assert set(manifest.info.labels) == set(EMOTIONS)


def test_the_sample_of_a_set_of_ones_own_is_even(raw, tmp_path, class_folders):
    taken = []
    root = class_folders([f"c{i:02d}" for i in range(20)], 10)
    config = replace(CONFIG, labels="own", splits=SplitConfig("official"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mien.data.reading.looks_cropped", lambda pictures: taken.extend(pictures) or True)
        other = class_folders(["happy"], 300, root="others", seed=50_000)
        prepare([("first", other), ("mine", root)], tmp_path / "out", config)
    # 24 of each set; of the second set they come from many of its 20 classes.
    seeds = {raw.picture(k * 1000 + i, 60, 70, 3).tobytes(): k for k in range(20) for i in range(10)}
    assert len({seeds[picture.tobytes()] for picture in taken[24:]}) > 10
