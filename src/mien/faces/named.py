"""The face detectors by their names."""

from __future__ import annotations

from typing import Final, Literal

from mien.errors import InputError
from mien.faces.detector import MIN_FACE, Detector

DetectorName = Literal["mtcnn", "centerface", "none"]
DETECTORS: Final[tuple[DetectorName, ...]] = ("mtcnn", "centerface", "none")
"""What `detector_named` knows; ``"none"`` is for pictures that are crops."""


def detector_named(name: str, *, threads: int = 1, min_face: float = MIN_FACE) -> Detector | None:
    """A face detector, or None for ``"none"``.

    Args:
        name: one of `DETECTORS`.
        threads: processor threads of onnxruntime.
        min_face: side of the smallest face that is looked for, in pixels.

    Raises:
        InputError: an unknown name, an unusable size, or a network that was not fetched yet.
    """
    if name not in DETECTORS:
        raise InputError(f"there is no detector {name!r}; there are {', '.join(DETECTORS)}.")
    if name == "none":
        return None
    if name == "centerface":
        from mien.faces.centerface import CenterFaceDetector

        return CenterFaceDetector(min_face=min_face, threads=threads)
    from mien.faces.mtcnn import MTCNNDetector

    return MTCNNDetector(min_face=min_face, threads=threads)
