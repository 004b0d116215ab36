"""Work in several processes, a bounded number of tasks in flight, finished in any order."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from mien.errors import MienError

T = TypeVar("T")
R = TypeVar("R")


def in_processes(work: Callable[[T], R], tasks: Iterable[T], *, jobs: int) -> Iterator[R]:
    """The results of `work` over `tasks`, in the order in which they are finished.

    Args:
        work: a function of a module, so that another process can import it.
        tasks: taken only as fast as they are worked on; what waits is at most twice `jobs`.
        jobs: processes; 0 takes one for each processor core, 1 works in this one.

    Raises:
        MienError: a process was killed, or could not start because the calling script has no
            `if __name__ == "__main__":`.
    """
    count = jobs or os.cpu_count() or 1
    if count == 1:
        yield from map(work, tasks)
        return
    # Started afresh: a copy of this process would copy its threads' locks too.
    pool = ProcessPoolExecutor(
        count, mp_context=get_context("spawn"), initializer=_end_with, initargs=(os.getpid(),)
    )
    waiting: set[Future[R]] = set()
    try:
        for task in tasks:
            waiting.add(pool.submit(work, task))
            if len(waiting) >= 2 * count:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool:
        raise MienError(
            "a process that read pictures ended: it was killed (out of memory?), or the calling script lacks "
            '`if __name__ == "__main__":`; run it again with jobs=1.'
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with(parent: int) -> None:
    """Let this process end by Ctrl-C without a word, and when its parent is killed, which nothing else would
    tell it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
