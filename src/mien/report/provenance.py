"""How the runs of a report were made: settings that differ, seeds, versions, processor, commit, data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mien.config import to_dict
from mien.report.document import Block, Section, Table, Text, in_parts
from mien.report.runs import ReportedRun
from mien.report.tables import Column, differing, flat
from mien.report.wording import DASH


def made_sections(columns: tuple[Column, ...]) -> tuple[Section, ...]:
    """How the models of a report differ and where each run was made, and the settings that they share."""
    trained = [(column, column.config) for column in columns if column.config is not None]
    others = [column for column in columns if column.config is None]
    blocks: list[Block] = []
    if not trained:
        return (Section("How it was made", tuple(_evaluated_table(part) for part in in_parts(others))),)
    different = differing([column for column, _ in trained])
    if different:
        blocks += _different_tables([column.name for column, _ in trained], different)
    elif len(trained) > 1:
        blocks.append(Text("The models differ in no setting but the seed."))
    blocks += provenance_tables([column for column, _ in trained])
    blocks += [_evaluated_table(part) for part in in_parts(others)]
    config = to_dict(trained[0][1])
    same = {k: v for k, v in flat(config).items() if k not in different and k != "train.seed"}
    shared = Table(
        "Settings that all models share",
        ("setting", "value"),
        tuple((key, _setting(value)) for key, value in same.items()),
        words=frozenset({1}),
    )
    return Section("How it was made", tuple(blocks)), Section("All shared settings", (shared,), folded=True)


def provenance_tables(columns: Sequence[Column]) -> list[Table]:
    """Where, when and with what each run of some columns was made."""
    runs = [(column.name, run) for column in columns for run in column.runs]
    return [_provenance_table(part) for part in in_parts(runs)]


def _evaluated_table(columns: Sequence[Column]) -> Table:
    """What is known of models that mien did not train."""
    keys = ("kind", "spec", "target", "rule", "manifest_hash")
    return Table(
        "Models that are no runs of mien's, as mien evaluate opened them",
        ("", *(column.name for column in columns)),
        tuple(
            (key.replace("_", " "), *(_setting(column.record.get(key)) for column in columns)) for key in keys
        ),
        words=frozenset(range(1, len(columns) + 1)),
    )


def _different_tables(names: Sequence[str], different: Mapping[str, tuple[Any, ...]]) -> list[Table]:
    return [
        Table(
            "Settings in which the models differ",
            ("setting", *(names[i] for i in part)),
            tuple((key, *(_setting(values[i]) for i in part)) for key, values in different.items()),
            words=frozenset(range(1, len(part) + 1)),
        )
        for part in in_parts(range(len(names)))
    ]


def _provenance_table(runs: Sequence[tuple[str, ReportedRun]]) -> Table:
    """Where each run was made; runs with their columns' names."""
    records = [run.record for _, run in runs]
    rows: list[tuple[str, ...]] = [("model", *(name for name, _ in runs))]
    rows.append(("seed", *(str(run.seed) for _, run in runs)))
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
        ("", *(run.name for _, run in runs)),
        tuple(rows),
        words=frozenset(range(1, len(runs) + 1)),
    )


def _setting(value: object) -> str:
    if value is None:
        return DASH
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
