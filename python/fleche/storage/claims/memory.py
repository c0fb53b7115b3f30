"""Claims within this process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Hashable
from dataclasses import replace

from fleche.storage.claims.base import Claim, Claims, Holder

__all__ = ["MemoryClaims"]


class _Table:
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.holders: dict[tuple[Hashable, str], Holder] = {}


_table = _Table()


def _forget() -> None:
    """In a forked child: who computes goes on in the parent."""
    global _table
    _table = _Table()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class _MemoryClaim(Claim):
    def __init__(self, table: _Table, place: tuple[Hashable, str]) -> None:
        super().__init__()
        self._table, self._place = table, place

    def wait_for(self, key: str | None) -> None:
        with self._table.changed:
            holders = self._table.holders
            if self._place in holders:
                holders[self._place] = replace(holders[self._place], waits_for=key)

    def release(self) -> None:
        if self._table is not _table:
            return
        with self._table.changed:
            self._table.holders.pop(self._place, None)
            self._table.changed.notify_all()


class MemoryClaims(Claims):
    """The claims on the calls of a store that only this process has.

    >>> claims = MemoryClaims("a store")
    >>> claim = claims.take("a key")
    >>> claims.take("a key") is None, claims.holder("a key").thread
    (True, 'MainThread')
    >>> claim.release()
    >>> claims.holder("a key")
    """

    def take(self, key: str, seconds: float = 0, holder: Holder | None = None) -> Claim | None:
        table, place = _table, (self.place, key)
        deadline = time.monotonic() + seconds
        with table.changed:
            while place in table.holders:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                table.changed.wait(left)
            table.holders[place] = holder or Holder.here()
        return _MemoryClaim(table, place)

    def holder(self, key: str) -> Holder | None:
        return _table.holders.get((self.place, key))
