"""The verb that makes one page from runs and evaluated models."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mien.cli.parser import new_parser
from mien.cli.stopping import on_ctrl_c


def report_parser() -> ArgumentParser:
    """Options of `mien report`."""
    parser = new_parser(
        "One self-contained HTML page from runs and evaluated models.",
        "mien report runs/a runs/b --out report.html",
        "mien report runs/* evaluated/* --out report.html --no-pictures",
    )
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, or of mien evaluate --out")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="file to write")
    parser.add_argument(
        "--data",
        type=Path | None,
        help="prepared folder, for what is shown of the data; the runs' own by default",
    )
    parser.add_argument("--no-pictures", action="store_true", help="show no face of the data on the page")
    return parser


def report(options: Namespace) -> None:
    """Do it, and name the page."""
    with on_ctrl_c("stopped; the page was not written."):
        from mien.report.html import write_report

        pictures = not options.no_pictures
        page = write_report(options.runs, options.out, data=options.data, pictures=pictures)
    print(page)  # noqa: T201
