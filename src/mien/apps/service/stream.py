"""`WS /v1/stream`: frames in, faces out, always about the newest frame."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Annotated, Final

import numpy as np
from fastapi import APIRouter, Depends
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from mien.apps.service.engine import ReadOptions
from mien.apps.service.errors import Refused, refusal_of
from mien.apps.service.guard import STREAM_PROTOCOL
from mien.apps.service.schema import (
    ErrorDetail,
    FaceAnswer,
    Milliseconds,
    StreamDropped,
    StreamError,
    StreamFrame,
    StreamReady,
    StreamSettings,
)
from mien.apps.service.state import Service, service_of
from mien.errors import InputError
from mien.faces.detector import Detections
from mien.runtime.live import LiveFollower

router: Final = APIRouter()

GOING_AWAY, POLICY, TOO_BIG, TRY_LATER = 1001, 1008, 1009, 1013
"""Close codes (RFC 6455, section 7.4.1, and its registry)."""
_MOST_TEXT: Final = 2000
_MOST_REASON: Final = 123
"""Bytes that a close frame has for its reason (RFC 6455, section 5.5)."""


class _Closed(Exception):
    """The stream is to be closed, with a code and a sentence."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason.encode()[:_MOST_REASON].decode(errors="ignore"))
        self.code = code


@router.websocket("/v1/stream")
async def stream(socket: WebSocket, service: Annotated[Service, Depends(service_of)]) -> None:
    """One live stream, from its handshake to its end."""
    await socket.accept(STREAM_PROTOCOL if STREAM_PROTOCOL in socket.scope["subprotocols"] else None)
    if service.engine.stopping:
        await socket.close(GOING_AWAY, "the service is being stopped")
        return
    if len(service.streams) >= service.config.streams:
        await socket.close(TRY_LATER, "too many streams are open; try again later")
        return
    service.streams.add(socket)
    service.metrics.streams.set(len(service.streams))
    try:
        await _Stream(socket, service).run()
    except _Closed as closed:
        await socket.close(closed.code, str(closed))
    except WebSocketDisconnect:
        pass
    finally:
        service.streams.discard(socket)
        service.metrics.streams.set(len(service.streams))


async def close_all(service: Service) -> None:
    """End the streams that are open, since the service is being stopped."""
    for socket in tuple(service.streams):
        # Its client may be leaving at this moment.
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(GOING_AWAY, "the service is being stopped")


class _Stream:
    def __init__(self, socket: WebSocket, service: Service) -> None:
        self._socket, self._service = socket, service
        self._waiting: deque[tuple[int, bytes, float]] = deque()
        self._came = asyncio.Event()
        self._options: ReadOptions | None = None
        detector = service.model.detector
        if detector is None:
            raise _Closed(POLICY, "this service has no face detector, which a stream needs")
        self._follower = LiveFollower(detector)

    async def run(self) -> None:
        """Until the client goes."""
        worker = asyncio.create_task(self._answer_frames())
        try:
            receiver = asyncio.create_task(self._receive())
            try:
                # Whichever ends first ends the other; both only end by raising.
                await asyncio.wait((worker, receiver), return_when=asyncio.FIRST_COMPLETED)
            finally:
                receiver.cancel()
        finally:
            worker.cancel()
            results = await asyncio.gather(worker, receiver, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _receive(self) -> None:
        seq = 0
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            text, frame = message.get("text"), message.get("bytes")
            if text is not None:
                await self._set(text)
            elif self._options is None:
                raise _Closed(POLICY, "the first message must be the settings")
            else:
                await self._take(seq, frame or b"")
                seq += 1

    async def _set(self, text: str) -> None:
        if len(text) > _MOST_TEXT:
            raise _Closed(POLICY, f"a text may have {_MOST_TEXT} characters, not more")
        try:
            asked = StreamSettings.model_validate_json(text)
            self._options = self._service.read_options(
                prior=asked.prior, view=asked.view, threshold=asked.threshold
            )
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the text"
            raise _Closed(POLICY, f"settings that do not fit: {where}: {first['msg']}") from None
        except Refused as refused:
            raise _Closed(POLICY, str(refused)) from None
        labels = list(self._options.labels)
        await self._send(StreamReady(in_flight=self._service.config.in_flight, labels=labels))

    async def _take(self, seq: int, frame: bytes) -> None:
        config = self._service.config
        if len(frame) > config.frame_bytes:
            raise _Closed(TOO_BIG, f"a frame may have {config.frame_bytes:,} bytes, not more")
        self._waiting.append((seq, frame, time.perf_counter()))
        if len(self._waiting) > config.in_flight:
            dropped, _, _ = self._waiting.popleft()
            self._service.metrics.frames.labels("dropped").inc()
            await self._send(StreamDropped(seq=dropped))
        self._came.set()

    async def _answer_frames(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            while self._waiting:
                await self._send(await self._answer(*self._waiting.popleft()))

    async def _answer(self, seq: int, frame: bytes, came: float) -> StreamFrame | StreamError:
        service, began = self._service, time.perf_counter()
        tracks: list[int] = []

        def find(rgb: NDArray[np.uint8]) -> Detections:
            found, numbers = self._follower.find(rgb, came)
            tracks.extend(numbers)
            return found

        assert self._options is not None  # frames are only taken once it is known
        try:
            read = await service.engine.read(
                frame, self._options, find=find, max_pixels=service.config.frame_pixels
            )
        except (InputError, Refused) as error:
            refused = error if isinstance(error, Refused) else refusal_of(error)
            service.metrics.frames.labels("refused").inc()
            return StreamError(seq=seq, error=ErrorDetail(code=refused.code, message=str(refused)))
        service.metrics.frames.labels("read").inc()
        spent = Milliseconds(
            waited=round(1000 * (began - came), 2), read=round(1000 * (time.perf_counter() - began), 2)
        )
        faces = [FaceAnswer.of(face, track) for face, track in zip(read.faces, tracks, strict=False)]
        return StreamFrame(seq=seq, width=read.width, height=read.height, faces=faces, milliseconds=spent)

    async def _send(self, answer: BaseModel) -> None:
        await self._socket.send_text(answer.model_dump_json())
