"""Each limit of what a request's body may bring, over real sockets; what is refused leaves nothing behind."""

from __future__ import annotations

import gzip
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from tests.apps.service.servers import check_error
from tests.apps.service.upload_requests import (
    HEAD,
    URL,
    form,
    part,
    post_form,
    status_and_code,
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


def test_random_bytes_as_forms_never_break_it(small):
    rng = np.random.default_rng(0)
    body = form(part(b"x" * 30), part(b"y"))
    for _ in range(150):
        changed = bytearray(body)
        for place in rng.integers(0, len(body), 4):
            changed[place] = rng.integers(0, 256)
        answer = post_form(small, bytes(changed))
        assert answer.status_code in (400, 413, 415, 422), (answer.text, bytes(changed))
