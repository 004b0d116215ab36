"""Doubtful labels: confident learning on known noise, the table, the columns, the files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from tests.study.noisy_labels import answers, drawn_emotion, planted, voted_folder

from mien.config import DrawnConfig, PrepareConfig, RunConfig
from mien.data.manifest import Manifest
from mien.data.prepare import prepare
from mien.data.prepared import MANIFEST_FILE, load_prepared
from mien.data.targets import Targets
from mien.errors import InputError
from mien.progress import Reporter
from mien.report.label_noise_figures import FoldFigures
from mien.study import folds as folds_module
from mien.study import label_noise as module
from mien.study.folds import OutOfFold
from mien.study.label_noise import COLUMNS, confident_learning, label_noise

QUIET = Reporter(quiet=True)
NOISE = 0.2


@pytest.fixture
def noisy_folder(tmp_path: Path) -> Path:
    """240 drawn faces, a fifth of the training labels wrong."""
    out = tmp_path / "noisy"
    prepare("drawn", out, PrepareConfig(drawn=DrawnConfig(240, NOISE), template_sample=0, jobs=1))
    return out


Known = Callable[[Targets], npt.NDArray[np.bool_]]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put made-up predictions in the place of trained folds."""

    def use(
        truth_of: Callable[[Manifest, Targets], npt.NDArray[np.int64]], known: Known | None = None
    ) -> None:
        def predictions(
            _config: RunConfig,
            _data: Path,
            manifest: Manifest,
            targets: Targets,
            _out: Path,
            *,
            folds: int,
            reporter: Reporter,
        ) -> OutOfFold:
            probabilities = answers(truth_of(manifest, targets), len(targets.classes))
            fold = np.arange(len(targets)) % folds
            judged = np.ones(len(targets), dtype=bool) if known is None else known(targets)
            figures = (
                FoldFigures(images=1, training=1, validation=1, accuracy=0.5, temperature=1.0),
            ) * folds
            return OutOfFold(targets, fold, probabilities, judged, figures)

        monkeypatch.setattr(module, "out_of_fold", predictions)

    return use


def test_planted_noise_is_found_and_its_joint_estimated() -> None:
    truth = np.random.default_rng(0).integers(0, 5, 5000)
    labels = planted(truth, 5, NOISE)
    found = confident_learning(labels, answers(truth, 5))
    wrong = labels != truth
    # Chance would give the share of wrong labels, 0.2, for both.
    assert wrong[found.issue].mean() > 0.7
    assert found.issue[wrong].mean() > 0.7
    joint = np.zeros((5, 5))
    np.add.at(joint, (labels, truth), 1 / len(labels))
    assert np.abs(found.joint - joint).max() < 0.03
    assert found.joint.sum() == pytest.approx(1)
    assert found.joint.sum(axis=1) == pytest.approx(np.bincount(labels) / len(labels), abs=1e-3)


def test_quality_is_the_probability_of_the_given_label() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2], [0.0, 0.0, 1.0]])
    found = confident_learning(np.array([0, 0, 1, 2]), probabilities)
    assert found.quality == pytest.approx([0.7, 0.1, 0.4, 1.0])


def test_classes_without_a_picture_or_with_one_change_nothing() -> None:
    truth = np.random.default_rng(0).integers(0, 3, 600)
    labels, probabilities = planted(truth, 3, NOISE), answers(truth, 3)
    plain = confident_learning(labels, probabilities)
    # A class in the middle that no picture is labelled as, and to which a model gives a little.
    wider = np.insert(probabilities * 0.99, 1, 0.01, axis=1)
    found = confident_learning(np.array([0, 2, 3])[labels], wider)
    assert (found.issue == plain.issue).all()
    assert found.quality == pytest.approx(plain.quality)
    assert found.joint[1].sum() == found.joint[:, 1].sum() == 0
    single = confident_learning(
        np.append(labels, 3), np.vstack([np.eye(4)[:, :3][truth], [1, 0, 0]]) @ np.eye(3, 4)
    )
    assert not single.issue[-1]
    assert np.isfinite(single.joint).all()


def test_planted_noise_on_drawn_faces_is_found_where_the_models_know_the_faces(
    noisy_folder: Path, tmp_path: Path, made_up: Callable[..., None]
) -> None:
    made_up(drawn_emotion)
    figures = label_noise(RunConfig(), noisy_folder, tmp_path / "out", reporter=QUIET)
    (check,) = figures.annotations
    table = pl.read_parquet(tmp_path / "out" / "label_noise.parquet")
    wrong = (table["label"] != table["labels.drawn_clean"]).to_numpy()
    flagged = table["is_issue"].to_numpy()
    assert check.annotation == "drawn_clean"
    assert (check.images, check.disagree) == (len(table), wrong.sum())
    assert check.disagree == round(NOISE * check.images)
    assert check.precision == wrong[flagged].mean() > 2.5 * NOISE
    assert check.recall == flagged[wrong].mean() > 0.6
    assert check.unflagged == wrong[~flagged].mean() < NOISE / 2
    assert check.lift == pytest.approx(check.precision / wrong.mean())
    assert check.precision_interval is not None
    assert check.precision_interval[0] < check.precision < check.precision_interval[1]
    lower, other = table["quality"].to_numpy()[wrong], table["quality"].to_numpy()[~wrong]
    pairs = lower[:, None] - other[None]
    assert check.auc == pytest.approx((pairs < 0).mean() + (pairs == 0).mean() / 2)
    assert (
        check.flagged_suggested
        == (flagged & (table["suggested"] == table["labels.drawn_clean"]).to_numpy()).sum()
    )


def test_figures_agree_with_the_table(
    noisy_folder: Path, tmp_path: Path, made_up: Callable[..., None]
) -> None:
    made_up(drawn_emotion)
    out = tmp_path / "out"
    figures = label_noise(RunConfig(), noisy_folder, out, reporter=QUIET)
    table = pl.read_parquet(out / "label_noise.parquet")
    issues = table.filter("is_issue")
    assert figures.images == len(table)
    assert figures.issues == len(issues)
    assert figures.accuracy == (table["label"] == table["suggested"]).mean()
    for one in figures.by_class:
        assert one.images == (table["label"] == one.name).sum()
        assert one.issues == (issues["label"] == one.name).sum()
        assert one.found == ((table["label"] == one.name) & (table["suggested"] == one.name)).sum()
    flagged = np.asarray(figures.flagged)
    assert flagged.sum() == len(issues)
    assert np.trace(flagged) == 0
    assert table["quality"].is_sorted()
    assert table["quality"].to_list() == pytest.approx(table["probability_of_label"].to_list())
    assert (table["probability_of_label"] <= table["probability_of_suggested"]).all()
    csv = pl.read_csv(out / "label_noise.csv")
    assert csv.columns == table.columns
    assert csv["id"].to_list() == table["id"].to_list()
    values = json.loads((out / "label_noise.json").read_text())
    assert values["issues"] == figures.issues
    assert values["noise"] == pytest.approx(figures.noise)
    page = (out / "label_noise.html").read_text()
    assert page.count("<img") == 48
    assert (out / "label_noise.md").is_file()


def test_columns_are_written_over_and_the_hash_stays(
    noisy_folder: Path, tmp_path: Path, made_up: Callable[..., None]
) -> None:
    path = noisy_folder / MANIFEST_FILE
    before = Manifest.read(path)
    stale = {name: pl.lit("stale") for name in COLUMNS}
    Manifest(before.frame.with_columns(pl.lit("a").alias("user.camera"), **stale), before.info).write(path)
    made_up(drawn_emotion)
    label_noise(RunConfig(), noisy_folder, tmp_path / "out", reporter=QUIET)
    after = Manifest.read(path)
    assert after.hash() == before.hash()
    assert after.frame.select(before.frame.columns).equals(before.frame)
    assert set(after.frame["user.camera"]) == {"a"}
    table = pl.read_parquet(tmp_path / "out" / "label_noise.parquet")
    scored = after.frame.filter(pl.col("user.label_issue").is_not_null())
    assert sorted(scored["id"]) == sorted(before.target().only("train").ids)
    both = scored.join(table, on="id", maintain_order="left")
    assert both["user.label_suggested"].to_list() == both["suggested"].to_list()
    assert both["user.label_quality"].to_list() == [f"{value:.4f}" for value in both["quality"]]
    assert both["user.label_issue"].to_list() == [str(flag).lower() for flag in both["is_issue"]]
    for name in COLUMNS:
        assert (
            after.frame.filter(pl.col("split") != "train")[name].null_count()
            == (after.frame["split"] != "train").sum()
        )


def test_columns_may_be_left_out_and_other_splits_be_looked_at(
    noisy_folder: Path, tmp_path: Path, made_up: Callable[..., None]
) -> None:
    content = (noisy_folder / MANIFEST_FILE).read_bytes()
    made_up(drawn_emotion)
    figures = label_noise(
        RunConfig(),
        noisy_folder,
        tmp_path / "out",
        reporter=QUIET,
        splits="all",
        samples=0,
        write_columns=False,
    )
    assert (noisy_folder / MANIFEST_FILE).read_bytes() == content
    assert figures.images == 240
    table = pl.read_parquet(tmp_path / "out" / "label_noise.parquet")
    assert set(table["split"]) == {"train", "validation", "test"}
    assert "<img" not in (tmp_path / "out" / "label_noise.html").read_text()


def test_what_no_model_could_judge_is_listed_without_a_score(
    noisy_folder: Path, tmp_path: Path, made_up: Callable[..., None]
) -> None:
    made_up(drawn_emotion, lambda targets: np.arange(len(targets)) >= 3)
    ids = load_prepared(noisy_folder).manifest.target().only("train").ids
    figures = label_noise(RunConfig(), noisy_folder, tmp_path / "out", reporter=QUIET)
    assert (figures.unscored, figures.images) == (3, len(ids) - 3)
    table = pl.read_parquet(tmp_path / "out" / "label_noise.parquet")
    assert table["id"].to_list()[-3:] == sorted(ids[:3])
    assert table.tail(3).select("suggested", "quality", "is_issue").null_count().row(0) == (3, 3, 3)
    frame = Manifest.read(noisy_folder / MANIFEST_FILE).frame
    assert frame.filter(pl.col("id").is_in(ids) & pl.col("user.label_quality").is_null())["id"].to_list() == [
        *ids[:3]
    ]


@pytest.mark.parametrize(("target", "other"), [("ferplus.votes", "fer2013"), ("fer2013", "ferplus")])
def test_votes_and_the_other_annotation_are_set_beside_the_label(
    tmp_path: Path, made_up: Callable[..., None], target: str, other: str
) -> None:
    folder = voted_folder(tmp_path / "voted")
    # The models agree with FER+, whatever the target.
    made_up(lambda _, targets: np.asarray([int(name[-5:]) % 2 for name in targets.ids]))
    figures = label_noise(RunConfig(), folder, tmp_path / "out", reporter=QUIET, target=target)
    table = pl.read_parquet(tmp_path / "out" / "label_noise.parquet").sort("id")
    votes = dict(Manifest.read(folder / MANIFEST_FILE).frame.select("id", "votes.ferplus").iter_rows())
    places = {"happiness": 0, "sadness": 1}
    assert figures.target == target
    assert [check.annotation for check in figures.annotations] == [other]
    for name, label, share in table.select("id", "label", "votes_for_label.ferplus").iter_rows():
        expected = None if votes[name] is None else votes[name][places[label]] / sum(votes[name])
        assert share == (expected if expected is None else pytest.approx(expected))
    (vote,) = figures.votes
    assert vote.images == 39
    with_votes = table.filter(pl.col("votes_for_label.ferplus").is_not_null())
    for flag, mean in ((True, vote.flagged), (False, vote.unflagged)):
        part = with_votes.filter(pl.col("is_issue") == flag)["votes_for_label.ferplus"]
        assert mean == (None if part.is_empty() else pytest.approx(part.mean()))
    if target == "fer2013":
        # FER-2013's label has few of FER+'s votes where the models doubt it.
        assert vote.flagged is not None
        assert vote.unflagged is not None
        assert vote.flagged < 0.3 < vote.unflagged


def test_what_cannot_be_used_is_refused(
    noisy_folder: Path, tmp_path: Path, made_up: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def study(**options: object) -> None:
        label_noise(RunConfig(), noisy_folder, tmp_path / "out", reporter=QUIET, **options)  # type: ignore[arg-type]

    with pytest.raises(InputError, match="samples is -1"):
        study(samples=-1)
    with pytest.raises(InputError, match="splits is 'test'"):
        study(splits="test")
    with pytest.raises(InputError, match="at least 2"):
        study(folds=1)
    with pytest.raises(InputError, match="too few for 100 folds"):
        study(folds=100)
    with pytest.raises(InputError, match="not in this data"):
        study(target="ferplus")
    assert not (tmp_path / "out").exists()
    path = noisy_folder / MANIFEST_FILE
    manifest = Manifest.read(path)

    def prepared_anew(_: Manifest, targets: Targets) -> npt.NDArray[np.int64]:
        Manifest(manifest.frame.head(200), manifest.info).write(path)
        return targets.labels

    made_up(prepared_anew)
    with pytest.raises(InputError, match="prepared anew during the study"):
        study()
    one = manifest.frame.filter((pl.col("labels.drawn") == "anger") | (pl.col("split") != "train"))
    Manifest(one, manifest.info).write(path)
    with pytest.raises(InputError, match="fewer than two classes"):
        study()


def test_the_whole_study_then_a_second_one_that_trains_nothing(
    tiny: RunConfig, noisy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, epochs=1))
    before = Manifest.read(noisy_folder / MANIFEST_FILE)
    first = label_noise(config, noisy_folder, tmp_path / "out", reporter=QUIET, folds=2)
    assert len(first.folds) == 2
    assert first.images == sum(fold.images for fold in first.folds) == len(before.target().only("train"))
    assert first.accuracy == pytest.approx(
        sum(fold.accuracy * fold.images for fold in first.folds) / first.images
    )
    assert load_prepared(noisy_folder).manifest.hash() == before.hash()

    def never(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(folds_module, "train_run", never)
    monkeypatch.setattr(folds_module, "resume_run", never)
    assert label_noise(config, noisy_folder, tmp_path / "out", reporter=QUIET, folds=2) == first
