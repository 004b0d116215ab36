"""`POST /v1/predict/video`: the faces of a video, line by line while it is read.

A thread reads, a short queue lies between it and the answer: a client who takes its lines slowly slows the
reading down, and one who leaves ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Annotated, Any, BinaryIO, Final, cast

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mien.apps.service.engine import ReadOptions
from mien.apps.service.errors import Refused, refusal_of
from mien.apps.service.guard import log
from mien.apps.service.pictures import REFUSALS, asked_options
from mien.apps.service.schema import ErrorDetail
from mien.apps.service.state import Service, service_of
from mien.apps.service.uploads import FIELD, UploadLimits, read_files
from mien.apps.service.video_lines import Line, read_video_stream
from mien.apps.service.videos_schema import VideoError, VideoLine
from mien.errors import InputError

router: Final = APIRouter()

_FPS: Final = 10.0
_AHEAD: Final = 64
"""Lines that may wait for the client before the reading does."""
_STALLED_SECONDS: Final = 30.0
"""A client who takes nothing for so long is taken to have left: others wait for their turn."""
_LOOK_SECONDS: Final = 0.2
"""How soon a waiting thread or request learns that the other side has ended."""
_RETRY_SECONDS: Final = 10

_BINARY: Final = {"type": "string", "format": "binary", "minLength": 1}
_VIDEO_BODY: Final[Mapping[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": _BINARY},
            "video/mp4": {"schema": _BINARY},
            "video/webm": {"schema": _BINARY},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "additionalProperties": False,
                    "properties": {FIELD: _BINARY},
                }
            },
        },
    }
}


class _Left(Exception):
    """The client has left."""


class _Work(threading.Thread):
    """Reads a video; made and listened to in the event loop.

    Args:
        lines: what is told, lazily.
        check: raises where the work is to end.
        ended: called in the event loop once the thread is done.
    """

    def __init__(self, lines: Iterator[Line], check: Callable[[], None], ended: Callable[[], None]) -> None:
        super().__init__(name="mien-video", daemon=True)
        self._lines, self._check, self._ended = lines, check, ended
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)

    def run(self) -> None:
        """Not to be called; `start` does."""
        try:
            for line in self._lines:
                self._wait_for_room()
                self._tell(line.model_dump_json().encode() + b"\n")
        except _Left:
            pass
        except Exception as error:
            self._tell(error)
        finally:
            # The container is closed before the file that it reads from.
            cast(Any, self._lines).close()
            self._tell(None)
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ended)

    def _wait_for_room(self) -> None:
        end = time.monotonic() + _STALLED_SECONDS
        while not self._room.acquire(timeout=_LOOK_SECONDS):
            self._check()
            if time.monotonic() > end:
                raise _Left

    def _tell(self, item: bytes | Exception | None) -> None:
        # A closed loop has nobody who listens.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def first(self, request: Request) -> bytes:
        """The first line; what is raised instead of it is raised here."""
        item: bytes | Exception | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    item = await self._queue.get()
                break
            if await request.is_disconnected():
                break
        if isinstance(item, InputError):
            raise refusal_of(item)
        if isinstance(item, Exception):
            raise item
        if item is None:
            raise Refused("bad_request", "the client left before the video was opened.")
        return item

    async def rest(self, first: bytes) -> AsyncIterator[bytes]:
        """All lines."""
        item: bytes | Exception | None = first
        while item is not None:
            if isinstance(item, Exception):
                yield _error_line(item)
                return
            yield item
            self._room.release()
            item = await self._queue.get()


class _Lines(StreamingResponse):
    """JSON objects, one a line; `left` is called when nobody listens any more."""

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncIterator[bytes], left: Callable[[], None]) -> None:
        super().__init__(lines)
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._left()


@router.post(
    "/v1/predict/video",
    response_model=None,
    response_class=_Lines,
    # FastAPI would look for it in the signature of the class.
    status_code=200,
    responses={
        **REFUSALS,
        200: {"model": VideoLine, "description": "One JSON object a line, as they become known."},
    },
    openapi_extra=dict(_VIDEO_BODY),
    summary="The faces of a video, followed over its frames",
)
async def predict_video(
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    options: Annotated[ReadOptions, Depends(asked_options)],
    fps: Annotated[
        float, Query(ge=0, le=60, description="Frames a second that are looked at; 0 looks at all.")
    ] = _FPS,
) -> _Lines:
    """Send a video as the body, or as the field `files` of a form. What the file is called does not matter.

    Leaving ends the work."""
    left = threading.Event()

    def check() -> None:
        if left.is_set():
            raise _Left
        service.engine.check_room(0)

    with contextlib.ExitStack() as stack:
        stack.enter_context(_turn(service))
        file = stack.enter_context(await _uploaded(request, service))
        stack.callback(left.set)
        lines = read_video_stream(
            service.model,
            file,
            options,
            name=service.model_name,
            fps=fps,
            config=service.config,
            check=check,
        )
        # From here on the thread holds the turn and the file, and gives them back when it has ended.
        held = stack.pop_all()
        work = _Work(lines, check, held.close)
        work.start()
    try:
        return _Lines(work.rest(await work.first(request)), left.set)
    except BaseException:
        left.set()
        raise


@contextlib.contextmanager
def _turn(service: Service) -> Iterator[None]:
    """One of the videos that are read at a time; its upload counts, since it takes room on the disk."""
    service.engine.check_room(0)
    most = service.config.videos
    if service.videos >= most:
        raise Refused(
            "busy",
            f"{service.videos} videos are being read, of {most} at a time; try again later.",
            retry_after=_RETRY_SECONDS,
        )
    service.videos += 1
    service.metrics.videos.set(service.videos)
    try:
        yield
    finally:
        service.videos -= 1
        service.metrics.videos.set(service.videos)


async def _uploaded(request: Request, service: Service) -> BinaryIO:
    """The video in a file without a name, which is gone with the process, however that ends."""
    config = service.config
    limits = UploadLimits(1, config.video_bytes, config.video_upload_seconds)
    (file,) = await read_files(request, limits, new_file=_nameless_file)
    return file


def _nameless_file() -> BinaryIO:
    return cast(BinaryIO, tempfile.TemporaryFile())


def _error_line(error: Exception) -> bytes:
    if isinstance(error, InputError):
        error = refusal_of(error)
    if not isinstance(error, Refused):
        log.error("a video could not be read to its end", exc_info=error)
        error = Refused("internal", "something went wrong here; the server's log says what.")
    line = VideoError(error=ErrorDetail(code=error.code, message=str(error)))
    return line.model_dump_json().encode() + b"\n"
