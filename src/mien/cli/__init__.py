"""The command line. A message is one sentence on standard error; results go to standard output; exit codes
are those of `mien.cli.exit_codes`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from mien.cli.exit_codes import ExitCode


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `mien`; ends the process with one of the exit codes."""
    code = run(arguments)
    if code == ExitCode.INTERRUPTED:
        # What is left is closing down, where a second Ctrl-C would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # Said already, or there is nobody to tell; Python must not try again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    try:
        # Here, so that Ctrl-C while it is imported is answered as any other.
        from mien.cli.command import run_command

        return run_command(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        print("mien: stopped.", file=sys.stderr)  # noqa: T201
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return ExitCode.CLOSED_PIPE
