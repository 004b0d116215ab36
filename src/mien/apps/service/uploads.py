"""The files of a request: as its body or as parts of a form, never more than is allowed, never by name.

Parts are told apart by `python_multipart`. What a client calls a file, and of which type it says it is, is
not looked at: the content decides.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from mien.apps.service.errors import Refused

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD: Final = "files"
"""Name of the form's field."""
_PART_OVERHEAD: Final = 4096
"""Bytes that a part's boundary and headers may take beside its file."""


@dataclass(frozen=True)
class UploadLimits:
    """What one request may bring."""

    files: int
    """Files, each of them at least one byte."""
    file_bytes: int
    """Bytes of one."""
    seconds: float
    """From the headers to the end of the body."""


class UploadRoom:
    """The bytes that uploads may hold in memory at a time, all of them together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0
        """Bytes that are held now."""

    @contextmanager
    def held_by(self) -> Iterator[Callable[[int], None]]:
        """A function that takes room for bytes, all of which is given back at the end.

        It raises `Refused` where there is no room.
        """
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if self.held + count > self._most:
                raise Refused("busy", "too much is being uploaded; try again in a moment.", retry_after=1)
            self.held += count
            taken += count

        try:
            yield take
        finally:
            self.held -= taken


def no_room(count: int) -> None:
    """In place of `UploadRoom.held_by` where what is uploaded goes to disk."""


async def read_files(
    request: Request,
    limits: UploadLimits,
    *,
    take: Callable[[int], None] = no_room,
    new_file: Callable[[], BinaryIO] = io.BytesIO,
) -> list[BinaryIO]:
    """The files of a request's body, each at its beginning.

    Args:
        request: a body that is a file as it is, or multipart/form-data with fields `files`.
        limits: what is refused.
        take: called with the bytes that come, before they are kept.
        new_file: makes what a file is written to; it is the caller's to close.

    Raises:
        Refused: too large, too many, too slow, empty, compressed, or not a form that can be read.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refused("unsupported_media_type", "a compressed body is not read; send it as it is.")
    kind, options = parse_options_header(request.headers.get("content-type"))
    whole = kind != b"multipart/form-data"
    files = _Files(1 if whole else limits.files, limits.file_bytes, new_file)
    most = (
        limits.file_bytes if whole else limits.files * (limits.file_bytes + _PART_OVERHEAD) + _PART_OVERHEAD
    )
    chunks = _chunks(request, most, limits.seconds)
    try:
        if whole:
            files.begin()
            async for chunk in chunks:
                take(len(chunk))
                files.write(chunk)
        else:
            await _read_form(chunks, options.get(b"boundary", b""), files, take)
        files.check()
    except BaseException:
        files.close()
        raise
    return files.ended()


async def _chunks(request: Request, most: int, seconds: float) -> AsyncIterator[bytes]:
    claimed = request.headers.get("content-length", "")
    too_large = Refused("too_large", f"the upload is larger than the limit of {most:,} bytes.")
    if claimed.isdecimal() and int(claimed) > most:
        raise too_large
    got = 0
    stream = request.stream()
    end = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(end):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise Refused("too_slow", f"the upload took longer than {seconds:g} s.") from None
        except ClientDisconnect:
            raise Refused("bad_request", "the client left before the end of its upload.") from None
        if chunk is None:
            return
        got += len(chunk)
        if got > most:
            raise too_large
        yield chunk


async def _read_form(
    chunks: AsyncIterator[bytes], boundary: bytes, files: _Files, take: Callable[[int], None]
) -> None:
    if not boundary:
        raise Refused("bad_request", "the form's Content-Type has no boundary.")
    headers, ended = _PartHeaders(), asyncio.Event()

    def part_begins() -> None:
        headers.clear()

    def headers_end() -> None:
        if headers.field() != FIELD:
            raise Refused("invalid", f"the form may have the field `{FIELD}` alone.")
        files.begin()

    callbacks: MultipartCallbacks = {
        "on_part_begin": part_begins,
        "on_header_field": headers.on_name,
        "on_header_value": headers.on_value,
        "on_header_end": headers.on_end,
        "on_headers_finished": headers_end,
        "on_part_data": lambda data, start, end: files.write(data[start:end]),
        "on_end": ended.set,
    }
    try:
        parser = MultipartParser(boundary, callbacks)
        async for chunk in chunks:
            take(len(chunk))
            parser.write(chunk)
    except FormParserError:
        raise Refused("bad_request", "the form cannot be read; it is damaged.") from None
    # The parser takes the end of the body for the end of the form, wherever it comes.
    if not ended.is_set():
        raise Refused("bad_request", "the form is cut off.")


class _PartHeaders:
    """The one header of a part that matters."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self._name, self._value, self._disposition = b"", b"", b""

    def on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def field(self) -> str:
        _, options = parse_options_header(self._disposition)
        return options.get(b"name", b"").decode("utf-8", "replace")


class _Files:
    """The files that have come so far."""

    def __init__(self, most: int, most_bytes: int, new_file: Callable[[], BinaryIO]) -> None:
        self._most, self._most_bytes, self._new_file = most, most_bytes, new_file
        self._files: list[BinaryIO] = []
        self._sizes: list[int] = []

    def begin(self) -> None:
        if len(self._files) == self._most:
            raise Refused("too_large", f"a request may bring {self._most} files, not more.")
        self._files.append(self._new_file())
        self._sizes.append(0)

    def write(self, data: bytes) -> None:
        self._sizes[-1] += len(data)
        if self._sizes[-1] > self._most_bytes:
            raise Refused("too_large", f"a file is larger than the limit of {self._most_bytes:,} bytes.")
        self._files[-1].write(data)

    def check(self) -> None:
        if not self._files or (len(self._files) == 1 and not self._sizes[0]):
            raise Refused(
                "invalid", f"no file came; send it as the body, or as the field `{FIELD}` of a form."
            )

    def ended(self) -> list[BinaryIO]:
        for file in self._files:
            file.seek(0)
        return self._files

    def close(self) -> None:
        for file in self._files:
            file.close()
