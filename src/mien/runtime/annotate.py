"""Pictures with what was read from them: boxes, the emotion with its confidence, bars of all classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mien.runtime.face import Face

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of the boxes, by the place of a face; safe for the colour-blind (Okabe and Ito, 2008)."""
_ABSTAINED: Final = "#7f7f7f"
_INK, _PAPER = "#ffffff", (0, 0, 0, 170)
_SMALLEST_TEXT: Final = 11
"""Pixels; below it letters of the built-in font run together."""


def annotate(
    picture: NDArray[np.uint8],
    faces: Sequence[Face],
    *,
    bars: bool = True,
    numbers: Sequence[int] | None = None,
) -> Image.Image:
    """A copy of a picture with its faces marked.

    Args:
        picture: uint8 RGB [H,W,3].
        faces: what `mien.runtime.classifier.Model.read` gave for it.
        bars: whether the probabilities of all classes are drawn beside each face, where there is room.
        numbers: of the people or tracks the faces belong to; they are written before the emotions and choose
            the colours, which are otherwise chosen by the places of the faces.

    Returns:
        An RGB image of the same size. A face that the model abstains on is grey and says "unsure".
    """
    image = Image.fromarray(picture).convert("RGB")
    draw = ImageDraw.Draw(image, "RGBA")
    for place, face in enumerate(faces):
        number = place if numbers is None else numbers[place] - 1
        colour = _ABSTAINED if face.abstained else COLOURS[number % len(COLOURS)]
        _mark(draw, image.size, face, colour, bars, name="" if numbers is None else f"{numbers[place]}: ")
    return image


def _mark(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], face: Face, colour: str, bars: bool, name: str
) -> None:
    x0, y0, x1, y1 = face.box
    thickness = max(2, round(min(size) / 240))
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=thickness)
    height = max(_SMALLEST_TEXT, round(min(size) / 32))
    font = ImageFont.load_default(height)
    text = name + ("unsure" if face.abstained else f"{face.emotion} {face.confidence:.0%}")
    _, _, width, _ = draw.textbbox((0, 0), text, font=font)
    left = min(max(0.0, x0), max(0.0, size[0] - width - 6))
    top = y0 - height * 1.4 if y0 >= height * 1.4 else min(y1, size[1] - height * 1.4)
    draw.rectangle((left, top, left + width + 6, top + height * 1.4), fill=colour)
    draw.text((left + 3, top + height * 0.1), text, fill=_INK, font=font)
    if bars:
        _bars(draw, size, face, colour)


def _bars(draw: ImageDraw.ImageDraw, size: tuple[int, int], face: Face, colour: str) -> None:
    """One bar a class, on the side of the box where there is room; nothing where there is none."""
    x0, y0, x1, y1 = face.box
    row = min(16.0, (y1 - y0) / len(face.probabilities))
    if row < _SMALLEST_TEXT:
        return
    font = ImageFont.load_default(round(row * 0.8))
    names = max(draw.textbbox((0, 0), name, font=font)[2] for name in face.probabilities)
    width = names + 60
    left = x1 + 4 if x1 + 4 + width <= size[0] else x0 - 4 - width
    if left < 0:
        return
    draw.rectangle((left, y0, left + width, y0 + row * len(face.probabilities)), fill=_PAPER)
    for place, (name, share) in enumerate(face.probabilities.items()):
        top = y0 + place * row
        draw.text((left + 2, top), name, fill=_INK, font=font)
        end = left + names + 6 + 50 * share
        draw.rectangle((left + names + 6, top + row * 0.2, end, top + row * 0.8), fill=colour)
