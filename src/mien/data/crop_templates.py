"""Where the eyes lie in each set that came cropped, measured once and remembered."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.card import CropTemplate
from mien.config import PrepareConfig
from mien.data.chunks import faces_in, rows_in
from mien.data.pack import Pixels
from mien.faces.template import measure_template
from mien.files import write_json
from mien.progress import Reporter

_VERSION: Final = 2
"""Of how a template is measured and kept."""
_GRID: Final = 0.005
"""Eyes are put on a grid of so much of the side: an eighth of a pixel of a face of 48."""


def crop_templates(
    paths: Mapping[tuple[str, bool], Sequence[Path]], memory: Path, config: PrepareConfig, reporter: Reporter
) -> dict[str, CropTemplate]:
    """The crop template of each set that came cropped, where the detector finds enough faces in it.

    Args:
        paths: the chunks of each set, by its name and whether its reader says that it came cropped.
        memory: the file that remembers what was measured.
        config: `template_sample` and `seed`.
        reporter: shows that it is measuring.
    """
    found: dict[str, CropTemplate] = {}
    known: dict[str, Any] = json.loads(memory.read_text(encoding="utf-8")) if memory.is_file() else {}
    used: dict[str, Any] = {}
    if not config.template_sample:
        return found
    for name in dict.fromkeys(name for name, _ in paths):
        chunks = [path for lane, some in paths.items() if lane[0] == name for path in some]
        text = json.dumps([_VERSION, [path.name for path in chunks], config.template_sample, config.seed])
        key = hashlib.sha256(text.encode()).hexdigest()
        if key not in known:
            with reporter.bar(f"measuring where the eyes lie in {name}", None):
                measured = _measure(chunks, config)
            known[key] = None if measured is None else dataclasses.asdict(measured)
        used[key] = known[key]
        if known[key] is not None:
            found[name] = CropTemplate.from_dict(known[key])
    if used:
        write_json(memory, used)
    return found


def _measure(chunks: Sequence[Path], config: PrepareConfig) -> CropTemplate | None:
    """The template of a sample that a new picture hardly changes, rounded so that its last digits do not
    change every crop."""
    ranks = [_ranks(path, config.seed) for path in chunks]
    joined = np.concatenate(ranks)
    if not len(joined):
        return None
    limit = np.sort(joined)[min(config.template_sample, len(joined)) - 1]
    faces: list[Pixels] = []
    for path, rank in zip(chunks, ranks, strict=True):
        chosen = rank <= limit
        if chosen.any():
            some = faces_in(path, size=config.size, channels=config.channels)
            faces += [face.transpose(1, 2, 0) for face, wanted in zip(some, chosen, strict=True) if wanted]
    measured = measure_template(np.ascontiguousarray(np.stack(faces)))
    if measured is None:
        return None
    return dataclasses.replace(
        measured, left_eye=_on_grid(*measured.left_eye), right_eye=_on_grid(*measured.right_eye)
    )


def _on_grid(x: float, y: float) -> tuple[float, float]:
    return round(round(x / _GRID) * _GRID, 5), round(round(y / _GRID) * _GRID, 5)


def _ranks(path: Path, seed: int) -> npt.NDArray[np.uint32]:
    """A number for each kept row of a chunk, by which the sample is chosen."""
    ids = rows_in(path).filter("kept")["id"]
    return np.asarray([zlib.crc32(f"{seed} {name}".encode()) for name in ids], dtype=np.uint32)
