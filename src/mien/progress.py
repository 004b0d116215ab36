"""Progress on standard error: a bar with rate and ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {task.fields.get('unit', 'images')}/s" if speed else "", style="cyan")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the caller see it, where rich would end the process."""
        raise BrokenPipeError


class Reporter:
    """Where a long stage says how far it is.

    Args:
        console: where lines and bars go; standard error by default, so that results on standard output stay
            clean.
        quiet: say nothing.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or _Console(stderr=True, quiet=quiet, highlight=False)
        self._progress: Progress | None = None

    def say(self, text: str) -> None:
        """Print one line above any bar."""
        self.console.print(text, markup=False, soft_wrap=True)

    @property
    def _draws(self) -> bool:
        """Whether lines can be drawn over: on a terminal, whatever FORCE_COLOR says, that is no dumb one."""
        console = self.console
        return console.is_terminal and console.file.isatty() and not console.is_dumb_terminal

    @contextmanager
    def bar(
        self, description: str, total: int | None, *, done: int = 0, unit: str = "images"
    ) -> Iterator[Bar]:
        """A bar that lives as long as the block; bars inside the block come below it.

        Args:
            description: what is being done.
            total: how many units there are; none where it is not known.
            done: units already done.
            unit: what is counted.
        """
        outermost = self._progress is None
        if outermost:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _RateColumn(),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
                # Lines above the bar, unless they go somewhere else.
                redirect_stdout=sys.stdout.isatty(),
                disable=not self._draws,
            )
            self._progress.start()
        assert self._progress is not None
        task = self._progress.add_task(description, total=total, completed=done, unit=unit)
        try:
            yield Bar(self._progress, task)
        finally:
            self._progress.remove_task(task)
            if outermost:
                self._progress.stop()
                self._progress = None


class Bar:
    """One running bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, count: int = 1, description: str | None = None) -> None:
        """Count units as done, and say something else in front of the bar."""
        self._progress.update(self._task, advance=count, description=description)
