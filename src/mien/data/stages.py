"""What the stages of preparing leave in a folder, and who may work on it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from mien.config import PrepareConfig, prepare_config_from
from mien.data.prepared import MANIFEST_FILE, STAGES, PackFile
from mien.data.reading import Reading
from mien.errors import InputError
from mien.files import write_json

STATE: Final = "state.json"
"""In the folder `stages`, as what follows."""
CHUNKS: Final = "read"
VERSION: Final = 1
"""Of what the stages leave; what another version of mien left is not used."""
_LOCK: Final = "lock"
"""Held by the process that works on the folder; the system gives it back however that process ends."""


@dataclass(frozen=True)
class Stages:
    """What the stages have left in a folder; written as one file, so that its parts belong together."""

    config: PrepareConfig
    """The settings that were asked for last."""
    reading: Reading
    """What was read."""
    pack: PackFile
    """The faces of its kept rows."""

    def write(self, out: Path) -> None:
        """Keep it in the folder."""
        values = {
            "config": dataclasses.asdict(self.config),
            "reading": self.reading.to_dict(),
            "pack": dataclasses.asdict(self.pack),
        }
        write_json(out / STAGES / STATE, {"version": VERSION, **values})

    @classmethod
    def read(cls, out: Path) -> Stages:
        """What a folder remembers.

        Raises:
            InputError: nothing was read there by this version of mien, or it was deleted.
        """
        known = cls.find(out)
        if known is None:
            what = "its folder stages was deleted" if (out / MANIFEST_FILE).is_file() else "nothing was read"
            raise InputError(
                f"{out} cannot be continued: {what}, or by another version of mien; begin with `mien data "
                f"read PATH --out {out}`."
            )
        return known

    @classmethod
    def find(cls, out: Path) -> Stages | None:
        """The same, or None."""
        path = out / STAGES / STATE
        values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if not isinstance(values, dict) or values.get("version") != VERSION or "reading" not in values:
            return None
        reading = Reading.from_dict(values["reading"], out / STAGES / CHUNKS)
        pack = PackFile(**values["pack"])
        if any(not path.is_file() for path in (*reading.chunks, out / pack.name)):
            return None
        return cls(prepare_config_from(values["config"], where=str(path)), reading, pack)


@contextmanager
def claimed(out: Path) -> Iterator[Callable[[], None]]:
    """Have a prepared folder for this process alone, until the block ends.

    A folder that is not there yet is claimed by what this yields, once something may be written.

    Raises:
        InputError: another process has it.
    """
    lock = FileLock(out / STAGES / _LOCK, blocking=False)

    def claim() -> None:
        if lock.is_locked:
            return
        try:
            lock.acquire()
        except Timeout:
            raise InputError(
                f"{out} is being prepared by another process; wait until that has ended, or name another "
                "folder with --out."
            ) from None

    try:
        if (out / STAGES).is_dir():
            claim()
        yield claim
    finally:
        lock.release()
