"""The data that a report's runs were evaluated on, opened where it is still there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.data.prepared import Prepared, load_prepared
from mien.data.targets import Targets
from mien.errors import InputError
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
