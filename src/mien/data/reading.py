"""The first stage: every picture read once, in parallel, into chunks that outlive an interruption.

The readers are gone through at least twice: once to count, to refuse a wrong label before an hour of work,
and to name the chunks by their content; and again for the chunks that are missing. Pictures that came cropped
come first, since the template that the others are aligned to is measured on them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from mien.card import CropTemplate
from mien.config import FacesConfig, PrepareConfig
from mien.data.chunks import ChunkFingerprint, ChunkTask, chunk_name, read_chunk, rows_in
from mien.data.crop import SAMPLE, looks_cropped
from mien.data.crop_templates import crop_templates
from mien.data.pack import Pixels, decode
from mien.data.rows import RowSettings
from mien.data.sources.record import Record
from mien.data.targets import parts_of
from mien.data.taxonomy import Taxonomy
from mien.errors import InputError, UnreadableImage
from mien.faces.template import DEFAULT_TEMPLATE
from mien.progress import Reporter
from mien.workers import in_processes

CHUNK: Final = 256
"""Pictures that are read together, on average; what an interruption loses is about so many a process."""
_MOST: Final = 4 * CHUNK

Records = Callable[[], Iterable[Record]]
"""The readers, from their beginning, as often as it is called; the same records each time."""


@dataclass
class Lane:
    """The records of one set that came cropped, or that did not, in order."""

    fingerprints: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


@dataclass
class Index:
    """What going through the readers once has told."""

    lanes: dict[tuple[str, bool], Lane] = field(default_factory=dict)
    """By set and by whether its reader says that the pictures came cropped."""
    sets: dict[str, dict[str, None]] = field(default_factory=dict)
    """Set to its annotations."""
    votes: dict[str, dict[str, None]] = field(default_factory=dict)
    """Annotation to the names of its votes."""
    user: dict[str, None] = field(default_factory=dict)
    samples: dict[str, list[Any]] = field(default_factory=dict)
    """Some pictures of each of the user's own sets."""
    seen: Counter[str] = field(default_factory=Counter)
    """Pictures of each of them."""
    notes: dict[str, None] = field(default_factory=dict)
    count: int = 0


@dataclass(frozen=True)
class Reading:
    """The chunks of a data set, all of them there."""

    chunks: tuple[Path, ...]
    """In the order of the manifest's rows."""
    key: str
    """A hash of all that is in them."""
    sets: Mapping[str, tuple[str, ...]]
    """Set to its annotations, in the readers' order."""
    annotations: Mapping[str, tuple[str, ...]]
    """Annotation to the names of its votes."""
    template: CropTemplate | None
    """What the faces that did not come cropped were aligned to, and those of the largest set look like."""
    templates: Mapping[str, CropTemplate]
    """As measured in each set that came cropped."""
    notes: tuple[str, ...] = ()
    """What the readers had to pass over, for people."""

    def rows(self) -> pl.DataFrame:
        """All rows, with `pack_row` counting the kept ones."""
        frame = pl.concat([rows_in(path) for path in self.chunks])
        row = pl.col("kept").cast(pl.Int64).cum_sum() - 1
        return frame.with_columns(pl.when("kept").then(row).otherwise(None).alias("pack_row"))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        values = dataclasses.asdict(self)
        return {**values, "chunks": [path.name for path in self.chunks]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], folder: Path) -> Reading:
        """Read what `to_dict` wrote; `folder` is where the chunks lie."""
        return cls(
            chunks=tuple(folder / name for name in values["chunks"]),
            key=values["key"],
            sets={name: tuple(names) for name, names in values["sets"].items()},
            annotations={name: tuple(names) for name, names in values["annotations"].items()},
            template=_template_from(values["template"]),
            templates={name: CropTemplate.from_dict(v) for name, v in values["templates"].items()},
            notes=tuple(values["notes"]),
        )


def _template_from(values: Any) -> CropTemplate | None:
    return None if values is None else CropTemplate.from_dict(values)


def read(
    records: Records,
    folder: Path,
    config: PrepareConfig,
    own: frozenset[str],
    reporter: Reporter,
    begin: Callable[[], None],
) -> Reading:
    """Read what is missing in the folder of chunks.

    Args:
        records: the readers.
        folder: of the chunks; those that no longer belong to the data are removed at the end.
        config: sizes, taxonomy, how faces are found.
        own: the user's own sets, of which nobody says whether their pictures came cropped.
        reporter: shows how far it is.
        begin: called when all labels have been found good, before the first file is written.

    Raises:
        InputError: a set's files cannot be used, a label is outside the taxonomy, or there is no picture.
    """
    index = _index(records, Taxonomy(config.labels), own, reporter)
    cropped = _cropped_lanes(index, config.faces)
    votes = {name: tuple(names) for name, names in index.votes.items()}
    if config.target is not None:
        parts_of(config.target, votes)
    begin()
    settings = RowSettings(
        config.size, config.channels, config.labels, config.faces, cropped=True, template=None, votes=votes
    )
    user = tuple(index.user)
    paths = _paths(index, dict.fromkeys(cropped, settings), folder, user)
    _read_missing(records, index, paths, dict.fromkeys(cropped, settings), user, config.jobs, reporter)
    templates = crop_templates(paths, folder.parent / "templates.json", config, reporter)
    template = _largest(index, templates)
    if others := [lane for lane in index.lanes if lane not in cropped]:
        template = template or DEFAULT_TEMPLATE
        aligned = dataclasses.replace(settings, cropped=False, template=template)
        more = _paths(index, dict.fromkeys(others, aligned), folder, user)
        _read_missing(records, index, more, dict.fromkeys(others, aligned), user, config.jobs, reporter)
        paths |= more
    chunks = tuple(path for lane in index.lanes for path in paths[lane])
    names = "\n".join(path.name for path in chunks)
    return Reading(
        chunks=chunks,
        key=hashlib.sha256(names.encode()).hexdigest()[:32],
        sets={name: tuple(annotations) for name, annotations in index.sets.items()},
        annotations=votes,
        template=template,
        templates=templates,
        notes=tuple(index.notes),
    )


def _index(records: Records, taxonomy: Taxonomy, own: frozenset[str], reporter: Reporter) -> Index:
    index, open_chunks = Index(), dict[tuple[str, bool], tuple[ChunkFingerprint, int]]()
    chance = random.Random(0)
    with reporter.bar("finding", None) as bar:
        for record in records():
            taxonomy.judge(record)
            of_set = index.sets.setdefault(record.set, {})
            for annotation in record.labels:
                of_set[annotation] = None
                index.votes.setdefault(annotation, {}).update(dict.fromkeys(record.votes.get(annotation, ())))
            index.user.update(dict.fromkeys(record.user))
            if record.note:
                index.notes[f"{record.where}: {record.note}"] = None
            if record.set in own and record.drop_reason is None:
                _sample(index.samples.setdefault(record.set, []), record, index.seen[record.set], chance)
                index.seen[record.set] += 1
            name = (record.set, record.cropped)
            index.lanes.setdefault(name, Lane())
            fingerprint, count = open_chunks.get(name) or (ChunkFingerprint(), 0)
            fingerprint.add(record)
            open_chunks[name] = fingerprint, count + 1
            if _ends_chunk(record, count + 1):
                _close(index, name, open_chunks)
            index.count += 1
            if index.count % CHUNK == 0:
                bar.advance(CHUNK)
    for name in [*open_chunks]:
        _close(index, name, open_chunks)
    if not index.count:
        raise InputError("no picture was found; check the path and its layout.")
    return index


def _ends_chunk(record: Record, count: int) -> bool:
    """Whether a chunk ends with this record: by the record's own key, so that a new picture changes the one
    chunk that it falls into and not all that follow."""
    return count == _MOST or zlib.crc32(record.key.encode()) % CHUNK == 0


def _close(
    index: Index,
    name: tuple[str, bool],
    open_chunks: dict[tuple[str, bool], tuple[ChunkFingerprint, int]],
) -> None:
    fingerprint, count = open_chunks.pop(name)
    index.lanes[name].fingerprints.append(fingerprint.value())
    index.lanes[name].counts.append(count)


def _sample(sample: list[Any], record: Record, seen: int, chance: random.Random) -> None:
    """Keep an even sample of a stream of unknown length (Vitter's algorithm R)."""
    if len(sample) < SAMPLE:
        sample.append(record.image)
    elif (place := chance.randrange(seen + 1)) < SAMPLE:
        sample[place] = record.image


def _cropped_lanes(index: Index, faces: FacesConfig) -> list[tuple[str, bool]]:
    looks = {
        name: _sample_looks_cropped(sample)
        for name, sample in index.samples.items()
        if faces.detect == "auto"
    }

    def is_cropped(lane: tuple[str, bool]) -> bool:
        name, said = lane
        if name in faces.cropped or faces.detect == "never":
            return True
        return looks.get(name, said) if faces.detect == "auto" else False

    if odd := [name for name in faces.cropped if name not in index.sets]:
        raise InputError(f"faces.cropped names {odd[0]}, which is none of the sets {', '.join(index.sets)}.")
    return [lane for lane in index.lanes if is_cropped(lane)]


def _sample_looks_cropped(sample: list[Any]) -> bool:
    pictures: list[Pixels] = []
    for image in sample:
        try:
            pictures.append(decode(image))
        except UnreadableImage:
            continue
    return looks_cropped(pictures)


Lanes = Mapping[tuple[str, bool], RowSettings]
Paths = dict[tuple[str, bool], list[Path]]


def _paths(index: Index, lanes: Lanes, folder: Path, user: tuple[str, ...]) -> Paths:
    return {
        lane: [folder / chunk_name(print_, settings, user) for print_ in index.lanes[lane].fingerprints]
        for lane, settings in lanes.items()
    }


def _read_missing(
    records: Records,
    index: Index,
    paths: Paths,
    lanes: Lanes,
    user: tuple[str, ...],
    jobs: int,
    reporter: Reporter,
) -> None:
    sizes = {
        path: count
        for lane, chunks in paths.items()
        for path, count in zip(chunks, index.lanes[lane].counts, strict=True)
    }
    missing = {path for path in sizes if not path.is_file()}
    if not missing:
        return
    total = sum(sizes.values())
    done = total - sum(sizes[path] for path in missing)
    tasks = _tasks(records, index, paths, lanes, missing, user)
    # Starting a process costs more than reading one chunk.
    jobs = 1 if len(missing) == 1 else jobs
    with reporter.bar("reading", total, done=done) as bar:
        for count in in_processes(read_chunk, tasks, jobs=jobs):
            bar.advance(count)
    if any(not path.is_file() for path in missing):
        raise _changed()


def _changed() -> InputError:
    return InputError("pictures changed while they were read; run it again when nothing else writes there.")


def _tasks(
    records: Records,
    index: Index,
    paths: Paths,
    lanes: Lanes,
    missing: set[Path],
    user: tuple[str, ...],
) -> Iterator[ChunkTask]:
    position = dict.fromkeys(paths, 0)
    held: dict[tuple[str, bool], list[Record]] = {lane: [] for lane in paths}

    def close(lane: tuple[str, bool]) -> Iterator[ChunkTask]:
        number, chunk = position[lane], held[lane]
        position[lane], held[lane] = number + 1, []
        if number >= len(paths[lane]):
            raise _changed()
        if paths[lane][number] in missing:
            fingerprint = ChunkFingerprint()
            for record in chunk:
                fingerprint.add(record)
            if fingerprint.value() != index.lanes[lane].fingerprints[number]:
                raise _changed()
            yield ChunkTask(paths[lane][number], tuple(chunk), lanes[lane], user)

    for record in records():
        lane = (record.set, record.cropped)
        if lane in held:
            held[lane].append(record)
            if _ends_chunk(record, len(held[lane])):
                yield from close(lane)
    for lane in [lane for lane, chunk in held.items() if chunk]:
        yield from close(lane)


def _largest(index: Index, templates: Mapping[str, CropTemplate]) -> CropTemplate | None:
    """The template of the set with the most pictures among those that have one."""
    sizes = dict.fromkeys(templates, 0)
    for (name, _), lane in index.lanes.items():
        if name in sizes:
            sizes[name] += sum(lane.counts)
    return templates[max(sizes, key=lambda name: sizes[name])] if sizes else None
