"""The verb that writes a run as an ONNX file."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from mien.card import ModelCard
from mien.cli.parser import new_parser
from mien.cli.stopping import on_ctrl_c


def export_parser() -> ArgumentParser:
    """Options of `mien export`."""
    parser = new_parser(
        "Write a run as an ONNX file that carries its card, and MODEL_CARD.md beside it.",
        "mien export runs/a",
        "mien export runs/a --out a.onnx --precision 0.9 --int8",
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument(
        "--out", type=Path | None, help="file to write; model.onnx in the run's folder by default"
    )
    parser.add_argument(
        "--precision",
        type=float | None,
        help="share of right answers, such as 0.9: the file gets the confidence below which it abstains to "
        "keep that promise, found on the validation images",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="write a smaller, quicker file beside it, NAME.int8.onnx, if it keeps the accuracy on the "
        "validation images",
    )
    parser.add_argument(
        "--openvino", action="store_true", help="write NAME.xml and NAME.bin for OpenVINO beside it"
    )
    parser.add_argument(
        "--data", type=Path | None, help="prepared folder, for --int8; the run's own by default"
    )
    return parser


def export(options: Namespace) -> None:
    """Do it, and say what was written."""
    with on_ctrl_c("stopped; what was finished is written, the same command does the rest."):
        _export(options)


def _export(options: Namespace) -> None:
    from mien.export.run import export_run
    from mien.report.model_card import NAME, write_model_card

    path = options.out or options.run / "model.onnx"
    card = export_run(options.run, path, precision=options.precision)
    abstains = "" if card.abstain_threshold is None else f", abstains below {card.abstain_threshold:.3f}"
    print(  # noqa: T201
        f"{path}: {path.stat().st_size / 1e6:.1f} MB, temperature {card.temperature:.3f}{abstains}, "
        f"classes {', '.join(card.labels)}"
    )
    written = write_model_card(options.run, path.with_name(NAME), card, file=path.name)
    shipped = path
    if options.int8:
        shipped, card = _export_int8(options, path)
        write_model_card(options.run, written, card, file=shipped.name)
    print(f"{written}: what to tell who uses {shipped.name}")  # noqa: T201
    if options.openvino:
        from mien.export.openvino import export_openvino

        network = path.with_suffix(".xml")
        difference = export_openvino(options.run, path, network)
        print(f"{network}: OpenVINO, its logits lie up to {difference:.0e} from torch's")  # noqa: T201


def _export_int8(options: Namespace, source: Path) -> tuple[Path, ModelCard]:
    from mien.export.comparison import comparison_table
    from mien.export.int8 import export_int8

    path = source.with_suffix(".int8.onnx")
    made = export_int8(options.run, source, path, data=options.data, precision=options.precision)
    print(comparison_table(made.files))  # noqa: T201
    print(  # noqa: T201
        f"{path}: int8 {made.method}, {100 * made.loss:.2f} points of the validation accuracy lost, "
        f"temperature {made.card.temperature:.3f}"
    )
    return path, made.card
