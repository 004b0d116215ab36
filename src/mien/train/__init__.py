"""The training loop, SAM, checkpoints."""
