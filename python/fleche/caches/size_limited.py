"""Caches that hold a limited number of calls."""

from __future__ import annotations

from dataclasses import dataclass

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
        self._enforce_size_limit()
        return key

    def evict(self, key: Digest | str) -> None:
        super().evict(key)  # type: ignore[safe-super]

    def _save_older(self, older: _core.OlderCall, call: Call) -> None:
        # The limit counts when it is moved: while there are two, none of the others has to go.
        super().save(call)  # type: ignore[safe-super]
        self.evict(older.older_key)
        self._enforce_size_limit()

    def _pick_eviction_target(self, keys: list[Digest]) -> Digest | str:
        """Which call to evict. `keys`: all calls, the oldest first."""
        return keys[0]

    def _keys_by_age(self) -> list[Digest]:
        calls = getattr(self, "calls", None)
        if calls is not None:
            by_age = getattr(calls, "_list_by_age", calls.list)
            return list(by_age())
        return [call.to_lookup_key() for call in self._query(QueryCall())]

    def _enforce_size_limit(self) -> None:
        keep = max(self.max_size, 0)
        picks_the_oldest = (
            type(self)._pick_eviction_target is SizeLimitedMixin._pick_eviction_target
        )
        overflow = getattr(getattr(self, "calls", None), "_overflow", None)
        if picks_the_oldest and overflow is not None:
            for key in overflow(keep):
                self.evict(key)
            return
        keys = self._keys_by_age()
        while len(keys) > keep:
            target = self._pick_eviction_target(keys)
            if target not in keys:
                raise KeyError(target)
            keys.remove(Digest(target))
            self.evict(target)


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
