"""Every setting of mien and its default: frozen dataclasses, filled from TOML files and flags.

This package is the only place where a default lives.
"""

from mien.config.prepare import (
    AuditConfig,
    BalanceConfig,
    DrawnConfig,
    FacesConfig,
    PrepareConfig,
    SplitConfig,
)
from mien.config.reading import prepare_config_from, read_run_config, run_config_from, to_dict
from mien.config.run import (
    AugmentConfig,
    Balance,
    DistillConfig,
    LoopConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    SAMConfig,
    SEConfig,
    SEPosition,
    TrainingSetConfig,
)
from mien.config.serve import ServeConfig

__all__ = [
    "AuditConfig",
    "AugmentConfig",
    "Balance",
    "BalanceConfig",
    "DistillConfig",
    "DrawnConfig",
    "FacesConfig",
    "LoopConfig",
    "ModelConfig",
    "OptimConfig",
    "PrepareConfig",
    "RunConfig",
    "SAMConfig",
    "SEConfig",
    "SEPosition",
    "ServeConfig",
    "SplitConfig",
    "TrainingSetConfig",
    "prepare_config_from",
    "read_run_config",
    "run_config_from",
    "to_dict",
]
