"""Pictures of any usual kind become uint8 RGB, or are refused with one sentence and a reason."""

from __future__ import annotations

import io
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, UnidentifiedImageError

from mien.errors import UnreadableImage

MAX_PIXELS = 80_000_000
"""Default limit against decompression bombs: width times height. Below Pillow's own warning at 89 million."""

ImageSource = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""What `load_image` takes."""

# Pillow knows many more, some of which run other programs (EPS starts Ghostscript); JPEG includes MPO. Pillow
# has AVIF since 11.3.
_AVIF = ("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP", *_AVIF)
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_HEAD_BYTES = 16

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

    Read are AVIF, BMP, GIF, JPEG, PNG, PPM, TIFF and WebP. Grey, palette, CMYK and 16-bit pictures (their
    high byte) are converted; transparent ones are laid on white; of an animation the first frame is taken.
    Colour profiles are ignored.

    A contiguous RGB array is given back itself, not copied.

    Args:
        source: a path, the bytes of an image file, a PIL image, or uint8 [H,W], [H,W,1], [H,W,3] (RGB) or
            [H,W,4] (RGBA).
        max_pixels: a picture with more pixels than this is refused before it is decoded. Pillow's own limit
            of twice `PIL.Image.MAX_IMAGE_PIXELS` stays in force.

    Raises:
        UnreadableImage: no such file, empty, not a picture, damaged or cut off, too large, floating-point
            pixels, or an array of another shape or dtype; its `reason` tells these apart.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        # A PIL image may be unread yet, and so may fail here as a file does.
        with _refusing("the PIL image"):
            _check_size(source, "the PIL image", max_pixels)
            return _decode(source, "the PIL image")
    if not isinstance(source, str | Path | bytes | bytearray | memoryview):
        raise UnreadableImage(
            f"a {type(source).__name__} is not a path, bytes, a PIL image or a uint8 array.", "not a picture"
        )
    with _opened(source) as (image, file, name):
        _check_size(image, name, max_pixels)
        if image.format == "PNG":
            _check_png(file, name)
        return _decode(image, name)


def file_format(source: str | Path | bytes) -> str:
    """Pillow's name of an image file's format, such as ``JPEG``, by the beginning of the file.

    Args:
        source: a path or the bytes of an image file.

    Raises:
        UnreadableImage: no such file, empty, not a picture, or damaged at its beginning.
    """
    with _opened(source) as (image, _, name):
        if image.format is None:
            raise UnreadableImage(f"{name}: this is not a picture of a known kind.", "not a picture")
        return image.format


def to_grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma of uint8 RGB [...,3] as uint8 [...] by ITU-R BT.601, equal to Pillow's ``convert("L")`` in every
    value."""
    red, green, blue = (rgb[..., i].astype(np.uint32) for i in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


class _PillowMuted:
    """Silences Pillow's warnings: it warns of oddities in pictures that decode well, and of bombs that are
    refused here.

    `warnings.catch_warnings` swaps a list of the whole process; if two threads did so in turns, the one that
    ends last would bring back the other's filters for good. So all that decode at one time share one swap.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._swap = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._swap = warnings.catch_warnings()
                self._swap.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._swap.__exit__(kind, error, trace)


_pillow_muted = _PillowMuted()


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    try:
        with _pillow_muted:
            yield
    except UnreadableImage:
        raise
    except FileNotFoundError:
        raise UnreadableImage(f"{name}: there is no such file.", "missing file") from None
    except PermissionError:
        raise UnreadableImage(f"{name}: you are not allowed to read this file.", "no permission") from None
    except Image.DecompressionBombError:
        raise UnreadableImage(
            f"{name}: the picture has too many pixels to be opened safely.", "too large"
        ) from None
    # A damaged file makes Pillow's decoders raise almost anything: SyntaxError, zlib.error, KeyError.
    except Exception as error:
        raise UnreadableImage(
            f"{name}: the picture cannot be decoded ({_one_line(error)}).", "damaged"
        ) from error


def _check_path(path: Path, name: str) -> None:
    try:
        kind = path.stat().st_mode
    except PermissionError:
        raise UnreadableImage(f"{name}: you are not allowed to read this file.", "no permission") from None
    # ValueError: a name with a null character. Other OSErrors: a link in a circle, a name that is too long.
    except (OSError, ValueError):
        what = "this link leads to no file" if _is_link(path) else "there is no such file"
        raise UnreadableImage(f"{name}: {what}.", "missing file") from None
    if stat.S_ISDIR(kind):
        raise UnreadableImage(f"{name}: this is a folder, not a picture.", "not a picture")
    # A pipe or a terminal would wait for ever.
    if not stat.S_ISREG(kind):
        raise UnreadableImage(f"{name}: this is a device or a pipe, not a picture.", "not a picture")


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except (OSError, ValueError):
        return False


@contextmanager
def _opened(source: str | Path | bytes) -> Iterator[tuple[Image.Image, BinaryIO, str]]:
    """An image file, its pixels not yet read, with the open file and its name for messages; what goes wrong
    inside becomes `UnreadableImage`."""
    if isinstance(source, str | Path):
        name, path = str(source), Path(source)
        _check_path(path, name)
        with _refusing(name), path.open("rb") as file, _identified(file, name) as image:
            yield image, file, name
    else:
        name, content = "the bytes", io.BytesIO(source)
        with _refusing(name), _identified(content, name) as image:
            yield image, content, name


def _identified(file: BinaryIO, name: str) -> Image.Image:
    head = file.read(_HEAD_BYTES)
    if not head:
        raise UnreadableImage(f"{name}: the file is empty.", "empty file")
    file.seek(0)
    try:
        return Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError:
        raise _unidentified(head, name) from None


def _unidentified(head: bytes, name: str) -> UnreadableImage:
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return UnreadableImage(
            f"{name}: HEIC pictures are not supported; save it as JPEG or PNG.", "unsupported format"
        )
    if (
        head.startswith(_SIGNATURES)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or head[4:12] == b"ftypavif"
    ):
        return UnreadableImage(f"{name}: the picture is damaged at its beginning.", "damaged")
    return UnreadableImage(f"{name}: this is not a picture of a known kind.", "not a picture")


def _check_png(file: BinaryIO, name: str) -> None:
    """Refuse a PNG whose needed chunks are cut off or have a wrong checksum; Pillow skips that of the
    pixels."""
    place = file.tell()
    file.seek(8)
    kind = b""
    while kind != b"IEND":
        start = file.read(8)
        if len(start) < 8:
            raise UnreadableImage(f"{name}: the PNG is cut off.", "damaged")
        length, kind = struct.unpack(">I4s", start)
        # A small first letter marks what a reader may skip (PNG specification, section 5.4).
        if kind[:1].islower():
            file.seek(length + 4, io.SEEK_CUR)
            continue
        content, checksum = file.read(length), file.read(4)
        if len(checksum) < 4:
            raise UnreadableImage(f"{name}: the PNG is cut off.", "damaged")
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
            raise UnreadableImage(f"{name}: the PNG is damaged (wrong checksum of its pixels).", "damaged")
    file.seek(place)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise UnreadableImage(
            f"{name}: the picture has {image.width}x{image.height} pixels, more than the limit of "
            f"{max_pixels:,}.",
            "too large",
        )
    if image.width == 0 or image.height == 0:
        raise UnreadableImage(f"{name}: the picture has no pixels.", "damaged")


def _decode(image: Image.Image, name: str) -> NDArray[np.uint8]:
    # Pillow itself turns a TIFF upright, and only when it loads the pixels.
    image.load()
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
        raise UnreadableImage(
            f"{name}: the pixels are floating-point numbers; save it with 8 or 16 bits.", "unsupported pixels"
        )
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_deep(image, name).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Photoshop stores CMYK inverted and says so by its marker (libjpeg.txt, "Special color spaces");
        # Pillow takes every CMYK JPEG for one of Photoshop's.
        image = ImageChops.invert(image)
    return image.convert("RGB")


def _from_deep(image: Image.Image, name: str) -> Image.Image:
    values = np.array(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UnreadableImage(
            f"{name}: the pixels have 32 bits; save it with 8 or 16 bits.", "unsupported pixels"
        )
    # The high byte, as Pillow itself takes it of 16-bit RGB.
    return Image.fromarray((values >> 8).astype(np.uint8))


def _from_array(array: NDArray[Any], max_pixels: int) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise UnreadableImage(f"the array must be uint8, not {array.dtype}.", "unsupported pixels")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise UnreadableImage(
            f"the array must be [H,W], [H,W,1], [H,W,3] or [H,W,4], not {list(array.shape)}.",
            "unsupported pixels",
        )
    height, width, channels = array.shape
    if height * width > max_pixels:
        raise UnreadableImage(
            f"the array has {width}x{height} pixels, more than the limit of {max_pixels:,}.", "too large"
        )
    if channels == 1:
        return np.repeat(array, 3, axis=2)
    if channels == 4:
        return np.array(_to_rgb(Image.fromarray(array), "the array"), dtype=np.uint8)
    return np.ascontiguousarray(array)
