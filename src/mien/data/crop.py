"""One raw picture becomes one face for the pack, cut out as the runtime cuts it (section 3.4), or is dropped.

Whatever the runtime does to a face happens here by the same calls, `Detector.detect` and `crop_face`, with
the same arguments: a model must not learn from faces that were cut in another way than those it will meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.card import CropTemplate
from mien.config import FacesConfig
from mien.data.pack import Pixels, fit
from mien.faces.align import crop_face, eyes_apart
from mien.faces.detector import Detections, Detector
from mien.images import to_grey

Crop = Literal["came_cropped", "aligned", "box", "annotated", "centre"]
"""How a face was cut out: not at all; by the detector's eyes; by the detector's box; by the set's own
landmarks or box; the central square, where no face is known."""

Places = npt.NDArray[np.floating]

# A detected face is the one that the set means if their boxes share this much of their union. Sets draw boxes
# from brow to chin or around the whole head, while two persons' boxes hardly touch.
_SAME_FACE: Final = 0.1
# A box may reach beyond the picture, but not by more than this share of itself.
_MOST_OUTSIDE: Final = 0.75
# What the five landmarks span of the detector's box, and how far their middle lies below the box's, in shares
# of its sides: medians over 365 faces of FER-2013.
_SPAN: Final = (0.48, 0.42)
_BELOW: Final = 0.07

SAMPLE: Final = 24
"""At most so many pictures tell whether a set came cropped."""
_SMALL: Final = 64
# Between what the detector finds in FER-2013's crops with a margin of an eighth of their side (0.76 to 0.84,
# medians of 24) and with one of a quarter (0.62 to 0.70).
_FILLED: Final = 0.73
_LEAST_FOUND: Final = 0.2
_SIDES: Final = (192, 480)
_PAD: Final = 1 / 6
_MOST_STRETCHED: Final = 8


@dataclass(frozen=True, slots=True)
class Cropped:
    """What became of one picture."""

    face: Pixels | None
    """uint8 [C, S, S]; None when the picture is dropped."""
    crop: Crop | None
    """How the face was cut out; None when the picture is dropped."""
    transform: tuple[float, ...] | None
    """2x3 affine matrix, row-major, from pixels of the picture to pixels of the face (pixel edges, x before
    y)."""
    face_box: tuple[float, ...] | None
    """x0, y0, x1, y1 in pixels of the picture: the detected face that was chosen, else what the set gave."""
    landmarks: tuple[float, ...] | None
    """x and y of five landmarks in pixels of the picture, likewise."""
    faces_found: int | None = None
    """How many faces the detector found; None when it did not look."""
    detection_score: float | None = None
    """The detector's score of the chosen face, 0..1."""
    reason: str | None = None
    """Why the picture is dropped: `no face`, `several faces`, `tiny face`, `face outside the picture`."""


@dataclass(frozen=True, slots=True)
class _Face:
    """A face of the picture, in its pixels; a set's own has no score."""

    box: Places
    landmarks: Places | None
    score: float | None


def crop_picture(
    pixels: Pixels,
    record_box: Sequence[float] | None,
    record_landmarks: Sequence[float] | None,
    *,
    cropped: bool,
    size: int,
    channels: int,
    faces: FacesConfig,
    template: CropTemplate | None,
    detector: Detector | None,
) -> Cropped:
    """Find the face of a picture and cut it out, by the policies of `FacesConfig`.

    A picture that came cropped is taken as it is: its central square, resized. In any other the face is the
    detected one that lies where the set says, or the largest where the set says nothing.

    Args:
        pixels: uint8 grey [H, W] or RGB [H, W, 3], upright.
        record_box: x0, y0, x1, y1 in pixels as the set gives it; without area it counts as not given.
        record_landmarks: x and y of the five landmarks in pixels, as in `mien.data.sources.record.Record`;
            with an eye outside the picture they count as not given.
        cropped: whether the picture is a face that came cropped.
        size: side of the face in pixels.
        channels: 1 packs grey (ITU-R BT.601), 3 packs RGB.
        faces: the policies.
        template: where the eyes belong; none cuts by the box.
        detector: the runtime's own, with its own settings; without one no face is looked for, and a picture
            that the set says nothing about gives its central square.
    """
    box, landmarks = _numbers(record_box, 4), _numbers(record_landmarks, 10)
    if cropped:
        packed, transform = fit(pixels, size, channels)
        return Cropped(packed, "came_cropped", transform, box, landmarks)
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    own = _annotated(box, landmarks, rgb.shape[:2])
    found = None if detector is None else detector.detect(rgb)
    count = None if found is None else len(found)
    face, reason = _select(found, own, rgb.shape[:2], faces)
    score = None if face is None else face.score
    if face is not None and score is not None:
        box, landmarks = _numbers(face.box, 4), _numbers(face.landmarks, 10)
    if reason is not None:
        return Cropped(None, None, None, box, landmarks, count, score, reason)
    if face is None:
        packed, transform = fit(pixels, size, channels)
        return Cropped(packed, "centre", transform, box, landmarks, count)
    crop, matrix = crop_face(rgb, landmarks=face.landmarks, box=face.box, template=template, size=size)
    packed = to_grey(crop)[None] if channels == 1 else np.ascontiguousarray(crop.transpose(2, 0, 1))
    transform = tuple(matrix.ravel().tolist())
    return Cropped(packed, _way(face, template), transform, box, landmarks, count, score)


def _select(
    found: Detections | None, own: _Face | None, shape: tuple[int, ...], faces: FacesConfig
) -> tuple[_Face | None, str | None]:
    """The face to cut out, None for the central square; and why the picture is dropped, or None."""
    face = None if found is None else _best(found, own)
    if face is None and (found is None or faces.undetected != "drop"):
        face = own
    if found is not None and faces.several == "drop":
        large = (_sides(found.boxes) >= faces.smallest) | (faces.tiny == "keep")
        if large.sum() > 1:
            return face, "several faces"
    if face is None:
        return None, None if found is None or faces.undetected == "keep" else "no face"
    if faces.tiny == "drop" and _sides(face.box) < faces.smallest:
        return face, "tiny face"
    height, width = shape
    if _shared(face.box, np.array([0.0, 0.0, width, height])) < (1 - _MOST_OUTSIDE) * _area(face.box):
        return face, "face outside the picture"
    return face, None


def _best(found: Detections, own: _Face | None) -> _Face | None:
    """The detected face that overlaps the set's own most, or the largest; None where there is no such
    face."""
    if not len(found):
        return None
    areas = _area(found.boxes)
    best = int(np.argmax(areas))
    if own is not None:
        shared = _shared(found.boxes, own.box)
        overlap = shared / (areas + _area(own.box) - shared)
        best = int(np.argmax(overlap))
        if overlap[best] < _SAME_FACE:
            return None
    return _Face(found.boxes[best], found.landmarks[best], float(found.scores[best]))


def _annotated(
    box: Sequence[float] | None, landmarks: Sequence[float] | None, shape: tuple[int, ...]
) -> _Face | None:
    """The face as the set gives it, as far as it can be used."""
    points = None if landmarks is None else np.array(landmarks).reshape(5, 2)
    if points is not None:
        eyes, (height, width) = points[:2], shape
        inside = (eyes >= 0).all() and (eyes <= (width, height)).all()
        if not inside or (eyes[0] == eyes[1]).all():
            points = None
    if box is not None and box[2] > box[0] and box[3] > box[1]:
        return _Face(np.array(box), points, None)
    return None if points is None else _Face(_box_around(points), points, None)


def _box_around(landmarks: Places) -> Places:
    """About the box that the detector would give to a face with these landmarks [5, 2]."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    sides = (high - low) / _SPAN
    # Of a profile the landmarks span nearly nothing across.
    sides[0] = max(sides[0], sides[1] / 2)
    centre = (low + high) / 2 - (0, _BELOW * sides[1])
    return np.concatenate([centre - sides / 2, centre + sides / 2])


def _way(face: _Face, template: CropTemplate | None) -> Crop:
    if face.score is None:
        return "annotated"
    by_eyes = template is not None and face.landmarks is not None and eyes_apart(face.landmarks, face.box)
    return "aligned" if by_eyes else "box"


def looks_cropped(pictures: Sequence[Pixels], detector: Detector | None = None) -> bool:
    """Whether a set's pictures are faces that came cropped, by a sample of them.

    They are when they are at most 64 pixels long and wide, when the face fills them (the larger side of its
    box against the picture's shorter side, median above 0.73), or when the detector finds a face in fewer
    than a fifth of them: then there is nothing that it could cut out.

    Args:
        pictures: decoded, each uint8 grey [H, W] or RGB [H, W, 3]; at most 24, evenly spread, are looked at.
        detector: finds the faces; none takes MTCNN.
    """
    if not pictures:
        return True
    chosen = np.unique(np.linspace(0, len(pictures) - 1, num=min(SAMPLE, len(pictures))).round().astype(int))
    sample = [pictures[i] for i in chosen]
    if np.median([max(picture.shape[:2]) for picture in sample]) <= _SMALL:
        return True
    if detector is None:
        from mien.faces.mtcnn import MTCNNDetector

        detector = MTCNNDetector()
    shares = [share for picture in sample if (share := _filled(picture, detector)) is not None]
    if len(shares) < _LEAST_FOUND * len(sample):
        return True
    return float(np.median(shares)) > _FILLED


def _filled(picture: Pixels, detector: Detector) -> float | None:
    """The longer side of the largest face's box as a share of the picture's shorter side, or None."""
    shorter, longer = sorted(picture.shape[:2])
    if longer > _MOST_STRETCHED * shorter:
        return None
    side = min(max(shorter, _SIDES[0]), _SIDES[1])
    image = Image.fromarray(picture).convert("RGB")
    height, width = (round(length * side / shorter) for length in picture.shape[:2])
    if side != shorter:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    # A face that fills its picture is found more often with some room around it.
    pad = round(side * _PAD)
    found = detector.detect(np.pad(np.asarray(image), ((pad, pad), (pad, pad), (0, 0)), mode="edge"))
    return float(_sides(found.boxes).max()) / side if len(found) else None


def _numbers(
    values: Sequence[float] | npt.NDArray[np.floating] | None, count: int
) -> tuple[float, ...] | None:
    """The values one after the other, or None where there are not so many finite ones."""
    if values is None:
        return None
    flat = np.asarray(values, dtype=np.float64).ravel()
    return tuple(flat.tolist()) if len(flat) == count and np.isfinite(flat).all() else None


def _sides(boxes: npt.NDArray[np.floating]) -> Places:
    """The longer side of each box [..., 4]."""
    return np.maximum(boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1])


def _area(boxes: npt.NDArray[np.floating]) -> Places:
    return np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0)


def _shared(boxes: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> Places:
    """The area that each box [..., 4] shares with another [4]."""
    low, high = np.maximum(boxes[..., :2], other[:2]), np.minimum(boxes[..., 2:], other[2:])
    return _area(np.concatenate([low, high], axis=-1))
