"""Memory of a training step on the processor."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""Of malloc.h."""


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one.

    Otherwise it gives each large activation back to the system, which has to clear and map its pages anew: a
    tenth of a step's time (docs/lab-log.md). Elsewhere than on glibc nothing happens. Largest resident memory
    stays the same.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 64 << 20)
