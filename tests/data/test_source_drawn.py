import polars as pl
import pytest

from mien.config import DrawnConfig, PrepareConfig, SplitConfig
from mien.data.prepare import prepare
from mien.data.prepared import load_prepared
from mien.data.sources import drawn
from mien.errors import InputError
from mien.labels import EMOTIONS


def test_a_record_holds_all_that_is_known():
    config = PrepareConfig(drawn=DrawnConfig(16), size=32, channels=3)
    records = list(drawn.read(config))
    assert len(records) == 16
    record = records[0]
    assert record.image.shape == (32, 32, 3)
    assert record.labels["drawn"] in EMOTIONS
    assert record.labels["drawn"] == record.labels["drawn_clean"]
    assert len(record.landmarks) == 10
    assert len(record.action_units) > 5
    assert -1 <= record.valence <= 1
    assert record.subject is not None


def test_noise_is_in_the_training_split_alone():
    labels, splits = ["fear"] * 100, ["train"] * 50 + ["validation"] * 25 + ["test"] * 25
    noisy = drawn.noisy_labels(labels, splits, noise=0.4, seed=1, classes=EMOTIONS)
    assert sum(name != "fear" for name in noisy[:50]) == 20
    assert noisy[50:] == labels[50:]
    assert noisy == drawn.noisy_labels(labels, splits, noise=0.4, seed=1, classes=EMOTIONS)
    assert labels == drawn.noisy_labels(labels, splits, noise=0, seed=1, classes=EMOTIONS)


def test_prepared_drawn_faces_are_subject_disjoint_and_repeatable(tmp_path):
    config = PrepareConfig(drawn=DrawnConfig(160, 0.25), size=24, template_sample=0, jobs=1)
    manifest = prepare("drawn", tmp_path / "a", config)
    assert prepare("drawn", tmp_path / "b", config).hash() == manifest.hash()
    frame = manifest.frame
    assert frame.group_by("subject").agg(pl.col("split").n_unique())["split"].max() == 1
    differ = frame.filter(frame["labels.drawn"] != frame["labels.drawn_clean"])
    assert set(differ["split"]) == {"train"}
    assert len(differ) == round(0.25 * frame["split"].eq("train").sum())
    assert manifest.info.target == "drawn"
    assert manifest.target("drawn_clean").classes == EMOTIONS
    pack = load_prepared(tmp_path / "a").pack
    assert pack.shape == (160, 1, 24, 24)
    assert (pack == load_prepared(tmp_path / "b").pack).all()


def test_balanced_splits_are_balanced_in_the_clean_labels(tmp_path):
    config = PrepareConfig(
        jobs=1,
        drawn=DrawnConfig(400, 0.2),
        size=24,
        template_sample=0,
        splits=SplitConfig("balanced", 5, 5),
    )
    counts = prepare("drawn", tmp_path / "a", config).counts()
    assert set(counts["validation"].values()) == {5}
    assert set(counts["test"].values()) == {5}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"drawn": DrawnConfig(3)}, "drawn.count is 3"),
        ({"size": 16}, "size is 16"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        prepare("drawn", tmp_path / "a", PrepareConfig(**change))
    assert list(tmp_path.iterdir()) == []


def test_an_impossible_noise_is_refused():
    with pytest.raises(InputError, match=r"label_noise is 1\.5"):
        DrawnConfig(label_noise=1.5)
