"""What is kept of an evaluated split comes back as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien.evaluate.split import SplitPredictions, read_evaluation, read_logits, write_evaluation


@pytest.mark.parametrize("layout", ["rows", "columns", "a part"])
def test_logits_come_back_however_they_lay_in_memory(tmp_path: Path, layout: str) -> None:
    wide = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    logits = {"rows": wide[:, :4].copy(), "columns": wide[:, [3, 1, 0, 2]], "a part": wide[::2, ::2]}[layout]
    count = len(logits)
    labels = np.arange(count, dtype=np.int64) % 4
    rows = np.arange(count, dtype=np.int64) + 7
    votes = np.eye(4, dtype=np.float32)[labels]
    write_evaluation(tmp_path, SplitPredictions("test", labels, votes, logits, rows), [{"view": "all"}])
    kept = read_logits(tmp_path, "test")
    assert kept["logits"].dtype == np.float16
    np.testing.assert_array_equal(kept["logits"], logits.astype(np.float16))
    np.testing.assert_array_equal(kept["labels"], labels)
    np.testing.assert_array_equal(kept["pack_rows"], rows)
    assert read_evaluation(tmp_path, "test") == [{"view": "all"}]
