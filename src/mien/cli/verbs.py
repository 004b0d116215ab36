"""All verbs: the parser of `mien`, and what each verb does."""

from __future__ import annotations

from jsonargparse import ArgumentParser

from mien import __version__
from mien.cli.completion import completion_for, completion_parser
from mien.cli.data import add_data_verbs
from mien.cli.detector import add_detector_verbs
from mien.cli.doctor import doctor, doctor_parser
from mien.cli.evaluate import evaluate, evaluate_parser
from mien.cli.exit_codes import table_lines
from mien.cli.export import export, export_parser
from mien.cli.parser import Verb, new_parser, paragraph
from mien.cli.predict import predict, predict_parser
from mien.cli.report import report, report_parser
from mien.cli.reproduce import reproduce_parser, reproduce_verb
from mien.cli.serve import serve, serve_parser
from mien.cli.study import add_study_verbs
from mien.cli.train import train, train_parser
from mien.cli.video import video, video_parser
from mien.cli.webcam import webcam, webcam_parser


def all_verbs() -> tuple[ArgumentParser, dict[str, Verb]]:
    """The parser of `mien`, and what each verb does by its name, such as `train` or `data prepare`."""
    parser = new_parser(
        "Reads facial expressions.",
        "mien doctor",
        "mien predict photo.jpg",
        "mien serve --open",
        "mien data prepare drawn --out drawn",
        prog="mien",
        version=__version__,
    )
    parser.epilog = f"{parser.epilog}\n\n{paragraph('exit codes', table_lines())}"
    commands = parser.add_subcommands(dest="verb", metavar="verb")
    data = new_parser(
        "Prepare and inspect data sets.", "mien data prepare drawn --out drawn", "mien data inspect drawn"
    )
    commands.add_subcommand("data", data, help="prepare and inspect data sets")
    data_verbs = add_data_verbs(data)
    commands.add_subcommand("train", train_parser(), help="train a model")
    commands.add_subcommand("evaluate", evaluate_parser(), help="score and analyse a model on a split")
    commands.add_subcommand("export", export_parser(), help="write a run as an ONNX file")
    commands.add_subcommand("report", report_parser(), help="one HTML page from runs and evaluated models")
    commands.add_subcommand(
        "reproduce", reproduce_parser(), help="the paper's Table 2 and its ablation, start to end"
    )
    study = new_parser(
        "Questions about data that need training.", "mien study verdicts --results results/study"
    )
    commands.add_subcommand("study", study, help="questions about data that need training")
    study_verbs = add_study_verbs(study)
    commands.add_subcommand("predict", predict_parser(), help="read the faces in pictures")
    commands.add_subcommand("video", video_parser(), help="read the faces of a video")
    commands.add_subcommand("webcam", webcam_parser(), help="read the faces before the camera")
    commands.add_subcommand("serve", serve_parser(), help="a web page, REST and WebSocket")
    detector = new_parser("Networks that find faces or tell people apart.", "mien detector get centerface")
    commands.add_subcommand("detector", detector, help="fetch a face detector or an embedder")
    detector_verbs = add_detector_verbs(detector)
    commands.add_subcommand("doctor", doctor_parser(), help="what is installed, and which stages can run")
    commands.add_subcommand("completion", completion_parser(), help="complete verbs and options in a shell")
    return parser, {
        **{f"data {name}": verb for name, verb in data_verbs.items()},
        "train": train,
        "evaluate": evaluate,
        "export": export,
        "report": report,
        "reproduce": reproduce_verb,
        **{f"study {name}": verb for name, verb in study_verbs.items()},
        "predict": predict,
        "video": video,
        "webcam": webcam,
        "serve": serve,
        **{f"detector {name}": verb for name, verb in detector_verbs.items()},
        "doctor": doctor,
        "completion": completion_for(lambda: all_verbs()[0]),
    }
