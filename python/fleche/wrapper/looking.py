"""Caches as they are looked at: nothing is copied, filed anew or evicted by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fleche import _core
from fleche.caches import (
    BaseCache,
    CachePool,
    CacheStack,
    FilteredCache,
    ReadOnlyCache,
    RefreshingCache,
)
from fleche.call import LazyCall
from fleche.digest import Digest

_VIEWS = (ReadOnlyCache, FilteredCache, RefreshingCache)


@dataclass(frozen=True)
class _Untouched(CacheStack):
    """A stack that copies no hit to its first cache."""

    def _backfilled(self, call: LazyCall, asked: str) -> LazyCall:
        return call

    def _load_result(self, key: Digest) -> Any:
        # What the core asks of a stack.
        return self._result_from(key, 0)

    def _file_older(self, older: _core.OlderCall, found: LazyCall, result: Any) -> None:
        pass


def untouched(cache: BaseCache) -> BaseCache:
    """A cache that gives what this one gives, and that looking does not change."""
    kind = type(cache)
    if kind is CacheStack:
        return _Untouched(tuple(map(untouched, cache.stack)))  # type: ignore[attr-defined]
    if kind is CachePool:
        return CachePool(tuple(map(untouched, cache.caches)))  # type: ignore[attr-defined]
    if kind in _VIEWS:
        return replace(cache, cache=untouched(cache.cache))  # type: ignore[type-var, attr-defined]
    return cache if isinstance(cache, CacheStack | CachePool) else cache.readonly()


@dataclass(frozen=True)
class Place:
    """A cache with records of its own.

    Args:
        cache: the cache.
        name: what it is called beside others; nothing if there are no others.
    """

    cache: BaseCache
    name: str = ""


def places(cache: BaseCache) -> Iterator[Place]:
    """The caches that have records of their own, in the order in which they are asked."""
    found = list(_members(cache))
    for number, each in enumerate(found, 1):
        numbered = f"cache {number} of {len(found)}" if len(found) > 1 else ""
        yield Place(each, " at ".join(filter(None, (numbered, _where(each)))))


def _members(cache: BaseCache) -> Iterator[BaseCache]:
    if isinstance(cache, CacheStack | CachePool):
        for member in cache._members:
            yield from _members(member)
    elif isinstance(cache, ReadOnlyCache | RefreshingCache):
        yield from _members(cache.cache)
    else:
        yield cache


def _where(cache: BaseCache) -> str:
    """The folder or the address of a cache's records, if it has one."""
    *_, innermost = inner(cache)
    calls = getattr(innermost, "calls", None)
    try:
        place = None if calls is None else calls._place()
    except Exception:
        return ""
    if isinstance(place, str):
        from fleche.storage.urls import without_password

        return without_password(place)
    return str(place) if isinstance(place, Path) else ""


def inner(cache: BaseCache) -> Iterator[Any]:
    """A cache and those that it is a view of, from the outermost on."""
    each: Any = cache
    while isinstance(each, BaseCache):
        yield each
        each = getattr(each, "cache", None)


def failure(error: Exception) -> str | None:
    """Why something could not be read, in words; `None` if it is not there."""
    if not isinstance(error, KeyError):
        return f"{type(error).__name__}: {error}"
    if len(error.args) > 1 and isinstance(error.args[1], str):
        return error.args[1].removeprefix("Value present but cannot be read: ")
    cause = error.__cause__
    return None if cause is None else f"{type(cause).__name__}: {cause}"
