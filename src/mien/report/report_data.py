"""The data that a report's runs were evaluated on, opened where it is still there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.data.prepared import Prepared, load_prepared
from mien.data.targets import Targets
from mien.errors import InputError
from mien.report.runs import ReportedRun
from mien.report.tables import Column


@dataclass(frozen=True)
class ReportData:
    """A prepared folder, and what of it the figures are of."""

    prepared: Prepared
    """Manifest and pack."""
    targets: Targets
    """The rows of the reported split under the runs' target, in the order of the runs' logits."""
    manifest_hash: str
    """Of the manifest."""


@dataclass(frozen=True)
class Answers:
    """What a run answered on images of the report's data."""

    places: npt.NDArray[np.int64]
    """int64 [n], each image's place in `ReportData.targets`."""
    labels: npt.NDArray[np.int64]
    """int64 [n], index into the run's class names."""
    logits: npt.NDArray[np.float32]
    """float32 [n, K]."""


def answers_on(run: ReportedRun, data: ReportData) -> Answers | None:
    """A run's answers beside the data's rows, in their order.

    Returns:
        None where the run kept no logits, or answered other data than this.
    """
    if run.tensors is None or run.record.get("manifest_hash") != data.manifest_hash:
        return None
    place = {row: i for i, row in enumerate(data.targets.pack_rows.tolist())}
    rows = run.tensors["pack_rows"].tolist()
    if not all(row in place for row in rows):
        return None
    places = np.array([place[row] for row in rows], dtype=np.int64)
    order = np.argsort(places, kind="stable")
    return Answers(
        places[order],
        run.tensors["labels"][order].astype(np.int64),
        run.tensors["logits"][order].astype(np.float32),
    )


def open_report_data(columns: Sequence[Column], folder: Path | None) -> ReportData | None:
    """Open the prepared folder of a report.

    Args:
        columns: of the report; the first one's run names the folder and the target.
        folder: the prepared folder; none takes the first run's own.

    Returns:
        None where no folder was named and the run's own is gone or has changed since.

    Raises:
        InputError: the named folder is no prepared folder, or not what any of the runs was evaluated on.
    """
    run = columns[0].runs[0]
    try:
        prepared = load_prepared(folder or run.data)
        manifest_hash = prepared.manifest.hash()
        if manifest_hash not in {column.record.get("manifest_hash") for column in columns}:
            raise InputError(
                f"{folder or run.data}: its manifest is not the one that the models were evaluated on; "
                "give that data."
            )
        targets = prepared.manifest.target(run.target).only(run.split)
    except InputError:
        if folder is not None:
            raise
        return None
    return ReportData(prepared, targets, manifest_hash)
