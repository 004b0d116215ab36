"""`mien study label-noise`: which labels are doubtful, by confident learning from out-of-fold predictions.

Source: Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 70
(2021), as cleanlab implements it. The doubtful labels become a table, a report and columns of the user's own
in the manifest; what to do about them is left to the user, and no picture is removed.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from cleanlab.count import compute_confident_joint  # type: ignore[import-untyped]
from cleanlab.filter import find_label_issues  # type: ignore[import-untyped]
from cleanlab.rank import get_label_quality_scores  # type: ignore[import-untyped]
from sklearn.metrics import roc_auc_score

from mien.config import RunConfig
from mien.data.manifest import Manifest
from mien.data.manifest_hash import USER_PREFIX
from mien.data.prepared import MANIFEST_FILE, load_prepared
from mien.data.targets import parts_of
from mien.errors import InputError
from mien.evaluate.bootstrap import mean_interval
from mien.files import replacing
from mien.progress import Reporter
from mien.report.label_noise import LISTED, NAME, write_label_noise
from mien.report.label_noise_figures import (
    LOWEST,
    AnnotationCheck,
    ClassIssues,
    DoubtfulLabel,
    LabelNoise,
    VoteCheck,
)
from mien.study.folds import OutOfFold, out_of_fold

Splits = Literal["train", "all"]
FOLDS: Final = "folds"
"""The folder of the folds' runs."""
QUALITY: Final = "self_confidence"
"""cleanlab's name of the score: the calibrated probability of the given label. On drawn faces with planted
noise and weak models it ranked wrong labels lower than the margin to the next class did (average precision
0.49 against 0.41)."""
FILTER: Final = "both"
"""cleanlab's name of the rule. A picture is flagged when it is among as many as the estimated joint
distribution says are wrong, twice over: of its pair of classes by the widest margin, and of its label by the
least probability. Next to either rule alone it loses little recall and gains precision."""
COLUMNS: Final = tuple(f"{USER_PREFIX}label_{name}" for name in ("quality", "suggested", "issue"))
"""What the manifest gets: 0..1 with four digits, a class name, `true` or `false`; null where not scored."""


@dataclass(frozen=True)
class ConfidentLearning:
    """What confident learning says of M labels of K classes."""

    quality: npt.NDArray[np.float64]
    """float64 [M], 0..1, the probability of the given label among the classes that any picture has."""
    issue: npt.NDArray[np.bool_]
    """bool [M], the doubtful ones."""
    joint: npt.NDArray[np.float64]
    """float64 [K, K], estimated probability of a given label (row) together with a true one (column)."""


def label_noise(
    config: RunConfig,
    data: Path,
    out: Path,
    *,
    reporter: Reporter,
    folds: int = 5,
    target: str | None = None,
    splits: Splits = "train",
    samples: int = 48,
    write_columns: bool = True,
) -> LabelNoise:
    """Find doubtful labels.

    Args:
        config: of the models, one a fold; its seed also draws the folds.
        data: a prepared folder.
        out: gets label_noise.html, .md, .json, .csv and .parquet, and the folder `folds` with the runs, which
            a second call does not train again.
        reporter: where progress goes.
        folds: how many parts the pictures are divided into; each is scored by a model trained on the others.
        target: whose labels are looked at; none takes the config's, or else the data's own.
        splits: `train`, or `all` to look at validation and test pictures too.
        samples: most doubtful faces on the page; 0 leaves out all pictures, so that it may be passed on.
        write_columns: put the three `COLUMNS` into the manifest, in place of an earlier study's; its hash
            stays the same.

    Raises:
        InputError: the data or an option cannot be used, there are too few pictures, or `out` holds folds of
            another config or other data.
        TrainingDiverged: the loss of a fold is not finite.
        KeyboardInterrupt: stopped; the same call continues.
    """
    if samples < 0:
        raise InputError(f"samples is {samples}; it must be 0 or more.")
    if splits not in ("train", "all"):
        raise InputError(f"splits is {splits!r}; it must be `train` or `all`.")
    prepared = load_prepared(data)
    manifest = prepared.manifest
    targets = manifest.target(target or config.training_set.target)
    if splits == "train":
        targets = targets.only("train")
    if len(np.unique(targets.labels)) < 2:
        raise InputError(
            f"{data}: the images of target {targets.name} have fewer than two classes, so that no label can "
            "be taken for another."
        )
    predicted = out_of_fold(config, data, manifest, targets, out / FOLDS, folds=folds, reporter=reporter)
    table, figures = _study(predicted, manifest, config, splits, write_columns)
    if write_columns:
        _write_columns(data, figures.manifest_hash, table)
    _write_tables(out, table)
    pack_rows = dict(zip(targets.ids, targets.pack_rows.tolist(), strict=True))
    doubtful = _doubtful(table, max(samples, LISTED))
    shown = np.asarray([pack_rows[one.id] for one in doubtful[:samples]], dtype=np.int64)
    page = write_label_noise(figures, doubtful, np.asarray(prepared.pack[shown]), out)
    reporter.say(f"{figures.issues:,} of {figures.images:,} labels are doubtful: {page}")
    return figures


def confident_learning(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
) -> ConfidentLearning:
    """Score labels by probabilities that models gave which had not seen them.

    Args:
        labels: class index, int64 [M]; at least two classes.
        probabilities: float64 [M, K], calibrated; every row sums to 1.
    """
    classes, present = probabilities.shape[1], np.unique(labels)
    # cleanlab takes a class that no picture is labelled as for one with too few of them.
    known = probabilities[:, present]
    known = known / known.sum(axis=1, keepdims=True).clip(1e-12)
    given = np.searchsorted(present, labels)
    counts = compute_confident_joint(given, known)
    with warnings.catch_warnings():
        # Of a class with one picture none is flagged; the report shows its count.
        warnings.filterwarnings("ignore", message="May not flag all label issues", category=UserWarning)
        # One process: torch is loaded, and the work takes seconds.
        issue = find_label_issues(given, known, filter_by=FILTER, confident_joint=counts, n_jobs=1)
    joint = np.zeros((classes, classes))
    joint[np.ix_(present, present)] = counts / counts.sum()
    return ConfidentLearning(get_label_quality_scores(given, known, method=QUALITY), issue, joint)


def _study(
    predicted: OutOfFold, manifest: Manifest, config: RunConfig, splits: Splits, columns_written: bool
) -> tuple[pl.DataFrame, LabelNoise]:
    """The table of all rows, lowest quality first, and the figures."""
    targets, known = predicted.targets, predicted.known
    labels, probabilities = targets.labels[known], predicted.probabilities[known]
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"fewer than two classes of target {targets.name} have images in several groups, so that no "
            "label can be scored; prepare more data."
        )
    scored = confident_learning(labels, probabilities)
    suggested = probabilities.argmax(axis=1)
    issue, classes = scored.issue, targets.classes
    flagged = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(flagged, (labels[issue], suggested[issue]), 1)
    table = _table(predicted, scored, manifest)
    parts = (labels, labels[issue], labels[labels == suggested])
    counts = np.stack([np.bincount(part, minlength=len(classes)) for part in parts], axis=1)
    figures = LabelNoise(
        target=targets.name,
        rule=targets.rule,
        splits=splits,
        manifest_hash=manifest.hash(),
        classes=classes,
        images=len(labels),
        unscored=len(targets) - len(labels),
        issues=int(issue.sum()),
        accuracy=float((suggested == labels).mean()),
        accuracy_interval=mean_interval((suggested == labels).astype(np.float64)).interval,
        by_class=tuple(ClassIssues(name, *map(int, row)) for name, row in zip(classes, counts, strict=True)),
        joint=tuple(tuple(row) for row in scored.joint.tolist()),
        flagged=tuple(tuple(row) for row in flagged.tolist()),
        folds=predicted.folds,
        annotations=annotation_checks(table, manifest, targets.name),
        votes=vote_checks(table, manifest),
        columns_written=columns_written,
        made=_made(config),
    )
    return table, figures


def _made(config: RunConfig) -> dict[str, str]:
    version = importlib.metadata.version("cleanlab")
    return {
        "method": f"cleanlab {version}, filter_by {FILTER}, quality {QUALITY}",
        "model": config.model.name,
        "epochs": str(config.train.epochs),
        "balance": config.training_set.balance,
        "seed": str(config.train.seed),
    }


def _table(predicted: OutOfFold, scored: ConfidentLearning, manifest: Manifest) -> pl.DataFrame:
    targets, known, probabilities = predicted.targets, predicted.known, predicted.probabilities
    rows, suggested = np.arange(len(targets)), probabilities.argmax(axis=1)
    names = np.asarray(targets.classes, dtype=np.object_)
    table = pl.DataFrame(
        {
            "id": list(targets.ids),
            "set": list(targets.sets),
            "split": targets.splits.tolist(),
            "fold": predicted.fold + 1,
            "label": names[targets.labels].tolist(),
        }
    )
    scores = pl.DataFrame(
        {
            "id": table["id"].filter(known),
            "suggested": pl.Series(names[suggested[known]].tolist(), dtype=pl.String),
            "quality": scored.quality,
            "is_issue": scored.issue,
            "probability_of_label": probabilities[rows, targets.labels][known],
            "probability_of_suggested": probabilities[rows, suggested][known],
        }
    )
    voted = [name for name, columns in manifest.info.annotations.items() if columns]
    votes = [f"votes.{name}" for name in voted]
    more = manifest.frame.select("id", "twin_group", *_other_labels(manifest, targets.name), *votes)
    table = table.join(scores, on="id", how="left").join(more, on="id", how="left")
    shares = [_vote_share(name, manifest.info.annotations[name]) for name in voted]
    return table.with_columns(shares).drop(votes).sort("quality", "id", nulls_last=True)


def _other_labels(manifest: Manifest, target: str) -> list[str]:
    own = {name for name, _ in parts_of(target, manifest.info.annotations)}
    return [f"labels.{name}" for name in manifest.info.annotations if name not in own]


def _vote_share(annotation: str, columns: Sequence[str]) -> pl.Expr:
    """The share of a row's votes, `unknown` and single ones included, that its given label got; null without
    votes."""
    votes, place = pl.col(f"votes.{annotation}"), {name: i for i, name in enumerate(columns)}
    own = votes.list.get(pl.col("label").replace_strict(place, default=None, return_dtype=pl.Int64))
    return (own / votes.list.sum()).fill_nan(None).alias(f"votes_for_label.{annotation}")


def annotation_checks(table: pl.DataFrame, manifest: Manifest, target: str) -> tuple[AnnotationCheck, ...]:
    """The flags against every other annotation that labels a scored row.

    Args:
        table: with the columns label, suggested, quality, is_issue and labels.<annotation>; lowest quality
            first.
        manifest: names the annotations.
        target: the one whose labels were scored.
    """
    checks = []
    for column in _other_labels(manifest, target):
        both = table.filter(pl.col("quality").is_not_null() & pl.col(column).is_not_null())
        if both.is_empty():
            continue
        other = both[column]
        disagrees, flagged = (other != both["label"]).to_numpy(), both["is_issue"].to_numpy()
        mixed = 0 < int(disagrees.sum()) < len(both)
        checks.append(
            AnnotationCheck(
                annotation=column.removeprefix("labels."),
                images=len(both),
                disagree=int(disagrees.sum()),
                flagged=int(flagged.sum()),
                flagged_disagree=int((flagged & disagrees).sum()),
                flagged_suggested=int((flagged & (other == both["suggested"]).to_numpy()).sum()),
                lowest=len(disagrees[:LOWEST]),
                lowest_disagree=int(disagrees[:LOWEST].sum()),
                precision_interval=mean_interval(disagrees[flagged].astype(np.float64)).interval
                if flagged.any()
                else None,
                auc=float(roc_auc_score(disagrees, -both["quality"].to_numpy())) if mixed else None,
            )
        )
    return tuple(checks)


def vote_checks(table: pl.DataFrame, manifest: Manifest) -> tuple[VoteCheck, ...]:
    """Of each annotation with votes: how many of them the given label got, flagged and not.

    Args:
        table: with the columns quality, is_issue and votes_for_label.<annotation>.
        manifest: names the annotations.
    """
    checks = []
    for name, votes in manifest.info.annotations.items():
        column = f"votes_for_label.{name}"
        if not votes:
            continue
        scored = table.filter(pl.col("quality").is_not_null() & pl.col(column).is_not_null())
        means = [
            None if part.is_empty() else float(part.to_numpy().mean())
            for part in (scored.filter("is_issue")[column], scored.filter(~pl.col("is_issue"))[column])
        ]
        if len(scored):
            checks.append(VoteCheck(name, len(scored), *means))
    return tuple(checks)


def _doubtful(table: pl.DataFrame, count: int) -> list[DoubtfulLabel]:
    scored = table.filter(pl.col("quality").is_not_null()).head(count)
    return [
        DoubtfulLabel(*row)
        for row in scored.select("id", "label", "suggested", "quality", "is_issue").iter_rows()
    ]


def _write_tables(out: Path, table: pl.DataFrame) -> None:
    with replacing(out / f"{NAME}.parquet") as temporary:
        table.write_parquet(temporary)
    with replacing(out / f"{NAME}.csv") as temporary:
        table.write_csv(temporary, quote_style="non_numeric", float_precision=6)


def _write_columns(data: Path, manifest_hash: str, table: pl.DataFrame) -> None:
    # Read again: while the folds were trained the user may have added columns, or prepared other data.
    path = data / MANIFEST_FILE
    manifest = Manifest.read(path)
    if manifest.hash() != manifest_hash:
        raise InputError(f"{data} was prepared anew during the study; run the study again.")
    values = (
        pl.col("quality").map_elements("{:.4f}".format, return_dtype=pl.String),
        pl.col("suggested"),
        pl.col("is_issue").cast(pl.String),
    )
    columns = table.select("id", *(value.alias(name) for name, value in zip(COLUMNS, values, strict=True)))
    frame = manifest.frame.drop(COLUMNS, strict=False).join(
        columns, on="id", how="left", maintain_order="left"
    )
    Manifest(frame, manifest.info).write(path)
