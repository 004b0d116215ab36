"""Several public sets become one data set with one command."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.config import BalanceConfig, PrepareConfig, SplitConfig
from mien.data.prepare import finish, prepare, read_sources
from mien.data.prepared import TWINS_FILE, load_prepared
from mien.data.synthetic import draw_faces
from mien.labels import EMOTIONS, FER2013_CODES

from .layouts_affectnet import write_affectnet_2021
from .layouts_ckplus import write_ck48

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
    for row in manifest.frame.filter("kept").iter_rows(named=True):
        file = roots[row["set"]] / row["source_file"]
        assert file.is_file(), row["source_file"]
        if row["set"] == "fer2013":
            line = file.read_text().splitlines()[row["source_row"] + 1]
            face = load_prepared(hybrid[0]).pack[row["pack_row"], 0]
            assert line.split(",")[1] == " ".join(map(str, face.ravel()))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    assert prepare(raw_sets, tmp_path / "again", CONFIG).hash() == prepare(raw_sets, out, CONFIG).hash()
    assert prepare(raw_sets, out, replace(CONFIG, seed=1)).hash() != prepare(raw_sets, out, CONFIG).hash()
    assert (
        prepare(raw_sets, tmp_path / "two", replace(CONFIG, jobs=2)).hash()
        == prepare(raw_sets, out, CONFIG).hash()
    )


def test_clean_leaves_the_test_split_alone_and_takes_its_twins_away(hybrid, raw_sets):
    out, _ = hybrid
    official = finish(out, replace(CONFIG, splits=SplitConfig("official")))
    clean = finish(out, replace(CONFIG, splits=SplitConfig("clean")))
    tests = [m.frame.filter(pl.col("kept") & (pl.col("split") == "test")) for m in (official, clean)]
    assert tests[0].drop("copies").equals(tests[1].drop("copies"))
    pairs = pl.read_parquet(out / TWINS_FILE)
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
    assert read_sources(raw_sets, out, CONFIG).rows()["kept"].sum() > 200
    prepare(raw_sets, out, CONFIG)


def test_one_new_picture_reads_its_chunk_alone(raw_sets, tmp_path, raw, monkeypatch):
    mine = tmp_path / "mine"
    for i in range(30):
        raw.save(mine / ("happy" if i % 2 else "sad") / f"{i:02d}.png", raw.picture(i))
    sources = [*raw_sets, ("mine", mine)]
    before = prepare(sources, tmp_path / "out", CONFIG)
    raw.save(mine / "happy" / "99.png", raw.picture(99))
    read = []
    real = __import__("mien.data.reading", fromlist=["read_chunk"]).read_chunk
    monkeypatch.setattr(
        "mien.data.reading.read_chunk", lambda task: read.append(len(task.records)) or real(task)
    )
    after = prepare(sources, tmp_path / "out", CONFIG)
    assert read == [31]
    assert len(after) == len(before) + 1
    assert after.hash() == prepare(sources, tmp_path / "fresh", CONFIG).hash()
