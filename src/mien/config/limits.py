"""What a setting may be."""

from __future__ import annotations

from math import inf
from typing import Any

from mien.errors import InputError


def within(config: Any, low: float, high: float, *names: str, ends: str = "[]") -> None:
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
