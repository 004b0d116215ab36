"""Who may ask, by host, origin and token; what every answer says to browsers; what is logged and counted."""

from __future__ import annotations

import logging
import secrets

import pytest
from tests.apps.service.servers import check_error, run, serving
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from mien.config import ServeConfig

TOKEN = "Right-token_1.~"


@pytest.fixture(scope="module")
def locked(bundled):
    with serving(bundled, ServeConfig(workers=1), token=TOKEN) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/docs", 200),
        ("HEAD", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/v1/model", 200),
        ("GET", "/static/api.js", 200),
        ("HEAD", "/static/api.js", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/static/nowhere.js", 404),
        ("GET", "/static/%00", 404),
        ("GET", "/static/..%2f..%2fservice/app.py", 404),
        ("GET", "/static/" + "x" * 5000, 404),
        ("GET", "/v1/predict", 405),
        ("OPTIONS", "/v1/predict", 405),
        ("DELETE", "/v1/model", 405),
        ("TRACE", "/", 405),
        ("POST", "/", 405),
        ("POST", "/v1/predict", 422),
    ],
)
def test_every_answer_keeps_a_browser_strict(shared_server, method, path, status):
    answer = shared_server.request(method, path)
    assert answer.status_code == status
    headers = answer.headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src")
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers
    if status >= 400 and method != "HEAD":
        check_error(answer, status, {404: "not_found", 405: "method_not_allowed", 422: "invalid"}[status])
    if status == 405:
        assert headers["allow"]


def test_a_fault_of_the_service_is_answered_without_details(bundled, monkeypatch):
    with serving(bundled) as client:
        monkeypatch.setattr(client.service.engine, "check_room", lambda: 1 / 0)
        message = check_error(client.post("/v1/predict", content=b"a"), 500, "internal")
        assert "zero" not in message
        monkeypatch.undo()
        assert client.get("/v1/model").status_code == 200


@pytest.mark.parametrize("path", ["/v1/model", "/metrics", "/v1/predict", "/nowhere", "/static/../v1/model"])
@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN, b"Bearer \xff"],
    ids=str,
)
def test_without_the_token_nothing_is_said(locked, path, authorization):
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = locked.request("POST" if "predict" in path else "GET", path, headers=headers)
    if path.startswith("/static"):
        # httpx resolves the dots itself.
        assert answer.url.path == "/v1/model"
    check_error(answer, 401, "no_token")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_path_that_begins_like_an_open_one_leads_nowhere(locked):
    for path in (
        b"/static/../v1/model",
        b"/static/..%2fv1/model",
        b"/static//v1/model",
        b"/docs/../v1/model",
    ):
        got = locked.raw(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert got.split()[1] in (b"404", b"401"), path


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/openapi.json", "/static/api.js"])
def test_the_page_and_its_files_need_no_token(locked, path):
    assert locked.get(path).status_code == 200


def test_with_the_token_all_is_answered(locked, face_jpeg):
    headers = {"Authorization": f"bearer  {TOKEN}"}
    assert locked.get("/v1/model", headers=headers).status_code == 200
    assert locked.post("/v1/predict", content=face_jpeg, headers=headers).status_code == 200


def test_a_token_in_the_query_is_none(locked):
    check_error(locked.get("/v1/model", params={"token": TOKEN}), 401, "no_token")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://[", "", "https://127.0.0.1:1", "x"]
)
def test_a_page_of_another_site_may_not_send(shared_server, face_jpeg, origin):
    answer = shared_server.post("/v1/predict", content=face_jpeg, headers={"Origin": origin})
    check_error(answer, 403, "wrong_origin")


def test_the_own_page_may_send(shared_server, face_jpeg):
    origin = f"http://127.0.0.1:{shared_server.port}"
    answer = shared_server.post("/v1/predict", content=face_jpeg, headers={"Origin": origin})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "", "[::2]", "0"]
)
@pytest.mark.parametrize("path", ["/", "/v1/model", "/healthz"])
def test_a_name_that_was_made_to_lead_here_is_refused(shared_server, host, path):
    check_error(shared_server.get(path, headers={"Host": host}), 403, "wrong_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine_are_taken(shared_server, host):
    assert shared_server.get("/v1/model", headers={"Host": host}).status_code == 200


def test_a_request_without_a_host_is_refused(shared_server):
    assert shared_server.raw(b"GET / HTTP/1.0\r\n\r\n").split()[1] == b"403"
    assert shared_server.raw(b"GET / HTTP/1.1\r\n\r\n").split()[1] == b"400"


def test_at_any_name_the_origin_still_counts(bundled, face_jpeg):
    with serving(bundled, hosts=None) as client:
        assert client.get("/v1/model", headers={"Host": "proxy.example"}).status_code == 200
        raw = b"POST /v1/predict HTTP/1.0\r\nOrigin: null\r\nContent-Length: 1\r\n\r\na"
        assert client.raw(raw).split()[1] == b"403"


def refused(url, **options):
    with pytest.raises(InvalidStatus) as error, connect(url, **options):
        pass
    response = error.value.response
    assert response.headers["Content-Security-Policy"]
    return response.status_code, response.body


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://["])
def test_a_stream_from_another_site_is_refused_before_the_upgrade(shared_server, origin):
    status, body = refused(shared_server.stream_url, origin=origin)
    assert status == 403
    assert b"wrong_origin" in body


def test_a_stream_to_another_name_is_refused(shared_server):
    raw = (
        b"GET /v1/stream HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    got = shared_server.raw(raw, wait=3)
    assert got.split()[1] == b"403"
    assert b"wrong_host" in got


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"subprotocols": ["mien.v1"]},
        {"subprotocols": ["mien.v1", "mien.token.wrong"]},
        {"subprotocols": ["mien.v1", "mien.token."]},
        {"additional_headers": {"Authorization": "Bearer wrong"}},
    ],
    ids=str,
)
def test_a_stream_without_the_token_is_refused(locked, options):
    status, body = refused(locked.stream_url, **options)
    assert status == 401
    assert b"no_token" in body


@pytest.mark.parametrize(
    "options",
    [
        {"subprotocols": ["mien.v1", f"mien.token.{TOKEN}"]},
        {"additional_headers": {"Authorization": f"Bearer {TOKEN}"}},
    ],
    ids=["subprotocol", "header"],
)
def test_a_stream_with_the_token_is_opened_and_the_token_not_sent_back(locked, options):
    with connect(locked.stream_url, **options) as stream:
        assert stream.subprotocol == ("mien.v1" if "subprotocols" in options else None)
        assert TOKEN not in str(stream.response.headers)
        stream.send('{"type": "settings"}')
        assert '"ready"' in stream.recv(timeout=10)


def test_neither_token_nor_query_nor_names_are_logged_or_counted(locked, face_jpeg, caplog):
    secret = secrets.token_hex(8)
    caplog.set_level(logging.DEBUG, logger="mien.serve")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    files = [("files", (f"{secret}.jpg", face_jpeg, f"image/{secret}"))]
    locked.post("/v1/predict", files=files, params={"view": "7", "other": secret}, headers=headers)
    locked.get(f"/{secret}", headers=headers)
    locked.get("/v1/model", headers={"Authorization": f"Bearer {secret}"})
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "POST /v1/predict 200" in said
    counts = locked.get("/metrics", headers=headers).text
    assert 'mien_requests_total{route="/v1/predict",status="200"}' in counts
    for text in (said, counts):
        assert secret not in text
        assert TOKEN not in text


def test_tokens_are_compared_in_constant_time(bundled, monkeypatch):
    from mien.apps.service import guard
    from mien.apps.service.app import create_app

    compared = []
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    app = create_app(bundled, ServeConfig(workers=1), token=TOKEN)
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/metrics",
        "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer x")],
    }
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.disconnect"}

    run(app({**scope, "query_string": b"", "root_path": ""}, receive, send))
    app.state.service.engine.close()
    assert sent[0]["status"] == 401
    assert compared == [(b"x", TOKEN.encode())]
