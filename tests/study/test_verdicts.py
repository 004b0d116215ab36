"""Verdicts from planted answers: what the rule says, and that it counts what an independent count gives."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mien.study.document import write_study
from mien.study.verdicts import Judged, judge, rule, write_verdicts

CLASSES = ["anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]
IMAGES = 2000


def planted(out: Path, column: str, seed: int, wrong: set[int], seconds: float = 60.0) -> None:
    """A scored run that is wrong on the images named and right on the others."""
    folder = out / f"{column}-seed{seed}"
    (folder / "evaluation").mkdir(parents=True)
    truth = np.arange(IMAGES) % 7
    answer = np.where(np.isin(np.arange(IMAGES), list(wrong)), (truth + 1) % 7, truth)
    logits = np.eye(8, dtype=np.float16)[answer]
    kept = {
        "labels": truth.astype(np.uint8),
        "pack_rows": np.arange(IMAGES, dtype=np.int32),
        "logits": logits,
    }
    figures = [{"view": "all", "count": IMAGES, "accuracy": 1 - len(wrong) / IMAGES, "macro_recall": 0.5}]
    for split in ("test", "validation"):
        save_file(kept, folder / "evaluation" / f"{split}.safetensors")
        (folder / "evaluation" / f"{split}.json").write_text(json.dumps(figures))
    record = {
        "labels": CLASSES,
        "processor": "p",
        "threads": 1,
        "manifest_hash": "ab" * 32,
        "parameters": 1000,
        "views": {},
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.json").write_text(json.dumps({"train": {"seed": seed}}))
    lines = [{"seconds": seconds * e, "validation_seconds": 1.0} for e in (1, 2, 3)]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def first(rows: tuple[Judged, ...], claim: str) -> Judged:
    return next(row for row in rows if row.claim == claim)


def drawn(seed: int, count: int) -> set[int]:
    return set(np.random.default_rng(seed).choice(IMAGES, count, replace=False).tolist())


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ([(0.001, 0.02)], "supported"),
        ([(0.001, 0.02), (-0.01, 0.03)], "undecided"),
        ([(-0.02, 0.005), (-0.03, 0.009)], "not supported"),
        ([(-0.02, 0.005), (-0.03, 0.011)], "undecided"),
        ([(0.001, 0.004)], "supported"),
    ],
)
def test_the_rule(intervals: list[tuple[float, float]], verdict: str) -> None:
    assert rule(intervals, 0.01) == verdict


def test_a_sure_gain_is_supported_and_its_size_is_counted(tmp_path: Path) -> None:
    for seed in range(3):
        wrong = drawn(seed, 600)
        planted(tmp_path, "swin", seed, wrong)
        # Right on 200 more images, give or take one a seed.
        planted(tmp_path, "swin_se", seed, set(sorted(wrong)[: 400 + seed]))
    row = first(judge(tmp_path), "C1")
    assert row.verdict == "supported"
    assert row.difference == pytest.approx((200 + 199 + 198) / 3 / IMAGES)
    assert row.seeds == (0, 1, 2)
    assert row.seed_interval is not None
    # Student's t with two degrees of freedom: 4.303 standard errors.
    half = 4.303 * (1 / IMAGES) / 3**0.5
    assert row.seed_interval == pytest.approx((199 / IMAGES - half, 199 / IMAGES + half), abs=1e-6)


def test_no_difference_is_not_supported_and_too_few_images_are_undecided(tmp_path: Path) -> None:
    for seed in range(3):
        planted(tmp_path, "swin", seed, drawn(seed, 600))
        planted(tmp_path, "swin_se", seed, drawn(seed, 600) ^ set(range(4)))
    assert first(judge(tmp_path), "C1").verdict == "not supported"
    assert first(judge(tmp_path), "C2").verdict == "undecided"
    assert "swin_se_sam" in first(judge(tmp_path), "C2").reason


def test_robustness_to_noise_is_a_difference_of_gains(tmp_path: Path) -> None:
    wrong = {"swin_se": 500, "swin_se_sam": 480, "swin_se_noise40": 900, "swin_se_sam_noise40": 700}
    for seed in range(3):
        for name, count in wrong.items():
            planted(tmp_path, name, seed, set(range(count)))
    row = first(judge(tmp_path), "C5")
    assert row.difference == pytest.approx(((900 - 700) - (500 - 480)) / IMAGES)
    assert row.verdict == "supported"


def test_cost_is_judged_over_seeds(tmp_path: Path) -> None:
    for seed in range(3):
        planted(tmp_path, "swin_se", seed, set(), seconds=50)
        planted(tmp_path, "swin_se_sam", seed, set(), seconds=100 + seed)
        row = first(judge(tmp_path), "C4")
        assert row.verdict == ("supported" if seed == 2 else "undecided")
    assert row.difference == pytest.approx(101 / 50)


def test_verdicts_and_the_page_are_made_without_weights(tmp_path: Path) -> None:
    planted(tmp_path, "swin", 0, drawn(0, 600))
    planted(tmp_path, "swin_se", 0, drawn(0, 300))
    claims = json.loads(write_verdicts(tmp_path).read_text())["claims"]
    assert list(claims) == [f"C{i}" for i in range(1, 10)]
    assert claims["C1"]["verdict"] == "supported"
    assert claims["C7"]["verdict"] == "undecided"
    page = write_study(tmp_path, tmp_path / "study.md", command="mien x").read_text()
    assert "| C1 | SE helps | **supported** |" in page
    assert "| `swin` | 1,000 |" in page
    assert "70.00%" in page
