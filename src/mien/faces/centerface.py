"""CenterFace (Xu et al., arXiv 1911.03599), the single-shot detector that the paper asks for (section 3.4).

It finds faces with five landmarks in one pass, as points of a map with a quarter of the picture's side. Its
file comes by `mien detector get centerface`, see `mien.faces.assets`. Where it differs from its authors'
code: a picture is padded, not stretched, to whole cells, shrunk by Pillow's antialiased filter, and no box is
cut off at the edges. And the landmarks are placed anew by MTCNN's third network, by which the crops of the
training data were measured: its own wander by 7 % of the distance between the eyes from one size of the
picture to another, these by 2 %.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.errors import InputError
from mien.faces.assets import asset_path
from mien.faces.detector import MIN_FACE, MIN_SHARE, Detections, check_picture
from mien.faces.mtcnn import LandmarkNetwork, square, suppress
from mien.faces.session import open_network

_STRIDE = 4
_CELLS = 32
"""The network halves its input five times."""
_OVERLAP = 0.3
# Below, MTCNN's network sees no face, such as in a profile, and the detector's own landmarks stay.
_SURE = 0.7
# Of 31 faces of about 25 pixels the network finds 24 when they are shrunk to 16 pixels, 28 at 20, 30 at 24;
# and the time grows with the square.
_SEEN = 20


class CenterFaceDetector:
    """Finds faces and five landmarks in one pass over the picture.

    Args:
        min_face: side of the smallest face that is looked for, in pixels.
        min_share: the same as a share of the picture's longer side; the larger of the two counts. The picture
            is shrunk as far as such a face is still seen, which bounds the time that a very large one takes.
        threshold: least score of a face, 0..1.
        threads: processor threads of onnxruntime.
        path: the network; none takes what `mien detector get centerface` fetched.

    Raises:
        InputError: an argument is out of its range, or the network is not there yet.
    """

    def __init__(
        self,
        *,
        min_face: float = MIN_FACE,
        min_share: float = MIN_SHARE,
        threshold: float = 0.5,
        threads: int = 1,
        path: Path | None = None,
    ) -> None:
        if not min_face > 0:
            raise InputError(f"min_face must be above 0 pixels, not {min_face}.")
        if not 0 <= min_share <= 1:
            raise InputError(f"min_share must lie in 0..1, not {min_share}.")
        if not 0 < threshold < 1:
            raise InputError(f"threshold must lie between 0 and 1, not {threshold}.")
        self.min_face = min_face
        self.min_share = min_share
        self.threshold = threshold
        self._placer = LandmarkNetwork(threads=threads)
        self._network = open_network(asset_path("centerface") if path is None else path, threads)

    def detect(self, rgb: NDArray[np.uint8]) -> Detections:
        """The faces of uint8 RGB [H,W,3], the surest first; see `Detections` for the coordinates.

        Coordinates are rounded to 1/16 pixel and scores to four digits.

        Raises:
            InputError: `rgb` has another dtype or shape.
        """
        check_picture(rgb)
        height, width = rgb.shape[:2]
        smallest = max(self.min_face, self.min_share * max(height, width))
        shrink = min(1.0, _SEEN / smallest)
        rows, columns = (max(1, round(side * shrink)) for side in (height, width))
        pixels = _network_pixels(rgb, rows, columns)
        heat, scale, offset, points = self._network.run(None, {"input.1": pixels})
        boxes, scores, landmarks = _decoded(heat[0, 0], scale[0], offset[0], points[0], self.threshold)
        kept = suppress(boxes, scores, _OVERLAP)
        stretch = np.array([width / columns, height / rows])
        boxes, scores, landmarks = boxes[kept] * np.tile(stretch, 2), scores[kept], landmarks[kept] * stretch
        large = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) >= smallest
        boxes, scores, landmarks = boxes[large], scores[large], landmarks[large]
        better, chances, _ = self._placer.place(Image.fromarray(np.ascontiguousarray(rgb)), square(boxes))
        landmarks = np.where(chances[:, None, None] > _SURE, better, landmarks)
        return Detections.rounded(boxes, scores, landmarks)


def _network_pixels(rgb: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float32]:
    """The picture at another size, black up to whole cells, as float32 RGB [1,3,h,w], 0..255."""
    high, wide = (-(-side // _CELLS) * _CELLS for side in (rows, columns))
    pixels = np.zeros((1, 3, high, wide), dtype=np.float32)
    if rgb.shape[:2] != (rows, columns):
        image = Image.fromarray(np.ascontiguousarray(rgb))
        rgb = np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR, reducing_gap=3.0))
    pixels[0, :, :rows, :columns] = rgb.transpose(2, 0, 1)
    return pixels


def _decoded(
    heat: NDArray[np.float32],
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    points: NDArray[np.float32],
    threshold: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Boxes [M,4], scores [M] and landmarks [M,5,2] in pixels of the network's input, from its four maps.

    Args:
        heat: [h,w], chances that a face's centre lies in a cell.
        scale: [2,h,w], logarithms of the box's height and width in cells.
        offset: [2,h,w], rows and columns from a cell's centre to the face's, in cells.
        points: [10,h,w], y and x of each landmark from the box's corner, in its sides.
        threshold: least chance.
    """
    row, column = np.nonzero(heat > threshold)
    centre = np.stack([column, row], axis=1) + offset[::-1, row, column].T.astype(np.float64) + 0.5
    sides = np.exp(scale[::-1, row, column].T.astype(np.float64)) * _STRIDE
    corner = centre * _STRIDE - sides / 2
    shares = points[:, row, column].T.astype(np.float64).reshape(-1, 5, 2)[:, :, ::-1]
    landmarks = corner[:, None] + shares * sides[:, None]
    return np.concatenate([corner, corner + sides], axis=1), heat[row, column].astype(np.float64), landmarks
