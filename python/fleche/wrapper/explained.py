"""Why a call is not cached: the look-up of a call, made without changing or computing anything.

`FINDERS` are asked one after the other, until one has found reasons. A new reason why calls are
not found is a function there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from fleche.call.outcomes import OriginalTraceback, stored_result
from fleche.digest import Digest
from fleche.query.filed import filed_key
from fleche.state import cache as set_cache
from fleche.state import get_cache
from fleche.wrapper import nearest
from fleche.wrapper.explanation import Explanation, Reason, StoredCall
from fleche.wrapper.looking import Place, failure, inner, places, untouched
from fleche.wrapper.strictness import uncached

if TYPE_CHECKING:
    from fleche import _core
    from fleche.caches import BaseCache
    from fleche.wrapper.calls import CachedCalls

__all__ = ["FINDERS", "Finder", "Lookup", "explain"]


@dataclass
class Lookup:
    """A call that was looked for and not found.

    Args:
        calls: those of its function.
        cache: where, in a form that looking does not change.
        key: the call's.
        arguments: those that count, by name.
        digests: theirs.
        code: the digest of the function's code, as far as it counts.
        passed: the names of the arguments that are not left to their defaults.
        error: what the cache failed with.
        older: the call as another digest scheme knows it.
    """

    calls: CachedCalls
    cache: BaseCache
    key: Digest
    arguments: dict[str, Any]
    digests: dict[str, Digest]
    code: Digest | None
    passed: frozenset[str]
    error: Exception | None
    older: _core.OlderCall | None = None
    # The stored calls that reasons compare this one with.
    nearest: tuple[StoredCall, ...] = ()

    @property
    def places(self) -> list[Place]:
        """The caches that have records of their own."""
        return list(places(self.cache))


Finder: TypeAlias = Callable[[Lookup], Iterator[Reason]]


def explain(calls: CachedCalls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Explanation:
    """Whether a call is cached, and if not, why.

    Args:
        calls: those of its function.
        args: the call's positional arguments.
        kwargs: its keyword arguments.

    Raises:
        TypeError: if the arguments do not fit.
    """
    passed = frozenset(calls.signature.bind(*args, **kwargs).arguments)
    try:
        cache = untouched(get_cache())
    except OSError as error:
        return _without_cache(calls, ("cache", None, error))
    missed: list[tuple[Any, ...]] = []
    uncached_for: list[tuple[str, Any, Any]] = []
    probe = calls.compiled(
        on_miss=lambda *found: missed.append(found),
        on_uncached=lambda args, kwargs, reason: uncached_for.append(reason),
        in_python=True,
        look_up=calls.look_up_alone,
    )
    with set_cache(cache):
        try:
            probe.run(args, kwargs)
        except Exception as raised:
            # What the call raised is its result.
            if type(raised.__cause__) is not OriginalTraceback:
                return _without_argument(calls, args, kwargs, raised)
        if uncached_for:
            return _without_cache(calls, uncached_for[0])
        if not missed:
            key = calls.key(args, kwargs)
            found = _found(calls, cache, key, args, kwargs)
            return Explanation(calls.name, True, key, found=found)
        _, key, arguments, digests, args, kwargs, failed_with, code, _ = missed[0]
        lookup = Lookup(calls, cache, key, arguments, digests, code, passed, failed_with)
        lookup.older = _older(calls, cache, args, kwargs)
        return Explanation(calls.name, False, key, tuple(_reasons(lookup)), nearest=lookup.nearest)


def _without_cache(calls: CachedCalls, reason: tuple[str, Any, Any]) -> Explanation:
    _, message, about = uncached(calls.name, reason)
    kind, subject, detail = reason
    path = ""
    if kind == "indigestible":
        path = f"{subject}{getattr(detail, 'path', '')}"
    found = Reason(kind, message % about, path)  # type: ignore[arg-type]
    return Explanation(calls.name, False, reasons=(found,))


def _without_argument(
    calls: CachedCalls, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> Explanation:
    """What is said of a `Digest` that stands for an argument which the cache does not give.

    Raises:
        Exception: if there is none; the call would raise it, too.
    """
    given = [each for each in (*args, *kwargs.values()) if type(each) is Digest]
    if not given or not isinstance(error, KeyError):
        raise error
    said = " ".join(getattr(error, "__notes__", ())) or str(error)
    return Explanation(calls.name, False, reasons=(Reason("argument", said),))


def _found(
    calls: CachedCalls,
    cache: BaseCache,
    key: Digest,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> StoredCall | None:
    """The record that a hit was loaded from."""
    asked = list(places(cache))
    for place in asked:
        with suppress(Exception):
            call = place.cache.load(key)
            # Of several, one may have lost the result.
            if len(asked) == 1 or stored_result(call) is not None:
                return StoredCall(key, call, place.name)
    older = _older(calls, cache, args, kwargs)
    if older is None:
        return None
    for place in asked:
        with suppress(Exception):
            found = place.cache._find_older(older)
            if found is not None:
                return StoredCall(older.older_key, found, place.name, is_older=True)
    return None


def _older(
    calls: CachedCalls, cache: BaseCache, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _core.OlderCall | None:
    """The call as another digest scheme knows it, unless the cache fails to say whether it may."""
    with suppress(Exception):
        return calls.core.older(cache, args, kwargs)
    return None


def _reasons(lookup: Lookup) -> Iterator[Reason]:
    for finder in FINDERS:
        found = False
        for reason in finder(lookup):
            found = True
            yield reason
        if found:
            return
    yield Reason("unseen", "the cache does not give it, for a reason that is not seen here")


def rerun(lookup: Lookup) -> Iterator[Reason]:
    """Within a rerun nothing is looked up."""
    from fleche.caches import RefreshingCache

    if any(isinstance(each, RefreshingCache) for each in inner(lookup.cache)):
        yield Reason("rerun", "within a rerun every call is computed again")


def failed(lookup: Lookup) -> Iterator[Reason]:
    """The cache raised something."""
    if lookup.error is not None:
        yield Reason("cache", f"the cache failed to load it ({failure(lookup.error)})")


def expired(lookup: Lookup) -> Iterator[Reason]:
    """The result is too old, or refused."""
    from fleche.wrapper.freshness import State

    freshness = lookup.calls.freshness
    if freshness is None:
        return
    for place in lookup.places:
        for record in place.cache._records(lookup.key):
            if freshness.state_of(record) is State.EXPIRED:
                yield Reason("expired", freshness.why(record), key=lookup.key)


def running(lookup: Lookup) -> Iterator[Reason]:
    """Somebody computes it."""
    found = lookup.calls.once.running(get_cache(), lookup.key)
    if found is not None:
        yield Reason("running", str(found), key=lookup.key)
    elif lookup.key in lookup.calls.misses.pending.futures:
        yield Reason("running", "its future is not done yet", key=lookup.key)


def lost(lookup: Lookup) -> Iterator[Reason]:
    """The record is there, and it or its result is of no use."""
    key, whole = lookup.key, []
    for place in lookup.places:
        where = f" in {place.name}" if place.name else ""
        if not _contains(place.cache, key):
            continue
        try:
            call = place.cache.load(key)
        except Exception as error:
            text = f"its record{where} cannot be read ({failure(error)}); evict {key} to be rid"
            yield Reason("record", f"{text} of it", key=key)
            continue
        if call.to_lookup_key() != key:
            text = f"what is filed under its key{where} is the record of another call, of"
            yield Reason("record", f"{text} {call.name}", key=key)
            continue
        try:
            stored_result(call)
        except Exception as error:
            why = failure(error)
            limit = _limit(place, key) if why is None else None
            if limit is not None:
                yield Reason("limit", f"{limit}{where}; its record is kept", key=key)
                continue
            text = "is gone" if why is None else f"cannot be read ({why})"
            yield Reason("result", f"its record is there{where}, but its result {text}", key=key)
        else:
            whole.append(where)
    if whole:
        kind = type(get_cache()).__name__
        text = f"record and result are there{whole[0]}, but the {kind} does not give them"
        yield Reason("cache", text, key=key)


def _limit(place: Place, key: Digest) -> str | None:
    """Which limit evicted a call, and when; `None` if none did, as far as is known."""
    from fleche.caches import BoundedCache

    for each in inner(place.cache):
        evicted = each.why_evicted(key) if isinstance(each, BoundedCache) else None
        if evicted is not None:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(evicted[0]))
            return f"a limit evicted it at {when} ({evicted[1]})"
    return None


def limited(lookup: Lookup) -> Iterator[Reason]:
    """A limit of the cache evicted it."""
    for place in lookup.places:
        if _contains(place.cache, lookup.key):
            continue
        limit = _limit(place, lookup.key)
        if limit is not None:
            where = f" in {place.name}" if place.name else ""
            yield Reason("limit", f"{limit}{where}", key=lookup.key)


def _contains(cache: BaseCache, key: Digest) -> bool:
    # One that fails has said so in the log.
    with suppress(Exception):
        return cache.contains(key)
    return False


def hidden(lookup: Lookup) -> Iterator[Reason]:
    """A filtered view does not show it."""
    from fleche.caches import FilteredCache

    for each in inner(lookup.cache):
        if isinstance(each, FilteredCache) and _contains(each.cache, lookup.key):
            yield Reason("hidden", "the cache holds it, but the filter of this view hides it")


def older(lookup: Lookup) -> Iterator[Reason]:
    """What is filed under its key of another digest scheme was not taken."""
    if lookup.older is None:
        return
    for place in lookup.places:
        key = lookup.older.older_key
        try:
            call = place.cache.load(key)
            refusal = lookup.older.refusal(call)
            if refusal is None:
                stored_result(call)
                continue
        except KeyError as error:
            if not _contains(place.cache, key):
                continue
            why = failure(error)
            refusal = "its result is gone" if why is None else f"it cannot be read ({why})"
        except Exception as error:
            refusal = f"it cannot be read ({error})"
        text = f"a call of another digest scheme, {key[:8]}, is not taken for it: {refusal}"
        yield Reason("older", text, key=key)


def absent(lookup: Lookup) -> Iterator[Reason]:
    """There is no record: what is stored of the function, and how it differs."""
    found = nearest.calls_like(lookup)
    stored: dict[Digest, StoredCall] = {}
    for call, place in found:
        key = filed_key(call, place.cache)
        stored.setdefault(key, StoredCall(key, call, place.name))
    lookup.nearest = tuple(stored.values())[: nearest.MOST]
    for each in lookup.nearest:
        for reason in nearest.how_it_differs(lookup, each.call):
            yield replace(reason, key=each.key)
    if not stored:
        name = lookup.calls.name
        yield Reason("nothing", f"nothing is stored of {name}")
    for place in lookup.places:
        most = getattr(place.cache, "max_size", None)
        if most is not None and place.cache.query().take(most).count() == most:
            text = f"the cache holds {most} calls, its max_size: others may have taken its place"
            yield Reason("limit", text)


#: What is asked why a call is not found, one after the other. Each gives the reasons that it knows.
FINDERS: list[Finder] = [rerun, failed, expired, lost, hidden, older, running, limited, absent]
