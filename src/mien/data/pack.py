"""Decoding, and the pack: all faces of a prepared folder as one memory-mapped uint8 array [N, C, H, W]."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.errors import InputError
from mien.images import load_image

Pixels = npt.NDArray[np.uint8]

NEAR_ZERO: Final = 8
"""A picture with no pixel above this grey level is black; the darkest real face of FER-2013 reaches 48."""
_HEADER_BYTES: Final = 128


def decode(image: Path | bytes | Pixels) -> Pixels:
    """A picture as uint8, grey [H, W] or RGB [H, W, 3], upright by its EXIF orientation.

    A colour file whose three channels are equal comes back grey, so that one picture saved in two ways has
    one hash.

    Args:
        image: a file, an encoded picture, or pixels.

    Raises:
        UnreadableImage: missing, empty, damaged, not a picture, or too large; its `reason` says which.
    """
    if isinstance(image, np.ndarray) and image.ndim == 2 and image.dtype == np.uint8 and image.size:
        return image
    rgb = load_image(image)
    red = rgb[..., 0]
    if np.array_equal(red, rgb[..., 1]) and np.array_equal(red, rgb[..., 2]):
        return np.ascontiguousarray(red)
    return rgb


def pixel_hash(pixels: Pixels) -> str:
    """SHA-256 over shape and pixels, in hexadecimal: equal exactly when two decoded pictures are."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    digest = hashlib.sha256(f"{height}x{width}x{channels};".encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()


def defect(pixels: Pixels, size: tuple[int, int] | None) -> str | None:
    """Why a decoded picture cannot be used, or None.

    Args:
        pixels: uint8 [H, W] or [H, W, 3].
        size: the (height, width) the set's pictures have by definition, or None for any.
    """
    if size is not None and pixels.shape[:2] != size:
        return "wrong size"
    if int(pixels.max()) <= NEAR_ZERO:
        return "black"
    if int(pixels.min()) == int(pixels.max()):
        return "one colour"
    return None


def fit(pixels: Pixels, size: int, channels: int) -> tuple[Pixels, tuple[float, ...]]:
    """A face as the pack holds it: the central square, resized, with the pack's channels.

    Args:
        pixels: uint8 [H, W] or RGB [H, W, 3].
        size: side of the result.
        channels: 1 (grey by ITU-R BT.601) or 3 (RGB).

    Returns:
        uint8 [channels, size, size], and the 2x3 affine matrix, row-major, that takes a pixel coordinate of
        the picture (pixel edges, x before y) to one of the result.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    scale = size / side
    image = Image.fromarray(pixels).convert("L" if channels == 1 else "RGB")
    if (height, width) != (size, size):
        image = image.resize(
            (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
        )
    face = np.asarray(image, dtype=np.uint8).reshape(size, size, channels)
    transform = (scale, 0.0, -left * scale, 0.0, scale, -top * scale)
    return np.ascontiguousarray(face.transpose(2, 0, 1)), transform


class PackWriter:
    """Writes a `.npy` of uint8 faces [N, C, S, S] one by one, N not known before the end.

    The header is written by hand with room for any N, so that the file's bytes do not depend on numpy's
    version. Use it as a context manager; `append` returns the face's row.
    """

    def __init__(self, path: Path, *, size: int, channels: int) -> None:
        self.shape = (channels, size, size)
        self.count = 0
        self._path = path
        self._file: BinaryIO = path.open("wb")
        self._file.write(self._header())

    def _header(self) -> bytes:
        c, h, w = self.shape
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({self.count}, {c}, {h}, {w}), }}"
        body = text.encode("latin1").ljust(_HEADER_BYTES - 11) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body

    def append(self, face: Pixels) -> int:
        """Add a face, uint8 [C, S, S], and return its row."""
        if face.shape != self.shape or face.dtype != np.uint8:
            raise ValueError(f"a pack of {self.shape} cannot hold a face of {face.shape} {face.dtype}")
        self._file.write(face.tobytes())
        self.count += 1
        return self.count - 1

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.seek(0)
        self._file.write(self._header())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def write_pack(path: Path, faces: Iterable[Pixels], *, size: int, channels: int) -> int:
    """Write faces, each uint8 [C, S, S], to a `.npy` at `path` as they come; returns how many there were."""
    with PackWriter(path, size=size, channels=channels) as pack:
        for face in faces:
            pack.append(face)
        return pack.count


def open_pack(path: Path) -> Pixels:
    """The pack as a read-only memory map, uint8 [N, C, H, W].

    Raises:
        InputError: no such file, or not a pack.
    """
    try:
        pack: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; prepare the data again with `mien data prepare`.") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not a pack ({error}); prepare the data again.") from error
    if pack.dtype != np.uint8 or pack.ndim != 4:
        raise InputError(
            f"{path} is not a pack: {pack.dtype} of {pack.ndim} axes instead of uint8 [N, C, H, W]."
        )
    return pack
