"""What the tests of the studies share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Swin-SE-SAM that trains its one epoch in a second or two; the other columns follow from it."""
    path = tmp_path_factory.mktemp("recipe") / "full.toml"
    path.write_text(
        """
[model]
embed_dim = 16
depths = [1, 1]
num_heads = [2, 4]
[optim.sam]
rho = 0.05
[train]
epochs = 1
batch_size = 32
precision = "fp32"
threads = 1
"""
    )
    return path
