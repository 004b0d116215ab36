"""Finding, opening and checking a model file: nothing in it is trusted before it agrees with its card."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from mien.card import CARD_KEY, ModelCard
from mien.errors import InputError

MAX_BYTES = 1 << 30
"""Default limit of a model file's size; the largest network of the design has about 120 MB."""

INPUT_NAME = "faces"
OUTPUT_NAME = "logits"

_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"


def bundled_path() -> Path:
    """The ONNX file that comes with mien.

    Raises:
        InputError: this copy of mien holds none, or more than one.
    """
    folder = resources.files("mien") / "weights"
    files = sorted(Path(str(folder)).glob("*.onnx"))
    if not files:
        raise InputError(
            "this copy of mien holds no trained model; train one and pass its path: mien.load('model.onnx')."
        )
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise InputError(
            f"this copy of mien holds several models ({names}); pass the path of one: mien.load(PATH)."
        )
    return files[0]


def model_file(path: Path) -> Path:
    """The ONNX file that a path names: itself, or ``model.onnx`` in a run's folder.

    Raises:
        InputError: the folder holds no such file.
    """
    if not path.is_dir():
        return path
    inside = path / "model.onnx"
    if not inside.is_file():
        raise InputError(f"{path}: the folder holds no model.onnx; run: mien export {path}")
    return inside


def open_session(path: Path, threads: int, max_bytes: int) -> Any:
    """An onnxruntime session on the processor.

    Raises:
        InputError: no such file, larger than `max_bytes`, or not an ONNX model.
    """
    import onnxruntime

    try:
        length = path.stat().st_size
        if length > max_bytes:
            raise InputError(f"{path}: the model has {length:,} bytes, more than the limit of {max_bytes:,}.")
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such model file.") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A crafted model could name other files of this machine as its weights; below a file there is none.
    options.add_session_config_entry(_EXTERNAL_FOLDER, str(path.absolute() / "none"))
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # onnxruntime raises a dozen unrelated classes, one for each of its error codes.
    except Exception as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InputError(f"{path}: onnxruntime cannot open this as an ONNX model ({reason}).") from error


def card_of(session: Any, path: Path) -> ModelCard:
    """The card inside the open model; `path` is for messages.

    Raises:
        InputError: there is none, or this mien cannot read it.
    """
    text = session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
    if text is None:
        raise InputError(
            f"{path}: the model carries no card ({CARD_KEY}), so it was not written by mien export."
        )
    try:
        return ModelCard.from_json(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def check_network(session: Any, card: ModelCard, path: Path) -> None:
    """See that the network takes and gives what its card says, in any batch; `path` is for messages.

    Raises:
        InputError: it does not.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if [node.name for node in inputs] != [INPUT_NAME] or [node.name for node in outputs] != [OUTPUT_NAME]:
        raise InputError(
            f"{path}: the network must have one input, {INPUT_NAME}, and one output, {OUTPUT_NAME}."
        )
    for node, wanted in (
        (inputs[0], [card.channels, card.size, card.size]),
        (outputs[0], [len(card.labels)]),
    ):
        if node.type != "tensor(float)" or len(node.shape) != len(wanted) + 1 or node.shape[1:] != wanted:
            raise InputError(
                f"{path}: the network's {node.name} is {node.type} {node.shape}; its card asks for floats "
                f"[N, {', '.join(map(str, wanted))}]."
            )
        if isinstance(node.shape[0], int):
            raise InputError(f"{path}: the network takes only batches of {node.shape[0]}; export it again.")
