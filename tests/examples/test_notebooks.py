"""The notebooks of examples/ run from end to end, and are kept without what they print."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

EXAMPLES = Path(__file__).parents[2] / "examples"
RESULTS = EXAMPLES.parent / "results"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
PRINTED = {
    "compare_runs": ("3,152 pictures, 8 classes", "no difference in accuracy between Swin-SE and Swin"),
    "holiday_folder": ("36 faces, ", "2026-07-06"),
    "video_moods": ("120 frames, 24 s, 3 tracks", "too short for an interval"),
}
"""What each must have said at its end."""
PLOTS = 1
"""Fewest pictures a notebook shows."""


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def test_each_notebook_is_told_of_here() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(PRINTED)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_light(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert path.stat().st_size < 20_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert "version" not in notebook.metadata.language_info, "a kernel's version is nothing to keep"
    assert notebook.cells[0].cell_type == "markdown"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if path.stem == "compare_runs" and not RESULTS.is_dir():
        pytest.skip("results/ is in a checkout, not in the source distribution")
    # A folder of its own keeps IPython's history and the temporary pictures out of the user's.
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = read(path)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    warned = [output.text for output in outputs if output.get("name") == "stderr"]
    assert warned == []
    shown = [output.get("data", {}) for output in outputs]
    assert sum("image/png" in data for data in shown) >= PLOTS
    text = "\n".join(
        output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs
    )
    for expected in PRINTED[path.stem]:
        assert expected in text
