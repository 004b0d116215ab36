"""A camera as the newest frame: what is not looked at in time is dropped, so that nothing lags behind."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.errors import InputError, MissingExtra

_WAIT: Final = 5.0
"""Seconds to wait for a camera's first frame, and for the next one, before it counts as lost."""


class Camera:
    """Reads frames in a thread of its own and keeps the newest; made by `open_camera`."""

    def __init__(self, container: Any, name: str, *, paced: bool) -> None:
        self.name = name
        self._container = container
        self._paced = paced
        self._ready = threading.Condition()
        self._newest: tuple[NDArray[np.uint8], float] | None = None
        self._ended = False
        self._stop = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def frame(self) -> tuple[NDArray[np.uint8], float] | None:
        """The newest frame that was not given yet.

        Returns:
            uint8 RGB [H,W,3] and when it came, by `time.perf_counter`; None at the end of a file.

        Raises:
            InputError: no frame came for some seconds: the camera was unplugged, or another program holds it.
        """
        with self._ready:
            there = self._ready.wait_for(lambda: self._newest is not None or self._ended, timeout=_WAIT)
            if not there:
                raise InputError(
                    f"{self.name}: no picture came from the camera for {_WAIT:.0f} s; is it in use?"
                )
            newest, self._newest = self._newest, None
            return newest

    def close(self) -> None:
        """Let the camera go."""
        self._stop = True
        self._thread.join(timeout=_WAIT)
        self._container.close()

    def _read(self) -> None:
        import av

        began = time.perf_counter()
        try:
            for frame in self._container.decode(video=0):
                if self._stop:
                    break
                if self._paced and frame.time is not None:
                    # A file has no clock of its own; a camera does.
                    time.sleep(max(0.0, began + frame.time - time.perf_counter()))
                with self._ready:
                    self._newest = frame.to_ndarray(format="rgb24"), time.perf_counter()
                    self._ready.notify()
        except av.FFmpegError:
            # The device went away; `frame` tells the end.
            pass
        with self._ready:
            self._ended = True
            self._ready.notify()


@contextmanager
def open_camera(camera: str = "0") -> Iterator[Camera]:
    """Open a camera, or a video file in its place.

    Args:
        camera: a number, the name of a device (`/dev/video1`; on Windows what its settings call it), or a
            video file, which is shown at its own speed.

    Raises:
        MissingExtra: PyAV is not installed.
        InputError: there is no such camera or file, or it cannot be read.
    """
    try:
        import av
    except ModuleNotFoundError:
        raise MissingExtra("the camera", "webcam") from None
    is_file = Path(camera).is_file()
    place, kind = (camera, None) if is_file else _device(camera)
    try:
        container = av.open(place, format=kind)
        if not container.streams.video:
            container.close()
            raise InputError(f"{camera}: the file has no video.")
    except (av.FFmpegError, ValueError, OSError) as error:
        raise InputError(
            f"{camera}: no camera or video could be opened there ({_reason(error)}); give another --camera."
        ) from None
    opened = Camera(container, camera, paced=is_file)
    try:
        yield opened
    finally:
        opened.close()


def _device(camera: str) -> tuple[str, str]:
    """What ffmpeg calls a camera on this system, and the format that reads it."""
    if sys.platform == "darwin":
        return camera, "avfoundation"
    if sys.platform == "win32":
        return f"video={camera}", "dshow"
    return (f"/dev/video{camera}" if camera.isdigit() else camera), "v4l2"


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".").lower()
