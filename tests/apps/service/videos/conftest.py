"""A service on two squares that move, and what it says of them."""

from __future__ import annotations

import io
import json
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import httpx
import pytest
import uvicorn
from tests.runtime.conftest import make_card, write_model
from tests.runtime.film import HEIGHT, WIDTH, Squares, film, squares

from mien.apps.service.app import create_app
from mien.runtime.classifier import load

URL = "/v1/predict/video"


class Slow(Squares):
    """Takes its time over each search; `began` is set by the first."""

    def __init__(self):
        super().__init__()
        self.began = threading.Event()

    def detect(self, rgb):
        self.began.set()
        time.sleep(0.05)
        return super().detect(rgb)


@contextmanager
def serving(model, config=None, **options):
    """A client of a real server, whose application is `client.service`'s."""
    app = create_app(model, config, **options)
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="critical", ws="none", timeout_graceful_shutdown=3)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            client.service, client.server = app.state.service, server
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return write_model(
        tmp_path_factory.mktemp("model") / "linear.onnx",
        make_card(prior={name: (1 + i) / 36 for i, name in enumerate(make_card().labels)}),
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Six seconds of two squares that cross every other second."""
    return film(tmp_path_factory.mktemp("film") / "two.mp4", 180, paint=squares)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "long.mkv", 1200, paint=squares)


@pytest.fixture(scope="module")
def client(model_path):
    with serving(load(model_path, detector=Squares())) as client:
        yield client


@pytest.fixture(scope="module")
def slow(model_path):
    with serving(load(model_path, detector=Slow())) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_stays(tmp_path, monkeypatch):
    """No file has a name at any time that the test sees, and none is open at its end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []
    wait_until(lambda: nameless(folder) == 0)


def nameless(folder):
    """Open files of this process that once lay in a folder."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            count += str(link.readlink()).startswith(str(folder))
        except OSError:
            continue
    return count


def wait_until(so, seconds=3.0):
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end
        time.sleep(0.01)


def read(client, content, **query):
    response = client.post(URL, content=content, params=query)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def refused(client, content, status, code, **query):
    response = client.post(URL, content=content, params=query)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    return error["message"]


def of_type(lines, kind):
    return [line for line in lines if line["type"] == kind]


@contextmanager
def limited(client, **limits):
    service, config = client.service, client.service.config
    service.config = replace(config, **limits)
    try:
        yield
    finally:
        service.config = config


def unlabelled(tmp_path):
    """A stream of matroska, as a recorder writes it that cannot go back: without its length."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            super().__init__()
            self.data = b""

        def writable(self):
            return True

        def write(self, data):
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with av.open(pipe, "w", format="matroska", options={"live": "1"}) as file:
        stream = file.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(180):
            picture = av.VideoFrame.from_ndarray(squares(number / 30), format="rgb24")
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    return pipe.data
