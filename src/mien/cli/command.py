"""One command line from its words to its exit code.

Each verb imports its stage inside its function, so that `mien --help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentError

from mien.cli.exit_codes import ExitCode
from mien.cli.verbs import all_verbs
from mien.cli.wording import sentence_of
from mien.config import read_run_config
from mien.errors import InputError, LostProcess, MienError, MissingExtra, TrainingDiverged

_EXTRAS = {
    **dict.fromkeys(("jinja2", "matplotlib", "polars"), "tables"),
    **dict.fromkeys(("torch", "timm", "sklearn", "lightning_fabric", "safetensors", "onnx"), "train"),
    "cleanlab": "study",
}
"""A package that a verb may miss, and the extra that brings it."""


def run_command(given: Sequence[str]) -> int:
    """Run one command line.

    Args:
        given: the words after `mien`.

    Returns:
        Its exit code.

    Raises:
        SystemExit: --help, --version or --print_config was given.
        BrokenPipeError: whoever read the output has gone.
    """
    parser, verbs = all_verbs()
    try:
        _check_config_file(given)
        parsed = parser.instantiate(parser.parse_args(given or ["--help"]))
        name, options = parsed.verb, parsed[parsed.verb]
        while "verb" in options:
            name, options = f"{name} {options.verb}", options[options.verb]
        code = verbs[name](options) or ExitCode.DONE
        _flush()
        return code
    except KeyboardInterrupt as stopped:
        return _say(str(stopped) or "stopped.", ExitCode.INTERRUPTED)
    except ArgumentError as error:
        return _say(sentence_of(error, parser, given), ExitCode.USAGE)
    except (InputError, MissingExtra) as error:
        return _say(str(error), ExitCode.USAGE)
    except MienError as error:
        return _say(str(error), ExitCode.FAILED, error)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}.", ExitCode.FAILED)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        if extra == "tables" and given[0] != "data":
            # Only data sets are prepared without the rest of the training half.
            extra = "train"
        return _say(str(MissingExtra(f"this command (it imports {error.name})", extra)), ExitCode.USAGE)


def _check_config_file(given: Sequence[str]) -> None:
    """Refuse a config file here, since the parser's own message would not name it."""
    for before, after in zip(given, [*given, ""][1:], strict=True):
        option, separator, value = before.partition("=")
        if option == "--config":
            read_run_config(Path(value if separator else after))


def _flush() -> None:
    """Find out now whether the output can be written, not at exit."""
    sys.stdout.flush()


def _say(sentence: str, code: ExitCode, error: MienError | None = None) -> int:
    # Of a run on several devices each process says what befell it alone; what befalls all, the first says.
    rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))
    if rank == "0":
        print(f"mien: {sentence}", file=sys.stderr)  # noqa: T201
    elif not isinstance(error, TrainingDiverged | LostProcess):
        print(f"mien: process {rank}: {sentence}", file=sys.stderr)  # noqa: T201
    return code
