"""The verb that says what is installed, what can run, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from mien.cli.exit_codes import ExitCode
from mien.cli.parser import new_parser

if TYPE_CHECKING:
    from mien.doctor import Diagnosis, Library

_WARNING = (
    "Reading emotions from faces at work or in education is forbidden in the European Union (AI Act, "
    "Article 5) and regulated elsewhere."
)


def doctor_parser() -> ArgumentParser:
    """Options of `mien doctor`."""
    parser = new_parser(
        "Say what is installed, which stages can run and what makes the others possible, and let the bundled "
        "model read a drawn face. Its exit code is 0 where that works, else 1.",
        "mien doctor",
        "mien doctor --quick",
        "mien doctor --json > doctor.json",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="read the libraries' versions without importing them; torch is then not asked for GPUs",
    )
    return parser


def doctor(options: Namespace) -> int:
    """Do it; 1 where the bundled model cannot read."""
    from mien.doctor import examine

    diagnosis = examine(imports=not options.quick)
    if options.json:
        print(json.dumps(diagnosis.to_dict(), indent=2, ensure_ascii=False))  # noqa: T201
    else:
        print("\n".join(_lines(diagnosis)))  # noqa: T201
    return ExitCode.DONE if diagnosis.works else ExitCode.FAILED


def _lines(found: Diagnosis) -> Iterator[str]:
    yield f"mien {found.mien} in {found.folder}"
    yield f"Python {found.python} at {found.executable}, {found.system}"
    yield from _machine(found)
    yield ""
    yield from _stages(found)
    yield ""
    yield "installed" if found.imported else "installed (not imported: --quick)"
    yield from _libraries(found.libraries)
    yield ""
    yield "networks"
    for network in found.networks:
        place = network.path if network.remedy is None else f"not here; run: {network.remedy}"
        yield f"  {network.name:<12} {network.about}: {place}"
    yield ""
    yield from _bundled(found)


def _machine(found: Diagnosis) -> Iterator[str]:
    processor = found.processor
    bf16 = {True: "has bf16", False: "no bf16, so that training takes fp32", None: "bf16 unknown"}[
        processor.bf16
    ]
    yield f"processor: {processor.name}, {processor.cores} cores, {bf16}"
    if found.gpus is None:
        yield "GPU: torch was not asked" if not found.imported else "GPU: unknown without torch"
    else:
        yield f"GPU: {', '.join(found.gpus) or 'none that torch sees'}"
    decoder = f"PyAV with libavcodec {found.ffmpeg}" if found.ffmpeg else "no PyAV asked"
    yield f"video: {decoder}; the program ffmpeg, which is not needed: {found.ffmpeg_program or 'none'}"


def _stages(found: Diagnosis) -> Iterator[str]:
    yield "what can run"
    for stage in found.stages:
        line = f"{stage.name:<14} {stage.typed}"
        if stage.remedy is None:
            yield f"  yes  {line}"
        else:
            yield f"  no   {line}: lacks {', '.join(stage.lacking)}; run: {stage.remedy}"


def _libraries(extras: dict[str, list[Library] | None]) -> Iterator[str]:
    """A line an extra, with what no earlier one brings."""
    told: set[str] = set()
    for extra, libraries in extras.items():
        if libraries is None:
            yield f"  {extra:<9} this installation does not know the extra"
            continue
        new = [library for library in libraries if library.name not in told]
        told |= {library.name for library in new}
        yield f"  {extra:<9} {', '.join(map(_library, new)) or 'nothing that is not above'}"


def _library(library: Library) -> str:
    if library.error is None:
        return f"{library.name} {library.version}"
    return f"{library.name} {library.version or ''}".strip() + f" ({library.error})"


def _bundled(found: Diagnosis) -> Iterator[str]:
    model = found.bundled
    yield "the bundled model"
    if model.path is not None and model.sha256 is not None and model.bytes is not None:
        yield f"  {model.path}"
        yield f"  {model.bytes / 1e6:.1f} MB, SHA-256 {model.sha256}"
    if model.error is not None:
        yield f"  cannot be used: {model.error}; run: pip install --force-reinstall mien"
        return
    yield (
        f"  {model.name} reads {model.answer} ({model.confidence:.0%}) in a drawn face, in "
        f"{model.milliseconds:.0f} ms with finding it"
    )
    yield f"  {model.licence}"
    yield f"  {_WARNING}"
