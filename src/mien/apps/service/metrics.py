"""What the service counts, for Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of `Metrics.text`."""

_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_FACES: Final = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one service; paths stand in them by their route, never with what a user sent."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "mien_requests", "Answered requests.", ("route", "status"), registry=self._registry
        )
        self.request_seconds = Histogram(
            "mien_request_seconds",
            "From a request's headers to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.picture_seconds = Histogram(
            "mien_picture_seconds",
            "From a picture's upload to its answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.faces = Counter("mien_faces", "Faces that were read.", registry=self._registry)
        self.batch_faces = Histogram(
            "mien_batch_faces", "Faces in one run of the network.", buckets=_FACES, registry=self._registry
        )
        self.waiting = Gauge(
            "mien_pictures_waiting", "Pictures that wait or are worked on.", registry=self._registry
        )
        self.streams = Gauge("mien_streams", "Live streams that are open.", registry=self._registry)
        self.videos = Gauge("mien_videos", "Videos that are being read.", registry=self._registry)
        self.frames = Counter(
            "mien_stream_frames", "Frames of live streams.", ("outcome",), registry=self._registry
        )

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
