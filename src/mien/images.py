"""Pictures of any usual kind become uint8 RGB, or are refused with one sentence."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mien.errors import UnreadableImage

MAX_PIXELS = 80_000_000
"""Default limit against decompression bombs: width times height. Below Pillow's own warning at 89 million."""

ImageSource = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""What `load_image` takes."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT: Mapping[int, Image.Transpose] = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """A picture as uint8 RGB [H,W,3], values 0..255, upright by its EXIF orientation.

    Grey, palette, CMYK and 16-bit pictures (their high byte) are converted; transparent ones are laid on
    white; of an animation the first frame is taken. Colour profiles are ignored.

    A contiguous RGB array is given back itself, not copied.

    Args:
        source: a path, the bytes of an image file, a PIL image, or uint8 [H,W], [H,W,1], [H,W,3] (RGB) or
            [H,W,4] (RGBA).
        max_pixels: a picture with more pixels than this is refused before it is decoded. Pillow's own limit
            of twice `PIL.Image.MAX_IMAGE_PIXELS` stays in force.

    Raises:
        UnreadableImage: no such file, not a picture, damaged, too large, floating-point pixels, or an array
            of another shape or dtype.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        # A PIL image may be unread yet, and so may fail here as a file does.
        with _refusing("the PIL image"):
            return _decode(source, "the PIL image", max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        return _open(io.BytesIO(source), "the bytes", max_pixels)
    if isinstance(source, str | Path):
        return _open(Path(source), str(source), max_pixels)
    raise UnreadableImage(f"a {type(source).__name__} is not a path, bytes, a PIL image or a uint8 array.")


def to_grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma of uint8 RGB [...,3] as uint8 [...] by ITU-R BT.601, equal to Pillow's ``convert("L")`` in every
    value."""
    red, green, blue = (rgb[..., i].astype(np.uint32) for i in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    try:
        yield
    except UnreadableImage:
        raise
    except FileNotFoundError:
        raise UnreadableImage(f"{name}: there is no such file.") from None
    except IsADirectoryError:
        raise UnreadableImage(f"{name}: this is a folder, not a picture.") from None
    except PermissionError:
        raise UnreadableImage(f"{name}: you are not allowed to read this file.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableImage(f"{name}: the picture has too many pixels to be opened safely.") from None
    except UnidentifiedImageError:
        raise UnreadableImage(f"{name}: this is not a picture of a known kind.") from None
    # A damaged file makes Pillow's decoders raise almost anything: SyntaxError, zlib.error, KeyError.
    except Exception as error:
        raise UnreadableImage(f"{name}: the picture cannot be decoded ({_one_line(error)}).") from error


def _open(file: Path | io.BytesIO, name: str, max_pixels: int) -> NDArray[np.uint8]:
    with _refusing(name), Image.open(file) as image:
        return _decode(image, name, max_pixels)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _decode(image: Image.Image, name: str, max_pixels: int) -> NDArray[np.uint8]:
    if image.width * image.height > max_pixels:
        raise UnreadableImage(
            f"{name}: the picture has {image.width}x{image.height} pixels, more than the limit of "
            f"{max_pixels:,}."
        )
    if image.width == 0 or image.height == 0:
        raise UnreadableImage(f"{name}: the picture is empty.")
    upright = _UPRIGHT.get(_orientation(image))
    pixels = _to_rgb(image, name)
    if upright is not None:
        pixels = pixels.transpose(upright)
    return np.array(pixels, dtype=np.uint8)


def _orientation(image: Image.Image) -> int:
    # Broken EXIF is common in photos that are fine otherwise; such a photo is taken as it is stored.
    try:
        value: Any = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImage(f"{name}: the pixels are floating-point numbers; save it with 8 or 16 bits.")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_deep(image, name).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _from_deep(image: Image.Image, name: str) -> Image.Image:
    values = np.array(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UnreadableImage(f"{name}: the pixels have 32 bits; save it with 8 or 16 bits.")
    # The high byte, as Pillow itself takes it of 16-bit RGB.
    return Image.fromarray((values >> 8).astype(np.uint8))


def _from_array(array: NDArray[Any], max_pixels: int) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise UnreadableImage(f"the array must be uint8, not {array.dtype}.")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise UnreadableImage(
            f"the array must be [H,W], [H,W,1], [H,W,3] or [H,W,4], not {list(array.shape)}."
        )
    height, width, channels = array.shape
    if height * width > max_pixels:
        raise UnreadableImage(
            f"the array has {width}x{height} pixels, more than the limit of {max_pixels:,}."
        )
    if channels == 1:
        return np.repeat(array, 3, axis=2)
    if channels == 4:
        return np.array(_to_rgb(Image.fromarray(array), "the array"), dtype=np.uint8)
    return np.ascontiguousarray(array)
