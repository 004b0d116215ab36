"""`mien webcam`: a window with the camera's picture, boxes, bars, frames a second and latency."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.apps.camera import Camera, open_camera
from mien.errors import InputError, MissingExtra
from mien.files import replacing
from mien.runtime.annotate import annotate
from mien.runtime.classifier import Model
from mien.runtime.face import Face
from mien.runtime.probabilities import Prior

KEYS: Final = "space pauses, m mirrors, s saves the picture, q ends"
_RECENT: Final = 30
"""Frames over which rate and latency are means."""


@dataclass(frozen=True)
class WebcamSummary:
    """What was shown."""

    frames: int
    """Frames that were read and shown."""
    faces: int
    """Faces in them, counted anew in each frame."""
    rate: float
    """Frames a second, of the last ones; 0 below two frames."""
    latency: float
    """Seconds from a frame's coming to its being shown, a mean of the last ones."""


def show_webcam(
    model: Model,
    *,
    camera: str = "0",
    prior: Prior = "training",
    view: str | Sequence[str] = "all",
    mirror: bool = True,
    most_frames: int | None = None,
) -> WebcamSummary:
    """Show the camera until the window is closed, q or Escape is pressed, or a file has ended.

    Args:
        model: reads the frames.
        camera: see `mien.apps.camera.open_camera`.
        prior: as in `Model.read`.
        view: as in `Model.read`.
        mirror: show the picture as a mirror does; faces are read as they are.
        most_frames: end after so many; none has no end.

    Raises:
        MissingExtra: PyAV or pygame-ce is not installed.
        InputError: there is no camera or no display; the message says what to do.
    """
    pygame = _pygame()
    with open_camera(camera) as opened:
        try:
            return _Window(pygame, model, opened, prior, view, mirror).run(most_frames)
        except pygame.error as error:
            raise InputError(
                f"there is no display to show the camera on ({error}); use mien predict, or set DISPLAY."
            ) from None
        finally:
            pygame.quit()


def _pygame() -> Any:
    try:
        import pygame
    except ModuleNotFoundError:
        raise MissingExtra("the window", "webcam") from None
    return pygame


class _Window:
    def __init__(
        self,
        pygame: Any,
        model: Model,
        camera: Camera,
        prior: Prior,
        view: str | Sequence[str],
        mirror: bool,
    ) -> None:
        self._pygame = pygame
        self._model, self._camera = model, camera
        self._prior, self._view = prior, view
        self._mirror = mirror
        self._paused = False
        self._shown: deque[float] = deque(maxlen=_RECENT)
        self._latencies: deque[float] = deque(maxlen=_RECENT)
        self._screen: Any = None
        self._last: NDArray[np.uint8] | None = None

    def run(self, most_frames: int | None) -> WebcamSummary:
        frames = faces = 0
        self._pygame.init()
        while most_frames is None or frames < most_frames:
            if not self._heed():
                break
            if self._paused:
                time.sleep(0.02)
                continue
            newest = self._camera.frame()
            if newest is None:
                break
            rgb, came = newest
            found = list(self._model.read(rgb, prior=self._prior, view=self._view))
            frames, faces = frames + 1, faces + len(found)
            # The picture is turned before it is marked, so that words stay readable.
            if self._mirror:
                rgb, found = rgb[:, ::-1], [_mirrored(face, rgb.shape[1]) for face in found]
            self._last = np.asarray(annotate(rgb, found))
            self._show(self._last)
            self._latencies.append(time.perf_counter() - came)
            self._shown.append(time.perf_counter())
        return WebcamSummary(frames, faces, self._rate(), self._latency())

    def _heed(self) -> bool:
        """Whether to go on after what was pressed."""
        pygame = self._pygame
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                return False
            if event.type == pygame.KEYDOWN:
                if event.key in (pygame.K_q, pygame.K_ESCAPE):
                    return False
                if event.key == pygame.K_SPACE:
                    self._paused = not self._paused
                elif event.key == pygame.K_m:
                    self._mirror = not self._mirror
                elif event.key == pygame.K_s and self._last is not None:
                    self._save(self._last)
        return True

    def _show(self, picture: NDArray[np.uint8]) -> None:
        pygame = self._pygame
        height, width = picture.shape[:2]
        if self._screen is None or self._screen.get_size() != (width, height):
            self._screen = pygame.display.set_mode((width, height))
            pygame.display.set_caption(f"mien: {KEYS}")
        surface = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
        self._screen.blit(surface, (0, 0))
        text = f"{self._rate():.0f} frames/s, {1000 * self._latency():.0f} ms"
        font = pygame.font.Font(None, 24)
        self._screen.blit(font.render(text, True, "white", "black"), (4, height - 22))
        pygame.display.flip()

    def _save(self, picture: NDArray[np.uint8]) -> None:
        from PIL import Image

        place = Path(time.strftime("mien-%Y%m%d-%H%M%S.png"))
        with replacing(place) as temporary:
            Image.fromarray(picture).save(temporary, format="PNG")

    def _rate(self) -> float:
        if len(self._shown) < 2:
            return 0.0
        return (len(self._shown) - 1) / max(1e-9, self._shown[-1] - self._shown[0])

    def _latency(self) -> float:
        return sum(self._latencies) / len(self._latencies) if self._latencies else 0.0


def _mirrored(face: Face, width: int) -> Face:
    x0, y0, x1, y1 = face.box
    return replace(face, box=(width - x1, y0, width - x0, y1))
