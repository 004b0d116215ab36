"""What the service refuses, each with a status, a code that programs can rely on, and one sentence."""

from __future__ import annotations

from typing import Final, Literal, get_args

from mien.errors import InputError, MienError, UnreadableImage, UnreadableReason, UnreadableVideo

Code = Literal[
    "bad_request",
    "no_token",
    "wrong_host",
    "wrong_origin",
    "not_found",
    "method_not_allowed",
    "too_slow",
    "too_large",
    "unsupported_media_type",
    "invalid",
    "busy",
    "internal",
    "late",
    "stopping",
]
"""What went wrong."""

STATUS: Final[dict[Code, int]] = {
    "bad_request": 400,
    "no_token": 401,
    "wrong_host": 403,
    "wrong_origin": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_slow": 408,
    "too_large": 413,
    "unsupported_media_type": 415,
    "invalid": 422,
    "busy": 429,
    "internal": 500,
    "late": 503,
    "stopping": 503,
}
"""HTTP status of each code."""

CODES: Final[tuple[Code, ...]] = get_args(Code)

_PICTURE_CODES: Final[dict[UnreadableReason, Code]] = {
    "not a picture": "unsupported_media_type",
    "unsupported format": "unsupported_media_type",
    "too large": "too_large",
}


class Refused(MienError):
    """The service does not do what was asked.

    Args:
        code: one of `CODES`.
        message: one sentence.
        retry_after: whole seconds after which it may be tried again, where that makes sense.
    """

    def __init__(self, code: Code, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code: Code = code
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]


def refusal_of(error: InputError) -> Refused:
    """What a picture or a parameter that cannot be used is refused with."""
    if isinstance(error, UnreadableImage | UnreadableVideo):
        return Refused(_PICTURE_CODES.get(error.reason, "invalid"), str(error))
    return Refused("invalid", str(error))
