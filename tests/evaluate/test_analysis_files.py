"""The small files of the analyses: written under their names, read back, and refused when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.errors import InputError
from mien.evaluate.analysis_files import AnalysisName, read_analyses, write_analysis


def write(folder: Path, split: str, analysis: AnalysisName, values: dict[str, object]) -> Path:
    return write_analysis(
        folder, split, analysis, values, manifest_hash="ab", weights_sha256="cd", seconds=1.26
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "test", "robustness", {"count": 3})
    assert path == tmp_path / "evaluation" / "test-robustness.json"
    write(tmp_path, "train", "landscape", {"loss": [[1.5]]})
    # A run's figures lie beside them.
    (tmp_path / "evaluation" / "test.json").write_text("[]")
    assert read_analyses(tmp_path) == {
        "test-robustness": {
            "format": 1,
            "analysis": "robustness",
            "split": "test",
            "manifest_hash": "ab",
            "weights_sha256": "cd",
            "seconds": 1.3,
            "values": {"count": 3},
        },
        "train-landscape": {
            "format": 1,
            "analysis": "landscape",
            "split": "train",
            "manifest_hash": "ab",
            "weights_sha256": "cd",
            "seconds": 1.3,
            "values": {"loss": [[1.5]]},
        },
    }
    write(tmp_path, "test", "robustness", {"count": 4})
    assert read_analyses(tmp_path)["test-robustness"]["values"] == {"count": 4}


def test_nothing_is_there(tmp_path: Path) -> None:
    assert read_analyses(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not in the format of this mien"),
        ('{"format": 2, "values": {}}', "not in the format of this mien"),
        ('{"format": 1}', "not in the format of this mien"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, "test", "maps", {}).write_text(text)
    with pytest.raises(InputError, match=rf"test-maps\.json: {said}.*; analyse the model again"):
        read_analyses(tmp_path)
