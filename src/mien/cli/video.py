"""The verb that reads a video into a folder: timelines, shares with intervals, the marked video."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from mien.cli.parser import add_model_options, new_parser
from mien.cli.stopping import CONTINUES, on_ctrl_c

if TYPE_CHECKING:
    from mien.runtime.video_summary import VideoSummary


def video_parser() -> ArgumentParser:
    """Options of `mien video`."""
    parser = new_parser(
        "Read the faces of a video, followed over time. A call that was stopped goes on where it was.",
        "mien video film.mp4 --out film/",
        "mien video film.mp4 --out film/ --fps 5 --csv --annotate webm",
        "mien video film.mp4 --out film/ --people",
    )
    parser.add_argument("path", type=Path, help="the video")
    parser.add_argument("--out", type=Path, required=True, help="folder of the timelines and the summary")
    add_model_options(parser)
    parser.add_argument("--every", type=int, default=1, help="look at each n-th frame")
    parser.add_argument("--fps", type=float | None, help="look at this many frames a second at most")
    parser.add_argument(
        "--window",
        type=float | None,
        help="seconds over which probabilities are averaged, half before a frame and half after",
    )
    parser.add_argument("--csv", action="store_true", help="write timeline.csv as well")
    parser.add_argument("--jsonl", action="store_true", help="write timeline.jsonl as well")
    parser.add_argument(
        "--annotate", choices=("webm", "mp4"), default=None, help="write the marked video, its sound kept"
    )
    parser.add_argument(
        "--people",
        action="store_true",
        help="join tracks into people by how their faces look (biometric); see mien detector get mobileface",
    )
    parser.add_argument(
        "--embedder", type=Path | None, help="ONNX file of an ArcFace-like network for --people"
    )
    return parser


def video(options: Namespace) -> None:
    """Do it, and say what came out."""
    from mien.progress import Reporter
    from mien.runtime.classifier import load
    from mien.runtime.embedder import OnnxEmbedder
    from mien.runtime.video import VideoSettings, read_video
    from mien.runtime.video_file import describe_video

    given = {} if options.window is None else {"window": options.window}
    settings = VideoSettings(
        every=options.every, fps=options.fps, prior=options.prior, view=options.labels, **given
    )
    info = describe_video(options.path)
    model = load(options.model)
    with_people = options.people or options.embedder is not None
    embedder = OnnxEmbedder(options.embedder) if with_people else None
    tables = ["parquet", *(name for name in ("csv", "jsonl") if options[name])]
    stages = ["reading"] if options.annotate is None else ["reading", "marking"]
    done = dict.fromkeys(stages, 0)
    reporter = Reporter()
    with on_ctrl_c(CONTINUES), ExitStack() as stack:
        bars = {
            stage: stack.enter_context(reporter.bar(stage, info.frames, unit="frames")) for stage in stages
        }

        def progress(stage: str, index: int) -> None:
            bars[stage].advance(index + 1 - done[stage])
            done[stage] = index + 1

        summary = read_video(
            model,
            options.path,
            options.out,
            settings=settings,
            tables=tables,
            annotated=options.annotate,
            embedder=embedder,
            progress=progress,
        )
    _print(summary)


def _print(summary: VideoSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    name = "person" if summary.joined else "track"
    table = Table(name, "seen from", "to", "frames", "emotions")
    for one in summary.people:
        largest = sorted(one.shares.items(), key=lambda item: -item[1].value)[:3]
        told = ", ".join(
            f"{emotion} {share.value:.0%}"
            + ("" if share.low is None else f" ({share.low:.0%} to {share.high:.0%})")
            for emotion, share in largest
            if share.value
        )
        table.add_row(str(one.number), f"{one.first:.1f} s", f"{one.last:.1f} s", f"{one.frames:,}", told)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{summary.frames:,} frames of {summary.seconds:.1f} s, {summary.without_face.value:.1%} without a "
        f"face. Probabilities are means over {summary.window:g} s; in brackets 95 % intervals over blocks of "
        f"{summary.block:g} s. {summary.note}",
        markup=False,
    )
    if summary.damaged:
        console.print(f"{summary.damaged:,} damaged parts of the file were left out.")
    console.print("Written: " + ", ".join(str(file) for file in summary.files), markup=False)
