"""Whether the bundled model reads a face, and which networks that find faces are there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from mien.errors import MienError
from mien.faces.assets import ASSETS, cache_folder
from mien.faces.mtcnn import network_files
from mien.files import sha256_of
from mien.runtime.classifier import Model
from mien.runtime.model_file import bundled_path

_FACE_SIDE: Final = 96
_PICTURE_SIDE: Final = 192


@dataclass(frozen=True)
class BundledModel:
    """The model that comes with mien, and what it made of one drawn face."""

    path: Path | None
    bytes: int | None
    sha256: str | None
    name: str | None
    """That of its card."""
    licence: str | None
    answer: str | None
    """The emotion that it names."""
    confidence: float | None
    milliseconds: float | None
    """That one picture took, the first time."""
    error: str | None
    """Why it cannot be used; none where it can."""


@dataclass(frozen=True)
class Network:
    """A network that finds faces or tells people apart."""

    name: str
    about: str
    path: Path | None
    remedy: str | None
    """What makes it usable; none where it is."""


def examine_bundled() -> BundledModel:
    """Open the bundled model and let it read a drawn face in a picture, which its detector has to find."""
    path: Path | None = None
    try:
        path = bundled_path()
        model = Model(path)
        began = time.perf_counter()
        faces = model.read(_drawn_picture())
        spent = 1000 * (time.perf_counter() - began)
        if not faces:
            raise MienError("the face detector found no face in a drawn picture of one")
    # Whatever befalls it is what is to be told.
    except Exception as error:
        reason = str(error).rstrip(".") or type(error).__name__
        return BundledModel(path, *_size_and_hash(path), None, None, None, None, None, reason)
    face = faces[0]
    card = model.card
    return BundledModel(
        path, *_size_and_hash(path), card.name, card.licence, face.emotion, face.confidence, spent, None
    )


def examine_networks() -> list[Network]:
    """The bundled detector's networks, and those that `mien detector get` fetches."""
    about = "MTCNN, the face detector (MIT)"
    try:
        files = network_files()
        found = [Network("mtcnn", about, files["pnet"].parent, None)]
    except MienError as error:
        found = [Network("mtcnn", about, None, str(error))]
    for name, asset in ASSETS.items():
        path = cache_folder() / "networks" / f"{name}.onnx"
        is_right = path.is_file() and sha256_of(path) == asset.sha256
        remedy = None if is_right else f"mien detector get {name}"
        found.append(Network(name, asset.about, path if is_right else None, remedy))
    return found


def _size_and_hash(path: Path | None) -> tuple[int | None, str | None]:
    if path is None or not path.is_file():
        return None, None
    return path.stat().st_size, sha256_of(path)


def _drawn_picture() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from mien.data.synthetic import draw_faces

    drawn = draw_faces(1, size=_FACE_SIDE, channels=3, seed=0, emotions=["happiness"], frontal=True)
    picture = Image.new("RGB", (_PICTURE_SIDE, _PICTURE_SIDE), (128, 128, 128))
    edge = (_PICTURE_SIDE - _FACE_SIDE) // 2
    picture.paste(Image.fromarray(drawn.images[0]), (edge, edge))
    return np.asarray(picture)
