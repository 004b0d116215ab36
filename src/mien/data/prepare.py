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
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from mien.config import PrepareConfig
from mien.data.assemble import assemble
from mien.data.chunks import faces_in
from mien.data.duplicates import TwinPairs, find_twins
from mien.data.manifest import Manifest
from mien.data.pack import Pixels, open_pack, write_pack
from mien.data.parquet import write_parquet
from mien.data.prepared import MANIFEST_FILE, STAGES, TWINS_FILE, PackFile
from mien.data.reading import Reading, read
from mien.data.sources import drawn, own_sets, readers
from mien.errors import InputError
from mien.files import replacing, sha256_of, write_json
from mien.progress import Reporter

Sources = Sequence[tuple[str, Path]] | Mapping[str, Path] | Literal["drawn"]
"""Set names and paths, in order; a name may stand twice for one set in two layouts. Or `drawn`."""
_PLAN: Final = "plan.json"
_READING: Final = "reading.json"
_PACK: Final = "pack.json"
_CHUNKS: Final = "read"
_VERSION: Final = 1
"""Of what the stages leave; what another version of mien left is not used."""


def prepare(
    sources: Sources, out: Path, config: PrepareConfig, *, reporter: Reporter | None = None
) -> Manifest:
    """Read raw sets and write one prepared folder; what an earlier call left there is not done again.

    Args:
        sources: set names and their paths. A name that is not in `mien.data.sources.SOURCES` is a set of the
            user's own.
        out: the folder to write. A manifest that is already there is replaced when the new one is complete.
        config: sizes, faces, twins, splits, balance, target, taxonomy, seed.
        reporter: shows how far it is; silent by default.

    Returns:
        The manifest that was written.

    Raises:
        InputError: a set's files cannot be used, a label is outside the taxonomy, a split has no image, or
            `out` holds something else. The manifest that was there stays.
    """
    reporter = reporter or Reporter(quiet=True)
    reading = read_sources(sources, out, config, reporter=reporter)
    return finish(out, config, reading, reporter=reporter)


def read_sources(
    sources: Sources, out: Path, config: PrepareConfig, *, reporter: Reporter | None = None
) -> Reading:
    """The first stage: read every picture that was not read before, and pack the faces.

    Raises:
        InputError: as `prepare`.
    """
    reporter = reporter or Reporter(quiet=True)
    named = _named(sources)
    _check_out(out, named)
    records = drawn.readers(config) if named is None else readers(named)
    stages = out / STAGES
    reading = read(records, stages / _CHUNKS, config, own_sets(named or ()), reporter)
    _keep(stages / _READING, reading.to_dict())
    _keep(stages / _PLAN, dataclasses.asdict(config))
    _packed(out, reading, config, reporter)
    _clear(stages / _CHUNKS, {path.name for path in reading.chunks})
    return reading


def finish(
    out: Path,
    config: PrepareConfig,
    reading: Reading | None = None,
    *,
    reporter: Reporter | None = None,
) -> Manifest:
    """The other stages: look for twins, split, balance, and write the manifest.

    Args:
        out: a folder whose pictures have been read.
        config: as `prepare`; what concerns reading is not looked at.
        reading: what was read; by default what the folder remembers.
        reporter: shows how far it is; silent by default.

    Raises:
        InputError: nothing was read there, or as `prepare`.
    """
    reporter = reporter or Reporter(quiet=True)
    reading = reading or remembered_reading(out)
    pack = _packed(out, reading, config, reporter)
    pairs = audit(out, config, reading, reporter=reporter)
    made = assemble(reading, pack, pairs, config)
    write_parquet(made.twins, out / TWINS_FILE)
    made.manifest.write(out / MANIFEST_FILE)
    _keep(out / STAGES / _PLAN, dataclasses.asdict(config))
    _clear(out, {pack.name}, "pack-*.npy")
    for folder in (out, out / STAGES):
        # What a killed process left half written.
        _clear(folder, set(), ".*.tmp")
    return made.manifest


def audit(
    out: Path,
    config: PrepareConfig,
    reading: Reading | None = None,
    *,
    reporter: Reporter | None = None,
    remember: bool = False,
) -> TwinPairs:
    """The second stage: the pairs of twins among the packed faces, found or remembered.

    Args:
        out: a folder whose pictures have been read.
        config: `config.audit` is looked at.
        reading: what was read; by default what the folder remembers.
        reporter: shows how far it is; silent by default.
        remember: keep the config for the stages that follow.

    Raises:
        InputError: nothing was read there.
    """
    reporter = reporter or Reporter(quiet=True)
    reading = reading or remembered_reading(out)
    pack = _packed(out, reading, config, reporter)
    text = json.dumps([_VERSION, pack.sha256, dataclasses.asdict(config.audit)], sort_keys=True)
    path = out / STAGES / f"twins-{hashlib.sha256(text.encode()).hexdigest()[:32]}.parquet"
    if not path.is_file():
        hashes = reading.rows().filter("kept")["sha256"].to_list()
        with reporter.bar("looking for twins", pack.count) as bar:
            pairs = find_twins(open_pack(out / pack.name), hashes, config.audit, progress=bar.advance)
        write_parquet(_pairs_to_frame(pairs), path)
        _clear(path.parent, {path.name}, "twins-*.parquet")
    if remember:
        _keep(out / STAGES / _PLAN, dataclasses.asdict(config))
    return _pairs_from_frame(pl.read_parquet(path))


def _pairs_to_frame(pairs: TwinPairs) -> pl.DataFrame:
    values = {f.name: getattr(pairs, f.name) for f in dataclasses.fields(pairs) if f.name != "shift"}
    return pl.DataFrame({**values, "shift_x": pairs.shift[:, 0], "shift_y": pairs.shift[:, 1]})


def _pairs_from_frame(frame: pl.DataFrame) -> TwinPairs:
    values = {f.name: frame[f.name].to_numpy() for f in dataclasses.fields(TwinPairs) if f.name != "shift"}
    return TwinPairs(**values, shift=np.stack([frame["shift_x"], frame["shift_y"]], axis=1))


def _packed(out: Path, reading: Reading, config: PrepareConfig, reporter: Reporter) -> PackFile:
    """The pack of all faces that were read, written unless it is there."""
    stages = out / STAGES
    known = _recall(stages / _PACK)
    if known and known["key"] == reading.key and (out / known["pack"]["name"]).is_file():
        return PackFile(**known["pack"])

    def faces() -> Iterator[Pixels]:
        for path in reading.chunks:
            yield from faces_in(path, size=config.size, channels=config.channels)
            bar.advance()

    with (
        reporter.bar("packing", len(reading.chunks), unit="chunks") as bar,
        replacing(stages / "pack.npy") as temporary,
    ):
        count = write_pack(temporary, faces(), size=config.size, channels=config.channels)
    sha256 = sha256_of(stages / "pack.npy")
    made = PackFile(f"pack-{sha256[:16]}.npy", count, sha256)
    (stages / "pack.npy").replace(out / made.name)
    _keep(stages / _PACK, {"key": reading.key, "pack": dataclasses.asdict(made)})
    return made


def remembered_reading(out: Path) -> Reading:
    """What was read into a folder.

    Raises:
        InputError: nothing was, or its chunks were deleted.
    """
    stages = out / STAGES
    known = _recall(stages / _READING)
    reading = None if known is None else Reading.from_dict(known, stages / _CHUNKS)
    if reading is None or any(not path.is_file() for path in reading.chunks):
        raise _nothing_read(out)
    return reading


def remembered_config(out: Path) -> dict[str, Any]:
    """The settings that a folder was last prepared with, as plain values.

    Raises:
        InputError: there are none.
    """
    known = _recall(out / STAGES / _PLAN)
    if known is None:
        raise _nothing_read(out)
    return known


def _nothing_read(out: Path) -> InputError:
    return InputError(
        f"{out} holds nothing that this version of mien has read; begin with `mien data read PATH --out "
        f"{out}`."
    )


def _keep(path: Path, values: Mapping[str, Any]) -> None:
    write_json(path, {"version": _VERSION, "values": values})


def _recall(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    known = json.loads(path.read_text(encoding="utf-8"))
    values: dict[str, Any] | None = known.get("values") if known.get("version") == _VERSION else None
    return values


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
    if (
        out.is_dir()
        and any(out.iterdir())
        and not ((out / MANIFEST_FILE).is_file() or (out / STAGES).is_dir())
    ):
        raise InputError(f"{out} holds other files than prepared data; name a new folder with --out.")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a new folder with --out.")


def _clear(folder: Path, keep: set[str], pattern: str = "*") -> None:
    """Remove what no longer belongs to the data."""
    for path in folder.glob(pattern):
        if path.name not in keep:
            path.unlink() if path.is_file() else shutil.rmtree(path)
