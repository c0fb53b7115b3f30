"""Which values calls need, and how many bytes these take, told without unpickling any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fleche import _core
from fleche.digest import Digest
from fleche.storage.pieces import may_be_in_pieces
from fleche.storage.sizes import sizes_of

__all__ = ["Values", "held_by"]


def held_by(call: Any) -> Iterator[Digest]:
    """The keys of the arguments and the result of a call, or of its record."""
    record = call.detach() if hasattr(call, "detach") else call
    for held in (*record.arguments.values(), record.result):
        if isinstance(held, Digest):
            yield _core.storage_key(held)


class Values:
    """What a storage of values holds.

    Args:
        storage: the storage.
        at_once: whether all values are measured at once; else those that are asked for.
    """

    def __init__(self, storage: Any, at_once: bool = True) -> None:
        self.storage = storage
        self.keys = frozenset(storage.list())
        self._at_once = at_once
        self.sizes: Mapping[Digest, int] = sizes_of(storage, self.keys) if at_once else {}

    def size(self, keys: Iterable[Digest]) -> int | None:
        """The bytes of these values together; `None` if the storage does not tell."""
        keys = {*keys}
        sizes = self.sizes if self._at_once else sizes_of(self.storage, keys)
        known = [sizes[key] for key in keys if key in sizes]
        return sum(known) if known or sizes or not keys else None

    def reached(self, keys: Iterable[Digest]) -> set[Digest]:
        """Those of these keys that are here, with all values that are parts of them.

        Raises:
            OSError: if a value's bytes are out of reach.
        """
        found: set[Digest] = set()
        new = self.keys.intersection(keys)
        while new:
            found |= new
            new = self.keys.intersection(self._parts([*new])) - found
        return found

    def _parts(self, keys: list[Digest]) -> Iterable[Digest]:
        keys = [key for key in keys if may_be_in_pieces(self.storage, key, self.sizes.get(key))]
        if not keys:
            return ()
        mentioned = self.storage._mentions(keys, self.keys)
        if mentioned is not None:
            return list(mentioned)
        parts = getattr(self.storage, "child_digests", None)
        return () if parts is None else {part for key in keys for part in parts(key)}
