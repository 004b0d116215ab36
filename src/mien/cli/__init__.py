"""The command line: each verb imports its stage inside its function, so that `mien --help` is quick.

Exit codes: 0 done; 1 reading or writing failed, or a run diverged; 2 something passed in cannot be used; 130
stopped by Ctrl-C. A message is one sentence on standard error; results go to standard output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from mien import __version__
from mien.cli.data import add_data_verbs
from mien.cli.detector import add_detector_verbs
from mien.cli.evaluate import add_evaluate_verbs, print_figures
from mien.cli.parser import Verb, new_parser, settings_of
from mien.cli.predict import predict, predict_parser
from mien.cli.serve import serve, serve_parser
from mien.cli.study import add_study_verbs
from mien.cli.video import video, video_parser
from mien.cli.webcam import webcam, webcam_parser
from mien.config import RunConfig, read_run_config
from mien.errors import InputError, LostProcess, MienError, MissingExtra, TrainingDiverged

EXIT_FAILED, EXIT_INPUT, EXIT_INTERRUPTED = 1, 2, 130

_EXTRAS = {
    **dict.fromkeys(("torch", "timm", "polars", "sklearn", "lightning_fabric", "safetensors"), "train"),
    **dict.fromkeys(("jinja2", "matplotlib", "onnx"), "train"),
    "cleanlab": "study",
}
"""A package that a verb may miss, and the extra that brings it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `mien`; ends the process with one of the exit codes above."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        _check_config_file(given)
        parser, verbs = _parser()
        parsed = parser.instantiate(parser.parse_args(given or ["--help"]))
        name, options = parsed.verb, parsed[parsed.verb]
        while "verb" in options:
            name, options = f"{name} {options.verb}", options[options.verb]
        return verbs[name](options) or 0
    except KeyboardInterrupt as stopped:
        return _say(str(stopped) or "stopped.", EXIT_INTERRUPTED)
    except ArgumentError as error:
        return _say(" ".join(str(error).split()), EXIT_INPUT)
    except (InputError, MissingExtra) as error:
        return _say(str(error), EXIT_INPUT)
    except MienError as error:
        return _say(str(error), EXIT_FAILED, error)
    except BrokenPipeError:
        # The reader of our output has gone, as with `mien predict ... | head`; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}.", EXIT_FAILED)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _say(str(MissingExtra(f"this command (it imports {error.name})", extra)), EXIT_INPUT)


def _check_config_file(given: Sequence[str]) -> None:
    """Refuse a config file here, since the parser's own message would not name it."""
    for before, after in zip(given, [*given, ""][1:], strict=True):
        option, separator, value = before.partition("=")
        if option == "--config":
            read_run_config(Path(value if separator else after))


def _say(sentence: str, code: int, error: MienError | None = None) -> int:
    # Of a run on several devices each process says what befell it alone; what befalls all, the first says.
    rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))
    if rank == "0":
        print(f"mien: {sentence}", file=sys.stderr)  # noqa: T201
    elif not isinstance(error, TrainingDiverged | LostProcess):
        print(f"mien: process {rank}: {sentence}", file=sys.stderr)  # noqa: T201
    return code


def _parser() -> tuple[ArgumentParser, dict[str, Verb]]:
    parser = new_parser("Reads facial expressions.", prog="mien", version=__version__)
    commands = parser.add_subcommands(dest="verb")
    data = new_parser("Prepare and inspect data sets.")
    commands.add_subcommand("data", data, help="prepare and inspect data sets")
    data_verbs = add_data_verbs(data)
    commands.add_subcommand("train", _train_parser(), help="train a model")
    evaluate_verbs = add_evaluate_verbs(commands)
    study = new_parser("Questions about data that need training.")
    commands.add_subcommand("study", study, help="questions about data that need training")
    study_verbs = add_study_verbs(study)
    commands.add_subcommand("predict", predict_parser(), help="read the faces in pictures")
    commands.add_subcommand("video", video_parser(), help="read the faces of a video")
    commands.add_subcommand("webcam", webcam_parser(), help="read the faces before the camera")
    commands.add_subcommand("serve", serve_parser(), help="a web page, REST and WebSocket")
    detector = new_parser("Networks that find faces or tell people apart.")
    commands.add_subcommand("detector", detector, help="fetch a face detector or an embedder")
    detector_verbs = add_detector_verbs(detector)
    return parser, {
        **{f"data {name}": verb for name, verb in data_verbs.items()},
        **{f"study {name}": verb for name, verb in study_verbs.items()},
        "train": _train,
        **evaluate_verbs,
        "predict": predict,
        "video": video,
        "webcam": webcam,
        "serve": serve,
        **{f"detector {name}": verb for name, verb in detector_verbs.items()},
    }


def _train_parser() -> ArgumentParser:
    parser = new_parser(
        "Train a model. Example: "
        "mien train --config configs/compact/swin_se_sam.toml --data hybrid --out runs/a; "
        "mien train --resume runs/a. On several devices: --devices 2, or, over several machines, on each of "
        "them torchrun --nnodes 2 --nproc-per-node 4 --rdzv-endpoint HOST:PORT -m mien train --devices 8 ...",
    )
    parser.add_argument(
        "--config",
        action="config",
        help="TOML file with any of the settings below; give it first, since what comes later wins",
    )
    parser.add_argument("--data", type=Path | None, help="folder that mien data prepare wrote")
    parser.add_argument("--out", type=Path | None, help="folder of the run")
    parser.add_argument(
        "--resume",
        type=Path | None,
        help="continue this run with its own config; only --data may stand beside it, where it has moved",
    )
    parser.add_argument("--devices", type=int | None, help="short for --train.devices")
    parser.add_argument("--max-minutes", type=float | None, help="short for --train.max_minutes")
    parser.add_class_arguments(RunConfig)
    return parser


def _train(options: Namespace) -> None:
    from mien.progress import Reporter
    from mien.train.run import resume_run, train_run

    short = {name: options[name] for name in ("devices", "max_minutes") if options[name] is not None}
    config = settings_of(RunConfig, options)
    config = replace(config, train=replace(config.train, **short))
    if options.resume is not None:
        if options.out is not None or options.config or short or config != RunConfig():
            raise InputError("--resume continues a run with its own config; leave out all but --data.")
        run, figures = options.resume, resume_run(options.resume, reporter=Reporter(), data=options.data)
    else:
        if options.data is None or options.out is None:
            raise InputError(
                "mien train needs --data (a prepared folder) and --out (the run's folder), or --resume RUN."
            )
        run, figures = options.out, train_run(config, options.data, options.out, reporter=Reporter())
    print_figures(run, [figures])
