"""As much of the Protocol Buffers wire format as it takes to change an ONNX file without the package onnx.

https://protobuf.dev/programming-guides/encoding; the field numbers of ONNX are those of onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Field:
    """One field of a message."""

    number: int
    value: int | bytes
    """A whole number, or the bytes of a text, a submessage, packed numbers or a fixed-length number."""
    raw: bytes
    """The field as it was written, with its number."""

    @property
    def content(self) -> bytes:
        """The value of a text, a submessage or packed numbers.

        Raises:
            ValueError: it is a whole number.
        """
        if isinstance(self.value, int):
            raise ValueError(f"field {self.number} is a whole number, not bytes")
        return self.value


def read_fields(message: bytes) -> Iterator[Field]:
    """The fields of a message, in their order.

    Raises:
        ValueError: this is no message.
    """
    place = 0
    while place < len(message):
        start = place
        key, place = _varint(message, place)
        kind = key & 7
        value: int | bytes
        if kind == _VARINT:
            value, place = _varint(message, place)
        else:
            if kind == _BYTES:
                length, place = _varint(message, place)
            elif kind in (_FIXED32, _FIXED64):
                length = 4 if kind == _FIXED32 else 8
            else:
                raise ValueError(f"unknown kind of field {kind}")
            value = message[place : place + length]
            place += length
        if place > len(message):
            raise ValueError("the message is cut off")
        yield Field(key >> 3, value, message[start:place])


def write_field(number: int, value: int | float | str | bytes) -> bytes:
    """A field: whole numbers of 0 or more as varints, floats with 32 bits, texts in UTF-8, messages as
    bytes."""
    if isinstance(value, int):
        return _written(number << 3 | _VARINT) + _written(value)
    if isinstance(value, float):
        return _written(number << 3 | _FIXED32) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else value
    return _written(number << 3 | _BYTES) + _written(len(content)) + content


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(message) or shift > 63:
            raise ValueError("the message is cut off")
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _written(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
