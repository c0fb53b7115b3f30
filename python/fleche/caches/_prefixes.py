"""Prefixes of keys over several storages or caches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fleche.digest import DIGEST_LENGTH, Digest


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
    longest: dict[int, Digest] = {}
    for member in members:
        for position, short in _shrunk_in(member, keys):
            if len(short) > len(longest.get(position, "")):
                longest[position] = short
    for position, key in enumerate(keys):
        if position not in longest:
            raise KeyError(key)
    return tuple(longest[position] for position in range(len(keys)))


def _shrunk_in(member: Any, keys: tuple[Digest | str, ...]) -> Iterator[tuple[int, Digest]]:
    # All of them at once, which lists the member once, however many keys there are.
    held = [(position, key) for position, key in enumerate(keys) if knows(member, key)]
    if held:
        shortened = member._shrink(*(key for _, key in held))
        yield from zip((position for position, _ in held), shortened, strict=True)


def knows(member: Any, key: Digest | str) -> bool:
    """Whether a storage or cache holds something, a call or a value, under a whole key."""
    if len(key) < DIGEST_LENGTH:
        return False
    return bool(getattr(member, "_knows", member.contains)(key))
