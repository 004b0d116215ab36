"""FER-2013 and FER+ as published, where they lie beside the checkout."""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import polars as pl
import pytest

from mien.config import SplitConfig
from mien.data import splits
from mien.data.pack import decode, pixel_hash
from mien.data.prepared import load_prepared
from mien.data.sets import ferplus
from mien.data.sources.named import readers

pytestmark = pytest.mark.real_faces


@pytest.fixture(scope="module")
def unpack(real_fer2013):
    """The data's own unpack.py; it reads parquet with pyarrow, for which polars stands in here."""
    parquet = ModuleType("pyarrow.parquet")
    parquet.read_table = lambda path: SimpleNamespace(to_pylist=lambda: pl.read_parquet(path).to_dicts())
    package = ModuleType("pyarrow")
    package.parquet = parquet
    spec = importlib.util.spec_from_file_location("unpack_fer2013", real_fer2013 / "unpack.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", package)
        patch.setitem(sys.modules, "pyarrow.parquet", parquet)
        patch.setattr(sys, "dont_write_bytecode", True)
        spec.loader.exec_module(module)
    return module


def test_the_majority_rule_keeps_exactly_the_published_images(real_prepared):
    _, manifest = real_prepared
    sizes = {split: sum(by_class.values()) for split, by_class in manifest.counts("ferplus").items()}
    assert sizes == {"train": 25_054, "validation": 3_199, "test": 3_152}
    assert manifest.counts() == manifest.counts("ferplus")
    assert manifest.counts()["test"] == {
        "anger": 273,
        "contempt": 16,
        "disgust": 18,
        "fear": 83,
        "happiness": 893,
        "neutral": 1_089,
        "sadness": 384,
        "surprise": 396,
    }


def test_the_published_file_alone_keeps_3153_test_rows(real_fer2013):
    votes = ferplus.read_votes(real_fer2013 / ferplus.VOTES_FILE)
    assert len(votes) == 35_887
    test = [row for row in votes if row.usage == "PrivateTest" and row.named]
    assert len(test) == 3_574
    assert sum(row.label is not None for row in test) == 3_153


def test_one_picture_is_one_row_with_both_annotations(real_prepared):
    _, manifest = real_prepared
    frame = manifest.frame
    assert len(frame) == frame["id"].n_unique() == 35_706
    assert frame["labels.fer2013"].null_count() == 0
    assert frame["votes.ferplus"].null_count() == 0
    assert int(frame["kept"].sum()) == 35_706
    both = frame.filter(pl.col("labels.ferplus").is_not_null())
    assert 0.6 < (both["labels.fer2013"] == both["labels.ferplus"]).mean() < 0.8
    assert manifest.info.target == "ferplus.votes"


def test_pixels_and_soft_labels_are_where_the_manifest_says(real_prepared, real_fer2013):
    out, _ = real_prepared
    prepared = load_prepared(out)
    shard = pl.read_parquet(real_fer2013 / "fer2013-1.parquet").row(123, named=True)
    row = prepared.manifest.frame.row(by_predicate=pl.col("id") == f"fer2013/{shard['row']:05d}", named=True)
    np.testing.assert_array_equal(prepared.pack[row["pack_row"], 0], decode(shard["png"]))
    targets = prepared.manifest.target()
    np.testing.assert_allclose(targets.soft.sum(axis=1), 1, atol=1e-5)
    assert (targets.soft.argmax(axis=1) == targets.labels).all()
    train = targets.only("train")
    assert set(np.bincount(train.labels, train.copies).astype(int)) == {8_738}


def test_the_unpacked_csv_gives_the_same_pictures_and_labels(unpack, real_prepared, tmp_path):
    _, manifest = real_prepared
    unpack.write_csv(tmp_path / "fer2013.csv", 40)
    official = iter(
        manifest.frame.group_by("split", maintain_order=True).head(40).sort("id").iter_rows(named=True)
    )
    count = 0
    for record, row in zip(readers([("fer2013", tmp_path)])(), official, strict=True):
        assert pixel_hash(record.image) == row["sha256"]
        assert record.labels == {"fer2013": row["labels.fer2013"]}
        assert record.split == row["split"]
        count += 1
    assert count == 120


def test_the_unpacked_ferplus_folders_give_the_same_votes(unpack, real_prepared, tmp_path):
    _, manifest = real_prepared
    unpack.write_ferplus(tmp_path, 40)
    names = manifest.info.annotations["ferplus"]
    known = {}
    for row in manifest.frame.iter_rows(named=True):
        known.setdefault(row["sha256"], []).append(
            (row["split"], row["labels.ferplus"], tuple(row["votes.ferplus"]))
        )
    records = list(readers([("ferplus", tmp_path)])())
    assert len(records) == 120
    for record in records:
        votes = tuple(record.votes["ferplus"][name] for name in names)
        assert (record.split, record.labels["ferplus"], votes) in known[pixel_hash(decode(record.image))]


def test_the_unpacked_kaggle_folders_give_the_same_labels_and_splits(unpack, tmp_path):
    unpack.write_folders(tmp_path, 20)
    records = list(readers([("fer2013", tmp_path)])())
    assert len(records) == 60
    for split in ("train", "validation", "test"):
        assert sum(record.split == split for record in records) == 20


def test_the_default_balanced_splits_fit_the_real_faces(real_prepared):
    _, manifest = real_prepared
    targets = manifest.target()
    out = np.asarray(
        splits.balanced(
            targets.labels,
            np.arange(len(targets)),
            targets.classes,
            validation=SplitConfig().validation_per_class,
            test=SplitConfig().test_per_class,
            seed=0,
        )
    )
    for split in ("validation", "test"):
        assert np.bincount(targets.labels[out == split]).tolist() == [50] * 8
