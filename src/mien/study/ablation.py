"""The runs of a study: the columns of the paper's Table 2, and what an ablation that can be believed adds.

Those are the other places of the SE block, and the control that SAM has to beat: the same model without SAM,
trained for as many more epochs as SAM's steps cost (Foret et al., 2021, section 3.1, give their baselines
twice the epochs for the same reason).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import mien
from mien.config import RunConfig, SAMConfig, SEConfig, SEPosition, read_run_config
from mien.errors import InputError
from mien.evaluate.analysis_files import AnalysisName
from mien.report.comparisons import equal_epochs
from mien.report.tables import POSITIONS

Study: TypeAlias = Literal["ablation", "table2", "full"]
"""`table2` are the recipe's own columns; `ablation` adds the control and the other places of SE; `full` is
`mien.study.full`."""
STUDIES: Final[tuple[Study, ...]] = get_args(Study)


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study."""

    column: str
    """Such as `swin_se`."""
    config: RunConfig
    """With its seed."""
    step: int = 1
    """Of the study, in order of value."""
    claims: tuple[str, ...] = ()
    """Those of the paper that the run bears on, such as `C1`."""
    analyses: tuple[AnalysisName, ...] = ()
    """Done right after training, while there are weights."""
    judged_on: tuple[str, ...] = ()
    """Annotations whose labels of the test split it is scored on besides its own."""
    tuned: bool = False
    """Whether it waits for the radius of SAM that validation chooses."""

    @property
    def name(self) -> str:
        """The run's folder in the study's."""
        return f"{self.column}-seed{self.config.train.seed}"


def plan_study(
    recipe: Path,
    study: Study,
    *,
    seeds: int,
    columns: Sequence[str] = (),
    epochs: int | None = None,
    threads: int | None = None,
) -> tuple[PlannedRun, ...]:
    """The runs of a study in the order in which a study that is stopped is worth the most: for each seed the
    columns of Table 2 and the control, then for each seed the other places of SE.

    Args:
        recipe: see `recipe_columns`.
        study: which columns.
        seeds: runs of each column, with seeds from the config's on.
        columns: those alone; empty takes all.
        epochs: instead of the configs'; the control has more in proportion.
        threads: instead of the configs'.

    Raises:
        InputError: no seed, a column that the study lacks, or a recipe that cannot be used.
    """
    if seeds < 1:
        raise InputError(f"--seeds is {seeds}; a study needs at least one.")
    first = {
        name: with_options(column, epochs=epochs, threads=threads)
        for name, column in recipe_columns(find_recipe(recipe)).items()
    }
    then: Mapping[str, RunConfig] = {}
    if study == "ablation":
        control, then = _additions(first)
        first = {**first, **control}
    known = [*first, *then]
    for name in columns:
        if name not in known:
            raise InputError(f"--columns: {name} is no column of this study; it has {', '.join(known)}.")
    wanted = set(columns or known)
    return tuple(
        PlannedRun(name, with_options(config, seed=config.train.seed + seed))
        for group in (first, then)
        for seed in range(seeds)
        for name, config in group.items()
        if name in wanted
    )


def find_recipe(name: Path) -> Path:
    """A recipe's path: the one given, or one of mien's own by name (`compact`, `paper`, `smoke`).

    Raises:
        InputError: neither exists.
    """
    package = Path(mien.__file__).parent
    # A wheel carries the configs inside the package; in a checkout they lie at its root.
    homes = [package / "configs", package.parents[1] / "configs"]
    for path in (name, *(home / f"{name}{suffix}" for home in homes for suffix in ("", ".toml"))):
        if path.exists():
            return path
    raise InputError(f"{name}: no such config file or folder; give one, or `compact`, `paper` or `smoke`.")


def recipe_columns(recipe: Path) -> Mapping[str, RunConfig]:
    """The configs of a recipe, by column name, in the order of Table 2's columns.

    Args:
        recipe: a folder of TOML files, one a column, or one file that stands for the last column: the others
            are it without SAM, and without SAM and SE.

    Raises:
        InputError: there is no config, or one file that has no SE or no SAM to take away.
    """
    if recipe.is_dir():
        files = sorted(recipe.glob("*.toml"), key=lambda file: (len(file.stem), file.stem))
        if not files:
            raise InputError(f"{recipe}: no .toml file there; give a folder of configs or one config.")
        return {file.stem: read_run_config(file) for file in files}
    full = read_run_config(recipe)
    if full.model.se.position == "none" or full.optim.sam.rho == 0:
        raise InputError(
            f"{recipe}: a config that stands for Swin-SE-SAM needs model.se.position other than none and "
            "optim.sam.rho above 0."
        )
    no_sam = without_sam(full)
    return {"swin": with_se(no_sam, "none"), "swin_se": no_sam, "swin_se_sam": full}


def _additions(columns: Mapping[str, RunConfig]) -> tuple[dict[str, RunConfig], dict[str, RunConfig]]:
    """The control of a recipe's SAM column, and its SE column with SE elsewhere; nothing where the recipe has
    not both of the columns."""
    for full in columns.values():
        if full.optim.sam.rho == 0 or full.model.se.position == "none":
            continue
        base = without_sam(full)
        names = [name for name, config in columns.items() if config == base]
        if not names:
            continue
        others = [place for place in POSITIONS if place not in ("none", base.model.se.position)]
        places = {f"{names[0]}_{place}": with_se(base, place) for place in others}
        # A budget of time is equal already.
        if base.train.max_minutes is not None or equal_epochs(full) == base.train.epochs:
            return {}, places
        return {f"{names[0]}_equal_cost": _lengthened(base, equal_epochs(full))}, places
    return {}, {}


def without_sam(config: RunConfig) -> RunConfig:
    """The same with the base optimizer alone."""
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, sam=SAMConfig()))


def with_se(config: RunConfig, position: SEPosition) -> RunConfig:
    """The same with the SE block elsewhere, or without one."""
    se = SEConfig() if position == "none" else config.model.se
    model = dataclasses.replace(config.model, se=dataclasses.replace(se, position=position))
    return dataclasses.replace(config, model=model)


def _lengthened(config: RunConfig, epochs: int) -> RunConfig:
    """The same with other epochs; a step schedule falls at the same shares of the run."""
    optim = config.optim
    if optim.schedule == "step":
        steps = round(optim.step_epochs * epochs / config.train.epochs)
        optim = dataclasses.replace(optim, step_epochs=steps)
    return dataclasses.replace(config, optim=optim, train=dataclasses.replace(config.train, epochs=epochs))


def with_options(
    config: RunConfig, *, seed: int | None = None, epochs: int | None = None, threads: int | None = None
) -> RunConfig:
    """The same with another seed, other epochs or threads."""
    train = config.train
    changed = dataclasses.replace(
        train,
        seed=train.seed if seed is None else seed,
        epochs=train.epochs if epochs is None else epochs,
        threads=train.threads if threads is None else threads,
    )
    return dataclasses.replace(config, train=changed)
