"""What the paper prints, and where it prints it. Constants only; nothing here was measured by mien.

Source: "Facial Emotion Recognition" (Vats and Chadha). All values are shares, 0..1, unless a field says
otherwise. Where the paper contradicts itself both numbers are kept; docs/paper-map.md says which one is
compared with.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedColumn:
    """One model of Table 2, on the 7-class view of 4,000 AffectNet images (section 3.7)."""

    name: str
    """The paper's name of the model."""
    accuracy: float
    """7-class accuracy ("with approximation to 7 classes"), 0..1."""
    precision: float
    """Weighted precision, 0..1."""
    recall: float
    """Weighted recall, 0..1; on one set of images it would equal the accuracy, and the paper's does not."""
    f1: float
    """Weighted F1, 0..1."""
    place: str = "Table 2"
    """Where the paper prints it."""


@dataclass(frozen=True)
class PublishedNumber:
    """A number of the paper outside Table 2."""

    name: str
    """What it counts or measures."""
    value: float
    """A share, 0..1, or a count."""
    place: str
    """Where the paper prints it."""
    note: str = ""
    """What is odd about it."""


SWIN = PublishedColumn("Swin", accuracy=0.4921, precision=0.5090, recall=0.5000, f1=0.4943)
SWIN_SE = PublishedColumn("Swin-SE", accuracy=0.5104, precision=0.5470, recall=0.5225, f1=0.5169)
SWIN_SE_SAM = PublishedColumn("Swin-SE-SAM", accuracy=0.5310, precision=0.5485, recall=0.5410, f1=0.5420)

TABLE_2: tuple[PublishedColumn, ...] = (SWIN, SWIN_SE, SWIN_SE_SAM)
"""Table 2, in the paper's order."""

EPOCHS = PublishedNumber("epochs", 25, "section 3.6")
TRAINING_ACCURACY = PublishedNumber("training accuracy", 0.832, "section 3.6")
VALIDATION_ACCURACY = PublishedNumber("validation accuracy", 0.5784, "section 3.6")
F1_IN_TEXT = PublishedNumber("F1", 0.5452, "section 3.6", note="Table 2 prints 0.5420 for the same model")
BEST_EARLIER = PublishedNumber(
    "best earlier F1 on 7 classes",
    0.6629,
    "text",
    note="multi-task EfficientNet-B2; its own authors give 66.29 % as accuracy, not F1",
)
TEST_IMAGES = PublishedNumber("AffectNet test images, 500 a class", 4000, "section 3.7")

TEXT: tuple[PublishedNumber, ...] = (
    EPOCHS,
    TRAINING_ACCURACY,
    VALIDATION_ACCURACY,
    F1_IN_TEXT,
    BEST_EARLIER,
    TEST_IMAGES,
)
"""The numbers outside Table 2."""
