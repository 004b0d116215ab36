"""From the 68 landmarks that CK+ and AffectNet give to the five that mien knows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def five_points(points: npt.ArrayLike) -> tuple[float, ...]:
    """Eye centres, nose tip and mouth corners of 68 points in the order of Multi-PIE (iBUG 300-W).

    Args:
        points: [68, 2], x and y in pixels.

    Returns:
        10 numbers: x and y of the eye on the picture's left, the eye on its right, the nose tip, the mouth
        corner on the left and the one on the right.

    Raises:
        ValueError: not 68 points.
    """
    given = np.asarray(points, dtype=np.float64)
    if given.shape != (68, 2):
        raise ValueError(f"{list(given.shape)} is not [68, 2]")
    five = (given[36:42].mean(0), given[42:48].mean(0), given[30], given[48], given[54])
    return tuple(float(value) for point in five for value in point)
