"""How the runs of a report were made: settings that differ, seeds, versions, processor, commit, data."""

from __future__ import annotations

from typing import Any

from mien.config import to_dict
from mien.report.document import Block, Section, Table, Text
from mien.report.tables import Column, differing, flat
from mien.report.wording import DASH


def made_sections(columns: tuple[Column, ...]) -> tuple[Section, Section]:
    """How the models of a report differ and where each run was made, and the settings that they share."""
    names = tuple(column.name for column in columns)
    different = differing(columns)
    blocks: list[Block] = [_provenance_table(columns)]
    if different:
        rows = tuple((key, *(_setting(value) for value in values)) for key, values in different.items())
        words = frozenset(range(1, len(names) + 1))
        blocks.insert(0, Table("Settings in which the models differ", ("setting", *names), rows, words=words))
    elif len(columns) > 1:
        blocks.insert(0, Text("The models differ in no setting but the seed."))
    same = {
        k: v for k, v in flat(to_dict(columns[0].config)).items() if k not in different and k != "train.seed"
    }
    shared = Table(
        "Settings that all models share",
        ("setting", "value"),
        tuple((key, _setting(value)) for key, value in same.items()),
        words=frozenset({1}),
    )
    return Section("How it was made", tuple(blocks)), Section("All shared settings", (shared,), folded=True)


def _provenance_table(columns: tuple[Column, ...]) -> Table:
    runs = [run for column in columns for run in column.runs]
    records: list[dict[str, Any]] = [run.saved.record for run in runs]
    rows: list[tuple[str, ...]] = [("model", *(column.name for column in columns for _ in column.runs))]
    rows.append(("seed", *(str(run.seed) for run in runs)))
    keys = (
        "git_commit",
        "mien",
        "started",
        "processor",
        "threads",
        "precision",
        "target",
        "training_images",
        "python",
    )
    rows += [(key.replace("_", " "), *(_setting(record.get(key)) for record in records)) for key in keys]
    rows.append(("manifest hash", *(_setting(record.get("manifest_hash")) for record in records)))
    versions = list(dict.fromkeys(name for record in records for name in record.get("versions", {})))
    rows += [
        (name, *(_setting(record.get("versions", {}).get(name)) for record in records)) for name in versions
    ]
    return Table(
        "Where, when and with what each run was made",
        ("", *(run.name for run in runs)),
        tuple(rows),
        words=frozenset(range(1, len(runs) + 1)),
    )


def _setting(value: object) -> str:
    if value is None:
        return DASH
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
