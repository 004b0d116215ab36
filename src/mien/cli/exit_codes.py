"""The exit codes of `mien`: the one table that the code, `mien --help` and docs/command-line.md share."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command ends with."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    CLOSED_PIPE = 141

    @property
    def meaning(self) -> str:
        """What the code says, as one phrase."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "done; `mien serve` also after Ctrl-C or SIGTERM, which is how it ends",
    ExitCode.FAILED: "reading or writing failed, a run diverged, or `mien doctor` found no working model",
    ExitCode.USAGE: "something given cannot be used: an option, a path, a file, an extra that is missing",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C",
    ExitCode.CLOSED_PIPE: "the reader of the output went away, as with `mien predict holiday/ | head -1`",
}
# 130 and 141 are 128 and the number of SIGINT and SIGPIPE, which is what shells report for other programs.


def table_lines() -> list[str]:
    """One line a code: the number and its meaning."""
    return [f"{code.value:>3}  {code.meaning}" for code in ExitCode]
