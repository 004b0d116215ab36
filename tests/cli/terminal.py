"""Standard error on a terminal or a pipe, for commands that run in this process."""

import os
import pty
import sys
import threading
from contextlib import contextmanager


@contextmanager
def standard_error(monkeypatch, *, terminal):
    """Put a terminal or a pipe in the place of standard error.

    Yields:
        A function that gives what was written, once the block has ended.
    """
    reading, writing = pty.openpty() if terminal else os.pipe()
    chunks = []

    def drain():
        # A terminal whose other side is closed says so with an error.
        try:
            while chunk := os.read(reading, 65536):
                chunks.append(chunk)
        except OSError:
            pass

    thread = threading.Thread(target=drain)
    thread.start()
    with monkeypatch.context() as patch, os.fdopen(writing, "w", encoding="utf-8") as stream:
        patch.setattr(sys, "stderr", stream)
        yield lambda: b"".join(chunks).decode()
    thread.join()
    os.close(reading)
