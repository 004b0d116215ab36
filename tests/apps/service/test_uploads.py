"""Each limit of what a request may bring, over real sockets; what is refused leaves nothing behind."""

from __future__ import annotations

import gzip
import json
import socket
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from tests.apps.service.servers import check_error, encoded, read_all, serving

from mien.apps.service import run
from mien.config import ServeConfig

URL = "/v1/predict"
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
SMALL = ServeConfig(workers=1, picture_bytes=20_000, files=3, upload_seconds=1)


@pytest.fixture(scope="module")
def small(bundled):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_REST_SECONDS", 1)
        with serving(bundled, SMALL) as client:
            yield client


@pytest.fixture(scope="module")
def tiny_png():
    return encoded(np.full((8, 8, 3), 127, np.uint8), "PNG")


@pytest.fixture(autouse=True)
def nothing_stays(request):
    yield
    if "small" in request.fixturenames:
        small = request.getfixturevalue("small")
        small.idle()
        # Above all the server goes on.
        assert small.get("/healthz").status_code == 200


def status_and_code(raw: bytes) -> tuple[int, str]:
    head, _, body = raw.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        body = body.partition(b"\r\n")[2].rpartition(b"\r\n0")[0]
    assert b"content-security-policy" in head.lower(), raw
    return int(raw.split()[1]), json.loads(body)["error"]["code"]


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def form(*parts: bytes, boundary: bytes = b"b") -> bytes:
    return (
        b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"
    )


def part(content: bytes, name: bytes = b"files", more: bytes = b"") -> bytes:
    return (
        b'Content-Disposition: form-data; name="' + name + b'"; filename="f"\r\n' + more + b"\r\n" + content
    )


def post_form(client, body, boundary="b"):
    return client.post(
        URL, content=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}
    )


def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(small, tiny_png):
    # What follows a PNG's end is not looked at.
    at_limit = tiny_png.ljust(20_000, b"\0")
    assert small.post(URL, content=at_limit).status_code == 200
    check_error(small.post(URL, content=at_limit + b"\0"), 413, "too_large")
    assert small.post(URL, files=[("files", at_limit)] * 3).status_code == 200
    check_error(small.post(URL, files=[("files", at_limit + b"\0")]), 413, "too_large")


def test_a_length_beyond_the_limit_is_refused_before_the_body_comes(small):
    began = time.perf_counter()
    raw = small.raw(HEAD + b"Connection: close\r\nContent-Length: 99999999999\r\n\r\n")
    assert status_and_code(raw) == (413, "too_large")
    assert time.perf_counter() - began < 8


def test_a_chunked_body_is_counted_as_it_comes(small):
    def endless():
        sent = 0
        while sent < 50_000_000:
            sent += 10_000
            yield bytes(10_000)

    check_error(small.post(URL, content=endless()), 413, "too_large")


def test_what_follows_a_forms_end_counts_too(small, tiny_png):
    def endless():
        yield form(part(tiny_png))
        for _ in range(100):
            yield bytes(10_000)

    check_error(post_form(small, endless()), 413, "too_large")


def test_more_bytes_than_were_said_are_another_request(small, tiny_png):
    said = b"Content-Length: %d\r\n\r\n" % len(tiny_png)
    raw = small.raw(HEAD + said + tiny_png + b"garbage\r\n\r\n")
    assert raw.split()[1] == b"200"
    assert raw.count(b"HTTP/1.1 400") == 1


def test_an_empty_body_is_no_file(small):
    check_error(small.post(URL, content=b""), 422, "invalid")
    check_error(small.post(URL), 422, "invalid")
    check_error(small.post(URL, files=[("files", b"")]), 422, "invalid")


@pytest.mark.parametrize(
    ("body", "status"),
    {
        "empty": (b"", (400, 422)),
        "no part": (b"--b--\r\n", (400, 422)),
        "cut in the boundary": (b"--", (400,)),
        "cut in a header": (b"--b\r\nContent-Dispo", (400,)),
        "cut in the content": (form(part(b"x" * 50))[:90], (400,)),
        "cut before the end": (form(part(b"x"))[:-6], (400,)),
        "other boundary": (form(part(b"x"), boundary=b"c"), (400,)),
        "no headers": (form(b"\r\nx"), (422,)),
        "no name": (form(b"Content-Disposition: form-data\r\n\r\nx"), (422,)),
        "other name": (form(part(b"x", b"file")), (422,)),
        "one more name": (form(part(b"x"), part(b"x", b"other")), (422,)),
        "huge header": (form(part(b"x", more=b"X: " + b"x" * 15_000 + b"\r\n")), (400, 415)),
        "many headers": (form(part(b"x", more=b"X: x\r\n" * 2000)), (400, 415)),
        "no colon": (form(b"Content-Disposition\r\n\r\nx"), (400,)),
        "zero bytes": (b"\0" * 5000, (400,)),
    }.values(),
)
def test_a_form_that_cannot_be_read_is_refused(small, body, status):
    answer = post_form(small, body)
    assert answer.status_code in status
    check_error(answer, answer.status_code, answer.json()["error"]["code"])


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data;;;",
        "MULTIPART/FORM-DATA",
    ],
)
def test_a_form_without_a_boundary_is_refused(small, kind):
    answer = small.post(URL, content=form(part(b"x")), headers={"Content-Type": kind})
    check_error(answer, 400, "bad_request")


@pytest.mark.parametrize(
    "kind",
    [b"\xff\xfe", b"image/png; \xe4=\xff", b"; boundary=b", b"multipart/mixed; boundary=b", b"a" * 9000],
)
def test_any_other_content_type_is_a_file_whatever_it_says(small, tiny_png, kind):
    assert small.post(URL, content=tiny_png, headers={"Content-Type": kind}).status_code == 200


def test_a_form_of_many_parts_ends_at_the_limit_of_files(small):
    began = time.perf_counter()
    check_error(post_form(small, form(*[part(b"")] * 100_000)), 413, "too_large")
    check_error(post_form(small, form(*[part(b"")] * 4)), 413, "too_large")
    assert time.perf_counter() - began < 8


def test_the_form_as_a_whole_has_a_limit_too(small):
    huge = b"X: " + b"x" * 4000 + b"\r\n"
    answer = post_form(small, form(*[part(b"", more=huge * 6)] * 10))
    check_error(answer, answer.status_code, answer.json()["error"]["code"])
    assert answer.status_code in (400, 413)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "GZIP", "identity, gzip", "x"])
def test_a_compressed_body_is_not_unpacked(small, coding):
    content = gzip.compress(bytes(10_000_000), 9)
    answer = small.post(URL, content=content, headers={"Content-Encoding": coding})
    check_error(answer, 415, "unsupported_media_type")


NAMES = [
    "../../x",
    "..\\..\\x",
    "C:\\Windows\\x",
    "/etc/passwd",
    "a\0b.jpg",
    "=cmd|'/C calc'!A0",
    "x" * 3000,
    "\u202egpj.exe",
    "%2e%2e%2fx",
    "con.jpg",
    "",
]


def entries(*folders) -> set[Path]:
    return {path for folder in folders for path in Path(folder).iterdir()}


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_file_name_changes_nothing_and_nothing_is_written(small, tiny_png, name, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = entries(tmp_path, Path.cwd(), Path.cwd().parent)
    content = form(
        b'Content-Disposition: form-data; name="files"; filename="' + name.encode() + b'"\r\n\r\n' + tiny_png
    )
    answer = post_form(small, content)
    wanted = small.post(URL, content=tiny_png).json()["pictures"]
    assert answer.status_code == 200
    assert answer.json()["pictures"] == wanted
    if name:
        assert json.dumps(name)[1:-1] not in answer.text.replace("confidence", "")
    assert entries(tmp_path, Path.cwd(), Path.cwd().parent) == before


def test_a_name_beyond_what_a_header_may_hold_is_refused(small, tiny_png):
    body = form(b'Content-Disposition: form-data; name="files"; filename="' + b"x" * 10_000 + b'"\r\n\r\nx')
    check_error(post_form(small, body), 400, "bad_request")


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


def test_random_bytes_as_forms_never_break_it(small):
    rng = np.random.default_rng(0)
    body = form(part(b"x" * 30), part(b"y"))
    for _ in range(150):
        changed = bytearray(body)
        for place in rng.integers(0, len(body), 4):
            changed[place] = rng.integers(0, 256)
        answer = post_form(small, bytes(changed))
        assert answer.status_code in (400, 413, 415, 422), (answer.text, bytes(changed))


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
