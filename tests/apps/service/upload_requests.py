"""Uploads written by hand, and what the server says to them."""

from __future__ import annotations

import json

from mien.config import ServeConfig

URL = "/v1/predict"
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
SMALL = ServeConfig(workers=1, picture_bytes=20_000, files=3, upload_seconds=1)


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
