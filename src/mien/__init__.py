"""mien reads facial expressions.

>>> import mien
>>> model = mien.load()
>>> for face in model.read("photo.jpg"):
...     print(face.box, face.emotion, face.confidence)

Every name of `__all__` is resolved on first use, so that ``import mien`` is quick and never reaches torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.card import CropTemplate, ModelCard
    from mien.errors import InputError, MienError, MissingExtra, UnreadableImage, UnreadableVideo
    from mien.faces.detector import Detections, Detector
    from mien.faces.mtcnn import MTCNNDetector
    from mien.images import load_image
    from mien.labels import EMOTIONS
    from mien.runtime.classifier import Model, load
    from mien.runtime.face import Face
    from mien.runtime.pipeline import PredictedFile, predict_paths
    from mien.runtime.video import VideoSettings, read_video, watch

__version__ = "0.1.0.dev0"

_HOMES = {
    "CropTemplate": "mien.card",
    "Detections": "mien.faces.detector",
    "Detector": "mien.faces.detector",
    "EMOTIONS": "mien.labels",
    "Face": "mien.runtime.face",
    "InputError": "mien.errors",
    "MTCNNDetector": "mien.faces.mtcnn",
    "MienError": "mien.errors",
    "MissingExtra": "mien.errors",
    "Model": "mien.runtime.classifier",
    "ModelCard": "mien.card",
    "PredictedFile": "mien.runtime.pipeline",
    "UnreadableImage": "mien.errors",
    "UnreadableVideo": "mien.errors",
    "VideoSettings": "mien.runtime.video",
    "load": "mien.runtime.classifier",
    "load_image": "mien.images",
    "predict_paths": "mien.runtime.pipeline",
    "read_video": "mien.runtime.video",
    "watch": "mien.runtime.video",
}

__all__ = [
    "EMOTIONS",
    "CropTemplate",
    "Detections",
    "Detector",
    "Face",
    "InputError",
    "MTCNNDetector",
    "MienError",
    "MissingExtra",
    "Model",
    "ModelCard",
    "PredictedFile",
    "UnreadableImage",
    "UnreadableVideo",
    "VideoSettings",
    "__version__",
    "load",
    "load_image",
    "predict_paths",
    "read_video",
    "watch",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
