"""`mien serve`: the application on a port of this machine, until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
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
from uvicorn.protocols.http.h11_impl import H11Protocol

from mien.apps.service.app import LOOPBACK, create_app
from mien.apps.service.guard import log
from mien.apps.service.state import Service
from mien.config import ServeConfig
from mien.errors import InputError
from mien.runtime.classifier import Model

_MOST_HEADER_BYTES: Final = 16 << 10
_WAITING_CONNECTIONS: Final = 512
_TOKEN_BYTES: Final = 24


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
    names = (*LOOPBACK, *hosts) if loopback else hosts or None
    _check_certificate(certificate, key)
    app = create_app(model, config, token=token, hosts=names)
    # Made now, so that the first visitor does not wait for it.
    model.detector  # noqa: B018
    listening = _listen(host, port)
    if verbose:
        _log_requests()
    settings = uvicorn.Config(
        app,
        http=_Protocol,
        loop="auto",
        ws_max_size=config.frame_bytes + 1,
        ws_per_message_deflate=False,
        backlog=_WAITING_CONNECTIONS,
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
        timeout_graceful_shutdown=max(1, round(config.stop_seconds)),
        access_log=False,
        log_level="warning",
        server_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    scheme = "http" if certificate is None else "https"
    shown = f"[{host}]" if ":" in host else host
    fragment = "" if token is None else f"#token={token}"
    server = _Server(settings, app.state.service)
    ready(f"{scheme}://{shown}:{listening.getsockname()[1]}/{fragment}")
    # uvicorn raises the signal again once it has ended; that is the caller's business no more.
    with listening, contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


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
        super().handle_exit(sig, frame)


class _Protocol(H11Protocol):
    """Closes a connection that takes too long over a request's headers; uvicorn waits for ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

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
        except OSError:
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
