"""The settings of `mien data prepare`. The sentence under a field is its help text."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Literal

from mien.config.limits import within


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
        within(self, 12, inf, "smallest")


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
        within(self, 0.9, 1, "correlation", ends="[)")
        within(self, 0, 4, "shift")


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
        within(self, 1, inf, "validation_per_class", "test_per_class")


@dataclass(frozen=True)
class BalanceConfig:
    """The balance plan of the training split (section 3.3)."""

    target: int | None = None
    """Training images of each class that the plan aims at; none means as many as the largest class has."""
    unrotated: tuple[str, ...] = ("affectnet",)
    """Sets whose pictures are never rotated in training, since their faces are turned already (section
    3.3)."""

    def __post_init__(self) -> None:
        within(self, 1, inf, "target")


@dataclass(frozen=True)
class DrawnConfig:
    """Drawn faces, for the source `drawn`."""

    count: int = 6000
    """How many faces are drawn."""
    label_noise: float = 0.0
    """Share of the drawn training faces whose label is replaced by another class."""

    def __post_init__(self) -> None:
        within(self, 1, inf, "count")
        within(self, 0, 1, "label_noise")


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
        within(self, 8, 4096, "size")
        within(self, 0, inf, "seed", "template_sample", "jobs")
