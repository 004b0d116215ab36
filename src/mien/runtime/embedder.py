"""Whose face it is, as a vector: what joins the tracks of a video into people, where a user asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.errors import InputError
from mien.faces.align import landmark_transform, warp
from mien.faces.assets import asset_path
from mien.preprocess import resize_faces
from mien.runtime.model_file import MAX_BYTES, open_session

SIDE: Final = 112
"""Of the crops that ArcFace-like networks take, in pixels."""

# Where the five landmarks lie in their training crops, as shares of the side (Deng et al., CVPR 2019, the
# authors' code).
_PLACES: Final = (
    np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    )
    / SIDE
)
_MEAN, _STD = np.float32(127.5), np.float32(128)
_BATCH: Final = 32


def identity_crops(
    rgb: NDArray[np.uint8], landmarks: NDArray[np.floating], *, size: int = SIDE
) -> NDArray[np.uint8]:
    """Faces cut out as ArcFace-like networks were trained: by the best fit of all five landmarks.

    A fit by the eyes alone keeps one person's faces less close: cosines of 0.74 instead of 0.84 between two
    detectors' landmarks of one face (medians of 30).

    Args:
        rgb: uint8 RGB [H,W,3].
        landmarks: [N,5,2] in pixels of the picture, as in `mien.faces.detector.Detections`.
        size: side of the crops in pixels.

    Returns:
        uint8 RGB [N,size,size,3].

    Raises:
        InputError: the landmarks of a face are all in one place, or not known.
    """
    crops = np.zeros((len(landmarks), size, size, 3), dtype=np.uint8)
    for points, crop in zip(landmarks, crops, strict=True):
        crop[...] = warp(rgb, landmark_transform(points, _PLACES * size), size)
    return crops


class OnnxEmbedder:
    """An ArcFace-like network: MobileFace, or an ONNX file of the user's.

    Such a file has one float32 input, RGB [N,3,S,S] or [N,S,S,3] of about -1..1, and one output [N,D].

    Args:
        path: an ONNX file; none takes what `mien detector get mobileface` fetched.

    Raises:
        InputError: no such file, the network was not fetched yet, or the file is not such a network.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        file = asset_path("mobileface") if path is None else Path(path)
        self._session = open_session(file, 1, MAX_BYTES)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        self._channels_last = len(shape) == 4 and shape[3] == 3
        sides = shape[1:3] if self._channels_last else shape[2:4]
        fits = len(outputs) == 1 and len(outputs[0].shape) == 2 and len(sides) == 2
        if not fits or (not self._channels_last and shape[1] != 3) or inputs[0].type != "tensor(float)":
            raise InputError(
                f"{file}: an embedder must have one float input, RGB [N,3,S,S] or [N,S,S,3], and one output "
                f"[N,D]; this has {[node.shape for node in inputs]} and {[node.shape for node in outputs]}."
            )
        self._input = inputs[0].name
        self._batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else _BATCH
        self.size: int = sides[0] if isinstance(sides[0], int) and sides[0] > 0 else SIDE
        """Side of the crops that the network takes, in pixels."""

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors of unit length, float32 [N,D]; the product of two is the cosine of their angle.

        Args:
            crops: uint8 RGB [N,H,W,3], best those of `identity_crops`; resized where their side differs.

        Raises:
            InputError: `crops` has another dtype or shape.
        """
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[3] != 3:
            raise InputError(f"crops must be uint8 [N,H,W,3], not {crops.dtype} {list(crops.shape)}.")
        if crops.shape[1:3] != (self.size, self.size):
            crops = resize_faces(crops, self.size)
        starts = range(0, max(1, len(crops)), self._batch)
        vectors = np.concatenate([self._run(crops[start : start + self._batch]) for start in starts])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)

    def _run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = (crops.astype(np.float32) - _MEAN) / _STD
        if not self._channels_last:
            pixels = pixels.transpose(0, 3, 1, 2)
        count = len(pixels)
        # A file with a fixed batch takes no less.
        missing = self._batch - count if isinstance(self._session.get_inputs()[0].shape[0], int) else 0
        pixels = np.pad(pixels, ((0, missing), (0, 0), (0, 0), (0, 0)))
        answer: NDArray[np.float32] = self._session.run(None, {self._input: np.ascontiguousarray(pixels)})[0]
        return answer[:count]
