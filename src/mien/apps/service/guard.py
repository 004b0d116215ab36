"""What stands before every route: who may ask, headers that keep a browser strict, counts.

A plain ASGI layer: it sees WebSockets too, and costs a request next to nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from mien.apps.service.errors import Refused
from mien.apps.service.metrics import Metrics
from mien.apps.service.schema import ErrorAnswer, ErrorDetail

log = logging.getLogger("mien.serve")

STREAM_PROTOCOL: Final = "mien.v1"
"""Subprotocol that the server picks."""
TOKEN_PROTOCOL: Final = "mien.token."
"""A browser cannot send headers with a WebSocket: it offers a subprotocol of this and the token."""

MOST_HEADER_BYTES: Final = 16 << 10
"""Of a request; browsers send one or two kilobytes."""

_OPEN: Final = ("/", "/docs", "/healthz", "/openapi.json")
_OPEN_BELOW: Final = "/static/"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets pass who may ask.

    Args:
        app: the application behind it.
        metrics: told of each answer.
        token: what a client must show; none asks for nothing.
        hosts: names, without port, that the `Host` header may have; none takes any. A page of another site
            whose name was made to lead to this machine is kept out by it (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, *, token: str | None, hosts: Collection[str] | None
    ) -> None:
        self._app, self._metrics = app, metrics
        self._token = None if token is None else token.encode()
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refusal(scope, headers)
        if scope["type"] == "websocket":
            if refused is None:
                await self._app(scope, receive, send)
            else:
                await _refuse_stream(scope, receive, send, refused)
            return
        await self._answer(scope, receive, send, refused)

    def _refusal(self, scope: Scope, headers: Headers) -> Refused | None:
        # The server counts what it waits for, not what came at once.
        if sum(len(name) + len(value) + 4 for name, value in headers.raw) > MOST_HEADER_BYTES:
            return Refused("bad_request", f"the headers are longer than {MOST_HEADER_BYTES:,} bytes.")
        host = headers.get("host", "")
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return Refused("wrong_host", "this service answers to the name of its own machine alone.")
        origin = headers.get("origin")
        reads = scope["type"] == "http" and scope["method"] in ("GET", "HEAD", "OPTIONS")
        if origin is not None and not reads and not _same_host(origin, host):
            return Refused("wrong_origin", "a page of another site may not use this service.")
        path = scope["path"]
        if self._token is None or path in _OPEN or path.startswith(_OPEN_BELOW):
            return None
        if any(hmac.compare_digest(shown, self._token) for shown in _tokens(scope, headers)):
            return None
        return Refused(
            "no_token", "this service asks for its token: send the header Authorization: Bearer TOKEN."
        )

    async def _answer(self, scope: Scope, receive: Receive, send: Send, refused: Refused | None) -> None:
        began = time.perf_counter()
        status, started = 500, False

        async def send_on(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                sent = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    sent.setdefault(name, value)
            await send(message)

        try:
            if refused is None:
                await self._app(scope, receive, send_on)
            else:
                await error_response(refused)(scope, receive, send_on)
        except asyncio.CancelledError:
            # A server that stops cancels what is not done in time.
            if started:
                raise
            late = Refused("stopping", "the service is being stopped; try again in a moment.", retry_after=1)
            await error_response(late)(scope, receive, send_on)
        finally:
            # Not what was asked for, which may hold anything, but the route that took it.
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.perf_counter() - began
            self._metrics.requests.labels(route, status).inc()
            self._metrics.request_seconds.labels(route).observe(seconds)
            log.info("%s %s %d %.1f ms", scope["method"], route, status, 1000 * seconds)


def error_response(refused: Refused) -> Response:
    """The answer that says what is refused, and why."""
    body = ErrorAnswer(error=ErrorDetail(code=refused.code, message=str(refused)))
    # Not all errors pass by the guard on their way out: refused streams and faults of the service do not.
    response = Response(body.model_dump_json(), refused.status, _HEADERS, media_type="application/json")
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(refused.retry_after)
    if refused.code == "no_token":
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _refuse_stream(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    stream = WebSocket(scope, receive, send)
    await stream.receive()
    await stream.send_denial_response(error_response(refused))


def _tokens(scope: Scope, headers: Headers) -> list[bytes]:
    """What a client shows."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    shown = [value.strip().encode("utf-8", "replace")] if kind.lower() == "bearer" else []
    if scope["type"] == "websocket":
        offered = scope["subprotocols"]
        shown += [
            one.removeprefix(TOKEN_PROTOCOL).encode() for one in offered if one.startswith(TOKEN_PROTOCOL)
        ]
    return shown


def _same_host(origin: str, host: str) -> bool:
    try:
        place = urlsplit(origin).netloc.lower()
    except ValueError:
        return False
    return bool(place) and place == host.lower()


def _name_of(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
