"""The server of `mien serve` in a thread, with a client, and sockets that keep to no rule."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
from PIL import Image
from skimage import data

from mien.apps.service.app import create_app
from mien.apps.service.run import new_server
from mien.config import ServeConfig
from mien.runtime.classifier import Model


class Client(httpx.Client):
    """Of one server, whose parts are at hand."""

    def __init__(self, app, server, port: int) -> None:
        super().__init__(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
        self.app, self.service, self.server, self.port = app, app.state.service, server, port
        self.stream_url = f"ws://127.0.0.1:{port}/v1/stream"

    def raw(self, *pieces: bytes, pause: float = 0, wait: float = 10) -> bytes:
        """What the server says to bytes sent as they are, until it closes or `wait` seconds passed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as wire:
            try:
                for piece in pieces:
                    wire.sendall(piece)
                    time.sleep(pause)
            except OSError:
                pass
            return read_all(wire)

    def idle(self, seconds: float = 10) -> None:
        """Wait until nothing is held any more, which must be soon."""
        end = time.monotonic() + seconds
        engine = self.service.engine
        while self.service.room.held or engine._admitted or self.service.streams:
            assert time.monotonic() < end, (self.service.room.held, engine._admitted)
            time.sleep(0.01)


def read_all(wire: socket.socket) -> bytes:
    """Bytes until the other side closes or nothing comes any more."""
    got = b""
    try:
        while piece := wire.recv(65536):
            got += piece
    except OSError:
        pass
    return got


@contextmanager
def serving(model: Model, config: ServeConfig | None = None, **options) -> Iterator[Client]:
    """A server, until the block ends."""
    app = create_app(model, config or ServeConfig(workers=2), **options)
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    server = new_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        with Client(app, server, listening.getsockname()[1]) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def encoded(pixels: np.ndarray | Image.Image, kind: str = "JPEG", **options) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def astronaut() -> np.ndarray:
    """A face, uint8 [512,512,3]."""
    return data.astronaut()


def check_error(answer: httpx.Response, status: int, code: str) -> str:
    """The message of an error answer, which must be of the one shape."""
    body = answer.json()
    assert (answer.status_code, body["error"]["code"]) == (status, code), body
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert answer.headers["content-type"] == "application/json"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    return body["error"]["message"]


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives; in a thread, since Playwright leaves a loop running in that of the tests."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
