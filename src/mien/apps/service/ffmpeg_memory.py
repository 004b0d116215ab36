"""A bound on the memory that FFmpeg takes at a word of a file.

A file of two kilobytes may claim fifty million frames without describing each, and FFmpeg then makes an index
of three gigabytes before anyone can look at it. Its own bound on one allocation, two gigabytes by default,
is what stops that.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

from mien.runtime.video_file import pyav

MOST_BYTES: Final = 48 << 20
"""Of one allocation: an index of two million frames fits, and so does a picture of 3840 x 2160 in RGB."""


def bound_allocations() -> None:
    """Set the bound, for this whole process; where FFmpeg's own functions cannot be reached, as on Windows,
    nothing is done.

    Raises:
        MissingExtra: PyAV is not installed.
    """
    pyav()
    import av._core

    with contextlib.suppress(AttributeError, OSError):
        # Functions of the libraries that an extension module is linked with are found through it.
        av_max_alloc = ctypes.CDLL(av._core.__file__).av_max_alloc
        av_max_alloc.argtypes, av_max_alloc.restype = [ctypes.c_size_t], None
        av_max_alloc(MOST_BYTES)
