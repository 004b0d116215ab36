"""Video files: frames out one by one.

PyAV (FFmpeg) does the work. It is told which kinds of file it may open, since some kinds, such as playlists,
name other files or addresses to open.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from mien.errors import InputError, MissingExtra, UnreadableVideo
from mien.images import MAX_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

VIDEO_SUFFIXES: Final = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm"}
    | {".wmv"}
)
"""What is taken as a video by its name."""
_CONTAINERS: Final = "mov,mp4,matroska,webm,avi,flv,mpeg,mpegts,asf,ogg"
_MOST_STREAMS: Final = 32
"""Pictures, sound and subtitles; FFmpeg makes an index for each."""
FALLBACK_RATE: Final = 25
"""Frames a second where a file does not say."""
Source = str | Path | BinaryIO
"""A file by its path, or one that is open for reading and can be sought in; that one is not closed."""


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about itself."""

    width: int
    height: int
    """Pixels as stored, before any rotation."""
    rate: float | None
    """Frames a second, on average."""
    seconds: float | None
    """How long it lasts; None where that is not told."""
    frames: int | None
    """About how many; None where neither they nor the length are told."""
    sound: bool


@dataclass(frozen=True)
class Position:
    """A frame's place in its file, from which reading can go on."""

    index: int
    """Place among all frames of the file, from 0."""
    time: float
    """Seconds since the first frame."""
    stamp: int | None
    """The file's own time stamp."""
    first_stamp: int | None
    """That of the first frame."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A decoded frame."""

    position: Position
    rgb: NDArray[np.uint8]
    """uint8 RGB [H,W,3], upright."""


def describe_video(source: Source, *, max_pixels: int = MAX_PIXELS) -> VideoInfo:
    """Size, rate, length and whether there is sound, without decoding.

    Raises:
        UnreadableVideo: no such file, not a video of a known kind, or pictures of more than `max_pixels`.
        MissingExtra: PyAV is not installed.
    """
    with opened_video(source, max_pixels=max_pixels) as (container, stream):
        rate = None if stream.average_rate is None else float(stream.average_rate)
        seconds = None if container.duration is None else container.duration / 1e6
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        counted = stream.frames or (round(seconds * rate) if seconds and rate else None)
        return VideoInfo(stream.width, stream.height, rate, seconds, counted, bool(container.streams.audio))


def check_sampling(every: int, fps: float | None) -> None:
    """See that frames can be chosen so.

    Raises:
        InputError: both `every` and `fps`, or one out of its range.
    """
    if every < 1:
        raise InputError(f"every must be 1 or more, not {every}.")
    if fps is not None and (every != 1 or not (fps > 0 and math.isfinite(fps))):
        raise InputError("fps must be above 0, and stands instead of every, not beside it.")


class FrameReader:
    """The frames of a video, one by one: an iterator that holds a single frame.

    What cannot be decoded is left out and counted; the frames after it are read.

    Args:
        source: of the video.
        every: take each n-th frame.
        fps: take at most this many frames a second instead: of each interval of 1/fps seconds, the first.
        after: go on after a frame that an earlier reader took.
        max_pixels: a video with larger pictures is refused.

    Raises:
        InputError: both `every` and `fps`, or one out of its range.
    """

    def __init__(
        self,
        source: Source,
        *,
        every: int = 1,
        fps: float | None = None,
        after: Position | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        check_sampling(every, fps)
        self.damaged = 0
        """Packets that could not be decoded."""
        self._source, self._max_pixels = source, max_pixels
        self._every, self._fps, self._after = every, fps, after

    def __iter__(self) -> Iterator[Frame]:
        """Frames in the order of their time.

        Raises:
            UnreadableVideo: the file cannot be opened, holds no picture that can be decoded, or one with too
                many pixels.
            MissingExtra: PyAV is not installed.
        """
        return (frame for _, frame in self.walk() if frame is not None)

    def walk(self) -> Iterator[tuple[Position, Frame | None]]:
        """The place of every frame of the file, and the frame itself where it is one that is taken; for a
        caller who must not be kept waiting where few are taken. What is raised is that of iterating."""
        slot = -1 if self._after is None else self._slot(self._after)
        for position, frame in self._positions():
            mine = self._slot(position)
            if mine > slot if self._fps is not None else position.index % self._every == 0:
                slot = mine
                yield position, Frame(position, upright(frame, self._source, max_pixels=self._max_pixels))
            else:
                yield position, None

    def _slot(self, position: Position) -> int:
        return 0 if self._fps is None else int(position.time * self._fps + 1e-6)

    def _positions(self) -> Iterator[tuple[Position, VideoFrame]]:
        after = self._after
        if after is not None and after.stamp is not None:
            with opened_video(self._source, max_pixels=self._max_pixels) as (container, stream):
                frames = self._decoded(container, stream)
                before = next(frames, None) if _seek(container, stream, after.stamp) else None
                # Some kinds of file are sought inexactly; what begins too late is of no use.
                if before is not None and before.pts is not None and before.pts <= after.stamp:
                    yield from self.numbered(frames, stream, after)
                    return
        with opened_video(self._source, max_pixels=self._max_pixels) as (container, stream):
            yield from self.numbered(self._decoded(container, stream), stream, None)

    def numbered(
        self, frames: Iterator[VideoFrame], stream: VideoStream, after: Position | None
    ) -> Iterator[tuple[Position, VideoFrame]]:
        """Frames with their places.

        Args:
            frames: of the file, in the order of their time.
            stream: theirs.
            after: the last one that was taken, where `frames` begin somewhere before it; None where they
                begin at the file's beginning.

        Returns:
            Those after the reader's `after`.

        Raises:
            UnreadableVideo: there is no frame.
        """
        base = float(stream.time_base or 0)
        step = 1 / float(stream.average_rate or FALLBACK_RATE)
        done = self._after.index if self._after is not None else -1
        index = -1 if after is None else after.index
        first = None if after is None else after.first_stamp
        time = -step if after is None else after.time
        past, last = after is None, (0 if after is None else after.stamp or 0)
        for frame in frames:
            stamp = frame.pts
            past = past or (stamp is not None and stamp > last)
            if not past:
                continue
            index += 1
            first = stamp if index == 0 else first
            # A file without stamps, or whose stamps run back, is taken to go on at its rate.
            told = None if stamp is None or first is None else (stamp - first) * base
            time = round(told if told is not None and told > time else time + step, 6)
            if index > done:
                yield Position(index, time, stamp, first), frame
        if index < 0:
            raise UnreadableVideo(f"{_name(self._source)}: no picture of this video can be decoded.")

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        from av.error import FFmpegError

        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError:
                self.damaged += 1
                return
            try:
                frames = packet.decode()
            except FFmpegError:
                self.damaged += 1
                continue
            yield from frames


@contextlib.contextmanager
def opened_video(
    source: Source, *, max_pixels: int = MAX_PIXELS
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video and its stream of pictures, closed when the block ends.

    Raises:
        UnreadableVideo: no such file, not a video of a known kind, or pictures of more than `max_pixels`.
        MissingExtra: PyAV is not installed.
    """
    av = pyav()
    name = _name(source)
    try:
        container = av.open(
            _openable(source),
            # The pixels are for the decoders that the opening tries out. They round sizes up, and leave a
            # size that they refuse unknown, so theirs is the outer limit alone.
            options={
                "format_whitelist": _CONTAINERS,
                "protocol_whitelist": "file",
                "max_pixels": str(MAX_PIXELS),
                "max_streams": str(_MOST_STREAMS),
            },
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UnreadableVideo(
            f"{name}: this is not a video of a known kind, or it is damaged ({_why(error)}).",
            "unsupported format",
        ) from None
    with container:
        stream = next(
            (one for one in container.streams.video if not one.disposition & _cover_picture()), None
        )
        if stream is None or stream.codec_context is None:
            raise UnreadableVideo(
                f"{name}: the file holds no moving pictures that can be decoded.", "unsupported format"
            )
        _check_pixels(stream.width, stream.height, name, max_pixels)
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.thread_type = "AUTO"
        yield container, stream


def _openable(source: Source) -> str | BinaryIO:
    if not isinstance(source, str | Path):
        source.seek(0)
        return source
    path = Path(source)
    if not path.exists():
        raise UnreadableVideo(f"{path}: there is no such file.", "missing file")
    if not path.is_file():
        raise UnreadableVideo(f"{path}: this is not a file.", "missing file")
    return str(path.resolve())


def _name(source: Source) -> str:
    """What a message calls it; an open file was given by someone who need not know its name."""
    return str(source) if isinstance(source, str | Path) else "the video"


def pyav() -> Any:
    """The module `av`, its messages silenced.

    Raises:
        MissingExtra: PyAV is not installed.
    """
    try:
        import av
        import av.error
    except ModuleNotFoundError:
        raise MissingExtra("a video", "video") from None
    # FFmpeg's own remarks on damaged files would stand between the lines of the progress.
    av.logging.set_level(None)
    return av


def _cover_picture() -> Any:
    from av.stream import Disposition

    return Disposition.attached_pic


def _seek(container: InputContainer, stream: VideoStream, stamp: int) -> bool:
    from av.error import FFmpegError

    try:
        container.seek(stamp, stream=stream)
    except FFmpegError:
        return False
    return True


def upright(frame: VideoFrame, source: Source, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """uint8 RGB [H,W,3], turned as the file says a player should."""
    _check_pixels(frame.width, frame.height, _name(source), max_pixels)
    rgb = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def _check_pixels(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UnreadableVideo(
            f"{name}: pictures of {width} x {height} pixels are above the limit of {max_pixels:,}; "
            "scale it down.",
            "too large",
        )


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0].rstrip(".")
