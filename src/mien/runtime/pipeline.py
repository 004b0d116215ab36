"""Many pictures: files, folders and globs in, one result a file out, and tables of the results."""

from __future__ import annotations

import csv
import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mien.card import ModelCard
from mien.errors import UnreadableImage
from mien.files import replacing
from mien.files import write_json as write_any_json
from mien.images import load_image
from mien.runtime.classifier import Model
from mien.runtime.face import Face
from mien.runtime.probabilities import Prior, probabilities

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

_PLACE_COLUMNS = ("x0", "y0", "x1", "y1")


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
) -> Iterator[PredictedFile]:
    """Read every picture that paths name; one that cannot be read is a result with its reason, and the run
    goes on.

    Args:
        model: reads the pictures.
        paths: files, folders and patterns; see `find_pictures`.
        prior: how often each class is expected; see `Model.read`.
        view: the classes that are allowed; see `Model.read`.

    Raises:
        InputError: at once, when the prior or the view cannot be used.
    """
    probabilities(np.zeros((1, len(model.card.labels)), dtype=np.float32), model.card, prior=prior, view=view)
    return _read_all(model, paths, prior, view)


def _read_all(
    model: Model, paths: Iterable[str | Path], prior: Prior, view: str | Sequence[str]
) -> Iterator[PredictedFile]:
    for found in find_pictures(paths):
        if found.error is not None:
            yield found
            continue
        try:
            rgb = load_image(found.path)
        except UnreadableImage as error:
            yield PredictedFile(found.path, error=str(error))
            continue
        yield PredictedFile(found.path, faces=tuple(model.read(rgb, prior=prior, view=view)))


def rows_of(result: PredictedFile, labels: Sequence[str]) -> list[dict[str, Any]]:
    """One flat row a face; a file without a face, or that could not be read, gives one row with empty cells.

    Args:
        result: one file's result.
        labels: the card's labels; each is a column ``p.<label>``, empty where the view left it out.
    """
    empty: dict[str, Any] = dict.fromkeys(columns(labels))
    if not result.faces:
        return [
            {
                **empty,
                "path": str(result.path),
                "faces": 0 if result.error is None else None,
                "error": result.error,
            }
        ]
    rows = []
    for index, face in enumerate(result.faces):
        places = dict(zip(_PLACE_COLUMNS, (round(value, 2) for value in face.box), strict=True))
        shares = {f"p.{name}": round(value, 6) for name, value in face.probabilities.items()}
        score = None if face.detection_score is None else round(face.detection_score, 6)
        rows.append(
            {
                **empty,
                "path": str(result.path),
                "faces": len(result.faces),
                "face": index,
                "emotion": face.emotion,
                "confidence": round(face.confidence, 6),
                "abstained": face.abstained,
                **places,
                "detection_score": score,
                **shares,
                "error": result.error,
            }
        )
    return rows


def columns(labels: Sequence[str]) -> list[str]:
    """The columns of `rows_of`, in order."""
    fixed = [
        "path",
        "faces",
        "face",
        "emotion",
        "confidence",
        "abstained",
        *_PLACE_COLUMNS,
        "detection_score",
    ]
    return [*fixed, *(f"p.{name}" for name in labels), "error"]


def write_csv(path: Path, results: Iterable[PredictedFile], labels: Sequence[str]) -> None:
    """Write the rows of `rows_of` as UTF-8 CSV with a header, all of it or nothing; `results` is consumed as
    it comes."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns(labels), lineterminator="\n")
        writer.writeheader()
        for result in results:
            writer.writerows(rows_of(result, labels))


def write_json(path: Path, results: Iterable[PredictedFile], card: ModelCard) -> None:
    """Write ``{"model": ..., "labels": [...], "licence": ..., "files": [...]}`` as UTF-8 JSON, all of it or
    nothing."""
    value = {
        "model": card.name,
        "labels": list(card.labels),
        "licence": card.licence,
        "files": [result.to_dict() for result in results],
    }
    write_any_json(path, value)


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
