"""A video that is read while a client listens: one line after another, in constant memory, within limits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO, Final, cast

import numpy as np

from mien.apps.service.engine import ReadOptions
from mien.apps.service.errors import Refused
from mien.apps.service.ffmpeg_memory import bound_allocations
from mien.apps.service.schema import FaceAnswer, ModelName
from mien.apps.service.videos_schema import (
    ShareAnswer,
    TrackAnswer,
    VideoEnd,
    VideoFrame,
    VideoProgress,
    VideoStart,
    VideoSummaryAnswer,
)
from mien.config import ServeConfig
from mien.runtime.classifier import Model
from mien.runtime.face import Face, face_of
from mien.runtime.following import Follower
from mien.runtime.shares import BLOCK, Share
from mien.runtime.sighting import SeenFrame, Sighting
from mien.runtime.video_file import FrameReader, Position, VideoInfo, describe_video
from mien.runtime.video_summary import Summarizer, TrackSpans

Line = VideoStart | VideoFrame | VideoProgress | VideoEnd
Check = Callable[[], None]
"""Called every now and then; what it raises ends the work."""

_PROGRESS_SECONDS: Final = 0.5
"""Between two lines about the progress."""


def read_video_stream(
    model: Model,
    file: BinaryIO,
    options: ReadOptions,
    *,
    name: ModelName,
    fps: float,
    config: ServeConfig,
    check: Check,
) -> Iterator[Line]:
    """The lines of the answer about a video, as they become known; for a thread of its own.

    What is raised before the first line is a fault of the file as a whole.

    Args:
        model: reads the faces.
        file: the video; it stays open.
        options: how faces are to be read.
        name: of the model, as it is told.
        fps: frames a second that are looked at, at most; 0 looks at all.
        config: the limits.
        check: called before each read of the file and after each frame.

    Raises:
        UnreadableVideo: the file is no video, is damaged as a whole, or its pictures are too large.
        Refused: it is too long, or its opening takes longer than the deadline.
        InputError: the model has no detector.
    """
    bound_allocations()
    watched = _Watched(file, check, config.deadline)
    # Most files say what they are in a few bytes, so that this second opening costs nearly nothing.
    info = describe_video(cast(BinaryIO, watched), max_pixels=config.frame_pixels)
    _check_length(info.seconds, info.frames, config)
    follower = Follower(model, prior=options.prior, view=options.view)
    reader = FrameReader(cast(BinaryIO, watched), fps=fps or None, max_pixels=config.frame_pixels)
    answers = _Answers(options, _Progress(info, watched))
    for position, frame in reader.walk():
        check()
        _check_length(position.time, position.index + 1, config)
        if position.index == 0 and frame is not None:
            watched.opened()
            height, width = frame.rgb.shape[:2]
            yield VideoStart(
                model=name,
                width=width,
                height=height,
                fps=info.rate,
                seconds=info.seconds,
                frames=info.frames,
            )
        for seen in [] if frame is None else follower.push(frame):
            yield answers.frame(seen)
        yield from answers.progress.due(position)
    for seen in follower.flush():
        yield answers.frame(seen)
    yield answers.progress.end(answers.seconds)
    yield answers.end(reader.damaged)


def _check_length(seconds: float | None, frames: int | None, config: ServeConfig) -> None:
    """Of what a file says about itself, and then of what it turns out to hold."""
    if seconds is not None and seconds > config.video_seconds:
        raise Refused("too_large", f"the video is longer than the limit of {config.video_seconds:g} s.")
    if frames is not None and frames > config.video_frames:
        raise Refused("too_large", f"the video has more frames than the limit of {config.video_frames:,}.")


class _Watched:
    """A file whose reading can be ended from elsewhere, even while a decoder is busy with it."""

    def __init__(self, file: BinaryIO, check: Check, deadline: float) -> None:
        self._file, self._check = file, check
        self._seconds = deadline
        self._end: float | None = time.monotonic() + deadline
        self._size = max(1, file.seek(0, os.SEEK_END))
        self._furthest = 0

    @property
    def part(self) -> float:
        """How much of the file has been read, 0..1."""
        return self._furthest / self._size

    def opened(self) -> None:
        """The deadline was for the opening."""
        self._end = None

    def read(self, count: int) -> bytes:
        self._check()
        if self._end is not None and time.monotonic() > self._end:
            raise Refused("invalid", f"the video could not be opened within {self._seconds:g} s.")
        data = self._file.read(count)
        self._furthest = max(self._furthest, self._file.tell())
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class _Progress:
    """How far the work is."""

    def __init__(self, info: VideoInfo, file: _Watched) -> None:
        self._seconds, self._file = info.seconds, file
        self._done = 0.0
        self._told = time.monotonic()

    def due(self, position: Position) -> Iterator[VideoProgress]:
        """A line, if it is time for one."""
        if time.monotonic() - self._told >= _PROGRESS_SECONDS:
            part = position.time / self._seconds if self._seconds else self._file.part
            yield self._line(min(1.0, part), position.time)

    def end(self, seconds: float) -> VideoProgress:
        """The last line."""
        return self._line(1.0, seconds)

    def _line(self, done: float, seconds: float) -> VideoProgress:
        self._done = max(self._done, round(done, 4))
        self._told = time.monotonic()
        return VideoProgress(done=self._done, time=seconds)


class _Answers:
    """The answers about frames, counted as they are given."""

    def __init__(self, options: ReadOptions, progress: _Progress) -> None:
        self.progress = progress
        self.seconds = 0.0
        """Of the last frame that was looked at."""
        self._view = options.view
        self._card = options.card
        if options.threshold is not None:
            self._card = replace(options.card, abstain_threshold=options.threshold)
        self._summarizer = Summarizer(options.labels, BLOCK, "track")
        self._spans: dict[int, tuple[float, float]] = {}
        self._counts: dict[int, int] = {}
        self._looked_at = 0

    def frame(self, seen: SeenFrame) -> VideoFrame:
        """The answer about a frame."""
        self.seconds = seen.time
        self._looked_at += 1
        start = {"frame": seen.index, "time": seen.time}
        if not seen.faces:
            self._summarizer.add({**start, "track": None})
        answers = []
        for sighting in seen.faces:
            face = self._face(sighting)
            track = sighting.track
            self._summarizer.add({**start, "track": track, "emotion": face.emotion})
            self._spans[track] = self._spans.get(track, (seen.time, 0.0))[0], seen.time
            self._counts[track] = self._counts.get(track, 0) + 1
            answers.append(FaceAnswer.of(face, track))
        return VideoFrame(index=seen.index, time=seen.time, faces=answers)

    def _face(self, sighting: Sighting) -> Face:
        shares = np.asarray(sighting.probabilities)
        return face_of(self._card, shares, self._view, box=sighting.box, score=sighting.score)

    def end(self, damaged: int) -> VideoEnd:
        """What all of it came to."""
        spans = TrackSpans(self._spans, self._counts, self.seconds, self._looked_at)
        tracks = [
            TrackAnswer(
                track=one.number,
                first=one.first,
                last=one.last,
                frames=one.frames,
                shares={label: _share(share) for label, share in one.shares.items()},
            )
            for one in self._summarizer.people(spans, None)
        ]
        summary = VideoSummaryAnswer(
            without_face=_share(self._summarizer.without_face()), tracks=tracks, damaged=damaged
        )
        return VideoEnd(frames=self._looked_at, tracks=len(tracks), seconds=self.seconds, summary=summary)


def _share(share: Share) -> ShareAnswer:
    return ShareAnswer(**share.to_dict())
