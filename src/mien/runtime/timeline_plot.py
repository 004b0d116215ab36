"""The timeline of a video as a picture: one strip a person, all probabilities over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.errors import MissingExtra
from mien.files import replacing
from mien.labels import EMOTIONS
from mien.runtime.timeline import Row

MOST_STRIPS: Final = 8
"""People, or tracks, that are drawn: those seen longest."""
_MOST_POINTS: Final = 800
"""Points in time; more cannot be told apart on a screen."""
# In the order of `EMOTIONS`.
_COLOURS: Final = ("#d55e00", "#8c564b", "#009e73", "#7f3c8d", "#e69f00", "#999999", "#0072b2", "#56b4e9")


class TimelinePlot:
    """Gathers rows in memory that does not grow with them, then draws.

    Args:
        labels: the classes that were allowed.
        strips: whom to draw, with names, from top to bottom.
        column: what tells them apart: `person` or `track`.
        seconds: length of the video.
        frames: how many will come; each point in time stands for two of them or more, so that none is empty.
    """

    def __init__(
        self,
        labels: Sequence[str],
        strips: Sequence[tuple[int, str]],
        column: str,
        *,
        seconds: float,
        frames: int,
    ) -> None:
        self._labels = labels
        self._places = {number: place for place, (number, _) in enumerate(strips)}
        self._names = [name for _, name in strips]
        self._column = column
        self._seconds = max(seconds, 1e-3)
        self._points = min(_MOST_POINTS, max(1, frames // 2))
        self._sums = np.zeros((len(strips), self._points, len(labels)))
        self._counts = np.zeros((len(strips), self._points), dtype=np.int64)

    def add(self, row: Row) -> None:
        """Take a row of the timeline."""
        place = self._places.get(row[self._column])
        if place is None:
            return
        point = min(self._points - 1, int(row["time"] / self._seconds * self._points))
        self._sums[place, point] += [row[f"smoothed.{name}"] for name in self._labels]
        self._counts[place, point] += 1

    def means(self) -> NDArray[np.float64]:
        """Mean smoothed probabilities, float64 [strips, points, K]; NaN where a face was not seen."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means: NDArray[np.float64] = self._sums / self._counts[..., None]
        return means

    def save(self, path: Path) -> None:
        """Draw it as a PNG.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ModuleNotFoundError:
            raise MissingExtra("the plot of a timeline", "video") from None
        count = max(1, len(self._names))
        figure = Figure(figsize=(11, 1.2 + 1.15 * count), layout="constrained", dpi=110)
        FigureCanvasAgg(figure)
        axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
        # Each point is drawn as a block.
        times = np.repeat(np.linspace(0, self._seconds, self._points + 1), 2)[1:-1]
        means = np.nan_to_num(np.repeat(self.means(), 2, axis=1))
        colours = [_colour(name, place) for place, name in enumerate(self._labels)]
        for place, name in enumerate(self._names):
            axis = axes[place]
            axis.stackplot(times, means[place].T, colors=colours, labels=self._labels)
            axis.set_ylabel(name, rotation=0, ha="right", va="center")
        for axis in axes:
            axis.set(xlim=(0, self._seconds), ylim=(0, 1), yticks=[])
            axis.spines[["top", "right", "left"]].set_visible(False)
        if not self._names:
            axes[0].text(0.5, 0.5, "no face found", transform=axes[0].transAxes, ha="center")
        else:
            handles, names = axes[0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
        axes[-1].set_xlabel("time in seconds; the height of a colour is its smoothed probability")
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")


def _colour(name: str, place: int) -> str:
    """The same for an emotion in every view; a label that is none takes the one of its place."""
    return _COLOURS[(EMOTIONS.index(name) if name in EMOTIONS else place) % len(_COLOURS)]
