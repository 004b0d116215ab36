"""A whole video: faces followed and read, timelines, shares with intervals, the video with its faces marked.

One pass decodes and reads, in constant memory, into a journal on disk; what it saw is then smoothed and
written from there. A call that was stopped goes on where the journal ends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.errors import InputError
from mien.files import sha256_of, write_json
from mien.runtime.annotate import annotate
from mien.runtime.classifier import Model
from mien.runtime.face import PLACE_COLUMNS, Face
from mien.runtime.following import Follower, follow
from mien.runtime.journal import Journal
from mien.runtime.people import SAME_PERSON, Embedder, join_tracks
from mien.runtime.probabilities import Prior, check_prior_and_view
from mien.runtime.shares import BLOCK
from mien.runtime.sighting import SeenFrame
from mien.runtime.smoothing import WINDOW, smooth
from mien.runtime.timeline import TABLES, Row, open_timeline, timeline_rows
from mien.runtime.timeline_plot import MOST_STRIPS, TimelinePlot
from mien.runtime.tracking import GAP
from mien.runtime.video_file import FrameReader, Position, check_sampling, describe_video
from mien.runtime.video_rewrite import VIDEO_KINDS, rewrite_video
from mien.runtime.video_summary import Summarizer, TrackSpans, VideoSummary, track_spans

Progress = Callable[[str, int], None]

_CHECKPOINT_SECONDS: Final = 10.0
"""Of work that a stop may cost."""


@dataclass(frozen=True)
class VideoSettings:
    """How a video is read.

    Raises:
        InputError: a value is out of its range.
    """

    every: int = 1
    """Look at each n-th frame."""
    fps: float | None = None
    """Look at this many frames a second at most; instead of `every`."""
    prior: Prior = "training"
    """As in `Model.read`."""
    view: str | Sequence[str] = "all"
    """As in `Model.read`."""
    gap: float = GAP
    """Seconds a face may stay unseen before its track ends."""
    window: float = WINDOW
    """Seconds over which a track's probabilities are averaged, half before a frame and half after; 0 is
    none."""
    block: float = BLOCK
    """Seconds of a block of the block bootstrap."""
    same_person: float = SAME_PERSON
    """Least cosine of two tracks' embeddings that makes them one person."""

    def __post_init__(self) -> None:
        check_sampling(self.every, self.fps)
        for name, least in (("gap", 0.0), ("window", 0.0), ("block", 0.1), ("same_person", -1.0)):
            value = getattr(self, name)
            if not (value >= least and math.isfinite(value)):
                raise InputError(f"{name} must be {least:g} or more, not {value:g}.")


def watch(
    model: Model,
    path: str | Path,
    *,
    settings: VideoSettings = VideoSettings(),
) -> Iterator[SeenFrame]:
    """The faces of a video, frame by frame as it is decoded, with the numbers of their tracks; not smoothed,
    and nothing is written.

    Args:
        model: reads the faces; it needs a detector.
        path: of the video.
        settings: `every`, `fps`, `prior`, `view` and `gap` count here.

    Raises:
        UnreadableVideo: the file cannot be opened or decoded.
        InputError: a setting cannot be used, or the model has no detector.
        MissingExtra: PyAV is not installed.
    """
    follower = Follower(model, gap=settings.gap, prior=settings.prior, view=settings.view)
    frames = FrameReader(path, every=settings.every, fps=settings.fps)
    yield from follow(follower, iter(frames))


def read_video(
    model: Model,
    path: str | Path,
    out: str | Path,
    *,
    settings: VideoSettings = VideoSettings(),
    tables: Sequence[str] = ("parquet",),
    plot: bool = True,
    annotated: str | None = None,
    embedder: Embedder | None = None,
    progress: Progress = lambda stage, index: None,
) -> VideoSummary:
    """Read a video into a folder: `timeline.<table>`, `timeline.png`, `annotated.<kind>` and `summary.json`.

    A folder in which the same reading was stopped is gone on with; the marked video begins anew then.

    Args:
        model: reads the faces; it needs a detector.
        path: of the video.
        out: the folder; files of an earlier reading are replaced.
        settings: how.
        tables: some of `mien.runtime.timeline.TABLES`.
        plot: whether the timeline is drawn.
        annotated: ``"webm"`` (VP9) or ``"mp4"`` (H.264) to write the video with its faces marked, sound kept.
        embedder: joins tracks into people over the whole video, which is biometric; without one they stay
            apart, and the summary says so.
        progress: called with each frame that is done with: the stage, ``"reading"`` and then ``"marking"``
            if the video is marked, and the frame's place in the file.

    Raises:
        UnreadableVideo: the file cannot be opened or decoded.
        InputError: a setting cannot be used, or the model has no detector.
        MissingExtra: PyAV, or what a table or the plot needs, is not installed.
    """
    path, out = Path(path), Path(out)
    _check(model, settings, tables, annotated)
    describe_video(path)
    out.mkdir(parents=True, exist_ok=True)
    described = _described(model, path, settings, embedder)
    with Journal(out, described) as journal:
        follower = Follower(
            model, gap=settings.gap, prior=settings.prior, view=settings.view, embedder=embedder
        )
        damaged = _read_into(journal, follower, path, settings, progress)
        tracks = track_spans(journal.frames())
        people = None
        if embedder is not None:
            people = join_tracks(follower.embeddings, tracks.spans, threshold=settings.same_person)
        reading = _Reading(model, path, out, settings, journal, tracks, people)
        summary = reading.write(tables, plot, annotated, damaged, progress)
        journal.remove()
    return summary


def _check(model: Model, settings: VideoSettings, tables: Sequence[str], annotated: str | None) -> None:
    """Before hours of work: whatever can be refused."""
    check_prior_and_view(model.card, settings.prior, settings.view)
    for kind in tables:
        if kind not in TABLES:
            raise InputError(f"a timeline is written as {', '.join(TABLES)}, not {kind}.")
    if annotated is not None and annotated not in VIDEO_KINDS:
        raise InputError(f"a marked video is written as {' or '.join(VIDEO_KINDS)}, not {annotated}.")


def _described(
    model: Model, path: Path, settings: VideoSettings, embedder: Embedder | None
) -> dict[str, Any]:
    """All that the reading depends on; the smoothing and the intervals come after it."""
    known = path.stat()
    return {
        "video": [str(path.resolve()), known.st_size, known.st_mtime_ns],
        "model": sha256_of(model.path),
        "detector": model.detector_name or type(model.detector).__name__,
        "embedder": None if embedder is None else type(embedder).__name__,
        "every": settings.every,
        "fps": settings.fps,
        "gap": settings.gap,
        "prior": settings.prior if isinstance(settings.prior, str) else dict(settings.prior),
        "view": settings.view if isinstance(settings.view, str) else list(settings.view),
    }


def _read_into(
    journal: Journal,
    follower: Follower,
    path: Path,
    settings: VideoSettings,
    progress: Progress,
) -> int:
    """Read what the journal lacks; packets that could not be decoded."""
    after, damaged = None, 0
    if journal.state is not None:
        follower.go_on(journal.state["follower"])
        after, damaged = Position(**journal.state["position"]), journal.state["damaged"]
        if journal.state["done"]:
            return int(damaged)
    reader = FrameReader(path, every=settings.every, fps=settings.fps, after=after)

    def keep(position: Position, done: bool) -> None:
        journal.checkpoint(
            {
                "follower": follower.state(),
                "position": asdict(position),
                "damaged": damaged + reader.damaged,
                "done": done,
            }
        )

    last = time.monotonic()
    position = after
    for frame in reader:
        position = frame.position
        seen = follower.push(frame)
        for one in seen:
            journal.write(one)
        if seen and time.monotonic() - last >= _CHECKPOINT_SECONDS:
            keep(position, done=False)
            last = time.monotonic()
        progress("reading", position.index)
    for one in follower.flush():
        journal.write(one)
    assert position is not None
    keep(position, done=True)
    return damaged + reader.damaged


@dataclass(frozen=True)
class _Reading:
    """A video that was read to its end, and what is to be written of it."""

    model: Model
    path: Path
    out: Path
    settings: VideoSettings
    journal: Journal
    tracks: TrackSpans
    people: dict[int, int] | None

    @property
    def column(self) -> str:
        return "track" if self.people is None else "person"

    def rows(self) -> Iterator[Row]:
        smoothed = smooth(self.journal.frames(), self.settings.window)
        return timeline_rows(smoothed, self.model.card, self.settings.view, self.people)

    def write(
        self, tables: Sequence[str], plot: bool, annotated: str | None, damaged: int, progress: Progress
    ) -> VideoSummary:
        labels = self.model.card.view(self.settings.view)
        summarizer = Summarizer(labels, self.settings.block, self.column)
        drawing = TimelinePlot(
            labels,
            self._strips(),
            self.column,
            seconds=self.tracks.seconds,
            frames=self.tracks.looked_at,
        )
        targets = [(kind, self.out / f"timeline.{kind}") for kind in tables]
        files = [path for _, path in targets]
        with open_timeline(targets, self.model.card.labels) as writers:
            for row in self.rows():
                summarizer.add(row)
                drawing.add(row)
                for write in writers:
                    write(row)
        if plot:
            files.append(self.out / "timeline.png")
            drawing.save(files[-1])
        if annotated is not None:
            files.append(self.out / f"annotated.{annotated}")
            rewrite_video(self.path, files[-1], _Marker(self.rows(), self.column, progress))
        files.append(self.out / "summary.json")
        summary = VideoSummary(
            path=self.path,
            frames=self.tracks.looked_at,
            seconds=self.tracks.seconds,
            damaged=damaged,
            without_face=summarizer.without_face(),
            people=summarizer.people(self.tracks, self.people),
            joined=self.people is not None,
            window=self.settings.window,
            block=self.settings.block,
            files=tuple(files),
        )
        write_json(files[-1], summary.to_dict())
        return summary

    def _strips(self) -> list[tuple[int, str]]:
        frames: dict[int, int] = {}
        for track, count in self.tracks.frames.items():
            number = track if self.people is None else self.people[track]
            frames[number] = frames.get(number, 0) + count
        longest = sorted(frames, key=lambda number: (-frames[number], number))[:MOST_STRIPS]
        return [(number, f"{self.column} {number}") for number in sorted(longest)]


class _Marker:
    """Draws the rows of a timeline on the frames they belong to; frames that were not looked at show what
    the last one did."""

    def __init__(self, rows: Iterator[Row], column: str, progress: Progress) -> None:
        self._rows = rows
        self._column = column
        self._progress = progress
        self._next: Row | None = next(rows, None)
        self._shown: list[Row] = []

    def __call__(self, position: Position, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self._progress("marking", position.index)
        while self._next is not None and self._next["frame"] <= position.index:
            if self._shown and self._shown[0]["frame"] != self._next["frame"]:
                self._shown = []
            self._shown.append(self._next)
            self._next = next(self._rows, None)
        rows = [row for row in self._shown if row["track"] is not None]
        if not rows:
            return rgb
        numbers = [row[self._column] for row in rows]
        return np.asarray(annotate(rgb, [_face(row) for row in rows], numbers=numbers))


def _face(row: Row) -> Face:
    """A row as `annotate` takes it, its smoothed probabilities for its own."""
    x0, y0, x1, y1 = (row[name] for name in PLACE_COLUMNS)
    start = "smoothed."
    shares = {
        name.removeprefix(start): value
        for name, value in row.items()
        if name.startswith(start) and value is not None
    }
    return Face(
        box=(x0, y0, x1, y1),
        landmarks=None,
        detection_score=row["detection_score"],
        probabilities=shares,
        emotion=row["emotion"],
        confidence=row["confidence"],
        abstained=row["abstained"],
    )
