"""Finding, opening and checking a model file: nothing in it is trusted before it agrees with its card.

A file from outside cannot run code of its own or read other files here, but it can still compute at length or
answer with nonsense: the SHA-256 that its maker states is what tells that it is the file that was meant.
"""

from __future__ import annotations

import hashlib
import re
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


def open_session(path: Path, threads: int, max_bytes: int, *, sha256: str | None = None) -> Any:
    """An onnxruntime session on the processor.

    Args:
        path: the ONNX file.
        threads: processor threads.
        max_bytes: a larger file is refused.
        sha256: what the file's SHA-256 must be, 64 hexadecimal digits in either case; none asks for nothing.

    Raises:
        InputError: no such file, larger than `max_bytes`, another SHA-256, or not an ONNX model.
    """
    import onnxruntime

    content = _checked_content(path, max_bytes, sha256)
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


def _checked_content(path: Path, max_bytes: int, sha256: str | None) -> bytes:
    """The file's bytes, those whose size and hash were checked."""
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise InputError(f"a SHA-256 has 64 hexadecimal digits, not {sha256!r}.")
    # A device or a pipe has no size and might never end.
    if not path.is_file():
        raise InputError(f"{path}: there is no such model file.")
    length = path.stat().st_size
    if length > max_bytes:
        raise InputError(f"{path}: the model has {length:,} bytes, more than the limit of {max_bytes:,}.")
    content = path.read_bytes()
    if sha256 is not None:
        found = hashlib.sha256(content).hexdigest()
        if found != sha256.lower():
            raise InputError(
                f"{path}: its SHA-256 is {found}, not {sha256.lower()}; it is another file, or a damaged one."
            )
    return content


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
