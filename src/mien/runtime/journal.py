"""What was seen in a video so far, on disk, so that a reading that stops goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from mien.files import write_json
from mien.runtime.sighting import SeenFrame

_VERSION: Final = 1
FOLDER: Final = ".reading"
"""Name of the journal's folder inside the outputs' folder."""


class Journal:
    """A file with a line for each frame, and a state that says how much of it counts.

    The lines come first and are flushed to disk, then the state takes its place: after a stop at any moment,
    what lies behind the last state is cut off.

    Args:
        out: the folder of the outputs.
        described: what is read and how, JSON-ready; a journal of anything else is begun anew.
    """

    def __init__(self, out: Path, described: dict[str, Any]) -> None:
        self.folder = out / FOLDER
        self._described = {"version": _VERSION, **described}
        self._rows = self.folder / "frames.jsonl"
        self._state = self.folder / "state.json"
        self.state: dict[str, Any] | None = None
        """What `checkpoint` kept last, if it is of the same video and settings."""

    def __enter__(self) -> Journal:
        self.state = self._kept()
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.state is None:
            self._state.unlink(missing_ok=True)
            self._rows.write_bytes(b"")
        else:
            os.truncate(self._rows, self.state["bytes"])
        self._file = self._rows.open("a", encoding="utf-8", newline="\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _kept(self) -> dict[str, Any] | None:
        try:
            kept = json.loads(self._state.read_text(encoding="utf-8"))
            large_enough = self._rows.stat().st_size >= kept["bytes"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        # Compared as JSON, which knows no tuples.
        same = kept.get("described") == json.loads(json.dumps(self._described))
        return kept if same and large_enough else None

    def write(self, frame: SeenFrame) -> None:
        """Add a frame."""
        self._file.write(json.dumps(frame.to_json(), separators=(",", ":")) + "\n")

    def checkpoint(self, state: dict[str, Any]) -> None:
        """All that was written counts from now on, with a state to go on from."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self.state = {**state, "described": self._described, "bytes": self._file.tell()}
        write_json(self._state, self.state)

    def frames(self) -> Iterator[SeenFrame]:
        """What was written, from the beginning."""
        self._file.flush()
        with self._rows.open(encoding="utf-8") as file:
            for line in file:
                yield SeenFrame.from_json(json.loads(line))

    def remove(self) -> None:
        """It is no longer needed."""
        self._file.close()
        shutil.rmtree(self.folder)
