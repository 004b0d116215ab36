"""The verb that offers a model to browsers and programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from jsonargparse import ArgumentParser, Namespace

from mien.cli.parser import new_parser, settings_of
from mien.config import ServeConfig
from mien.errors import MissingExtra

TOKEN_VARIABLE: Final = "MIEN_TOKEN"


def serve_parser() -> ArgumentParser:
    """Options of `mien serve`."""
    parser = new_parser(
        "A page for people, REST and WebSocket for programs, all on this machine: webcam, pictures, video. "
        "Pictures are read in memory and not kept.",
        "mien serve --open",
        "mien serve --host 0.0.0.0 --port 8443 --certificate cert.pem --key key.pem",
    )
    parser.add_argument(
        "--model", type=Path | None, help=".onnx file or run's folder; the bundled model by default"
    )
    parser.add_argument("--host", type=str, default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--open", action="store_true", help="show the page in the browser")
    parser.add_argument(
        "--token",
        type=str | None,
        help=f"what clients must show; {TOKEN_VARIABLE} in the environment is taken as well. At an address "
        "that other machines reach, one is made if none is given",
    )
    parser.add_argument(
        "--hosts", type=str, nargs="+", default=[], help="more names to answer to, such as that of a proxy"
    )
    parser.add_argument(
        "--certificate", type=Path | None, help="PEM file for https, which a camera on another machine needs"
    )
    parser.add_argument("--key", type=Path | None, help="PEM file of its key")
    parser.add_argument("--verbose", action="store_true", help="log a line for each request")
    parser.add_class_arguments(ServeConfig)
    return parser


def serve(options: Namespace) -> None:
    """Do it."""
    try:
        from mien.apps.service.run import open_page
        from mien.apps.service.run import serve as serve_model
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mien"):
            raise
        raise MissingExtra("the service", "serve") from None
    from mien.runtime.classifier import load

    def ready(address: str) -> None:
        print(f"mien: the page is at {address}  (Ctrl-C stops)", file=sys.stderr, flush=True)  # noqa: T201
        if options.open:
            open_page(address)

    serve_model(
        load(options.model, threads=options.threads),
        settings_of(ServeConfig, options),
        host=options.host,
        port=options.port,
        token=options.token or os.environ.get(TOKEN_VARIABLE) or None,
        hosts=options.hosts,
        certificate=options.certificate,
        key=options.key,
        verbose=options.verbose,
        ready=ready,
    )
