"""The settings of `mien serve`. The sentence under a field is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from mien.config.limits import within


@dataclass(frozen=True)
class ServeConfig:
    """What the service takes, and how much of it at a time; more is refused with a sentence."""

    workers: int = 0
    """Threads that decode pictures and find faces; 0 takes one for each processor core."""
    threads: int = 1
    """Threads of the network that reads the faces."""
    batch: int = 32
    """Faces of several requests that go through the network at once; 1 takes each request alone."""
    queue: int = 128
    """Pictures that may wait or be worked on; with more a request is refused (429)."""
    deadline: float = 10.0
    """Seconds that a picture may take from its upload's end to its answer; later is refused (503)."""
    upload_seconds: float = 30.0
    """Seconds that the upload of pictures may take, and a request's headers; more is refused (408)."""
    upload_bytes: int = 512 << 20
    """Bytes of all uploads that are held in memory at a time."""
    picture_bytes: int = 20 << 20
    """Bytes of one picture."""
    pixels: int = 50_000_000
    """Pixels of one picture, width times height."""
    files: int = 16
    """Pictures of one request."""
    faces: int = 100
    """Faces that are read in one picture, the surest first; the others are only counted."""
    streams: int = 8
    """Live streams at a time."""
    in_flight: int = 2
    """Frames of a live stream that may be unanswered; of more the oldest is dropped."""
    frame_bytes: int = 4 << 20
    """Bytes of one frame of a live stream."""
    frame_pixels: int = 8_300_000
    """Pixels of one frame of a live stream or a video; 3840 x 2160 fits."""
    videos: int = 1
    """Videos that are read at a time."""
    video_bytes: int = 512 << 20
    """Bytes of one video; they lie in a nameless file on disk while it is read."""
    video_upload_seconds: float = 300.0
    """Seconds that the upload of a video may take."""
    video_seconds: float = 900.0
    """Seconds that one video may last."""
    video_frames: int = 60_000
    """Frames that one video may have."""
    stop_seconds: float = 10.0
    """Seconds that work under way may take when the service is stopped."""

    def __post_init__(self) -> None:
        within(self, 0, 256, "workers")
        within(self, 1, 256, "threads")
        within(self, 1, 1024, "batch", "in_flight")
        within(self, 1, inf, "queue", "files", "faces", "pixels", "frame_pixels", "video_frames")
        within(self, 1, inf, "upload_bytes", "picture_bytes", "frame_bytes", "video_bytes")
        within(self, 0, inf, "streams", "videos")
        within(self, 0, 3600, "stop_seconds")
        within(self, 0, inf, "deadline", "upload_seconds", ends="(]")
        within(self, 0, inf, "video_upload_seconds", "video_seconds", ends="(]")
