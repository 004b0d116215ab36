"""What a data card says, in order: making, classes, sets, balance, dropped pictures, twins, notes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from mien.data.manifest import ManifestInfo
from mien.data.sources.record import SPLITS
from mien.data.summary_records import Counts, DataSummary, SetSummary, TwinSummary
from mien.report.data_card_wording import (
    CROPS,
    DASH,
    brightness_text,
    channels_text,
    counts_text,
    found_text,
    joined,
    percent,
    shares_text,
    size_text,
    template_text,
)
from mien.report.document import Block, Document, Drawing, Gallery, Section, Table, Text

_POLICIES: Final = {
    "official": "official: the sets' own splits; what a set lacks is drawn by the seed",
    "clean": "clean: the sets' own splits, without twins of test pictures in training and validation",
    "balanced": "balanced: validation and test drawn by the seed with as many images of each class",
}
_TWIN_REASON: Final = "twin of a"


def document_of(summary: DataSummary, *, examples: int, drawings: tuple[Drawing, ...] = ()) -> Document:
    """All that the card says in words, tables and drawings.

    Args:
        summary: the numbers.
        examples: how many dropped pictures of each reason, and how many twins, are listed.
        drawings: Fig. 2; without it the tables alone tell the same.
    """
    names = joined([one.name for one in summary.sets])
    sections = [
        _made_section(summary),
        _classes_section(summary, drawings),
        *([_figure_numbers(summary)] if len(summary.sets) > 1 else []),
        _sets_section(summary),
        _balance_section(summary),
        *_dropped_sections(summary, examples),
        *_twin_sections(summary, examples),
    ]
    if summary.info.notes:
        sections.append(Section("Notes", tuple(Text(note) for note in summary.info.notes)))
    sections.append(Section("Citing and checking", (Text(_citing(summary)),)))
    return Document(f"Data card: {names}", _summary_sentence(summary), tuple(sections))


def _summary_sentence(summary: DataSummary) -> str:
    splits = ", ".join(f"{count:,} {split}" for split, count in summary.split_counts.items())
    text = (
        f"{summary.read:,} pictures of {joined([one.name for one in summary.sets])} were read and "
        f"{summary.kept:,} kept; {summary.labelled:,} have a label of target {summary.info.target}: {splits}."
    )
    leaks = _leaks(summary)
    if summary.info.splits == "official" and any(leaks.values()):
        told = joined([f"{count:,} have a twin in {split}" for split, count in leaks.items() if count])
        text += f" Of the test pictures {told}: figures on this test split flatter a model."
    return text


def _leaks(summary: DataSummary) -> dict[str, int]:
    """Test pictures with a twin in the other splits."""
    if summary.twins is None:
        return {}
    return {split: summary.twins.across["test"][split] for split in SPLITS if split != "test"}


def _made_section(summary: DataSummary) -> Section:
    info = summary.info
    colour = "grey" if info.channels == 1 else "RGB"
    aim = "as many as the largest class has" if info.balance_target is None else f"{info.balance_target:,}"
    rows = [
        ("sets", ", ".join(one.name for one in summary.sets)),
        ("target", info.target),
        ("classes", f"{len(info.labels)}: {', '.join(info.labels)}"),
        ("splits", _POLICIES.get(info.splits, info.splits)),
        ("balance plan", f"training images of each class an epoch: {aim}"),
        ("seed", str(info.seed)),
        ("faces", f"{info.pack_count:,} of {info.size} × {info.size} px, {colour}"),
        ("manifest hash", summary.manifest_hash),
        ("pack SHA-256", info.pack_sha256),
    ]
    return Section(
        "What it is",
        (Table("The prepared folder", ("property", "value"), tuple(rows), words=frozenset({1})),),
    )


def _classes_section(summary: DataSummary, drawings: tuple[Drawing, ...]) -> Section:
    blocks: list[Block] = []
    if drawings:
        caption = "Fig. 2 of the paper: images by class" + (
            ", stacked by set" if len(summary.sets) > 1 else ""
        )
        blocks.append(Gallery(drawings, caption))
    rows = {
        one.name: {
            "read": sum(one.read.values()),
            **one.splits,
            "kept": sum(one.kept.values()),
            "training images an epoch": sum(one.epoch.values()),
        }
        for one in summary.classes
    }
    blocks.append(
        _counts_table(
            "Pictures of each class by split",
            "class",
            rows,
            notes=(
                "Read: all pictures with a label of the target, dropped ones included. An epoch: under the "
                "balance plan.",
            ),
        )
    )
    if len(summary.sets) > 1:
        kept = {one.name: one.kept for one in summary.classes}
        blocks.append(_counts_table("Kept pictures of each class by set", "class", kept, total=True))
    return Section("Images by class", tuple(blocks))


def _figure_numbers(summary: DataSummary) -> Section:
    before = {one.name: one.read for one in summary.classes}
    after = {one.name: one.epoch for one in summary.classes}
    return Section(
        "Figure 2 in numbers",
        (
            _counts_table("Before: pictures read with a label, by set", "class", before, total=True),
            _counts_table("After: training images an epoch, by set", "class", after, total=True),
        ),
        folded=True,
    )


def _counts_table(
    caption: str,
    head: str,
    rows: Mapping[str, Counts],
    *,
    total: bool = False,
    notes: tuple[str, ...] = (),
) -> Table:
    """Counts with a last row, and on demand a last column, of sums."""
    columns = list(next(iter(rows.values()), {}))
    numbers = [(name, [counts[column] for column in columns]) for name, counts in rows.items()]
    numbers.append(("all", [sum(counts[column] for counts in rows.values()) for column in columns]))
    if total:
        numbers = [(name, [*values, sum(values)]) for name, values in numbers]
        columns = [*columns, "all"]
    cells = tuple((name, *(f"{value:,}" for value in values)) for name, values in numbers)
    return Table(caption, (head, *columns), cells, notes=notes)


def _sets_section(summary: DataSummary) -> Section:
    told = [_set_cells(one, summary.info) for one in summary.sets]
    table = Table(
        "Each set as it was read (before) and as it is packed (after)",
        ("property", *(one.name for one in summary.sets)),
        tuple((name, *(cells[name] for cells in told)) for name in told[0]),
        notes=(
            "Brightness: mean grey level of a picture, 0 to 255, with the standard deviation over pictures.",
        ),
        words=frozenset(range(1, len(told) + 1)),
    )
    return Section("The sets", (table, _licence_table(summary)))


def _set_cells(one: SetSummary, info: ManifestInfo) -> dict[str, str]:
    after = {
        "size after": f"{info.size} × {info.size} px, all",
        "format after": "uint8 array",
        "channels after": "all grey" if info.channels == 1 else "all RGB",
    }
    if not one.kept:
        after = dict.fromkeys(after, DASH)
    return {
        "pictures read": f"{one.read:,}",
        "pictures kept": f"{one.kept:,} ({percent(one.kept / one.read)})",
        "size before": size_text(one.sizes),
        "size after": after["size after"],
        "format before": counts_text(one.formats),
        "format after": after["format after"],
        "channels before": channels_text(one.grey_share),
        "channels after": after["channels after"],
        "brightness before": brightness_text(one.brightness_before, one.read),
        "brightness after": brightness_text(one.brightness_after, one.kept),
        "how the face was cut out": shares_text({CROPS.get(k, k): n for k, n in one.crops.items()}),
        "faces found in a picture": found_text(one.faces_found),
        "crop template, measured": template_text(one.template),
        "rotated in training": "never" if one.name in info.unrotated else "as a run sets it",
    }


def _licence_table(summary: DataSummary) -> Table:
    sets = [one.name for one in summary.sets]
    unknown = ("a user's own set", "as its owner says", DASH)
    rows = []
    for name in (*sets, *(name for name in summary.facts if name not in sets)):
        facts = summary.facts.get(name)
        told = (facts.title, facts.licence, facts.source) if facts else unknown
        rows.append((name if name in sets else f"{name} (labels)", *told))
    columns = ("set", "title", "licence", "how to get it")
    return Table("Where the sets come from", columns, tuple(rows), words=frozenset({1, 2, 3}))


def _balance_section(summary: DataSummary) -> Section:
    rows = tuple(
        (
            one.name,
            f"{one.splits['train']:,}",
            f"{sum(one.epoch.values()):,}",
            DASH if one.copies is None else " to ".join(str(n) for n in dict.fromkeys(one.copies)),
            f"{one.left_out:,}",
        )
        for one in summary.classes
    )
    columns = ("class", "training pictures", "images an epoch", "copies of a picture", "left out")
    text = (
        "With balance=copies a training picture is drawn so many times an epoch, each time augmented anew "
        "(section 3.3); 0 copies leave it out. Alternatives that cost no copies: balance=sampling draws the "
        "classes evenly, balance=logit_adjustment adds the log prior to the logits in the loss (Menon et "
        "al., 2021)."
    )
    return Section("Class balance plan", (Text(text), Table("Training images by class", columns, rows)))


def _dropped_sections(summary: DataSummary, examples: int) -> list[Section]:
    if not summary.dropped:
        return [Section("Dropped pictures", (Text("No picture was dropped."),))]
    counts = {one.reason: one.counts for one in summary.dropped}
    table = _counts_table("Dropped pictures by reason and set", "reason", counts, total=len(summary.sets) > 1)
    lists = []
    for one in summary.dropped:
        shown = one.examples[:examples]
        rows = tuple(
            (
                picture.id,
                picture.source_file,
                DASH if picture.source_row is None else str(picture.source_row),
                picture.drop_detail or DASH,
            )
            for picture in shown
        )
        caption = f"{one.reason}: {len(shown):,} of {one.count:,}"
        lists.append(Table(caption, ("id", "file", "row", "detail"), rows, words=frozenset({1, 3})))
    told = Text("dropped.csv lists every one of them.")
    return [
        Section("Dropped pictures", (table, told)),
        Section("Examples of dropped pictures", tuple(lists), folded=True),
    ]


def _twin_sections(summary: DataSummary, examples: int) -> list[Section]:
    twins, search = summary.twins, summary.info.twins
    if twins is None:
        return [Section("Twins", (Text("This folder has no list of twins: none were searched for."),))]
    blocks: list[Block] = [Text(_twin_sentence(twins)), Text(_search_sentence(search))]
    if twins.exact + twins.near:
        notes = (
            "A picture counts once, however many twins it has there; a twin of a twin is one too. twins.csv "
            "lists the pairs; of equal pictures the first is paired with each other one and with near twins.",
        )
        caption = "Pictures of a split with a twin in a split, before any was dropped"
        table = _counts_table(caption, "pictures of", twins.across)
        columns = (table.columns[0], *(f"twin in {split}" for split in SPLITS))
        blocks.append(dataclasses.replace(table, columns=columns, rows=table.rows[:-1], notes=notes))
        blocks.append(Text(_policy_sentence(summary)))
    sections = [Section("Twins", tuple(blocks))]
    if twins.conflicts:
        shown = twins.conflicts[:examples]
        listed = tuple(
            (
                pair.id_a,
                pair.label_a,
                pair.id_b,
                pair.label_b,
                DASH if pair.correlation is None else f"{pair.correlation:.4f}",
            )
            for pair in shown
        )
        caption = f"Twins with different labels: {len(shown):,} of {twins.conflicting:,} pairs"
        columns = ("id", "label", "id of its twin", "label of its twin", "correlation")
        table = Table(caption, columns, listed, words=frozenset({1, 2, 3}))
        sections.append(Section("Twins with different labels", (table,), folded=True))
    return sections


def _twin_sentence(twins: TwinSummary) -> str:
    if not twins.exact + twins.near:
        return "No picture has a twin."
    return (
        f"{twins.exact:,} pairs are exact twins and {twins.near:,} near twins; in {twins.mirrored:,} pairs "
        f"one is a mirror image and in {twins.shifted:,} one is shifted. {twins.conflicting:,} pairs have "
        "different labels under the target."
    )


def _search_sentence(search: Mapping[str, Any]) -> str:
    if not search.get("near"):
        return "Only exact twins were searched for: pictures whose decoded pixels are equal."
    ways = [f"shifted by up to {search['shift']} pixels of 48"] if search.get("shift") else []
    ways += ["mirrored"] if search.get("mirror") else []
    also = f", also {' or '.join(ways)}" if ways else ""
    return (
        "Exact twins have equal decoded pixels; near twins are faces whose pixels correlate above "
        f"{search.get('correlation', 0):g}{also}."
    )


def _policy_sentence(summary: DataSummary) -> str:
    policy = summary.info.splits
    removed = [one for one in summary.dropped if one.reason.startswith(_TWIN_REASON)]
    told = joined([f"{one.count:,} for “{one.reason}”" for one in removed])
    taken = f"dropped {told}" if removed else "had none to drop"
    if policy == "clean":
        return f"The policy clean keeps the test split as it is and {taken}."
    if policy == "balanced":
        return "The policy balanced keeps twins together, in one split" + (
            f"; it {taken}." if removed else "."
        )
    found = [f"{count:,} in {split}" for split, count in _leaks(summary).items() if count]
    if not found:
        return "No test picture has a twin in another split."
    return (
        "The policy official leaves twins where they are, so that figures compare with those of others. Test "
        f"pictures with a twin: {joined(found)}. splits.policy=clean takes those twins out."
    )


def _citing(summary: DataSummary) -> str:
    return (
        "Cite the publications of the sets above, and name this data by its manifest hash "
        f"{summary.manifest_hash[:12]}: it covers every row, label, split and pixel, whatever the order of "
        "the rows, so equal hashes mean equal data."
    )
