"""The exceptions a user may catch.

Each message is one sentence: what is wrong, where, what to do. The command line turns `InputError` into exit
code 2, `OSError` into 1 and `KeyboardInterrupt` into 130.
"""

from typing import Literal

UnreadableReason = Literal[
    "missing file",
    "no permission",
    "empty file",
    "not a picture",
    "unsupported format",
    "unsupported pixels",
    "too large",
    "damaged",
]
"""Why a picture cannot be read, as tables count it."""


class MienError(Exception):
    """Anything mien raises on purpose."""


class InputError(MienError):
    """Something that was passed in cannot be used: a path, a file's content, a label, an option. Exit code
    2."""


class ManifestError(InputError):
    """A manifest breaks its own rules; the message names the row and the column."""


class CheckpointError(InputError):
    """Weights do not fit the model that was asked for."""


class UnreadableImage(InputError):
    """A picture cannot be decoded, or is larger than the stated limit; `reason` says why in a word or two."""

    # A default, since unpickling passes the message alone and then sets the attribute.
    def __init__(self, message: str, reason: UnreadableReason = "damaged") -> None:
        super().__init__(message)
        self.reason: UnreadableReason = reason


class UnreadableVideo(InputError):
    """A video cannot be opened or decoded, or its pictures are larger than the stated limit; `reason` says
    why, and is one that a picture may have."""

    def __init__(self, message: str, reason: UnreadableReason = "damaged") -> None:
        super().__init__(message)
        self.reason: UnreadableReason = reason


class MissingExtra(MienError):
    """A stage needs packages that are not installed; the message holds the `pip install` line."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs packages that are not installed; run: pip install "mien[{extra}]"')
        self.extra = extra


class TrainingDiverged(MienError):
    """The loss became NaN or infinite; the message names the step, the learning rate and the rows of the
    batch."""


class LostProcess(MienError):
    """Another process of a run on several devices has ended, or cannot be reached; that one's own message
    says why."""
