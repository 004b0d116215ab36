"""Writing files so that nothing is lost: to a temporary name beside the target, flushed, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder; on success it is flushed to disk and renamed to `path`.

    Whatever is raised inside, `path` keeps its old content and the temporary file is removed. A link stays a
    link to what is replaced; a pipe or a device is not replaced, it is written into at the end.
    """
    target = path.resolve()
    # /dev/stdout resolves to a name that need not exist, so what is asked is whether `path` itself does.
    is_stream = path.exists() and not target.is_file()
    if not is_stream:
        target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f".{target.name}.", suffix=".tmp", dir=None if is_stream else target.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if is_stream:
            with temporary.open("rb") as content, path.open("wb") as stream:
                shutil.copyfileobj(content, stream)
        else:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            # mkstemp makes a private file; a result should have the permissions any new file of the user
            # gets.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, all of it or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, all of it or nothing."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal, read in 1 MiB pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_from(folder: Path, path: Path) -> str:
    """A path as seen from a folder, so that both can be moved together."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
