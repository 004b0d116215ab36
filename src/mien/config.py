"""Every setting of mien and its default: frozen dataclasses, filled from TOML files and flags by `cli.py`.

This is the only place where a default lives. The sentence under a field is its help text.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Literal, TypeVar

from mien.errors import InputError

Balance = Literal["none", "copies", "sampling", "logit_adjustment"]
SEPosition = Literal["none", "pooled", "feature_map", "stem"]


def _within(config: Any, low: float, high: float, *names: str, ends: str = "[]") -> None:
    """Refuse a setting outside low..high; a bracket of `ends` that is round leaves that end out."""
    for name in names:
        value = getattr(config, name)
        if value is None:
            continue
        above = value >= low if ends[0] == "[" else value > low
        below = value <= high if ends[1] == "]" else value < high
        if not (above and below):
            lower = f"{low:g} or more" if ends[0] == "[" else f"above {low:g}"
            upper = f"{high:g} or less" if ends[1] == "]" else f"below {high:g}"
            raise InputError(
                f"{name} is {value}; it must be {lower}{'' if high == inf else f' and {upper}'}."
            )


@dataclass(frozen=True)
class FacesConfig:
    """How faces are found and cut out of pictures that did not come cropped (section 3.4)."""

    detect: Literal["auto", "always", "never"] = "auto"
    """In which sets faces are looked for: `auto` in those that did not come cropped, `always` in all,
    `never`."""
    cropped: tuple[str, ...] = ()
    """Sets whose pictures are taken as faces that came cropped, whatever `detect` says."""
    undetected: Literal["annotation", "keep", "drop"] = "annotation"
    """What becomes of a picture without a detected face: `annotation` cuts by the set's own landmarks or box
    where it has them and drops the picture otherwise, `keep` takes the central square then, `drop` drops
    it."""
    several: Literal["best", "drop"] = "best"
    """What becomes of a picture with several faces: `best` takes the one that overlaps the set's own box
    most, or the largest where the set has none; `drop` drops the picture."""
    smallest: int = 24
    """Faces whose box is smaller than this, in pixels, are tiny."""
    tiny: Literal["drop", "keep"] = "drop"
    """What becomes of a picture whose face is tiny."""

    def __post_init__(self) -> None:
        _within(self, 12, inf, "smallest")


@dataclass(frozen=True)
class AuditConfig:
    """The search for the same picture standing in the data twice."""

    near: bool = True
    """Look for near twins too: the same picture recompressed, brightened, shifted or mirrored."""
    correlation: float = 0.98
    """Two faces whose pixels correlate more than this are near twins."""
    shift: int = 2
    """Twins may be shifted against each other by so many pixels of a face of 48."""
    mirror: bool = True
    """Whether a mirror image is a twin."""

    def __post_init__(self) -> None:
        _within(self, 0.9, 1, "correlation", ends="[)")
        _within(self, 0, 4, "shift")


@dataclass(frozen=True)
class SplitConfig:
    """Who goes into train, validation and test."""

    policy: Literal["official", "clean", "balanced"] = "official"
    """`official` keeps the splits that the sets came with and reports twins across them; `clean` keeps the
    test split and takes its twins out of training and validation, and validation's out of training;
    `balanced` draws validation and test with the same number of images a class, by subject where known and
    by twin group otherwise (section 3.3)."""
    validation_per_class: int = 50
    """Validation images of each class, for `balanced`."""
    test_per_class: int = 50
    """Test images of each class, for `balanced`."""

    def __post_init__(self) -> None:
        _within(self, 1, inf, "validation_per_class", "test_per_class")


@dataclass(frozen=True)
class BalanceConfig:
    """The balance plan of the training split (section 3.3)."""

    target: int | None = None
    """Training images of each class that the plan aims at; none means as many as the largest class has."""
    unrotated: tuple[str, ...] = ("affectnet",)
    """Sets whose pictures are never rotated in training, since their faces are turned already (section
    3.3)."""

    def __post_init__(self) -> None:
        _within(self, 1, inf, "target")


@dataclass(frozen=True)
class DrawnConfig:
    """Drawn faces, for the source `drawn`."""

    count: int = 6000
    """How many faces are drawn."""
    label_noise: float = 0.0
    """Share of the drawn training faces whose label is replaced by another class."""

    def __post_init__(self) -> None:
        _within(self, 1, inf, "count")
        _within(self, 0, 1, "label_noise")


@dataclass(frozen=True)
class PrepareConfig:
    """How raw data sets become one prepared folder."""

    size: int = 48
    """Side of the packed square faces, in pixels."""
    channels: Literal[1, 3] = 1
    """1 packs grey (ITU-R BT.601), 3 packs RGB."""
    labels: str = "emotions"
    """The taxonomy: `emotions` (the eight; any other label is an error), `own` (the class names found in the
    data), or names separated by commas."""
    target: str | None = None
    """What is learned: an annotation (`fer2013`), or its votes (`ferplus.votes`); none takes the richest one
    there is."""
    template_sample: int = 400
    """Faces that came cropped in which the detector looks for the eyes, to measure the crop template; 0
    measures none."""
    faces: FacesConfig = field(default_factory=FacesConfig)
    """How faces are found and cut out."""
    audit: AuditConfig = field(default_factory=AuditConfig)
    """The search for twins."""
    splits: SplitConfig = field(default_factory=SplitConfig)
    """Who goes into which split."""
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    """The balance plan."""
    drawn: DrawnConfig = field(default_factory=DrawnConfig)
    """Drawn faces."""
    jobs: int = 0
    """Processes that read pictures; 0 takes one for each processor core. It changes no result."""
    seed: int = 0
    """Seed of drawn faces, drawn splits and the balance plan."""

    def __post_init__(self) -> None:
        _within(self, 8, 4096, "size")
        _within(self, 0, inf, "seed", "template_sample", "jobs")


@dataclass(frozen=True)
class TrainingSetConfig:
    """What a run reads from a prepared folder."""

    target: str | None = None
    """What is learned: an annotation (`fer2013`), or its votes as soft labels (`ferplus.votes`); none takes
    the prepared folder's own target."""
    balance: Balance = "none"
    """How the classes of the training split are brought to balance: `copies` repeats and augments training
    images by the manifest's balance plan (section 3.3), `sampling` draws classes evenly, `logit_adjustment`
    adds the log prior to the logits in the loss (Menon et al., 2021)."""


@dataclass(frozen=True)
class SEConfig:
    """The squeeze-and-excitation block (section 3.5)."""

    position: SEPosition = "pooled"
    """`pooled` excites the pooled feature (no squeeze), `feature_map` the encoder's last map, `stem` the
    patch embedding before the encoder."""
    reduction: int = 16
    """Channels are reduced by this factor between the two layers of the excitation."""

    def __post_init__(self) -> None:
        _within(self, 1, inf, "reduction")


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    name: str = "compact_swin"
    """`compact_swin` (built from the dimensions below), any Swin that timm knows, such as
    `swin_tiny_patch4_window7_224`, or a comparator: `resnet50`, `vit_se`, `efficientnet_b2`, `dan`."""
    size: int = 48
    """Side of the input, in pixels; faces of another size are resized."""
    channels: Literal[1, 3] = 1
    """Input channels: 1 grey or 3 RGB."""
    mean: float = 0.5
    """Subtracted from intensities in 0..1 (section 3.4)."""
    std: float = 0.5
    """Divides the centred intensities (section 3.4)."""
    stem: Literal["conv", "patch"] = "conv"
    """`conv` embeds patches of 4 px by overlapping 3x3 convolutions, `patch` by one linear layer.
    `compact_swin` only."""
    stem_convolutions: int = 3
    """Convolutions of the `conv` stem, at least 3; more of them learn faster from few images."""
    embed_dim: int = 64
    """Channels of the first stage; each later stage has twice as many. `compact_swin` only."""
    depths: tuple[int, ...] = (2, 4, 2)
    """Blocks of each stage. `compact_swin` only."""
    num_heads: tuple[int, ...] = (2, 4, 8)
    """Attention heads of each stage. `compact_swin` only."""
    window: int = 6
    """Side of an attention window, in tokens. `compact_swin` only."""
    drop_path: float = 0.1
    """Stochastic depth of the last block; grows linearly from 0."""
    pretrained: str | None = None
    """Starting weights: none, `hub` (timm's, needs a network), a .safetensors file, or a run's folder."""
    se: SEConfig = field(default_factory=SEConfig)
    """The squeeze-and-excitation block."""

    def __post_init__(self) -> None:
        _within(self, 4, 4096, "size")
        _within(self, 0, inf, "std", ends="(]")
        _within(self, 1, inf, "embed_dim", "window")
        _within(self, 0, 1, "drop_path", ends="[)")
        if not self.depths or min(self.depths) < 1 or not self.num_heads or min(self.num_heads) < 1:
            raise InputError(f"depths {self.depths} and num_heads {self.num_heads} must be 1 or more each.")


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of the training batch, drawn anew for each image and epoch."""

    rotation: float = 10.0
    """Largest rotation, in degrees (section 3.3)."""
    translation: float = 0.0
    """Largest shift along each axis, as a share of the side."""
    scale: float = 0.0
    """Largest change of size, as a share: 0.1 draws from 0.9 to 1.1."""
    flip: float = 0.0
    """Probability of a mirror image."""
    autocontrast: float = 0.5
    """Probability that intensities are stretched to the full range (section 3.3)."""
    brightness: float = 0.0
    """Largest change of brightness, as a share of the full range."""
    contrast: float = 0.0
    """Largest change of contrast, as a share."""
    erasing: float = 0.0
    """Probability that a random rectangle is replaced by noise (Zhong et al., 2020)."""
    mixup: float = 0.0
    """Alpha of the Beta distribution of mixup's weight (Zhang et al., 2018); 0 is off."""

    def __post_init__(self) -> None:
        _within(self, 0, 180, "rotation")
        _within(self, 0, 1, "translation", "flip", "autocontrast", "brightness", "contrast", "erasing")
        _within(self, 0, 1, "scale", ends="[)")
        _within(self, 0, inf, "mixup")


@dataclass(frozen=True)
class SAMConfig:
    """Sharpness-aware minimization (Foret et al., 2021; section 3.6)."""

    method: Literal["sam", "looksam", "esam", "msam"] = "sam"
    """`sam` takes two passes a step; its cheaper relatives: `looksam` climbs every `every` steps (Liu et al.,
    2022), `esam` with some weights and images (Du et al., 2022), `msam` along the momentum, in one pass
    (Becker et al., 2024)."""
    rho: float = 0.0
    """Radius of the perturbation; 0 trains with the base optimizer alone."""
    adaptive: bool = False
    """Scale the perturbation by the weights (ASAM, Kwon et al., 2021); use about ten times the rho. Not with
    `msam`."""
    every: int = 5
    """Steps from one climb to the next; `looksam` only."""
    alpha: float = 0.7
    """Weight of the remembered climb in the steps between; 0 forgets it. `looksam` only."""
    beta: float = 0.5
    """Share of the weight tensors that are perturbed; `esam` only."""
    gamma: float = 0.5
    """Share of the images in the second pass, those whose loss rises most; `esam` only."""

    def __post_init__(self) -> None:
        _within(self, 0, inf, "rho", "alpha", ends="[)")
        _within(self, 1, inf, "every")
        _within(self, 0, 1, "beta", "gamma", ends="(]")
        if self.adaptive and self.method == "msam":
            raise InputError(
                "sam.adaptive does not go with sam.method msam, which climbs along the momentum."
            )


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer and its schedule."""

    name: Literal["sgd", "adamw"] = "adamw"
    """The base optimizer."""
    lr: float = 1e-3
    """Peak learning rate."""
    momentum: float = 0.9
    """Momentum of SGD."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Moment decay rates of AdamW."""
    weight_decay: float = 0.05
    """Weight decay, decoupled in AdamW and L2 in SGD; biases, norms and position tables are left out."""
    schedule: Literal["cosine", "step"] = "cosine"
    """`cosine` falls to `final_lr`, `step` multiplies by `gamma` every `step_epochs` epochs."""
    warmup_epochs: float = 1.0
    """Epochs over which the rate rises linearly from 0, at most a fifth of the run; `cosine` only."""
    final_lr: float = 1e-5
    """Where the cosine ends."""
    step_epochs: int = 10
    """Epochs between two falls of the step schedule."""
    gamma: float = 0.1
    """Factor of a fall of the step schedule."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each layer of the encoder to the one below it, for fine-tuning (Bao et
    al., 2022: 0.65 to 0.9); 1 gives all layers the same rate."""
    frozen_epochs: float = 0.0
    """Epochs at the start in which only the head and the SE block learn, for fine-tuning."""
    clip_norm: float | None = None
    """Largest gradient norm; with SAM it is applied before the second step only, since the first is
    normalised."""
    sam: SAMConfig = field(default_factory=SAMConfig)
    """Sharpness-aware minimization around the base optimizer."""

    def __post_init__(self) -> None:
        _within(self, 0, inf, "gamma", "clip_norm", ends="()")
        _within(self, 0, 1, "momentum", ends="[)")
        _within(self, 0, inf, "lr", "weight_decay", "warmup_epochs", "final_lr", "frozen_epochs")
        _within(self, 0, 1, "layer_decay", ends="(]")
        _within(self, 1, inf, "step_epochs")


@dataclass(frozen=True)
class LoopConfig:
    """The loop."""

    epochs: int = 20
    """Passes over the training split."""
    batch_size: int = 128
    """Images of one optimizer step."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of training: bf16 autocast over fp32 weights, or fp32; `auto` takes bf16 where the processor
    has it. Validation is always fp32."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over the classes."""
    ema: float = 0.0
    """Decay a step of the running average of the weights that is validated and kept; 0 is off."""
    selection: Literal["accuracy", "macro_recall", "nll"] = "accuracy"
    """Validation figure that chooses the checkpoint (section 3.6: accuracy)."""
    threads: int = 0
    """Processor threads; 0 leaves the number to torch, which takes all cores or OMP_NUM_THREADS."""
    seed: int = 0
    """Seed of initial weights, order, augmentation and stochastic depth."""

    def __post_init__(self) -> None:
        _within(self, 1, inf, "epochs", "batch_size")
        _within(self, 0, 1, "label_smoothing", "ema", ends="[)")
        _within(self, 0, inf, "threads", "seed")


@dataclass(frozen=True)
class RunConfig:
    """One training run: everything that a result depends on, besides the data."""

    training_set: TrainingSetConfig = field(default_factory=TrainingSetConfig)
    """What is read."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Random changes of the training batch."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimizer and schedule."""
    train: LoopConfig = field(default_factory=LoopConfig)
    """The loop."""


_Config = TypeVar("_Config", RunConfig, PrepareConfig)


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON-ready values."""
    return dataclasses.asdict(config)


def run_config_from(values: dict[str, Any], *, where: str) -> RunConfig:
    """A run's config from plain values, such as a config.json or a parsed TOML file.

    Args:
        values: nested tables; what is missing takes its default.
        where: named in the message.

    Raises:
        InputError: an unknown key, or a value of another type.
    """
    return _config_from(RunConfig, values, where)


def prepare_config_from(values: dict[str, Any], *, where: str) -> PrepareConfig:
    """The settings of a prepared folder from plain values; arguments and errors as `run_config_from`."""
    return _config_from(PrepareConfig, values, where)


def _config_from(kind: type[_Config], values: dict[str, Any], where: str) -> _Config:
    # The parser is the one judge of types and unknown keys, for files as for flags; it costs 0.1 s to import.
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        parsed = parser.instantiate(parser.parse_object(values))
    except ArgumentError as error:
        raise InputError(f"{where}: {' '.join(str(error).split())}.") from None
    return kind(**{name: parsed[name] for name in kind.__dataclass_fields__})


def read_run_config(path: Path) -> RunConfig:
    """A config from a TOML file.

    Raises:
        InputError: there is no such file, it is not TOML, or a key or value does not fit.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{path}: no such config file; mien's own lie in the folder configs.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error}).") from None
    return run_config_from(values, where=str(path))
