"""From raw sets to a prepared folder: the manifest, the pack and the twins.

Four stages, each of which does only what is missing: reading (find, decode, detect, crop, pack), the audit
for twins, splits, and the balance plan. What they leave in the folder `stages` is named by a hash of
everything it depends on, so that a run that was interrupted, even by a power cut, is continued by the same
command with the same result. The manifest comes last, by one rename.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl

from mien.config import PrepareConfig
from mien.data.assemble import assemble
from mien.data.chunks import faces_in
from mien.data.duplicates import TwinPairs, find_twins
from mien.data.manifest import METADATA_KEY, Manifest
from mien.data.manifest_hash import USER_PREFIX
from mien.data.pack import Pixels, open_pack, write_pack
from mien.data.parquet import write_parquet
from mien.data.prepared import MANIFEST_FILE, STAGES, PackFile
from mien.data.reading import Reading, read
from mien.data.sources import drawn
from mien.data.sources.named import own_sets, readers
from mien.data.stages import CHUNKS, STATE, VERSION, Stages, claimed
from mien.errors import InputError, ManifestError
from mien.files import replacing, sha256_of, write_json
from mien.progress import Reporter

Sources = Sequence[tuple[str, Path]] | Mapping[str, Path] | Literal["drawn"]
"""Set names and paths, in order; a name may stand twice for one set in two layouts. Or `drawn`."""
_OURS: Final = {
    "chunk": re.compile(r"[0-9a-f]{32}\.parquet"),
    "pairs": re.compile(r"pairs-[0-9a-f]{32}\.parquet"),
    "pack": re.compile(r"pack-[0-9a-f]{16}\.npy"),
    "twins": re.compile(r"twins-[0-9a-f]{16}\.parquet"),
    "temporary": re.compile(r"\..+\.(npy|parquet|json|csv|md|html)\..+\.tmp"),
}
"""Names of the files that may be removed when they are no longer of use."""
_READING_SETTINGS: Final = ("size", "channels", "labels", "template_sample", "faces", "drawn", "jobs", "seed")


def prepare(
    sources: Sources, out: Path, config: PrepareConfig, *, reporter: Reporter | None = None
) -> Manifest:
    """Read raw sets and write one prepared folder; what an earlier call left there is not done again.

    Args:
        sources: set names and their paths. A name that is not in `mien.data.sets.names()` is a set of the
            user's own.
        out: the folder to write. A manifest that is already there is replaced when the new one is complete.
        config: sizes, faces, twins, splits, balance, target, taxonomy, seed.
        reporter: shows how far it is; silent by default.

    Returns:
        The manifest that was written.

    Raises:
        InputError: a set's files cannot be used, a label is outside the taxonomy, a split has no image,
            `out` holds something else, or another process works on it. The manifest that was there stays.
    """
    reporter = reporter or Reporter(quiet=True)
    with claimed(out) as claim:
        before = Stages.find(out)
        stages = _read_sources(sources, out, config, before, claim, reporter)
        if before is not None:
            # Until they have led to a manifest, the new settings of the later stages are only a wish.
            settings = {name: getattr(config, name) for name in _READING_SETTINGS}
            dataclasses.replace(stages, config=dataclasses.replace(before.config, **settings)).write(out)
        return _finish(stages, out, config, reporter)


def read_sources(
    sources: Sources, out: Path, config: PrepareConfig, *, reporter: Reporter | None = None
) -> Stages:
    """The first stage: read every picture that was not read before, and pack the faces.

    Raises:
        InputError: as `prepare`.
    """
    reporter = reporter or Reporter(quiet=True)
    with claimed(out) as claim:
        return _read_sources(sources, out, config, Stages.find(out), claim, reporter)


def _read_sources(
    sources: Sources,
    out: Path,
    config: PrepareConfig,
    before: Stages | None,
    claim: Callable[[], None],
    reporter: Reporter,
) -> Stages:
    named = _named(sources)
    _check_out(out, named)
    records = drawn.readers(config) if named is None else readers(named)
    chunks = out / STAGES / CHUNKS

    def begin() -> None:
        if not (out / STAGES / STATE).exists():
            write_json(out / STAGES / STATE, {"version": VERSION})
        claim()

    reading = read(records, chunks, config, own_sets(named or ()), reporter, begin)
    if before is not None and before.reading.key == reading.key:
        pack = before.pack
    else:
        pack = _packed(out, reading, config, reporter)
    stages = Stages(config, reading, pack)
    stages.write(out)
    _clear(chunks, "chunk", {path.name for path in reading.chunks})
    _clear(chunks, "temporary", set())
    return stages


def finish(out: Path, config: PrepareConfig, *, reporter: Reporter | None = None) -> Manifest:
    """The other stages: look for twins, split, balance, and write the manifest.

    Columns of the user's own that were added to the manifest since (`user.*`) are taken over.

    Args:
        out: a folder whose pictures have been read.
        config: as `prepare`; what concerns reading is not looked at.
        reporter: shows how far it is; silent by default.

    Raises:
        InputError: nothing was read there, or as `prepare`.
    """
    with claimed(out):
        return _finish(Stages.read(out), out, config, reporter or Reporter(quiet=True))


def _finish(stages: Stages, out: Path, config: PrepareConfig, reporter: Reporter) -> Manifest:
    pairs = _audit(stages, out, config, reporter)
    made = assemble(stages.reading, stages.pack, pairs, config)
    name = _write_twins(made.twins, out)
    frame = _with_user_columns(made.manifest.frame, out / MANIFEST_FILE)
    manifest = Manifest(frame, dataclasses.replace(made.manifest.info, twins_file=name))
    dataclasses.replace(stages, config=config).write(out)
    manifest.write(out / MANIFEST_FILE)
    _clear(out, "pack", {stages.pack.name})
    _clear(out, "twins", {name})
    for folder in (out, out / STAGES):
        _clear(folder, "temporary", set())
    return manifest


def _write_twins(twins: pl.DataFrame, out: Path) -> str:
    """Write the list of twins, named by its content so that the old manifest keeps its own; the name."""
    unnamed = out / STAGES / "twins.parquet"
    write_parquet(twins, unnamed)
    name = f"twins-{sha256_of(unnamed)[:16]}.parquet"
    unnamed.replace(out / name)
    return name


def _with_user_columns(frame: pl.DataFrame, old: Path) -> pl.DataFrame:
    """The frame with the `user.*` columns of the manifest that it replaces, by id."""
    if not old.is_file():
        return frame
    try:
        before = Manifest.read(old).frame
    except ManifestError:
        # Of another version: its columns cannot be trusted to be what they were.
        return frame
    added = [name for name in before.columns if name.startswith(USER_PREFIX) and name not in frame.columns]
    return frame.join(before.select("id", *added), on="id", how="left", maintain_order="left")


def audit(
    out: Path, config: PrepareConfig, *, reporter: Reporter | None = None, remember: bool = False
) -> TwinPairs:
    """The second stage: the pairs of twins among the packed faces, found or remembered.

    Args:
        out: a folder whose pictures have been read.
        config: `config.audit` is looked at.
        reporter: shows how far it is; silent by default.
        remember: keep the config for the stages that follow.

    Raises:
        InputError: nothing was read there, or another process works on the folder.
    """
    with claimed(out):
        stages = Stages.read(out)
        pairs = _audit(stages, out, config, reporter or Reporter(quiet=True))
        if remember:
            dataclasses.replace(stages, config=config).write(out)
    return pairs


def _audit(stages: Stages, out: Path, config: PrepareConfig, reporter: Reporter) -> TwinPairs:
    text = json.dumps([VERSION, stages.reading.key, dataclasses.asdict(config.audit)], sort_keys=True)
    path = out / STAGES / f"pairs-{hashlib.sha256(text.encode()).hexdigest()[:32]}.parquet"
    if not path.is_file():
        pack = open_pack(out / stages.pack.name)
        hashes = stages.reading.rows().filter("kept")["sha256"].to_list()
        with reporter.bar("looking for twins", len(pack)) as bar:
            pairs = find_twins(pack, hashes, config.audit, progress=bar.advance)
        write_parquet(_pairs_to_frame(pairs), path)
        _clear(path.parent, "pairs", {path.name})
    return _pairs_from_frame(pl.read_parquet(path))


def _pairs_to_frame(pairs: TwinPairs) -> pl.DataFrame:
    values = {f.name: getattr(pairs, f.name) for f in dataclasses.fields(pairs) if f.name != "shift"}
    return pl.DataFrame({**values, "shift_x": pairs.shift[:, 0], "shift_y": pairs.shift[:, 1]})


def _pairs_from_frame(frame: pl.DataFrame) -> TwinPairs:
    values = {f.name: frame[f.name].to_numpy() for f in dataclasses.fields(TwinPairs) if f.name != "shift"}
    return TwinPairs(**values, shift=np.stack([frame["shift_x"], frame["shift_y"]], axis=1))


def _packed(out: Path, reading: Reading, config: PrepareConfig, reporter: Reporter) -> PackFile:
    """Write the pack of all faces that were read, named by its content."""

    def faces() -> Iterator[Pixels]:
        for path in reading.chunks:
            yield from faces_in(path, size=config.size, channels=config.channels)
            bar.advance()

    unnamed = out / STAGES / "pack.npy"
    with (
        reporter.bar("packing", len(reading.chunks), unit="chunks") as bar,
        replacing(unnamed) as temporary,
    ):
        count = write_pack(temporary, faces(), size=config.size, channels=config.channels)
    sha256 = sha256_of(unnamed)
    made = PackFile(f"pack-{sha256[:16]}.npy", count, sha256)
    unnamed.replace(out / made.name)
    return made


def _named(sources: Sources) -> list[tuple[str, Path]] | None:
    if isinstance(sources, str):
        return None
    return [*sources.items()] if isinstance(sources, Mapping) else [*sources]


def _check_out(out: Path, named: Sequence[tuple[str, Path]] | None) -> None:
    for name, path in named or ():
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise InputError(
                f"{out} lies inside {path}, where it would be read as a part of {name}; name another folder "
                "with --out."
            )
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a new folder with --out.")
    if out.is_dir() and any(out.iterdir()) and not _is_ours(out):
        raise InputError(f"{out} holds other files than prepared data; name a new folder with --out.")


def _is_ours(out: Path) -> bool:
    """Whether the folder was made here: by what its files hold, since anybody may call a folder `stages`."""
    try:
        if "version" in json.loads((out / STAGES / STATE).read_text(encoding="utf-8")):
            return True
    except (OSError, ValueError, TypeError):
        pass
    try:
        return METADATA_KEY in pl.read_parquet_metadata(out / MANIFEST_FILE)
    except (OSError, pl.exceptions.PolarsError):
        return False


def _clear(folder: Path, kind: str, keep: set[str]) -> None:
    """Remove files of one kind that are no longer of use; nothing that is not ours by its name."""
    for path in folder.iterdir():
        if _OURS[kind].fullmatch(path.name) and path.name not in keep and path.is_file():
            path.unlink()
