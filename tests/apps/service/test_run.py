"""`mien serve` as people run it: what it prints, how it ends, what it refuses to begin."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.apps.service.servers import encoded

from mien.apps.service.run import serve
from mien.errors import InputError

ADDRESS = re.compile(r"the page is at (https?)://(\S+?):(\d+)/(?:#token=(\S+))?\s")


class Started:
    """`mien serve` in a process of its own."""

    def __init__(self, process: subprocess.Popen, seconds: float = 60) -> None:
        self.process, self.lines, self._queue = process, [], queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        end = time.monotonic() + seconds
        found = None
        while not found:
            line = self._queue.get(timeout=max(0.01, end - time.monotonic()))
            assert line is not None, "".join(self.lines)
            found = ADDRESS.search(line)
        self.scheme, self.host, self.port, self.token = found[1], found[2], int(found[3]), found[4]
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)
            self._queue.put(line)
        self._queue.put(None)

    def stop(self, sign: int = signal.SIGINT, seconds: float = 15) -> tuple[int, str]:
        """Its exit code, and all it said."""
        self.process.send_signal(sign)
        code = self.process.wait(seconds)
        self._reader.join()
        return code, "".join(self.lines)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stderr.close()


@contextmanager
def started(*options: str, **environment: str) -> Iterator[Started]:
    process = subprocess.Popen(
        [sys.executable, "-m", "mien", "serve", "--port", "0", "--workers", "1", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    server = None
    try:
        server = Started(process)
        yield server
    finally:
        if server is None:
            process.kill()
            process.wait()
        else:
            server.end()


def get(server: Started, path: str, **options) -> httpx.Response:
    return httpx.get(server.url + path, trust_env=False, timeout=20, **options)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_answer_under_way(sign):
    body = encoded(np.full((50, 50, 3), 127, np.uint8), "PNG")
    with started("--stop_seconds", "10") as server:
        assert get(server, "/healthz").json() == {"status": "ok"}
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as wire:
            head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            wire.sendall(head.encode() + body[:-1])
            time.sleep(0.5)
            server.process.send_signal(sign)
            time.sleep(0.5)
            wire.sendall(body[-1:])
            got = wire.recv(65536)
        # Its picture came after the signal, and so may be refused, but with an answer.
        assert got.split()[1] in (b"200", b"503")
        code = server.process.wait(15)
        server._reader.join()
        said = "".join(server.lines)
        assert code == 0
        assert "Traceback" not in said


def test_a_client_that_never_ends_does_not_hold_it_up():
    with started("--stop_seconds", "1") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as wire:
            wire.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nabc")
            time.sleep(0.3)
            began = time.monotonic()
            code, said = server.stop()
            got = wire.recv(65536)
        assert time.monotonic() - began < 6
        assert got.split()[1] == b"503"
        assert code == 0
        assert "Traceback" not in said


def test_the_log_of_requests_holds_nothing_of_theirs():
    with started("--verbose", "--token", "right-token-1") as server:
        assert server.token == "right-token-1"
        headers = {"Authorization": "Bearer right-token-1", "X-Own": "own-header"}
        picture = encoded(np.full((50, 50, 3), 127, np.uint8), "PNG", pnginfo=None)
        answer = httpx.post(
            server.url + "/v1/predict?view=7&own=own-query",
            files=[("files", ("own-name.png", picture, "image/own-type"))],
            headers=headers,
            trust_env=False,
        )
        assert answer.status_code == 200
        assert get(server, "/own-path", headers=headers).status_code == 404
        assert get(server, "/v1/model").status_code == 401
        _, said = server.stop()
        logged = said.split("(Ctrl-C stops)")[1]
        assert "POST /v1/predict 200" in logged
        assert "own" not in logged
        assert "right-token-1" not in logged


def test_without_verbose_no_request_is_logged():
    with started(MIEN_TOKEN="from-environment") as server:
        assert server.token == "from-environment"
        assert get(server, "/v1/model").status_code == 401
        assert get(server, "/v1/model", headers={"Authorization": "Bearer from-environment"}).is_success
        code, said = server.stop()
        assert code == 0
        assert said.count("\n") == 1


def test_at_an_address_that_others_reach_a_token_is_made():
    with started("--host", "0.0.0.0") as server:
        assert len(server.token) >= 32
        assert get(server, "/v1/model").status_code == 401
        assert get(server, "/v1/model", headers={"Authorization": f"Bearer {server.token}"}).is_success
        assert get(server, "/healthz", headers={"Host": "any.example"}).is_success
        first = server.token
    with started("--host", "0.0.0.0") as server:
        assert server.token != first


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    pem, key = folder / "own.pem", folder / "own.key"
    subprocess.run(
        [
            *(
                openssl,
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(pem)),
        ],
        check=True,
        capture_output=True,
    )
    return pem, key


def test_with_a_certificate_it_speaks_https(certificate):
    pem, key = certificate
    with started("--certificate", str(pem), "--key", str(key)) as server:
        assert server.scheme == "https"
        trusted = ssl.create_default_context(cafile=str(pem))
        assert get(server, "/healthz", verify=trusted).json() == {"status": "ok"}
        # Who speaks plainly is closed on, and the others served on.
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port)) as wire:
            wire.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" not in wire.recv(1000)
        assert get(server, "/healthz", verify=trusted).is_success
        code, said = server.stop()
        assert code == 0
        assert "Traceback" not in said


def failed(*options: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mien", "serve", *options],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_port_that_is_taken_is_one_sentence_and_exit_code_2():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = failed("--port", str(taken.getsockname()[1]))
    assert "cannot be listened at (address already in use)" in said
    assert said.strip().count("\n") == 0


def test_a_missing_extra_is_one_sentence(tmp_path):
    (tmp_path / "fastapi.py").write_text('raise ModuleNotFoundError("none", name="fastapi")\n')
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    said = failed("--port", "0", PYTHONPATH=path)
    assert 'pip install "mien[serve]"' in said
    assert said.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"port": 70_000}, "port"),
        ({"port": -1}, "port"),
        ({"host": "no.such.host.invalid"}, "listened"),
        ({"host": "192.0.2.1"}, "listened"),
        ({"token": "white space"}, "token"),
        ({"token": ""}, "token"),
        ({"token": "ä"}, "token"),
        ({"token": "a\r\nb"}, "token"),
        ({"key": Path("own.key")}, "certificate"),
        ({"certificate": Path("nowhere.pem")}, "nowhere.pem"),
        ({"certificate": Path(__file__)}, "certificate"),
    ],
    ids=str,
)
def test_what_cannot_begin_is_one_sentence(bundled, options, word):
    before = threading.active_count()
    with pytest.raises(InputError, match=word) as error:
        serve(bundled, **{"port": 0, **options})
    assert str(error.value).count("\n") == 0
    assert threading.active_count() <= before
