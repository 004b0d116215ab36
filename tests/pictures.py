"""Pictures, and PNGs by their parts."""

import io
import struct
import zlib

import numpy as np


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, content):
    """One chunk of a PNG: length, name, content, checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_head(width, height):
    """A PNG of RGB pixels up to where the pixels would begin."""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def place_of(content, kind):
    """Where a PNG's chunk begins and ends."""
    name = content.index(kind)
    return name - 4, name + 8 + struct.unpack(">I", content[name - 4 : name])[0]


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def smooth(height=64, width=96):
    """A picture that JPEG keeps well."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x * 2, y * 3, x + y]).astype(np.uint8)
