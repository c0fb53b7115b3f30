"""Prefixes of keys over several storages or caches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fleche.digest import Digest


def each(operation: Callable[[Any], Any], members: Iterable[Any]) -> list[Any]:
    """What an operation gives for each member that knows the key."""
    found = []
    for member in members:
        try:
            found.append(operation(member))
        except KeyError:
            continue
    return found


def shrunk(keys: tuple[Digest | str, ...], members: Iterable[Any]) -> tuple[Digest, ...]:
    """The shortest prefix of each key that is unambiguous in every member that knows the key."""
    found = []
    for key, short in zip(keys, shortest(keys, members), strict=True):
        if short is None:
            raise KeyError(key)
        found.append(short)
    return tuple(found)


def shortest(keys: Sequence[Digest | str], members: Iterable[Any]) -> list[Digest | None]:
    """As `shrunk`; `None` for a key that no member knows."""
    longest: list[Digest | None] = [None] * len(keys)
    for member in members:
        # All of them at once, which lists the member once, however many keys there are.
        for position, short in enumerate(member._shortest(keys)):
            if short is not None and len(short) > len(longest[position] or ""):
                longest[position] = short
    return longest
