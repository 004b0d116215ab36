"""The verb that reads faces: pictures in, a table on the screen and files out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jsonargparse import ArgumentParser, Namespace

from mien.cli.exit_codes import ExitCode
from mien.cli.parser import add_model_options, new_parser
from mien.cli.stopping import on_ctrl_c
from mien.errors import InputError
from mien.faces.detector import MIN_FACE
from mien.faces.named import DETECTORS, DetectorName

if TYPE_CHECKING:
    from mien.runtime.classifier import Model
    from mien.runtime.pipeline import PredictedFile

STANDARD_INPUT: Final = "-"
_FORMATS: Final = ("csv", "json", "jsonl", "parquet")
_ROWS_SHOWN: Final = 200
"""Lines of the table on a terminal; files hold all."""


def predict_parser() -> ArgumentParser:
    """Options of `mien predict`."""
    parser = new_parser(
        "Read the faces in pictures.",
        "mien predict photo.jpg",
        "mien predict holiday/ --csv faces.csv --annotate marked/ --workers 2",
        "mien predict crops/ --crops --model runs/a --labels 7",
        "curl -s URL | mien predict -",
    )
    parser.add_argument(
        "paths", nargs="+", help="pictures, folders or patterns; - reads one from standard input"
    )
    add_model_options(parser)
    parser.add_argument("--crops", action="store_true", help="the pictures are cropped faces: detect nothing")
    parser.add_argument(
        "--detector", choices=DETECTORS, default="mtcnn", help="what finds faces; `none` is --crops"
    )
    parser.add_argument(
        "--min-face", type=float, default=MIN_FACE, help="side of the smallest face to look for, in pixels"
    )
    parser.add_argument(
        "--min-confidence",
        type=float | None,
        help="say `unsure` below this confidence, 0 to 1; the model's own threshold by default",
    )
    parser.add_argument("--csv", type=Path | None, help="write a table there, a row a face")
    parser.add_argument("--json", type=Path | None, help="write everything there")
    parser.add_argument("--jsonl", type=Path | None, help="write everything there, a line a picture")
    parser.add_argument("--parquet", type=Path | None, help="write a table there, a row a face")
    parser.add_argument(
        "--annotate", type=Path | None, help="folder for copies of the pictures with their faces marked"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that read pictures")
    return parser


def predict(options: Namespace) -> int:
    """Do it; 1 where something could not be read."""
    from mien.runtime.classifier import load

    if options.min_confidence is not None and not 0 <= options.min_confidence <= 1:
        raise InputError(f"--min-confidence must lie in 0 to 1, not {options.min_confidence:g}.")
    detector: DetectorName = "none" if options.crops else options.detector
    model = load(options.model, detector=detector, min_face=options.min_face)
    targets = [(name, options[name]) for name in _FORMATS if options[name] is not None]
    names = " and ".join(str(path) for _, path in targets)
    with on_ctrl_c(f"stopped; {names} was not written." if targets else "stopped."):
        return _predict(model, options, targets)


def _predict(model: Model, options: Namespace, targets: Sequence[tuple[str, Path]]) -> int:
    from mien.progress import Reporter
    from mien.runtime.pipeline import find_pictures
    from mien.runtime.tables import open_writers

    on_screen = sys.stdout.isatty()
    failed = False
    shown: list[PredictedFile] = []
    count = 0
    found = [one.path for one in find_pictures(path for path in options.paths if path != STANDARD_INPUT)]
    total = len(found) + (STANDARD_INPUT in options.paths)
    with (
        open_writers(targets, model.card) as writers,
        Reporter().bar("pictures", total, unit="pictures") as bar,
    ):
        for result in _judged(_results(model, options, found), options.min_confidence):
            failed = failed or result.error is not None
            for write in writers:
                write(result)
            if options.annotate is not None and result.error is None:
                _annotate(result, options.annotate)
            if on_screen:
                shown += [result] if len(shown) < _ROWS_SHOWN else []
            else:
                _print_lines(result)
            count += 1
            bar.advance()
    if on_screen:
        _print_table(shown, count)
    return ExitCode.FAILED if failed else ExitCode.DONE


def _results(model: Model, options: Namespace, found: Sequence[Path]) -> Iterator[PredictedFile]:
    from mien.errors import UnreadableImage
    from mien.runtime.pipeline import PredictedFile, predict_paths

    given = {"prior": options.prior, "view": options.labels}
    if STANDARD_INPUT in options.paths:
        place = Path(STANDARD_INPUT)
        try:
            faces = model.read(sys.stdin.buffer.read(), **given)
        except UnreadableImage as error:
            yield PredictedFile(place, error=f"standard input: {error}")
        else:
            yield PredictedFile(place, faces=tuple(faces))
    if found:
        yield from predict_paths(model, found, **given, workers=options.workers)


def _judged(results: Iterable[PredictedFile], least: float | None) -> Iterator[PredictedFile]:
    """Results by the user's own threshold instead of the card's."""
    if least is None:
        yield from results
        return
    for result in results:
        faces = tuple(replace(face, abstained=face.confidence < least) for face in result.faces)
        yield replace(result, faces=faces)


def _annotate(result: PredictedFile, folder: Path) -> None:
    """A marked copy, named as the picture is; a name that is taken gets a number."""
    from mien.files import replacing
    from mien.images import load_image
    from mien.runtime.annotate import annotate

    if str(result.path) == STANDARD_INPUT:
        raise InputError("--annotate needs pictures that lie in files, not standard input.")
    marked = annotate(load_image(result.path), result.faces)
    place = folder / f"{result.path.stem}.png"
    number = 2
    while place.exists():
        place = folder / f"{result.path.stem}-{number}.png"
        number += 1
    with replacing(place) as temporary:
        marked.save(temporary, format="PNG")


def _rows(result: PredictedFile) -> list[tuple[str, str, str, str]]:
    if result.error or not result.faces:
        return [(str(result.path), "", result.error or "no face found", "")]
    return [
        (
            str(result.path),
            ", ".join(f"{value:.0f}" for value in face.box),
            f"unsure ({face.emotion})" if face.abstained else face.emotion,
            f"{face.confidence:.0%}",
        )
        for face in result.faces
    ]


def _print_lines(result: PredictedFile) -> None:
    """One tab-separated line a face, into a pipe, where nothing may be wrapped; at once, so that a reader
    who has seen enough ends the reading of pictures."""
    print("\n".join("\t".join(row) for row in _rows(result)), flush=True)  # noqa: T201


def _print_table(results: Sequence[PredictedFile], count: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("picture", "face", "emotion", "confidence")
    for result in results:
        for row in _rows(result):
            table.add_row(*map(Text, row))
    console = Console(highlight=False)
    console.print(table)
    if count > len(results):
        console.print(f"and {count - len(results):,} pictures more; --csv FILE holds all.")
