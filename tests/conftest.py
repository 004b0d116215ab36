"""What every test shares: one thread, fixed seeds, one small prepared folder of drawn faces."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, sync_playwright

from mien.config import (
    AugmentConfig,
    DrawnConfig,
    LoopConfig,
    ModelConfig,
    OptimConfig,
    PrepareConfig,
    RunConfig,
    SAMConfig,
    SEConfig,
)
from mien.progress import Reporter

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of 240 drawn grey faces at 48 px, eight classes."""
    from mien.data.prepare import prepare

    out = tmp_path_factory.mktemp("prepared") / "drawn"
    prepare("drawn", out, PrepareConfig(drawn=DrawnConfig(240), jobs=1))
    return out


@pytest.fixture(scope="session")
def tiny() -> RunConfig:
    """A run that ends in seconds: two stages of one block, SE, SAM, every augmentation, two epochs, fp32."""
    return RunConfig(
        model=ModelConfig(
            embed_dim=16, depths=(1, 1), num_heads=(2, 4), drop_path=0.2, se=SEConfig("pooled", 4)
        ),
        augment=AugmentConfig(
            translation=0.1, scale=0.1, flip=0.5, brightness=0.1, contrast=0.1, erasing=0.5
        ),
        optim=OptimConfig(lr=2e-3, sam=SAMConfig(rho=0.05)),
        train=LoopConfig(epochs=2, batch_size=32, precision="fp32", ema=0.9, threads=1),
    )


@pytest.fixture(scope="session")
def trained(tiny: RunConfig, drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one finished tiny run; tests read it and leave it as it is."""
    from mien.train.run import train_run

    out = tmp_path_factory.mktemp("runs") / "tiny"
    train_run(tiny, drawn_folder, out, reporter=quiet())
    return out


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a window, which is installed where that is allowed."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None) or _installed_chromium()
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not start for root.
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


def _installed_chromium() -> str:
    if not shutil.which("apt-get") or os.geteuid() != 0:
        pytest.skip("needs Chromium, which only root may install: apt-get install chromium")
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            ["apt-get", "--quiet", *command],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode:
            pytest.skip(f"needs Chromium, which apt-get could not install: {done.stderr.strip()[-200:]}")
    return "/usr/bin/chromium"


def quiet() -> Reporter:
    """Says nothing."""
    return Reporter(quiet=True)
