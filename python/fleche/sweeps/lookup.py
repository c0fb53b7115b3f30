"""Which calls of a sweep are the same, and which of them a cache holds: one look for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from fleche import _core
from fleche._foundation.log import logger_of
from fleche.caches import BaseCache
from fleche.digest import Digest
from fleche.sweeps.grid import Arguments
from fleche.wrapper.calls import CachedCalls

logger = logger_of("fleche")

# How long the cache is asked how long calls take, in seconds.
_PATIENCE = 0.2


def keys_of(calls: CachedCalls, given: Callable[[int], Arguments], count: int) -> list[Any]:
    """The key of each call; `None` of one that is going to run without a cache.

    Args:
        calls: the function's.
        given: the arguments of each call, all by the same names.
        count: how many calls there are.
    """
    if not count:
        return []
    args, kwargs = given(0)
    passed = calls.signature.bind(*args, **kwargs).arguments.keys() | kwargs.keys()
    if calls.required - passed:
        return [None] * count
    fast = calls.core.key
    keys: list[Digest | None] = []
    for position in range(count):
        args, kwargs = given(position)
        try:
            keys.append(fast(args, kwargs) or calls.key(args, kwargs))
        except Exception:
            # Said, or raised, by the call itself.
            keys.append(None)
    return keys


def first_of_each(keys: Sequence[Digest | None]) -> dict[int, int]:
    """For each call that repeats an earlier one, that one.

    >>> first_of_each(["a", "b", "a", None, None, "a"])
    {2: 0, 5: 0}
    """
    first: dict[Digest, int] = {}
    again = {}
    for position, key in enumerate(keys):
        if key is not None and (known := first.setdefault(key, position)) != position:
            again[position] = known
    return again


def held_by(cache: BaseCache, keys: Sequence[Digest]) -> list[bool]:
    """Whether a cache holds each call; not, if it cannot tell."""
    try:
        return cache._contains_many(keys)
    except Exception:
        # Each call meets the same trouble, and says so.
        logger.debug("Looking up %s calls at once failed", len(keys), exc_info=True)
        return [False] * len(keys)


def held_as_older(
    calls: CachedCalls, cache: BaseCache, given: Callable[[int], Arguments], positions: list[int]
) -> list[int]:
    """Which of the calls a cache holds under the keys of an older scheme."""
    held = []
    try:
        if _core.scheme() == _core.OLDER_SCHEME or not cache._may_hold(_core.OLDER_SCHEME):
            return []
        for position in positions:
            if calls.contained(cache, *given(position)):
                held.append(position)
    except Exception:
        # Each call meets the same trouble, and says so.
        logger.debug("Looking up older calls failed", exc_info=True)
    return held


def walltimes(calls: CachedCalls, cache: BaseCache, keys: Iterable[Digest]) -> Iterator[float]:
    """How many seconds recorded calls of a function took, as far as that is quickly told.

    Args:
        calls: the function's.
        cache: where they are recorded.
        keys: some that are; without any, the cache is queried.
    """
    end = time.monotonic() + _PATIENCE
    try:
        known = (cache.load(key) for key in keys)
        first = next(known, None)
        found = cache.query(calls.query_call((), {})) if first is None else chain((first,), known)
        for call in found:
            for held in call.metadata.values():
                if isinstance(took := held.get("walltime"), int | float):
                    yield took
            if time.monotonic() > end:
                return
    except Exception:
        logger.debug("Cannot tell how long calls of %s take", calls.name, exc_info=True)
