"""Where the eyes lie in each set that came cropped, measured once and remembered."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from mien.card import CropTemplate
from mien.config import PrepareConfig
from mien.data.chunks import faces_in, rows_in
from mien.data.pack import Pixels
from mien.faces.template import measure_template
from mien.files import write_json
from mien.progress import Reporter

_VERSION: Final = 1
"""Of how a template is measured and kept."""


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
    known: dict[str, Any] = json.loads(memory.read_text()) if memory.is_file() else {}
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
            write_json(memory, known)
        if known[key] is not None:
            found[name] = CropTemplate.from_dict(known[key])
    return found


def _measure(chunks: list[Path], config: PrepareConfig) -> CropTemplate | None:
    kept = [int(rows_in(path)["kept"].sum()) for path in chunks]
    starts = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    rng = np.random.default_rng(config.seed)
    chosen = np.sort(rng.permutation(starts[-1])[: config.template_sample])
    faces: list[Pixels] = []
    for path, start, end in zip(chunks, starts[:-1], starts[1:], strict=True):
        wanted = set((chosen[(chosen >= start) & (chosen < end)] - start).tolist())
        if wanted:
            some = faces_in(path, size=config.size, channels=config.channels)
            faces += [face.transpose(1, 2, 0) for i, face in enumerate(some) if i in wanted]
    return measure_template(np.ascontiguousarray(np.stack(faces))) if faces else None
