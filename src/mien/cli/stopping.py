"""What Ctrl-C says of a verb's work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

CONTINUES = "stopped; the same command continues where it stopped."


@contextmanager
def on_ctrl_c(sentence: str) -> Iterator[None]:
    """Give the KeyboardInterrupt of Ctrl-C a sentence, which `mien` then says."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(sentence) from None
