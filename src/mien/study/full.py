"""The whole study: which runs answer which claim of the paper, in the order in which they are worth most.

Everything is the recipe's Swin, Swin-SE or Swin-SE-SAM with one thing changed, so that each comparison asks
one question. SAM's radius is chosen first, on validation with one seed; what follows trains with it.

Runs on a share of the images have as many more epochs, and as much more warm-up: equal updates, not equal
epochs. With equal epochs a tenth of the images is a tenth of the updates, and a model that has not learned
yet would be taken for one that lacks data.

Comparators get the minutes of the equal-cost control and not its epochs: an epoch of ResNet-50 takes fifteen
times that of the study's Swin, and what one core learns in those minutes is what the study is about.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from mien.config import Balance, RunConfig, TrainingSetConfig
from mien.errors import InputError
from mien.evaluate.analysis_files import AnalysisName
from mien.report.comparisons import passes_of
from mien.study.ablation import PlannedRun, with_options, with_se

Claim: TypeAlias = Literal["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9"]

SEEDS: Final = 3
RADII: Final = (0.02, 0.05, 0.1)
"""Of SAM, chosen among on validation."""
ASAM_FACTOR: Final = 10
"""ASAM's radius over SAM's (Kwon et al., 2021, take 0.5 where SAM takes 0.05)."""
MSAM_FACTOR: Final = 10
"""Momentum-SAM's radius over SAM's; not tuned. Becker et al. (2024) take far larger ones than SAM's."""
BALANCES: Final[tuple[Balance, ...]] = ("copies", "sampling", "logit_adjustment")
SHARES: Final = (0.1, 0.3)
_SEEDED_RELATIVES: Final = ("swin_se_asam", "swin_se_looksam")
"""Those of SAM's relatives that get three seeds."""
COPIES_FACTOR: Final = 3
"""Images of an epoch of FER+ (`clean`) under the balance plan, over those of one without: 68,784 / 24,106."""
COMPARATOR_MINUTES: Final = 20.0
"""What the equal-cost control takes on a free core."""
PAPER_MINUTES: Final = 20.0


@dataclass(frozen=True)
class _Column:
    """A column of the study before its seeds."""

    name: str
    config: RunConfig
    step: int
    claims: tuple[Claim, ...]
    seeds: int = SEEDS
    analyses: tuple[AnalysisName, ...] = ()
    judged_on: tuple[str, ...] = ()
    tuned: bool = False


def scan_name(rho: float) -> str:
    """The column of a radius of SAM."""
    return f"swin_se_sam_rho{rho:g}"


def plan_full(
    columns: Mapping[str, RunConfig],
    *,
    rho: float | None = None,
    epochs: int | None = None,
    threads: int | None = None,
) -> tuple[PlannedRun, ...]:
    """All runs of the study, in order of value.

    Args:
        columns: of a recipe with `swin`, `swin_se` and `swin_se_sam`.
        rho: SAM's radius; None takes the recipe's until validation has chosen one.
        epochs: instead of the configs'; what has more or fewer has them in proportion.
        threads: instead of the configs'.

    Raises:
        InputError: the recipe lacks a column.
    """
    lacking = [name for name in ("swin", "swin_se", "swin_se_sam") if name not in columns]
    if lacking:
        raise InputError(f"--study full needs a recipe with {', '.join(lacking)}.")
    first = {name: with_options(config, epochs=epochs, threads=threads) for name, config in columns.items()}
    if rho is not None:
        first["swin_se_sam"] = _with_sam(first["swin_se_sam"], rho=rho)
    runs: dict[str, PlannedRun] = {}
    for group in _groups(first):
        for run in _runs(group):
            runs.setdefault(run.name, run)
    return tuple(runs.values())


def _runs(group: list[_Column]) -> list[PlannedRun]:
    """Seed by seed, so that a group that is stopped has whole pairs; the first seed is the config's."""
    return [
        PlannedRun(
            column.name,
            with_options(column.config, seed=column.config.train.seed + seed),
            step=column.step,
            claims=column.claims,
            # The landscape is a picture, of which one seed is enough.
            analyses=(*column.analyses, *(("landscape",) if seed == 0 and "C9" in column.claims else ())),
            judged_on=column.judged_on,
            tuned=column.tuned,
        )
        for seed in range(max(column.seeds for column in group))
        for column in group
        if seed < column.seeds
    ]


def _groups(first: Mapping[str, RunConfig]) -> list[list[_Column]]:
    swin, se, sam = first["swin"], first["swin_se"], first["swin_se_sam"]
    return [
        _scan(sam),
        [
            _Column("swin", swin, 1, ("C1", "C7"), analyses=("features",)),
            _Column(
                "swin_se",
                se,
                1,
                ("C1", "C2", "C8", "C9"),
                analyses=("features", "sharpness"),
                judged_on=("fer2013",),
            ),
            _Column(
                "swin_se_sam",
                sam,
                1,
                ("C2", "C4", "C8", "C9"),
                analyses=("features", "sharpness"),
                judged_on=("fer2013",),
                tuned=True,
            ),
            _Column("swin_se_equal_cost", _longer(se, passes_of(sam.optim.sam)), 1, ("C2",)),
        ],
        [*_noise(se, sam, 0.4, 1), *_noise(se, sam, 0.2, 1), *_other_labels(se, sam, 1)],
        [*_places(se, 1), *_relatives(sam, 1)],
        [_Column(f"swin_se_{b}", _balanced(se, b), 4, ("C3",), seeds=1) for b in BALANCES],
        [column for share in SHARES for column in _shares(se, sam, share)],
        _over_adamw(se, sam),
        _comparators(swin),
        [_paper(sam)],
        # What is worth least: the other seeds of what has answered with one.
        *(
            [replace(column, step=7) for column in columns]
            for columns in (
                _noise(se, sam, 0.4, SEEDS),
                _places(se, SEEDS),
                [column for column in _relatives(sam, SEEDS) if column.name in _SEEDED_RELATIVES],
                _noise(se, sam, 0.2, SEEDS),
                _other_labels(se, sam, SEEDS),
            )
        ),
    ]


def _scan(sam: RunConfig) -> list[_Column]:
    return [_Column(scan_name(rho), _with_sam(sam, rho=rho), 1, ("C2",), seeds=1) for rho in RADII]


def _noise(se: RunConfig, sam: RunConfig, share: float, seeds: int) -> list[_Column]:
    noise = TrainingSetConfig(label_noise=share)
    return [
        _Column(
            f"{name}_noise{share:.0%}".rstrip("%"), _trained_on(config, noise), 2, ("C5",), seeds, tuned=t
        )
        for name, config, t in (("swin_se", se, False), ("swin_se_sam", sam, True))
    ]


def _other_labels(se: RunConfig, sam: RunConfig, seeds: int) -> list[_Column]:
    """FER-2013's labels of the very images that FER+ labels too, judged by both."""
    labels = TrainingSetConfig(target="fer2013", labelled_by="ferplus")
    return [
        _Column(
            f"{name}_fer2013", _trained_on(config, labels), 2, ("C5",), seeds, judged_on=("ferplus",), tuned=t
        )
        for name, config, t in (("swin_se", se, False), ("swin_se_sam", sam, True))
    ]


def _places(se: RunConfig, seeds: int) -> list[_Column]:
    return [
        _Column(f"swin_se_{place}", with_se(se, place), 3, ("C1",), seeds)
        for place in ("feature_map", "stem")
    ]


def _relatives(sam: RunConfig, seeds: int) -> list[_Column]:
    rho = sam.optim.sam.rho
    asam = _with_sam(sam, rho=ASAM_FACTOR * rho, adaptive=True)
    msam = _with_sam(sam, method="msam", rho=MSAM_FACTOR * rho)
    return [
        _Column("swin_se_asam", asam, 3, ("C2",), seeds, tuned=True),
        _Column("swin_se_looksam", _with_sam(sam, method="looksam"), 3, ("C2", "C4"), seeds, tuned=True),
        _Column("swin_se_msam", msam, 3, ("C2", "C4"), seeds, tuned=True),
        _Column("swin_se_esam", _with_sam(sam, method="esam"), 3, ("C2", "C4"), seeds, tuned=True),
    ]


def _over_adamw(se: RunConfig, sam: RunConfig) -> list[_Column]:
    """Another base optimizer, at the rate and batch that suit it (docs/lab-log.md)."""
    return [
        _Column(
            f"{name}_adamw",
            replace(
                config,
                optim=replace(config.optim, name="adamw", lr=1e-3),
                train=replace(config.train, batch_size=64),
            ),
            4,
            ("C2",),
            seeds=1,
            tuned=t,
        )
        for name, config, t in (("swin_se", se, False), ("swin_se_sam", sam, True))
    ]


def _balanced(se: RunConfig, balance: Balance) -> RunConfig:
    config = _trained_on(se, replace(se.training_set, balance=balance))
    # The plan's epochs hold more images: equal updates here too.
    return _longer(config, 1 / COPIES_FACTOR) if balance == "copies" else config


def _shares(se: RunConfig, sam: RunConfig, share: float) -> list[_Column]:
    part = TrainingSetConfig(share=share)
    return [
        _Column(
            f"{name}_share{share:.0%}".rstrip("%"),
            _longer(_trained_on(config, part), 1 / share),
            4,
            ("C6",),
            seeds=1,
            tuned=t,
        )
        for name, config, t in (("swin_se", se, False), ("swin_se_sam", sam, True))
    ]


def _comparators(swin: RunConfig) -> list[_Column]:
    columns = []
    for name in ("resnet50", "vit_se", "efficientnet_b2", "dan"):
        model = replace(swin.model, name=name)
        model = replace(model, se=replace(model.se, position="pooled" if name == "vit_se" else "none"))
        train = replace(swin.train, max_minutes=COMPARATOR_MINUTES)
        config = replace(swin, model=model, train=train)
        claims: tuple[Claim, ...] = ("C7",) if name == "resnet50" else ()
        analyses: tuple[AnalysisName, ...] = ("features",) if name == "resnet50" else ()
        columns.append(_Column(name, config, 5, claims, seeds=1, analyses=analyses))
    return columns


def _paper(sam: RunConfig) -> _Column:
    """What one core can do of configs/paper: its optimizer, schedule, augmentation, labels and balance, on
    the study's network at 48 px with plain patches, for as many updates as the minutes hold."""
    model = replace(sam.model, stem="patch")
    augment = replace(
        sam.augment,
        **dict.fromkeys(("translation", "scale", "flip", "brightness", "contrast", "erasing"), 0.0),
        autocontrast=0.5,
    )
    optim = replace(
        sam.optim,
        name="sgd",
        lr=0.01,
        weight_decay=0.0,
        schedule="step",
        step_epochs=10,
        sam=replace(sam.optim.sam, rho=0.05),
    )
    train = replace(sam.train, epochs=25, max_minutes=PAPER_MINUTES, ema=0.0, precision="fp32")
    config = replace(
        sam,
        model=model,
        augment=augment,
        optim=optim,
        train=train,
        training_set=TrainingSetConfig(target="ferplus", balance="copies"),
    )
    return _Column("paper_48", config, 6, (), seeds=1)


def _with_sam(config: RunConfig, **changes: object) -> RunConfig:
    sam = dataclasses.replace(config.optim.sam, **changes)  # type: ignore[arg-type]
    return replace(config, optim=replace(config.optim, sam=sam))


def _trained_on(config: RunConfig, training_set: TrainingSetConfig) -> RunConfig:
    return replace(config, training_set=training_set)


def _longer(config: RunConfig, factor: float) -> RunConfig:
    """The same with more epochs or fewer, at least one, the warm-up in proportion where updates are equal."""
    epochs = max(1, round(factor * config.train.epochs))
    optim = config.optim
    if config.training_set.share < 1 or config.training_set.balance == "copies":
        optim = replace(optim, warmup_epochs=optim.warmup_epochs * factor)
    return replace(config, optim=optim, train=replace(config.train, epochs=epochs))


def chosen_radius(accuracies: Mapping[float, float]) -> float:
    """The radius of the largest validation accuracy; of equal ones the smaller."""
    return min(accuracies, key=lambda rho: (-accuracies[rho], rho))
