"""Caches that hold a limited number of calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleche import _core
from fleche.caches.base import BaseCache, Saveable
from fleche.caches.pair import Cache
from fleche.call import Call, QueryCall
from fleche.digest import Digest


class SizeLimitedMixin(BaseCache):
    """Holds at most `max_size` calls; the oldest one goes first. Values stay."""

    max_size: int

    def save(self, call: Saveable) -> Digest:
        key = super().save(call)  # type: ignore[safe-super]
        self._enforce_size_limit(key)
        return key

    def evict(self, key: Digest | str) -> None:
        super().evict(key)  # type: ignore[safe-super]

    def _save_older(self, older: _core.OlderCall, call: Call) -> None:
        # The limit counts when it is moved: while there are two, none of the others has to go.
        key = super().save(call)  # type: ignore[safe-super]
        self.evict(older.older_key)
        self._enforce_size_limit(key)

    def _pick_eviction_target(self, keys: list[Digest]) -> Digest | str:
        """Which call to evict. `keys`: all calls, the oldest first."""
        return keys[0]

    def _keys_by_age(self) -> list[Digest]:
        calls = getattr(self, "calls", None)
        if calls is not None:
            by_age = getattr(calls, "_list_by_age", calls.list)
            return list(by_age())
        return [call.to_lookup_key() for call in self._query(QueryCall())]

    def _enforce_size_limit(self, saved: Digest | None = None) -> None:
        """Evict what is too much; `saved`: the call that was just saved, which stays."""
        keep = max(self.max_size, 0)
        picks_the_oldest = (
            type(self)._pick_eviction_target is SizeLimitedMixin._pick_eviction_target
        )
        calls = getattr(self, "calls", None)
        if picks_the_oldest and hasattr(calls, "_overflow"):
            for key in self._oldest(calls, keep, saved):
                self.evict(key)
            return
        keys = self._keys_by_age()
        if keep and saved in keys:
            # The clock by which others were saved may be ahead.
            keys.remove(saved)
            keys.append(saved)
        while len(keys) > keep:
            target = self._pick_eviction_target(keys)
            if target not in keys:
                raise KeyError(target)
            keys.remove(Digest(target))
            self.evict(target)

    @staticmethod
    def _oldest(calls: Any, keep: int, saved: Digest | None) -> list[Digest]:
        """The calls to evict."""
        keys = list(calls._overflow(keep))
        if not (keys and keep and saved is not None):
            return keys
        if hasattr(calls, "_make_newest"):
            calls._make_newest(saved)
        if saved not in keys:
            return keys
        # It seemed to be older than the others: the clock by which they were saved is ahead.
        keys = list(calls._overflow(keep))
        if saved in keys:
            keys = [key for key in calls._overflow(keep - 1) if key != saved]
        return keys


@dataclass(frozen=True)
class SizeLimitedCache(SizeLimitedMixin, Cache):
    """A pair of storages that holds a limited number of calls, the oldest evicted first.

    Args:
        values: where arguments and results are kept, under their digests.
        calls: where the records of calls are kept, under their lookup keys.
        max_size: the largest number of calls.

    >>> from fleche.call import Call
    >>> from fleche.config import cache_from_config
    >>> cache = cache_from_config({"template": "memory", "max_size": 2})
    >>> for x in range(4):
    ...     _ = cache.save(Call("square", {"x": x}, result=x * x))
    >>> sorted(cache.query().results())
    [4, 9]
    """

    max_size: int
