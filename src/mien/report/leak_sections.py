"""Whether the reported images could have been seen in training: twins and persons that two splits share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mien.evaluate.leaks import Leak, leaks_between, related_groups
from mien.evaluate.slices import SliceColumn, slice_figures
from mien.report.document import Block, Section, Table, Text
from mien.report.report_data import ReportData, answers_on
from mien.report.tables import Column
from mien.report.wording import DASH, percent, percent_interval, points, points_interval

_SEEN, _NEW = "seen", "new"
_SMALLEST_SHOWN: Final = 0.0005
"""Below it a share would be shown as 0.0 %."""


def leak_sentence(data: ReportData | None) -> str:
    """One sentence for the report's summary; empty where the split is clean or the data is not there."""
    leaks = _leaks(data)
    if data is None or not any(leak.any.any() for leak in leaks):
        return ""
    split, count = _split(data), len(data.targets)
    told = " and ".join(
        f"{_share(int(leak.any.sum()), count)} ({int(leak.any.sum()):,}) {_what(leak)} in the "
        f"{_name(leak.earlier)} split"
        for leak in leaks
        if leak.any.any()
    )
    return f"The {split} split is leaky: of its {count:,} images {told}."


def leak_section(columns: Sequence[Column], data: ReportData | None) -> Section | None:
    """How many reported images have a twin or the same person in an earlier split, and what that does to the
    accuracy; None where the data is not there or nothing comes before the reported split.

    Accuracies are of each column's first seed.
    """
    leaks = _leaks(data)
    if data is None or not leaks:
        return None
    split, count = _split(data), len(data.targets)
    leaky = leak_sentence(data)
    blocks: list[Block] = [Text(leaky or _clean_sentence(split, count, leaks)), Text(_search_sentence(data))]
    values: dict[str, Any] = {"images": count, "leaky": bool(leaky), "shared": _counts(leaks)}
    if leaky:
        blocks.append(_shared_table(leaks, data))
        figures = _accuracies(columns, data, leaks)
        values["accuracy"] = figures
        if figures:
            blocks.append(_accuracy_table(figures))
    if any(run.config is None for column in columns for run in column.runs):
        blocks.append(
            Text(
                "A model that was not trained by mien may have seen other images, or none of these: the "
                "counts are of this folder's own splits."
            )
        )
    return Section("Leaks between the splits", tuple(blocks), values=values)


def _leaks(data: ReportData | None) -> tuple[Leak, ...]:
    if data is None:
        return ()
    manifest = data.prepared.manifest
    return leaks_between(manifest.frame, data.targets, manifest.target(data.targets.name))


def _split(data: ReportData) -> str:
    return str(data.targets.splits[0])


def _name(split: str) -> str:
    return "training" if split == "train" else split


def _share(part: int, count: int) -> str:
    share = part / count
    return "less than 0.1 %" if 0 < share < _SMALLEST_SHOWN else percent(share)


def _what(leak: Leak) -> str:
    twins, subject = bool(leak.twin.any()), bool((leak.subject & ~leak.twin).any())
    if twins and subject:
        return "have a twin or the same person"
    return "have a twin" if twins else "show a person who is also"


def _clean_sentence(split: str, count: int, leaks: Sequence[Leak]) -> str:
    earlier = " or ".join(_name(leak.earlier) for leak in leaks)
    return (
        f"The {split} split is clean: none of its {count:,} images has a known twin, or shows a known "
        f"person, in the {earlier} split."
    )


def _search_sentence(data: ReportData) -> str:
    manifest = data.prepared.manifest
    near = bool(manifest.info.twins.get("near"))
    twins = (
        "Twins were searched for by equal pixels and by correlation (see the data card)."
        if near
        else "Only twins of equal pixels were searched for; audit.near=true finds near ones."
    )
    people = (
        "Persons are known where a set names them."
        if _names_persons(data)
        else "The sets do not say who is shown, so one person in two splits would not be noticed."
    )
    advice = "Counted are the images with a label under the target; splits.policy=clean takes twins out."
    return f"{twins} {people} {advice}"


def _counts(leaks: Sequence[Leak]) -> dict[str, dict[str, int]]:
    return {
        leak.earlier: {
            "exact_twins": int(leak.exact.sum()),
            "near_twins": int(leak.near.sum()),
            "same_subject": int(leak.subject.sum()),
            "any": int(leak.any.sum()),
        }
        for leak in leaks
    }


def _names_persons(data: ReportData) -> bool:
    return bool(data.prepared.manifest.frame["subject"].is_not_null().any())


def _shared_table(leaks: Sequence[Leak], data: ReportData) -> Table:
    split, count = _split(data), len(data.targets)
    kinds = {
        "exact_twins": "exact twin (equal pixels)",
        "near_twins": "near twin, or twin of a twin",
        **({"same_subject": "same person"} if _names_persons(data) else {}),
        "any": "any of these",
    }
    counts = _counts(leaks)
    rows = tuple(
        (
            kind,
            *(
                f"{counts[leak.earlier][key]:,} ({_share(counts[leak.earlier][key], count)})"
                for leak in leaks
            ),
        )
        for key, kind in kinds.items()
    )
    heads = ("what they share", *(f"with the {_name(leak.earlier)} split" for leak in leaks))
    return Table(
        f"Images of the {split} split that share something with an earlier one, of {count:,}",
        heads,
        rows,
        notes=("An image counts once a row; a twin may show a known person too.",),
    )


def _accuracies(
    columns: Sequence[Column], data: ReportData, leaks: Sequence[Leak]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Column and earlier split to what `slice_figures` says of the images that stand there too, and of the
    others; nothing where no image, or every one, does."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for column in columns:
        answers = answers_on(column.runs[0], data)
        if answers is None:
            continue
        slices = {
            leak.earlier: SliceColumn(
                [_SEEN if seen else _NEW for seen in leak.any[answers.places]], (_SEEN, _NEW)
            )
            for leak in leaks
        }
        groups = related_groups(data.prepared.manifest.frame, data.targets, answers.places)
        entries: dict[str, dict[str, Any]] = {}
        for entry in slice_figures(answers.logits, answers.labels, slices, groups=groups)["slices"]:
            entries.setdefault(entry["column"], {})[entry["value"]] = entry
        if entries:
            found[column.name] = entries
    return found


def _accuracy_table(figures: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    rows = []
    for name, entries in figures.items():
        for earlier, sides in entries.items():
            seen, new = sides[_SEEN], sides[_NEW]
            gap = seen["gap"]
            rows.append(
                (
                    name,
                    _name(earlier),
                    percent(seen["accuracy"], 2),
                    percent(new["accuracy"], 2),
                    percent_interval((new["low"], new["high"])),
                    DASH if gap is None else points(gap),
                    DASH if gap is None else points_interval((seen["gap_low"], seen["gap_high"])),
                )
            )
    return Table(
        "Accuracy on images that stand in an earlier split too, and on the others",
        (
            "model",
            "earlier split",
            "on the shared",
            "on the others",
            "95 % interval",
            "difference, points",
            "95 % interval of it",
        ),
        tuple(rows),
        notes=(
            "Shared images may be easier or harder than others for other reasons too. Of a model with "
            "several seeds these are the first one's figures.",
        ),
        words=frozenset({1}),
    )
