"""The public sets, one module each: its name is what `mien data prepare NAME=PATH` calls the set.

A module in this folder is a set by being there; what it has to offer is
`mien.data.sources.record.PublicSet`. CONTRIBUTING.md shows how to add one.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from mien.data.sources.record import PublicSet


@cache
def names() -> tuple[str, ...]:
    """The names of the public sets, in alphabetical order; none of them is imported."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


@cache
def public_sets() -> Mapping[str, PublicSet]:
    """Each set by its name, in that order."""
    return MappingProxyType(
        {name: cast("PublicSet", import_module(f"{__name__}.{name}")) for name in names()}
    )
