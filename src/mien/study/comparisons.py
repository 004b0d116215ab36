"""What the study compares to judge each claim of the paper: weighted sums of columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

Terms: TypeAlias = tuple[tuple[float, str], ...]
"""Weighted columns: what is summed for each image and seed."""

CLAIMS: Final[Mapping[str, str]] = {
    "C1": "SE helps",
    "C2": "SAM helps",
    "C3": "balancing by augmentation helps",
    "C4": "SAM costs about twice an update",
    "C5": "SAM withstands label noise",
    "C6": "SAM's gain shrinks as the set grows",
    "C7": "Swin separates the classes better than the CNN",
    "C8": "clusters are tighter before SE and farther apart after it",
    "C9": "SAM smooths the loss landscape",
}


def gain(later: str, earlier: str, weight: float = 1.0) -> Terms:
    return ((weight, later), (-weight, earlier))


def sam_gain(suffix: str, weight: float = 1.0) -> Terms:
    return gain(f"swin_se_sam{suffix}", f"swin_se{suffix}", weight)


COMPARED: Final[tuple[tuple[str, str, Terms], ...]] = (
    ("C1", "Swin-SE (pooled) less Swin", gain("swin_se", "swin")),
    ("C1", "Swin-SE (feature map) less Swin", gain("swin_se_feature_map", "swin")),
    ("C1", "Swin-SE (stem) less Swin", gain("swin_se_stem", "swin")),
    ("C2", "Swin-SE-SAM less Swin-SE", sam_gain("")),
    ("C2", "Swin-SE-SAM less Swin-SE of twice the epochs", gain("swin_se_sam", "swin_se_equal_cost")),
    ("C2", "Swin-SE of twice the epochs less Swin-SE", gain("swin_se_equal_cost", "swin_se")),
    ("C2", "ASAM less Swin-SE", gain("swin_se_asam", "swin_se")),
    ("C2", "LookSAM less Swin-SE", gain("swin_se_looksam", "swin_se")),
    ("C2", "ESAM less Swin-SE", gain("swin_se_esam", "swin_se")),
    ("C2", "momentum-SAM less Swin-SE", gain("swin_se_msam", "swin_se")),
    ("C2", "SAM's gain over AdamW", sam_gain("_adamw")),
    ("C3", "augmented copies less no balance", gain("swin_se_copies", "swin_se")),
    ("C3", "class-balanced sampling less no balance", gain("swin_se_sampling", "swin_se")),
    ("C3", "logit adjustment less no balance", gain("swin_se_logit_adjustment", "swin_se")),
    ("C5", "SAM's gain at 40 % noise less its gain without", (*sam_gain("_noise40"), *sam_gain("", -1))),
    ("C5", "SAM's gain at 20 % noise less its gain without", (*sam_gain("_noise20"), *sam_gain("", -1))),
    ("C5", "SAM's gain at 40 % noise", sam_gain("_noise40")),
    ("C5", "SAM's gain at 20 % noise", sam_gain("_noise20")),
    (
        "C5",
        "SAM's gain when FER-2013's labels are learned, less that of FER+'s, judged by FER+",
        (
            *gain("swin_se_sam_fer2013@ferplus", "swin_se_fer2013@ferplus"),
            *sam_gain("", -1),
        ),
    ),
    (
        "C6",
        "SAM's gain with 10 % of the images less that with all",
        (*sam_gain("_share10"), *sam_gain("", -1)),
    ),
    (
        "C6",
        "SAM's gain with 30 % of the images less that with all",
        (*sam_gain("_share30"), *sam_gain("", -1)),
    ),
    ("C6", "SAM's gain with 10 % of the images", sam_gain("_share10")),
    ("C6", "SAM's gain with 30 % of the images", sam_gain("_share30")),
)
"""Claim, words, columns. `column@annotation` are a column's answers under another annotation's labels."""
