"""Many pictures: files, folders and globs in, one result a file out, by several processes if wanted."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from mien.errors import InputError, UnreadableImage
from mien.faces.named import DetectorName
from mien.images import load_image
from mien.runtime.classifier import Model
from mien.runtime.face import Face
from mien.runtime.probabilities import Prior, check_prior_and_view
from mien.runtime.video_file import VIDEO_SUFFIXES
from mien.workers import in_processes

PICTURE_SUFFIXES: frozenset[str] = frozenset(
    {
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    }
)
"""What is taken as a picture inside a folder; a file that is named itself is tried whatever its name."""

_FILES_OF_A_TASK = 8
"""Files that a worker is given at once."""


@dataclass(frozen=True)
class PredictedFile:
    """One file and what was read from it."""

    path: Path
    """The file, or the folder or pattern that holds no picture."""
    faces: tuple[Face, ...] = ()
    """The faces found, the surest first."""
    error: str | None = None
    """Why the file could not be read, or None."""

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON-ready values."""
        return {"path": str(self.path), "error": self.error, "faces": [face.to_dict() for face in self.faces]}


def find_pictures(paths: Iterable[str | Path]) -> Iterator[PredictedFile]:
    """The files that paths name, each once, as results without faces.

    A folder gives its pictures, those of its subfolders too, by name; a pattern such as ``holiday/*.jpg`` or
    ``**/*.png`` what it matches; any other path itself. A path, folder or pattern that gives nothing comes
    with its error set.
    """
    seen: set[Path] = set()
    for given in paths:
        files, error = _files_of(Path(given))
        if error is not None:
            yield PredictedFile(Path(given), error=error)
        for file in files:
            if file not in seen:
                seen.add(file)
                yield PredictedFile(file)


def predict_paths(
    model: Model,
    paths: Iterable[str | Path],
    *,
    prior: Prior = "training",
    view: str | Sequence[str] = "all",
    workers: int = 1,
) -> Iterator[PredictedFile]:
    """Read every picture that paths name; one that cannot be read is a result with its reason, and the run
    goes on.

    Args:
        model: reads the pictures.
        paths: files, folders and patterns; see `find_pictures`.
        prior: how often each class is expected; see `Model.read`.
        view: the classes that are allowed; see `Model.read`.
        workers: processes, each with a copy of the model; 1 works in this one. More than one needs a model
            whose detector is named, not a user's own object.

    Returns:
        Results in the order of the paths, as they come.

    Raises:
        InputError: at once, when the prior, the view or the workers cannot be used.
    """
    check_prior_and_view(model.card, prior, view)
    if workers < 1:
        raise InputError(f"workers must be 1 or more, not {workers}.")
    if workers > 1 and model.detector_name is None:
        raise InputError("several workers need a detector that is named, such as mtcnn; take one worker.")
    return _read_all(model, paths, prior, view, workers)


@dataclass(frozen=True)
class _Task:
    """Some files, and the model that is to read them; crosses to another process."""

    number: int
    files: tuple[PredictedFile, ...]
    model: tuple[Path, DetectorName, float, int]
    """File, detector, smallest face, threads."""
    prior: Prior
    view: str | Sequence[str]


def _read_all(
    model: Model, paths: Iterable[str | Path], prior: Prior, view: str | Sequence[str], workers: int
) -> Iterator[PredictedFile]:
    if workers == 1:
        for found in find_pictures(paths):
            yield _read_one(model, found, prior, view)
        return
    assert model.detector_name is not None
    described = (model.path, model.detector_name, model.min_face, model.threads)
    parts = _parts(find_pictures(paths))
    tasks = (_Task(number, part, described, prior, view) for number, part in enumerate(parts))
    waiting: dict[int, list[PredictedFile]] = {}
    due = 0
    # They are finished in any order; what waits for its turn is bounded by what is in flight.
    for number, results in in_processes(_read_task, tasks, jobs=workers):
        waiting[number] = results
        while due in waiting:
            yield from waiting.pop(due)
            due += 1


def _parts(found: Iterator[PredictedFile]) -> Iterator[tuple[PredictedFile, ...]]:
    while part := tuple(islice(found, _FILES_OF_A_TASK)):
        yield part


def _read_task(task: _Task) -> tuple[int, list[PredictedFile]]:
    model = _model_of(*task.model)
    return task.number, [_read_one(model, found, task.prior, task.view) for found in task.files]


@cache
def _model_of(path: Path, detector: DetectorName, min_face: float, threads: int) -> Model:
    """A worker's own copy, opened once."""
    return Model(path, detector=detector, min_face=min_face, threads=threads)


def _read_one(model: Model, found: PredictedFile, prior: Prior, view: str | Sequence[str]) -> PredictedFile:
    if found.error is not None:
        return found
    if found.path.suffix.lower() in VIDEO_SUFFIXES:
        return PredictedFile(found.path, error=f"{found.path}: a video; read it with mien video {found.path}")
    try:
        rgb = load_image(found.path)
    except UnreadableImage as error:
        return PredictedFile(found.path, error=str(error))
    return PredictedFile(found.path, faces=tuple(model.read(rgb, prior=prior, view=view)))


def _files_of(path: Path) -> tuple[list[Path], str | None]:
    if path.is_dir():
        inside = [
            file for file in path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file()
        ]
        return sorted(inside), None if inside else f"{path}: the folder holds no picture."
    # A file whose name holds brackets is that file, not a pattern.
    if not path.exists() and glob.has_magic(str(path)):
        # Path.glob refuses absolute patterns.
        matches = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207
        files = sorted(file for file in matches if file.is_file())
        return files, None if files else f"{path}: the pattern matches no file."
    if not path.exists():
        return [], f"{path}: there is no such file or folder."
    return [path], None
