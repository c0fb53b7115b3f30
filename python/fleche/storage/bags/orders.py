"""The order of a call's arguments, which its key depends on, and bags of the reference lose."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from fleche import _core
from fleche.call import DigestedCall
from fleche.digest import Digest

__all__ = ["is_of", "orders_of"]


def is_of(record: DigestedCall, key: Digest) -> bool:
    """Whether a record is filed under one of its keys."""
    arguments = record.arguments
    return any(
        _core.lookup_key(record, arguments, scheme=scheme) == key for scheme in _core.SCHEMES
    )


# Of more arguments there are too many orders.
_MOST_ARGUMENTS = 6


def orders_of(record: DigestedCall) -> Iterable[tuple[str, ...]]:
    """The orders that the arguments may have had: bags of the reference come back sorted."""
    function: Any = sys.modules.get(record.module or "")
    with suppress(AttributeError, TypeError, ValueError):
        for part in record.name.split("."):
            function = getattr(function, part)
        names = [
            name for name in inspect.signature(function).parameters if name in record.arguments
        ]
        if len(names) == len(record.arguments):
            yield tuple(names)
    if len(record.arguments) <= _MOST_ARGUMENTS:
        yield from itertools.permutations(record.arguments)
