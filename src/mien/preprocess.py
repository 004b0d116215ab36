"""The one evaluation path from a cropped face to the network's input (section 3.4).

Training validation, evaluation, the export check and the runtime all call `to_input`, so a model never meets
pixels that were prepared in another way than those it was measured on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.errors import InputError
from mien.images import to_grey


def to_input(
    faces: NDArray[np.uint8], *, size: int, channels: int, mean: float, std: float
) -> NDArray[np.float32]:
    """Faces as a batch for the network.

    RGB becomes grey first where one channel is wanted, and grey is repeated where three are; then comes the
    resizing, only where the side differs (Pillow's antialiased bilinear filter; of a face that is not square
    the central square), then ``(x / 255 - mean) / std`` in float32.

    Args:
        faces: uint8 [N,H,W,C], 0..255, C = 1 (grey) or 3 (RGB); N may be 0.
        size: side of the network's input in pixels.
        channels: channels of the network's input, 1 or 3.
        mean: subtracted from intensities in 0..1.
        std: divides the centred intensities, above 0.

    Returns:
        float32 [N,channels,size,size], contiguous.

    Raises:
        InputError: `faces` has another dtype or shape, or `channels` is neither 1 nor 3.
    """
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[3] not in (1, 3):
        raise InputError(f"faces must be uint8 [N,H,W,1 or 3], not {faces.dtype} {list(faces.shape)}.")
    if channels not in (1, 3):
        raise InputError(f"channels must be 1 or 3, not {channels}.")
    if channels == 1 and faces.shape[3] == 3:
        faces = to_grey(faces)[..., None]
    if faces.shape[1:3] != (size, size):
        faces = resize_faces(faces, size)
    batch = np.empty((len(faces), channels, size, size), dtype=np.float32)
    # Writing grey through broadcasting repeats it over the three channels in the same pass.
    np.divide(faces.transpose(0, 3, 1, 2), np.float32(255), out=batch, casting="unsafe", dtype=np.float32)
    batch -= np.float32(mean)
    batch /= np.float32(std)
    return batch


def resize_faces(faces: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The central squares of uint8 [N,H,W,C] as uint8 [N,size,size,C] by Pillow's antialiased bilinear
    filter; C = 1 or 3."""
    height, width = faces.shape[1:3]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    square = (left, top, left + side, top + side)
    resized = np.empty((len(faces), size, size, faces.shape[3]), dtype=np.uint8)
    for face, target in zip(faces, resized, strict=True):
        plain = face[..., 0] if face.shape[2] == 1 else face
        image = Image.fromarray(np.ascontiguousarray(plain))
        small = image.resize((size, size), Image.Resampling.BILINEAR, box=square)
        target[...] = np.asarray(small).reshape(target.shape)
    return resized
