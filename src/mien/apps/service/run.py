"""`mien serve`: the application on a port of this machine, until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import signal
import socket
import ssl
import webbrowser
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any, Final

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from mien.apps.service import stream
from mien.apps.service.app import LOOPBACK, create_app
from mien.apps.service.errors import Refused
from mien.apps.service.guard import MOST_HEADER_BYTES, error_response, log
from mien.apps.service.state import Service
from mien.config import ServeConfig
from mien.errors import InputError
from mien.runtime.classifier import Model

_WAITING_CONNECTIONS: Final = 512
_TOKEN_BYTES: Final = 24
_TOKEN_SIGNS: Final = re.compile(r"[A-Za-z0-9._~-]+")
"""What may stand in a header, a subprotocol and an address alike."""
_REST_SECONDS: Final = 5
"""That the rest of a refused body is read for, and thrown away."""


def serve(
    model: Model,
    config: ServeConfig | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    hosts: Sequence[str] = (),
    certificate: Path | None = None,
    key: Path | None = None,
    verbose: bool = False,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Offer a model until SIGINT or SIGTERM; what is under way is ended first.

    Args:
        model: reads the faces.
        config: what is taken, and how much of it; none takes the defaults.
        host: address that is listened at.
        port: likewise; 0 takes a free one.
        token: what a client must show. None asks for nothing at a loopback address; at any other one a token
            is made.
        hosts: more names that the service answers to, such as that of a proxy before it. At a loopback
            address it answers to this machine's own names and these alone, elsewhere to any if none is given.
        certificate: PEM file for https. Browsers give a page of another machine no camera without it.
        key: PEM file of its key, where it is not in the same file.
        verbose: log a line for each request.
        ready: called with the page's address, which holds the token, once the port is open.

    Raises:
        InputError: the address cannot be listened at, or the certificate cannot be used.
    """
    config = config or ServeConfig()
    loopback = _is_loopback(host)
    if token is None and not loopback:
        token = secrets.token_urlsafe(_TOKEN_BYTES)
    if token is not None and not _TOKEN_SIGNS.fullmatch(token):
        raise InputError("the token may hold letters A-Z, digits and . _ ~ - alone; give another --token.")
    names = (*LOOPBACK, *hosts) if loopback else hosts or None
    _check_certificate(certificate, key)
    if verbose:
        _log_requests()
    scheme = "http" if certificate is None else "https"
    shown = f"[{host}]" if ":" in host else host
    fragment = "" if token is None else f"#token={token}"
    # Ctrl-C may come before the server listens to it.
    with _listen(host, port) as listening, contextlib.suppress(KeyboardInterrupt):
        # Made now, so that the first visitor does not wait for it.
        model.detector  # noqa: B018
        app = create_app(model, config, token=token, hosts=names)
        server = new_server(app, certificate=certificate, key=key)
        ready(f"{scheme}://{shown}:{listening.getsockname()[1]}/{fragment}")
        server.run(sockets=[listening])


def new_server(app: FastAPI, *, certificate: Path | None = None, key: Path | None = None) -> uvicorn.Server:
    """What answers for an application of `create_app`, within the limits of its config."""
    service: Service = app.state.service
    config = service.config
    settings = uvicorn.Config(
        app,
        http=_Protocol,
        loop="auto",
        ws_max_size=config.frame_bytes + 1,
        ws_per_message_deflate=False,
        backlog=_WAITING_CONNECTIONS,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        timeout_graceful_shutdown=max(1, round(config.stop_seconds)),
        access_log=False,
        log_level="warning",
        server_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    return _Server(settings, service)


def open_page(address: str) -> None:
    """Show the page in the browser of whoever sits here."""
    webbrowser.open(address)


class _Server(uvicorn.Server):
    """Refuses new work as soon as it is asked to stop."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.engine.stopping = True
        # As uvicorn does, but the signal is not raised again at the end: to be stopped is no failure.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.engine.stopping = True
        await stream.close_all(self._service)
        await super().shutdown(sockets)


class _Protocol(H11Protocol):
    """Closes a connection that takes too long over a request's headers, or over a body that was refused
    already; uvicorn waits for ever.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        # Closed at once, a client that still sends would never read why it was refused.
        if self.conn.their_state is h11.SEND_BODY and self._rest_timer is None:
            self._rest_timer = self.loop.call_later(_REST_SECONDS, self._close_unless_ended)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        response = error_response(
            Refused("bad_request", "this is not a request of HTTP/1.1 that can be read.")
        )
        response.headers["Connection"] = "close"
        for event in (
            h11.Response(status_code=400, headers=response.raw_headers, reason=b"Bad Request"),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _close_unless_ended(self) -> None:
        self._rest_timer = None
        if self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE:
            self.transport.close()

    def _watch_headers(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._header_timer is None:
            seconds = self.config.app.state.service.config.upload_seconds  # type: ignore[union-attr]
            self._header_timer = self.loop.call_later(seconds, self.transport.close)

    def _stop_watching(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


def _log_requests() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        # A service that was killed leaves its connections behind for a minute; they must not keep it out.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            # Who is told of the address may come at once, and waits until the application has started.
            listening.listen(_WAITING_CONNECTIONS)
        except BaseException:
            listening.close()
            raise
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise InputError(
            f"{host} port {port} cannot be listened at ({reason}); give another --port."
        ) from None
    return listening


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_certificate(certificate: Path | None, key: Path | None) -> None:
    if certificate is None:
        if key is not None:
            raise InputError("a key needs its --certificate.")
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{certificate}: no certificate with its key can be read there ({reason})."
        ) from None
