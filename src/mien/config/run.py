"""The settings of a training run. The sentence under a field is its help text."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Literal

from mien.config.limits import within
from mien.errors import InputError

Balance = Literal["none", "copies", "sampling", "logit_adjustment"]
SEPosition = Literal["none", "pooled", "feature_map", "stem"]


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
    label_noise: float = 0.0
    """Share of the training images whose label (or votes) is replaced by that of another class, drawn
    uniformly; validation and test keep theirs."""
    share: float = 1.0
    """Share of the training images of each class that are used; the others are left out."""
    labelled_by: str | None = None
    """Use only the training images that this annotation labels as well (`ferplus`); none uses all."""
    draw_seed: int = 0
    """Seed of `label_noise` and `share`, apart from `train.seed`, so that runs of all seeds see the same."""

    def __post_init__(self) -> None:
        within(self, 0, 1, "label_noise")
        within(self, 0, 1, "share", ends="(]")
        within(self, 0, inf, "draw_seed")
        if self.balance == "copies" and (self.label_noise > 0 or self.share < 1 or self.labelled_by):
            raise InputError(
                "training_set.balance copies follows the prepared folder's plan, which is of all images and "
                "their own labels; leave out label_noise, share and labelled_by, or take another balance."
            )


@dataclass(frozen=True)
class SEConfig:
    """The squeeze-and-excitation block (section 3.5)."""

    position: SEPosition = "pooled"
    """`pooled` excites the pooled feature (no squeeze), `feature_map` the encoder's last map, `stem` the
    patch embedding before the encoder."""
    reduction: int = 16
    """Channels are reduced by this factor between the two layers of the excitation."""

    def __post_init__(self) -> None:
        within(self, 1, inf, "reduction")


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    name: str = "compact_swin"
    """`compact_swin` (built from the dimensions below), any Swin that timm knows, such as
    `swin_tiny_patch4_window7_224`, or a module of `mien.models.comparators`, such as `resnet50`."""
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
    local: Literal["none", "depthwise"] = "none"
    """`depthwise` adds a 3x3 depthwise convolution of the map before each block. `compact_swin` only."""
    drop_path: float = 0.1
    """Stochastic depth of the last block; grows linearly from 0."""
    pretrained: str | None = None
    """Starting weights: none, `hub` (timm's, needs a network), a .safetensors file, or a run's folder."""
    se: SEConfig = field(default_factory=SEConfig)
    """The squeeze-and-excitation block."""

    def __post_init__(self) -> None:
        within(self, 4, 4096, "size")
        within(self, 0, inf, "std", ends="(]")
        within(self, 1, inf, "embed_dim", "window")
        within(self, 0, 1, "drop_path", ends="[)")
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
    low_resolution: float = 0.0
    """Probability that a face is shrunk to between a quarter and all of its side and enlarged again."""
    noise: float = 0.0
    """Probability of normal noise, whose standard deviation is drawn from 0 to a fifth of the full range."""
    erasing: float = 0.0
    """Probability that a random rectangle is replaced by noise (Zhong et al., 2020)."""
    mixup: float = 0.0
    """Alpha of the Beta distribution of mixup's weight (Zhang et al., 2018); 0 is off."""
    cutmix: float = 0.0
    """Alpha of the Beta distribution of CutMix's area (Yun et al., 2019); 0 is off. With mixup on as well, a
    batch takes one of the two at even odds."""

    def __post_init__(self) -> None:
        within(self, 0, 180, "rotation")
        within(self, 0, 1, "translation", "flip", "autocontrast", "brightness", "contrast")
        within(self, 0, 1, "low_resolution", "noise", "erasing")
        within(self, 0, 1, "scale", ends="[)")
        within(self, 0, inf, "mixup", "cutmix", ends="[)")


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
        within(self, 0, inf, "rho", "alpha", ends="[)")
        within(self, 1, inf, "every")
        within(self, 0, 1, "beta", "gamma", ends="(]")
        if self.adaptive and self.method == "msam":
            raise InputError(
                "sam.adaptive does not go with sam.method msam, which climbs along the momentum."
            )


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer and its schedule."""

    name: Literal["sgd", "adamw", "muon"] = "adamw"
    """The base optimizer; `muon` turns the hidden matrices by Muon and leaves the rest to AdamW."""
    lr: float = 1e-3
    """Peak learning rate."""
    momentum: float = 0.9
    """Momentum of SGD and of Muon."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Moment decay rates of AdamW, beside Muon too."""
    weight_decay: float = 0.05
    """Weight decay, L2 in SGD and decoupled in the others; biases, norms and position tables are left out."""
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
    """Epochs at the start in which only the head and the SE block learn, for fine-tuning; with as many as
    there are, nothing else ever does (a linear probe)."""
    clip_norm: float | None = None
    """Largest gradient norm; with SAM it is applied before the second step only, since the first is
    normalised."""
    sam: SAMConfig = field(default_factory=SAMConfig)
    """Sharpness-aware minimization around the base optimizer."""

    def __post_init__(self) -> None:
        within(self, 0, inf, "gamma", "clip_norm", ends="()")
        within(self, 0, 1, "momentum", ends="[)")
        within(self, 0, inf, "lr", "weight_decay", "warmup_epochs", "final_lr", "frozen_epochs")
        within(self, 0, 1, "layer_decay", ends="(]")
        within(self, 1, inf, "step_epochs")


@dataclass(frozen=True)
class DistillConfig:
    """Soft targets of finished runs (Hinton et al., 2015)."""

    teachers: tuple[str, ...] = ()
    """Folders of finished runs, or .onnx files that `mien export` wrote; the mean of several is taught. None
    is off."""
    weight: float = 0.5
    """Share of the teacher in the loss; the labels have the rest."""
    temperature: float = 2.0
    """Teacher and student are softened by it."""

    def __post_init__(self) -> None:
        within(self, 0, 1, "weight")
        within(self, 0, inf, "temperature", ends="()")


@dataclass(frozen=True)
class LoopConfig:
    """The loop."""

    epochs: int = 20
    """Passes over the training split."""
    max_minutes: float | None = None
    """Budget of training time, validation included; where it ends before the epochs do, the schedule runs to
    its end within it. Such a run depends on the machine's speed."""
    batch_size: int = 128
    """Images of one optimizer step, over all devices."""
    accumulate: int = 1
    """Micro-batches that each device takes a step's images in, to save memory. SAM climbs for each by itself:
    it is m-sharpness with m = batch_size / (accumulate * devices) (Foret et al., 2021, section 4.1)."""
    devices: int = 1
    """Processes that share a step's images, each on a CUDA GPU of its own, or all on the processor."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of training over fp32 weights: fp32, or bf16 or (on a GPU) fp16 autocast; `auto` takes bf16
    where the processor has it. Validation is always fp32."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over the classes."""
    ema: float = 0.0
    """Decay a step of the running average of the weights that is validated and kept; it grows to that over
    the first 9 / (1 - ema) steps. 0 is off."""
    selection: Literal["accuracy", "macro_recall", "nll"] = "accuracy"
    """Validation figure that chooses the checkpoint (section 3.6: accuracy)."""
    checkpoint_minutes: float = 5.0
    """Longest time between two checkpoints within an epoch; one is written after each epoch too."""
    threads: int = 0
    """Processor threads of each process; 0 leaves the number to torch, or to OMP_NUM_THREADS."""
    seed: int = 0
    """Seed of initial weights, order, augmentation and stochastic depth."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """Soft targets of finished runs."""

    def __post_init__(self) -> None:
        within(self, 1, inf, "epochs", "batch_size", "accumulate", "devices")
        within(self, 0, inf, "max_minutes", ends="()")
        within(self, 0, 1, "label_smoothing", "ema", ends="[)")
        within(self, 0, inf, "threads", "seed", "checkpoint_minutes")
        parts = self.accumulate * self.devices
        if self.batch_size % parts:
            raise InputError(
                f"batch_size {self.batch_size} does not divide by accumulate {self.accumulate} times devices "
                f"{self.devices}; make it a multiple of {parts}."
            )


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
