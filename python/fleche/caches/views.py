"""Caches around another one: read-only, filtered, refreshing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche.caches.base import BaseCache, Rejected, Saveable
from fleche.call import Call, LazyCall, PreparedCall, QueryCall
from fleche.digest import Digest
from fleche.query.reading import readable
from fleche.storage.base import Intent

if TYPE_CHECKING:
    from fleche.storage.claims import Claims


@dataclass(frozen=True)
class CacheWrapper(BaseCache):
    """A cache around another one; as it is, it passes everything through.

    Args:
        cache: the inner cache.
    """

    cache: BaseCache

    def _operation_context(self, key: Digest | str, *, intent: Intent = Intent.WRITE) -> Any:
        return self.cache._operation_context(key, intent=intent)

    def save(self, call: Saveable) -> Digest:
        return self.cache.save(call)

    def load(self, key: Digest | str) -> LazyCall:
        return self.cache.load(key)

    def load_value(self, key: Digest | str) -> Any:
        return self.cache.load_value(key)

    def contains(self, key: Digest | str) -> bool:
        return self.cache.contains(key)

    def _contains_many(self, keys: Sequence[Digest]) -> list[bool]:
        if type(self).contains is not CacheWrapper.contains:
            return super()._contains_many(keys)
        return self.cache._contains_many(keys)

    def _prefetch(self, keys: Sequence[Digest]) -> None:
        self.cache._prefetch(keys)

    def _shortest(self, keys: Sequence[Digest | str]) -> list[Digest | None]:
        if type(self)._shrink is not CacheWrapper._shrink:
            return super()._shortest(keys)
        return self.cache._shortest(keys)

    def evict(self, key: Digest | str) -> None:
        self.cache.evict(key)

    def prepare(self, call: Call) -> PreparedCall:
        # Saved through the wrapper, not around it.
        return self.cache.prepare(call)._through(self)

    def _may_hold(self, scheme: str) -> bool:
        return self.cache._may_hold(scheme)

    @property
    def _once(self) -> bool:  # type: ignore[override]
        return self.cache._once

    def _claims(self) -> Claims | None:
        return self.cache._claims()

    def expand(self, key: Digest | str) -> Digest:
        return self.cache.expand(key)

    def _shrink(self, *keys: Digest | str) -> tuple[Digest, ...]:
        return self.cache._shrink(*keys)

    def _query(self, call: QueryCall) -> Iterable[LazyCall]:
        return self.cache._query(call)


class ReadOnlyMixin(BaseCache):
    """Refuses to save and to evict."""

    def save(self, call: Saveable) -> Digest:
        raise Rejected("Cannot save to a read-only cache", type(self).__name__)

    def evict(self, key: Digest | str) -> None:
        raise Rejected("Cannot evict from a read-only cache", type(self).__name__, key)

    def prepare(self, call: Call) -> PreparedCall:
        return PreparedCall(call.digest(), self)

    def _file_older(self, older: _core.OlderCall, found: LazyCall, result: Any) -> None:
        pass

    def _claims(self) -> None:
        return None


@dataclass(frozen=True)
class ReadOnlyCache(ReadOnlyMixin, CacheWrapper):
    """A view of a cache that is only read.

    Args:
        cache: the inner cache.

    >>> from fleche.call import Call
    >>> from fleche.config import cache_from_config
    >>> view = cache_from_config({"template": "memory"}).readonly()
    >>> try:
    ...     view.save(Call("square", {"x": 3}, result=9))
    ... except Rejected as error:
    ...     print(error.args[0])
    Cannot save to a read-only cache
    """

    @property
    def _is_looked_at(self) -> bool:
        return self.cache._is_looked_at


@dataclass(frozen=True)
class FilteringMixin(CacheWrapper):
    """Shows only the calls for which `predicate` holds."""

    predicate: Callable[[Call | LazyCall], bool]

    def load(self, key: Digest | str) -> LazyCall:
        call = self.cache.load(key)
        for _, shown in readable((call,), self.predicate):
            if shown:
                return call
        raise KeyError(key)

    def contains(self, key: Digest | str) -> bool:
        try:
            self.load(key)
        except KeyError:
            return False
        return True

    def _query(self, call: QueryCall) -> Iterator[LazyCall]:
        found = readable(self.cache._query(call), self.predicate)
        return (each for each, shown in found if shown)


@dataclass(frozen=True)
class FilteredCache(ReadOnlyMixin, FilteringMixin):
    """A read-only view of the calls that match.

    Args:
        cache: the inner cache.
        predicate: whether a call is shown.

    >>> from fleche.call import Call
    >>> from fleche.config import cache_from_config
    >>> cache = cache_from_config({"template": "memory"})
    >>> for x in range(4):
    ...     _ = cache.save(Call("square", {"x": x}, result=x * x))
    >>> cache.filter(lambda call: call.result > 3).query().count()
    2
    """


@dataclass(frozen=True)
class RefreshingCache(CacheWrapper):
    """Always misses, and saves through: every call is computed again.

    Args:
        cache: the inner cache.

    >>> from fleche.call import Call
    >>> from fleche.config import cache_from_config
    >>> cache = cache_from_config({"template": "memory"})
    >>> key = RefreshingCache(cache).save(Call("square", {"x": 3}, result=9))
    >>> RefreshingCache(cache).contains(key), cache.contains(key)
    (False, True)
    """

    def load(self, key: Digest | str) -> LazyCall:
        raise KeyError(key)

    def contains(self, key: Digest | str) -> bool:
        return False

    # What is computed again replaces the call under an older scheme's key, too.

    def _find_older(self, older: _core.OlderCall) -> LazyCall | None:
        return None

    def _take_older(self, older: _core.OlderCall) -> tuple[Any] | None:
        if self.cache._find_older(older) is not None:
            self.__dict__.setdefault("_replaced", {})[older.key] = older.older_key
        return None

    def _evict_older(self, key: Digest) -> bool:
        """Evict the older record of a call that was looked up; whether there is one."""
        older_key = self.__dict__.get("_replaced", {}).pop(key, None)
        if older_key is None:
            return False
        self.cache.evict(older_key)
        return True

    def save(self, call: Saveable) -> Digest:
        key = super().save(call)
        self._evict_older(key)
        return key
