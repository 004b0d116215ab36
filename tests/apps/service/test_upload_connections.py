"""Connections that drip, leave or break the rules of HTTP, over real sockets; nothing of them stays."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from tests.apps.service.servers import check_error, read_all, serving
from tests.apps.service.upload_requests import HEAD, URL, chunked, status_and_code

from mien.config import ServeConfig


def drip(client, head: bytes, byte: bytes = b"a", seconds: float = 20) -> tuple[bytes, float]:
    """What comes back while a byte is sent every tenth second, and after how long the connection ended."""
    began = time.perf_counter()
    got = b""
    with socket.create_connection(("127.0.0.1", client.port), timeout=0.1) as wire:
        wire.sendall(head)
        while time.perf_counter() - began < seconds:
            try:
                piece = wire.recv(65536)
                if not piece:
                    break
                got += piece
            except TimeoutError:
                pass
            except OSError:
                break
            try:
                wire.sendall(byte)
            except OSError:
                break
    return got, time.perf_counter() - began


@pytest.mark.parametrize("length", [b"Content-Length: 10000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_an_upload_that_drips_is_ended_and_its_connection_closed(small, length):
    got, seconds = drip(small, HEAD + length, byte=b"a" if b"Length" in length else b"1\r\na\r\n")
    assert status_and_code(got) == (408, "too_slow")
    assert 1 <= seconds < 12


def test_an_upload_that_stops_is_ended(small):
    got = small.raw(HEAD + b"Content-Length: 10000\r\n\r\nabc", wait=15)
    assert status_and_code(got) == (408, "too_slow")


@pytest.mark.parametrize("head", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_headers_that_drip_end_the_connection(small, head):
    got, seconds = drip(small, head, byte=b"a" if head else b"")
    assert b" 200 " not in got
    assert 0.8 <= seconds < 4


def test_a_connection_that_is_kept_has_the_same_limit_for_its_next_headers(small):
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nG")
        began = time.perf_counter()
        got = read_all(wire)
    assert got.split()[1] == b"200"
    assert time.perf_counter() - began < 8


def test_a_client_that_leaves_during_its_upload_is_no_fault(small, caplog):
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", small.port)) as wire:
            wire.sendall(HEAD + b"Content-Length: 10000\r\n\r\n" + b"a" * 5000)
            end = time.monotonic() + 5
            while not small.service.room.held and time.monotonic() < end:
                time.sleep(0.005)
            assert small.service.room.held == 5000
        small.idle()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert 'status="500"' not in small.get("/metrics").text


def test_a_client_that_leaves_before_its_answer_leaves_no_room_taken(small, tiny_png):
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", small.port)) as wire:
            wire.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(tiny_png) + tiny_png)
    small.idle()


def test_all_uploads_together_have_a_limit(bundled, tiny_png):
    config = ServeConfig(workers=1, upload_bytes=12_000, picture_bytes=10_000, upload_seconds=20)
    with serving(bundled, config) as client:
        with socket.create_connection(("127.0.0.1", client.port)) as wire:
            wire.sendall(HEAD + b"Content-Length: 10000\r\n\r\n" + b"a" * 9000)
            while client.service.room.held != 9000:
                time.sleep(0.01)
            check_error(client.post(URL, content=b"a" * 5000), 429, "busy")
            assert client.service.room.held == 9000
            assert client.post(URL, content=tiny_png).status_code == 200
        client.idle()
        check_error(client.post(URL, content=b"a" * 5000), 415, "unsupported_media_type")
        client.idle()


BAD_REQUESTS = {
    "huge header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "1,000 headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: xxxxxxxxxxxxxxx\r\n" * 1000 + b"\r\n",
    "header without end": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x" * 40_000,
    "huge target": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bytes in a name": b"GET / HTTP/1.1\r\nHost: localhost\r\nX\xff: 1\r\n\r\n",
    "zero byte": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost: localhost\r\nX : 1\r\n\r\n",
    "lengths that differ": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\na",
    "hex length": HEAD + b"Content-Length: 0x1\r\n\r\na",
    "length of 5,000 digits": HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\na",
    "unknown coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "two codings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_headers_that_break_the_rules_are_refused_and_the_server_goes_on(small, request_bytes):
    got = small.raw(request_bytes, wait=1.5)
    # A client that sends on after the answer may find the connection reset before it has read it.
    if got:
        status, _ = status_and_code(got)
        assert 400 <= status < 500
    assert got or len(request_bytes) > 30_000


def test_a_length_beside_chunks_does_not_smuggle_a_request(small):
    hidden = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    got = small.raw(
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, wait=1
    )
    assert got.split()[1][:1] == b"4"


def test_a_bad_chunk_after_the_refusal_closes_the_connection(small, caplog):
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as wire:
        wire.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(bytes(30_000)))
        got = wire.recv(65536)
        wire.sendall(b"zz\r\n")
        got += read_all(wire)
    assert status_and_code(got) == (413, "too_large")
    assert got.count(b"HTTP/1.1 ") == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_client_that_waits_to_be_asked_for_its_body_is_refused_before(small):
    got = small.raw(HEAD + b"Expect: 100-continue\r\nContent-Length: 999999\r\n\r\n", wait=3)
    assert got.split()[1] == b"413"


def test_no_descriptor_is_left_open(small, tiny_png):
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    small.post(URL, content=tiny_png)
    before = count()
    for _ in range(30):
        small.raw(b"GET / HTTP/1.1\r\nX : 1\r\n\r\n")
        small.post(URL, content=b"a" * 30_000)
    time.sleep(0.2)
    assert count() <= before + 5
