"""Large values split over keys: children under digests of their own, parents that hold those.

A `list`, `tuple`, `dict`, dataclass or attrs instance is split where a child's nesting depth is at
least `remaining_depth`. Equal children are stored once. Loading mends the whole. Numbers, `None`,
and text and bytes that are shorter than 256 stay in their parent at any depth (in scheme `exact`).

>>> from fleche.storage.memory import ValueMemory
>>> storage = ValueMemory({}, remaining_depth=1)
>>> key = storage.save([1, [2, 3]])
>>> len(storage.child_digests(key))
1
>>> storage.load(key)
[1, [2, 3]]
"""

import io
import pickle
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from fleche import _core
from fleche.digest import Digest, digest
from fleche.storage import base as base
from fleche.storage.base import Intent, ValueStorage, logger


class Digested(ABC):
    """What is stored of a value that was split; it digests as that value."""

    @abstractmethod
    def underlying(self) -> Any:
        """The container that holds children, or digests in place of those that were split off."""

    @abstractmethod
    def mend(self, storage: Any) -> Any:
        """The value, its children loaded from `storage`.

        Raises:
            KeyError: if one is missing.
        """

    def __digest__(self) -> Digest:
        return digest(self.underlying(), typed=True)


@dataclass
class DigestedIterable(Digested):
    """A list or tuple that was split.

    Args:
        items: its elements, or their digests.
    """

    items: list[Any] | tuple[Any, ...]

    def underlying(self) -> list[Any] | tuple[Any, ...]:
        return self.items

    def mend(self, storage: Any) -> Any:
        return _core.mend(storage, self)


@dataclass
class DigestedDict(Digested):
    """A dict that was split.

    Args:
        items: its keys and values, or their digests.
    """

    items: dict[Any, Any]

    def underlying(self) -> dict[Any, Any]:
        return self.items

    def mend(self, storage: Any) -> Any:
        return _core.mend(storage, self)


@dataclass
class DigestedFields(Digested):
    """A record that was split.

    Args:
        cls: its class.
        fields: its fields' values, or their digests, by name.
    """

    cls: type
    fields: dict[str, Any]

    def underlying(self) -> dict[str, Any]:
        return self.fields

    def mend(self, storage: Any) -> Any:
        return _core.mend(storage, self)

    def __digest__(self) -> Digest:
        return _core.record_of_fields(self.cls, self.fields)


class DigestedDataclass(DigestedFields):
    """A dataclass instance that was split."""


class DigestedAttrs(DigestedFields):
    """An attrs instance that was split."""


# Rules for classes of users: whether one applies, and what splits; the first that applies counts.
_DESTRUCTURERS: list[tuple[Callable[[Any], bool], Callable[..., Any]]] = []


def register_destructurer(pred: Callable[[Any], bool], fn: Callable[..., Any]) -> None:
    """Have values of other classes split, too.

    Args:
        pred: whether the rule applies to a value.
        fn: called with `intern` and the value; returns what to store, which must have `mend` and
            `underlying` as `Digested` has them, and its nesting depth. `intern(child)` gives what
            to hold of a child (itself, or its digest) and the child's depth.
    """
    _DESTRUCTURERS.append((pred, fn))


def _met_by_pickle(objects: list[Any], met: set[int]) -> bool:
    """Whether objects that are not looked into refer to each other, or to others that were met.

    Args:
        objects: the objects.
        met: the addresses of these and of the others.
    """
    within: dict[int, Any] = {}
    try:
        for one in objects:
            pickler = pickle.Pickler(io.BytesIO(), pickle.HIGHEST_PROTOCOL)
            pickler.dump(one)
            for address, (_, referred) in pickler.memo.copy().items():
                if referred is one or not _core.has_identity(referred):
                    continue
                if address in met or within.get(address) is referred:
                    return True
                within[address] = referred
    except Exception:
        # Nothing tells: they are kept together.
        return True
    return False


@runtime_checkable
class HasChildDigests(Protocol):
    """A storage that tells which children a stored value holds."""

    def child_digests(self, key: Digest) -> set[Digest]:
        """The keys of the children that the value under `key` was split into."""
        ...


@dataclass(frozen=True)
class DestructuringMixin(ValueStorage):
    """Splits what a value storage saves and mends what it loads.

    Args:
        remaining_depth: children nested at least this deep are stored under keys of their own,
            unless they are small.

    >>> from fleche.storage import ValueMemory
    >>> for depth in (0, 1, 2):
    ...     storage = ValueMemory({}, remaining_depth=depth)
    ...     key = storage.save([[1, 2], [1, 2], [3, 4]])
    ...     print(depth, len(storage.list()))
    0 3
    1 3
    2 1
    """

    remaining_depth: int = 0

    def save(self, value: Any, key: Digest | None = None) -> Digest:
        if key is None:
            key = _core.storage_key(digest(value))
        logger.debug("Saving value with key %s", key)
        with self._operation_context(key):
            return _core.save_value(self, value, key, self.remaining_depth)

    def load(self, key: Digest | str) -> Any:
        full = self.expand(key)
        logger.debug("Loading value with key %s", full)
        with self._operation_context(full, intent=Intent.READ):
            return _core.load_value(self, full)

    def _intern_rec(self, value: Any, key: Digest | None = None) -> tuple[Any, int | float]:
        """What a parent holds of a child, and the child's depth; a deep one is stored."""
        held, depth = _core.intern_value(self, value, self.remaining_depth)
        return held, depth if depth == float("inf") else int(depth)

    def _raw(self, key: Digest | str) -> Any:
        full = self.expand(key)
        with self._operation_context(full, intent=Intent.READ):
            return self.get(full)  # type: ignore[attr-defined]

    def child_digests(self, key: Digest | str) -> set[Digest]:
        """The keys of the children that the value under `key` was split into.

        Raises:
            KeyError: if there is no such value, or it is damaged.
        """
        stored = self._raw(key)
        try:
            return _core.child_digests(stored)
        except (AttributeError, TypeError) as error:
            # Bytes that changed may still be a pickle, of an object without its parts.
            raise KeyError(key) from error

    def count_reuses(self) -> Counter[Digest]:
        """How many stored values hold each stored value as a child."""
        reuses: Counter[Digest] = Counter()
        for key in list(self.list()):
            reuses.setdefault(key, 0)
            try:
                reuses.update(self.child_digests(key))
            except KeyError as error:
                logger.warning("Cannot load value %s, skipped: %s", key, error)
        return reuses
