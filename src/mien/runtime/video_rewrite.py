"""A film written again with other pictures and its own sound."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.errors import InputError
from mien.files import replacing
from mien.runtime.video_file import FALLBACK_RATE, FrameReader, Position, opened_video, pyav, upright

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


@dataclass(frozen=True)
class _Encoding:
    """How a kind of video is written."""

    container: str
    codecs: tuple[tuple[str, dict[str, str]], ...]
    """Encoders of pictures with their options, the first that this build has."""
    sound: frozenset[str]
    """Codecs that are copied as they are."""
    other_sound: str
    """Encoder of any other sound."""


_ENCODINGS: Final = {
    ".webm": _Encoding(
        "webm",
        (("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "32", "b": "0"}),),
        frozenset({"opus", "vorbis"}),
        "libopus",
    ),
    ".mp4": _Encoding(
        "mp4",
        (("libx264", {"preset": "veryfast", "crf": "23"}), ("mpeg4", {"qscale": "4"})),
        frozenset({"aac", "mp3", "ac3", "eac3", "alac"}),
        "aac",
    ),
}
VIDEO_KINDS: Final = tuple(suffix.removeprefix(".") for suffix in _ENCODINGS)
"""Kinds of video that can be written."""


def rewrite_video(
    path: Path, out: Path, draw: Callable[[Position, NDArray[np.uint8]], NDArray[np.uint8]]
) -> int:
    """Write a video again with drawn-over pictures; the sound is copied, or encoded anew where the new file
    cannot hold it. Of several sounds the first is kept; subtitles are not. Time stamps stay,
    so that pictures and sound stay together; a frame whose stamp runs back is left out.

    Args:
        path: of the video.
        out: ``.webm`` (VP9) or ``.mp4`` (H.264); all of it is written, or nothing.
        draw: given a frame's place and its picture, uint8 RGB [H,W,3], gives one of the same size.

    Returns:
        How many frames were written.

    Raises:
        InputError: another kind of file.
        UnreadableVideo: as `FrameReader`.
        MissingExtra: PyAV is not installed.
    """
    encoding = _ENCODINGS.get(out.suffix.lower())
    if encoding is None:
        raise InputError(f"{out}: a video is written as {' or '.join(_ENCODINGS)}; give it such a name.")
    reader = FrameReader(path)
    with (
        opened_video(path) as (container, stream),
        replacing(out) as temporary,
        _writing(temporary, encoding) as file,
    ):
        from av.video.frame import VideoFrame

        sound = _Sound(container, file, encoding)
        pictures: Any = None
        written, last = 0, -1 << 62
        for position, frame in reader.numbered(sound.beside(reader, container, stream), stream, None):
            rgb = draw(position, upright(frame, path))
            if pictures is None:
                pictures = _new_pictures(file, encoding, stream, rgb)
                sound.ready()
            drawn = VideoFrame.from_ndarray(_even(rgb), format="rgb24")
            if (drawn.width, drawn.height) != (pictures.width, pictures.height):
                drawn = drawn.reformat(width=pictures.width, height=pictures.height)
            drawn.time_base = stream.time_base
            drawn.pts = _stamp(position, stream)
            if drawn.pts <= last:
                continue
            last = drawn.pts
            file.mux(pictures.encode(drawn))
            written += 1
        file.mux(pictures.encode(None))
        sound.finish()
    return written


class _Sound:
    """The sound of a file on its way into another, packet by packet beside the pictures."""

    def __init__(self, source: InputContainer, file: OutputContainer, encoding: _Encoding) -> None:
        self._file = file
        self._from = next(iter(source.streams.audio), None)
        self._copied = self._from is not None and self._from.codec_context.name in encoding.sound
        self._to: Any = None
        self._waiting: list[Any] | None = []
        if self._from is not None:
            self._to = (
                file.add_stream_from_template(self._from)
                if self._copied
                else file.add_stream(encoding.other_sound, rate=_sound_rate(encoding, self._from.rate))
            )

    def beside(
        self, reader: FrameReader, container: InputContainer, stream: VideoStream
    ) -> Iterator[VideoFrame]:
        """The pictures of a file; its sound is written as it passes."""
        from av.error import FFmpegError

        both = (stream,) if self._from is None else (stream, self._from)
        packets = container.demux(*both)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, FFmpegError):
                return
            try:
                if packet.stream is self._from:
                    self._take(packet)
                else:
                    yield from packet.decode()  # type: ignore[misc]
            except FFmpegError:
                reader.damaged += 1

    def _take(self, packet: Any) -> None:
        # A file's head is written with the first packet, and by then every stream must be known.
        if self._waiting is not None:
            self._waiting.append(packet)
        elif self._copied:
            if packet.dts is not None:
                packet.stream = self._to
                self._file.mux(packet)
        else:
            for frame in packet.decode():
                self._file.mux(self._to.encode(frame))

    def ready(self) -> None:
        """The pictures' stream is there: write what came before it."""
        waiting, self._waiting = self._waiting or [], None
        for packet in waiting:
            self._take(packet)

    def finish(self) -> None:
        """Write what an encoder still holds."""
        if self._to is not None and not self._copied:
            self._file.mux(self._to.encode(None))


def _new_pictures(
    file: OutputContainer, encoding: _Encoding, source: VideoStream, rgb: NDArray[np.uint8]
) -> Any:
    known = pyav().codecs_available
    name, options = next((one for one in encoding.codecs if one[0] in known), encoding.codecs[-1])
    pictures: Any = file.add_stream(name, rate=source.average_rate or FALLBACK_RATE, options=options)
    pictures.height, pictures.width = _even(rgb).shape[:2]
    pictures.pix_fmt = "yuv420p"
    pictures.codec_context.time_base = source.time_base
    pictures.thread_type = "AUTO"
    return pictures


def _even(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without the last row or column where their number is odd, which these encoders refuse."""
    height, width = rgb.shape[:2]
    return np.ascontiguousarray(rgb[: max(1, height // 2 * 2), : max(1, width // 2 * 2)])


def _sound_rate(encoding: _Encoding, rate: int | None) -> int:
    # Opus knows few rates, of which this is the usual one.
    return 48_000 if encoding.other_sound == "libopus" or not rate else rate


def _stamp(position: Position, stream: VideoStream) -> int:
    if position.stamp is not None:
        return position.stamp
    return (position.first_stamp or 0) + round(position.time / float(stream.time_base or 1))


@contextlib.contextmanager
def _writing(path: Path, encoding: _Encoding) -> Iterator[OutputContainer]:
    with pyav().open(str(path), "w", format=encoding.container) as file:
        yield file
