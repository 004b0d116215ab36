"""The emotions in one order, the 7-class view, and every data set's codes, mapped by name.

The paper's Table 1 prints FER-2013 codes (0 Fear, 1 Sadness, 2 Happy, 3 Anger, 4 Disgust, ...) that are not
those of the csv files (0 Angry, 1 Disgust, 2 Fear, 3 Happy, 4 Sad, ...): taken literally they mislabel five
of seven classes. So nothing in mien maps a label by a number that it did not get from a table below, and each
table says where its numbers come from. These eight names are only the default taxonomy: class names are data
everywhere downstream of the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mien.errors import InputError

EMOTIONS: tuple[str, ...] = (
    "anger",
    "contempt",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
)
"""The default taxonomy: the paper's eight emotions (section 3), alphabetical, which is also the class
index."""

SEVEN: tuple[str, ...] = tuple(name for name in EMOTIONS if name != "contempt")
"""The 7-class view: contempt images are left out and the contempt logit is masked (section 3.7)."""


def _codes(*names: str, start: int = 0) -> Mapping[int, str]:
    return MappingProxyType({start + i: name for i, name in enumerate(names)})


FER2013_CODES = _codes("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""`emotion` of fer2013.csv. Source: the Kaggle competition "Challenges in Representation Learning: FER"
(2013)."""

FERPLUS_COLUMNS: tuple[str, ...] = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)
"""Vote columns of fer2013new.csv, in file order. Source: Barsoum et al., 2016, github microsoft/FERPlus."""

CKPLUS_CODES = _codes("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
"""`*_emotion.txt` of CK+. Source: Lucey et al., CVPR workshops 2010, the set's ReadMe."""

CKEXTENDED_CODES = _codes(
    "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt"
)
"""`emotion` of ckextended.csv. Source: the Kaggle data set's description."""

AFFECTNET_CODES = _codes(
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
    "none",
    "uncertain",
    "no-face",
)
"""`expression` of AffectNet. Source: Mollahosseini et al., IEEE TAC 10(1), 2019, the set's ReadMe."""

RAFDB_CODES = _codes("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral", start=1)
"""`list_patition_label.txt` of RAF-DB basic. Source: Li et al., CVPR 2017, the set's ReadMe."""

PAPER_TABLE1_CODES = _codes("fear", "sadness", "happiness", "anger", "disgust", "surprise", "neutral")
"""What the paper's Table 1 prints for FER-2013. Kept only to show that it is not `FER2013_CODES`; never used
to read."""

NOT_AN_EMOTION: frozenset[str] = frozenset({"unknown", "NF", "none", "uncertain", "no-face"})
"""Label names that sets use for "no usable emotion"; such rows are dropped, counted and listed."""

_SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "angry": "anger",
        "contemptuous": "contempt",
        "disgusted": "disgust",
        "afraid": "fear",
        "fearful": "fear",
        "scared": "fear",
        "happy": "happiness",
        "joy": "happiness",
        "sad": "sadness",
        "surprised": "surprise",
        "surprize": "surprise",
        "natural": "neutral",
        "nf": "NF",
        "no face": "no-face",
        "noface": "no-face",
        "no_face": "no-face",
    }
)


def canonical_name(name: str) -> str:
    """The taxonomy's name for a data set's spelling: ``Happy`` -> ``happiness``, ``sad`` -> ``sadness``.

    A name that is no known spelling comes back stripped and lower-case, so that a user's own classes pass
    through.
    """
    plain = name.strip().lower()
    return _SYNONYMS.get(plain, plain)


def decode(code: int, table: Mapping[int, str], *, where: str) -> str:
    """The name that `table` gives `code`; `where` (file and row) goes into the message.

    Raises:
        InputError: the code is not in the table.
    """
    try:
        return table[code]
    except KeyError:
        known = ", ".join(f"{k} {v}" for k, v in table.items())
        raise InputError(f"{where}: label code {code} is not one of {known}.") from None


def class_view(labels: Sequence[str], view: str | Sequence[str]) -> tuple[str, ...]:
    """The names of `labels` that a view keeps, in the order of `labels`.

    Args:
        labels: the model's class names.
        view: ``"all"``, ``"7"`` (the paper's seven: everything but contempt) or the names to keep.

    Raises:
        InputError: a wanted name is not among `labels`, or the 7-class view is asked of other classes.
    """
    if view in ("all", str(len(labels))):
        return tuple(labels)
    if view == "7":
        wanted: Sequence[str] = SEVEN
    elif isinstance(view, str):
        wanted = [canonical_name(part) for part in view.split(",")]
    else:
        wanted = view
    missing = [name for name in wanted if name not in labels]
    if missing:
        raise InputError(
            f"label view {view!r} wants {', '.join(missing)}, but the classes are {', '.join(labels)}."
        )
    return tuple(name for name in labels if name in set(wanted))
