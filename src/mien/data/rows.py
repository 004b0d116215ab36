"""A record becomes a row of the manifest and a face for the pack: decoded, checked, hashed, cut out.

What cannot be used keeps its row, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mien.card import CropTemplate
from mien.config import FacesConfig
from mien.data.crop import crop_picture
from mien.data.pack import Pixels, decode, defect, pixel_hash
from mien.data.sources.record import Record
from mien.data.taxonomy import taxonomy_of
from mien.errors import UnreadableImage
from mien.faces.detector import Detector
from mien.images import file_format, to_grey

PIXELS: Final = "pixels"
"""The `format` of a picture that its set holds as numbers."""


@dataclass(frozen=True)
class RowSettings:
    """Everything besides the record that a row depends on."""

    size: int
    """Side of the packed faces, in pixels."""
    channels: int
    """Their channels, 1 or 3."""
    labels: str
    """The taxonomy, as in `PrepareConfig.labels`."""
    faces: FacesConfig
    """How faces are found and cut out."""
    cropped: bool
    """Whether the pictures are taken as faces that came cropped."""
    template: CropTemplate | None
    """Where the eyes belong, for pictures that did not."""
    votes: Mapping[str, tuple[str, ...]]
    """Annotation to the names of its votes, in the order in which they are kept."""


def row_of(
    record: Record, settings: RowSettings, detector: Detector | None
) -> tuple[dict[str, Any], Pixels | None]:
    """The manifest's row of one picture, without split, twins and copies, and its face uint8 [C, S, S].

    The face is None exactly when the row is not kept.
    """
    labels, refused = taxonomy_of(settings.labels).judge(record)
    row: dict[str, Any] = {
        "id": f"{record.set}/{record.key}",
        "set": record.set,
        "source_file": record.source_file,
        "source_row": record.source_row,
        "split": record.split,
        # Two sets may both have a subject 5.
        "subject": None if record.subject is None else f"{record.set}/{record.subject}",
        "sequence": record.sequence,
        "frame": record.frame,
        "valence": record.valence,
        "arousal": record.arousal,
        "action_units": _action_units(record),
        "face_box": record.face_box,
        "landmarks": record.landmarks,
        **{f"labels.{name}": label for name, label in labels.items()},
        **{f"votes.{name}": _counts(record, name, names) for name, names in settings.votes.items() if names},
        **{f"user.{name}": value for name, value in record.user.items()},
    }
    row["drop_reason"], face = record.drop_reason or refused, None
    if row["drop_reason"] is None:
        row["drop_reason"], face = _picture(record, row, settings, detector)
    row["kept"] = face is not None
    return row, face


def _picture(
    record: Record, row: dict[str, Any], settings: RowSettings, detector: Detector | None
) -> tuple[str | None, Pixels | None]:
    """Fill in what the pixels say; returns why the picture is dropped, or its face."""
    try:
        pixels = decode(record.image)
    except UnreadableImage as error:
        row["drop_detail"] = str(error).replace(str(record.image), record.source_file)
        return error.reason, None
    row["sha256"] = pixel_hash(pixels)
    row["height"], row["width"] = pixels.shape[:2]
    row["channels"] = 1 if pixels.ndim == 2 else pixels.shape[2]
    row["format"] = PIXELS if isinstance(record.image, np.ndarray) else file_format(record.image)
    row["brightness"] = round(float(np.mean(pixels if pixels.ndim == 2 else to_grey(pixels))), 2)
    if reason := defect(pixels, record.size):
        return reason, None
    found = crop_picture(
        pixels,
        record.face_box,
        record.landmarks,
        cropped=settings.cropped,
        size=settings.size,
        channels=settings.channels,
        faces=settings.faces,
        template=settings.template,
        detector=detector,
    )
    row["crop"], row["crop_transform"] = found.crop, found.transform
    row["face_box"], row["landmarks"] = found.face_box, found.landmarks
    row["faces_found"], row["detection_score"] = found.faces_found, found.detection_score
    return found.reason, found.face


def _counts(record: Record, annotation: str, names: Sequence[str]) -> list[float] | None:
    counts = record.votes.get(annotation)
    return None if counts is None else [float(counts.get(name, 0)) for name in names]


def _action_units(record: Record) -> list[dict[str, float]] | None:
    if record.action_units is None:
        return None
    return [{"unit": unit, "intensity": value} for unit, value in sorted(record.action_units.items())]
