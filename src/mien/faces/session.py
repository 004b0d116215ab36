"""How the networks of face detectors are opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_network(path: Path, threads: int) -> Any:
    """An onnxruntime session on the processor, without remarks on how the file was made.

    Args:
        path: an ONNX file that is trusted: it came with a package, or its hash is known.
        threads: processor threads of onnxruntime.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
