"""What was read from one picture: its faces, and the picture, so that a notebook can show both."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.runtime.annotate import annotate
from mien.runtime.face import Face

_SHOWN_WIDTH = 640
"""Pixels of a picture in a notebook."""


class Reading(list[Face]):
    """The faces of a picture, the surest detection first; a list that knows its picture.

    Args:
        faces: of the picture.
        picture: uint8 RGB [H,W,3], upright.
    """

    def __init__(self, faces: Iterable[Face], picture: NDArray[np.uint8]) -> None:
        super().__init__(faces)
        self.picture = picture
        """uint8 RGB [H,W,3], upright."""

    def annotated(self, *, bars: bool = True) -> Image.Image:
        """The picture with its faces marked; see `mien.runtime.annotate.annotate`."""
        return annotate(self.picture, self, bars=bars)

    def to_dicts(self) -> list[dict[str, Any]]:
        """One flat row a face: `face` (its place), `emotion`, `confidence`, `abstained`, `x0`, `y0`, `x1`,
        `y1`, `detection_score` and `p.<label>`; what `pandas.DataFrame` and `polars.DataFrame` take."""
        return [{"face": place, **face.to_row()} for place, face in enumerate(self)]

    def _repr_html_(self) -> str:
        image = self.annotated()
        image.thumbnail((_SHOWN_WIDTH, _SHOWN_WIDTH))
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=85)
        uri = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        told = "; ".join(f"{face.emotion} {face.confidence:.0%}" for face in self) or "no face found"
        return f'<figure><img src="{uri}" alt="faces: {told}"><figcaption>{told}</figcaption></figure>'
