"""Which of a record's labels the taxonomy has, and what becomes of the others.

A name that a set uses for "no usable emotion" (none, uncertain, no-face, unknown, NF) or an emotion that was
not asked for becomes null; a picture that is left without any label and any votes is dropped and counted. A
name that is no emotion at all is a mistake, and stops.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from mien.data.sets import names as public_names
from mien.data.sources.record import Record
from mien.errors import InputError
from mien.labels import EMOTIONS, NOT_AN_EMOTION, canonical_name

NO_EMOTION: Final = "not an emotion"
NOT_WANTED: Final = "class not wanted"


class Taxonomy:
    """The class names that count.

    Args:
        labels: `emotions`, `own`, or names separated by commas, as in `PrepareConfig.labels`.

    Raises:
        InputError: `labels` is empty.
    """

    def __init__(self, labels: str) -> None:
        self.is_open = labels == "own"
        """Whether the class names are those that the data has."""
        self.is_choice = labels not in ("emotions", "own")
        """Whether names were listed, so that the other emotions are left out."""
        self.classes: tuple[str, ...] = EMOTIONS
        """The class names, in index order; of no meaning when open."""
        if self.is_choice:
            names = [canonical_name(name) for name in labels.split(",") if name.strip()]
            if not names:
                raise InputError("labels is empty; use emotions, own, or class names separated by commas.")
            self.classes = tuple(dict.fromkeys(names))

    def judge(self, record: Record) -> tuple[dict[str, str | None], str | None]:
        """The record's labels within the taxonomy, and why it is dropped if none of them can be used.

        A dropped record keeps its labels as the set gave them.

        Raises:
            InputError: a label is no name that the taxonomy knows; the message names file and row.
        """
        labels, refused = dict(record.labels), None
        for annotation, name in record.labels.items():
            if name is None or name in self.classes:
                continue
            # A user's own class may well be called "none".
            if self.is_open and not (name in NOT_AN_EMOTION and record.set in public_names()):
                continue
            # A list of names is a choice among emotions; a name that is no emotion either is a mistake.
            if name not in NOT_AN_EMOTION and not (self.is_choice and name in EMOTIONS):
                known = ", ".join(self.classes)
                raise InputError(
                    f"{record.where}: label {name!r} is not one of {known}; rename it, or use labels=own "
                    "for your own classes."
                )
            refused = NO_EMOTION if name in NOT_AN_EMOTION else NOT_WANTED
            labels[annotation] = None
        usable = bool(record.votes) or any(labels.values())
        return (labels, None) if usable or refused is None else (dict(record.labels), refused)


@lru_cache(maxsize=4)
def taxonomy_of(labels: str) -> Taxonomy:
    """The taxonomy of a setting, made once."""
    return Taxonomy(labels)
