"""The small files that hold what was analysed of a model beside its figures.

`evaluation/<split>-<analysis>.json` in a run's folder, or in that of any evaluated model. Each says which
data and which weights it is of, so that a report leaves out what has become stale.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from mien.errors import InputError
from mien.files import write_json
from mien.models.saved import EVALUATION

AnalysisName: TypeAlias = Literal["features", "maps", "robustness", "sharpness", "landscape"]
ANALYSES: Final[tuple[AnalysisName, ...]] = get_args(AnalysisName)
"""What can be analysed, cheapest first."""
FORMAT: Final = 1
"""Version of the files; a reader refuses any other."""


def write_analysis(
    folder: Path,
    split: str,
    analysis: AnalysisName,
    values: Mapping[str, Any],
    *,
    manifest_hash: str,
    weights_sha256: str,
    seconds: float,
) -> Path:
    """Write one analysis and return its file.

    Args:
        folder: of the run, or of the evaluated model.
        split: `train`, `validation` or `test`: whose images it is of.
        analysis: its name.
        values: JSON-ready.
        manifest_hash: of the data.
        weights_sha256: of the file that holds the weights, in hexadecimal; empty where there is none.
        seconds: wall-clock time that it took.
    """
    path = folder / EVALUATION / f"{split}-{analysis}.json"
    write_json(
        path,
        {
            "format": FORMAT,
            "analysis": analysis,
            "split": split,
            "manifest_hash": manifest_hash,
            "weights_sha256": weights_sha256,
            "seconds": round(seconds, 1),
            "values": dict(values),
        },
    )
    return path


def read_analyses(folder: Path) -> dict[str, dict[str, Any]]:
    """What `write_analysis` wrote into a folder: the file's stem, such as `test-robustness`, to all it holds.

    Raises:
        InputError: a file is damaged or of another format.
    """
    found = {}
    for name in ANALYSES:
        for path in sorted((folder / EVALUATION).glob(f"*-{name}.json")):
            try:
                entry = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise InputError(f"{path}: not JSON ({error}); analyse the model again.") from None
            if not isinstance(entry, dict) or entry.get("format") != FORMAT or "values" not in entry:
                raise InputError(f"{path}: not in the format of this mien; analyse the model again.")
            found[path.stem] = entry
    return found
