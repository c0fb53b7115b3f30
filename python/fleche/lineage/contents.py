"""What a value is told by, and what is in it."""

from __future__ import annotations

import dataclasses
import enum
import logging
import numbers
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fleche.digest import Digest, digest

__all__ = ["Content", "content_of", "is_telling"]

logger = logging.getLogger("fleche.lineage")

# A value counts that has so many digits or characters; an array, so many bytes.
_ENOUGH, _ENOUGH_BYTES = 8, 64

# So many parts of a value are looked at, so deep.
_MOST_PARTS, _DEEPEST = 1000, 20

_TELLS_NOTHING = (types.NoneType, bool, enum.Enum, type, types.ModuleType, types.FunctionType)


@dataclass(frozen=True)
class Content:
    """A value by its digest, `None` if it has none or tells nothing, with what is in it.

    >>> content = content_of(["a long text", 1])
    >>> content.digest == digest(["a long text", 1]), len(content.parts)
    (True, 1)
    """

    digest: Digest | None
    parts: tuple[Content, ...] = ()

    def digests(self) -> Iterator[Digest]:
        """The digest of the value and of each part."""
        waiting = [self]
        while waiting:
            content = waiting.pop()
            if content.digest is not None:
                yield content.digest
            waiting.extend(content.parts)


def content_of(value: Any) -> Content:
    """What a value is told by: lists, tuples, dicts, sets, dataclasses and attrs instances with
    what is in them, as far as it tells anything."""
    return _Walk().content(value, 0) or Content(None)


class _Walk:
    def __init__(self) -> None:
        self._left = _MOST_PARTS
        self._above: set[int] = set()

    def content(self, value: Any, depth: int) -> Content | None:
        if self._left <= 0 or id(value) in self._above or not is_telling(value):
            return None
        self._left -= 1
        parts: list[Content] = []
        if depth < _DEEPEST:
            self._above.add(id(value))
            for held in _held(value):
                part = self.content(held, depth + 1)
                if part is not None:
                    parts.append(part)
                if self._left <= 0:
                    break
            self._above.discard(id(value))
        return Content(_digest_or_none(value), tuple(parts))


def _digest_or_none(value: Any) -> Digest | None:
    try:
        return digest(value)
    except Exception as error:
        # Rules of users run here, which may raise anything.
        logger.debug("No digest of %s for lineage: %r", type(value).__name__, error)
        return None


def _held(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from list(value)
    elif isinstance(value, type):
        return
    elif dataclasses.is_dataclass(value):
        yield from _attributes(value, [field.name for field in dataclasses.fields(value)])
    elif hasattr(type(value), "__attrs_attrs__"):
        yield from _attributes(value, [field.name for field in type(value).__attrs_attrs__])


def _attributes(value: Any, names: list[str]) -> Iterator[Any]:
    for name in names:
        held = getattr(value, name, None)
        if held is not None:
            yield held


def is_telling(value: Any) -> bool:
    """Whether an equal value elsewhere is hardly there by chance.

    A number tells something from 8 digits on, text from 8 characters on, an array from 64 bytes
    on, a container if what is in it has as much together. `None`, truth values, members of
    enumerations, classes, functions and modules tell nothing; any other object does.

    >>> [is_telling(value) for value in (True, 12, 0.1 + 0.2, "mean", [1, 2], "a long text")]
    [False, False, True, False, False, True]
    """
    return _weight(value, 0) >= _ENOUGH


def _weight(value: Any, depth: int) -> int:
    """How many digits or characters a value has; counted no further than is enough."""
    if isinstance(value, _TELLS_NOTHING):
        return 0
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    if isinstance(value, numbers.Integral):
        return _ENOUGH if abs(int(value)) >= 10 ** (_ENOUGH - 1) else 1
    if isinstance(value, numbers.Number):
        mantissa = str(value).partition("e")[0]
        return sum(map(str.isdigit, mantissa.strip("0.-")))
    if isinstance(value, dict | list | tuple | set | frozenset):
        total = 0
        # Keys are names: what is told is told by what they name.
        for held in value.values() if isinstance(value, dict) else value:
            total += _weight(held, depth + 1) if depth < _DEEPEST else _ENOUGH
            if total >= _ENOUGH:
                break
        return total
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return _ENOUGH if size >= _ENOUGH_BYTES else 0
    return _ENOUGH
