"""Caches: where calls are looked up, and where they and their values are saved.

>>> from fleche.call import Call
>>> from fleche.storage import CallMemory, ValueMemory
>>> cache = Cache(ValueMemory({}), CallMemory({}))
>>> key = cache.save(Call("square", {"x": 3}, result=9))
>>> cache.load(key).result
9
>>> cache.query(name="square").count()
1
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fleche import _core
from fleche.call import Call, DigestedCall, LazyCall, PreparedCall, QueryCall
from fleche.digest import DIGEST_LENGTH, Digest, Indigestible
from fleche.storage.base import (
    CallStorage,
    Intent,
    OperationContext,
    SaveError,
    ValueStorage,
)
from fleche.storage.destructuring import HasChildDigests
from fleche.storage.thread_safe import PerKeyLockMixin

if TYPE_CHECKING:
    import pandas

    from fleche.query import QueryIterator

logger = logging.getLogger("fleche.cache")

Saveable = Call | PreparedCall | DigestedCall


class Rejected(Exception):
    """The cache refuses to save or to evict."""


class BaseCache(OperationContext, ABC):
    """What every cache does. Subclasses say how; all are frozen and equal by their parts."""

    @abstractmethod
    def save(self, call: Saveable) -> Digest:
        """Save a call and its values; gives its key.

        Args:
            call: a call with its values; a record, whose values are stored already; or a call that
                `prepare` gave and that has its result by now.

        Raises:
            Rejected: if the cache refuses.
        """

    @abstractmethod
    def load(self, key: Digest | str) -> LazyCall:
        """The call under `key`; its values are loaded when they are looked at.

        Args:
            key: the key, or a prefix of at least 4 characters.

        Raises:
            KeyError: if there is none.
            AmbiguousDigestError: if several keys have this prefix.
        """

    @abstractmethod
    def load_value(self, key: Digest | str) -> Any:
        """The value under `key`.

        Args:
            key: the key, or a prefix of at least 4 characters.

        Raises:
            KeyError: if there is none.
            AmbiguousDigestError: if several keys have this prefix.
        """

    @abstractmethod
    def evict(self, key: Digest | str) -> None:
        """Remove the call under `key`; an absent one is no error. Values stay.

        Args:
            key: the key, or a prefix of at least 4 characters.

        Raises:
            Rejected: if the cache refuses.
        """

    @abstractmethod
    def expand(self, key: Digest | str) -> Digest:
        """The key of a call or value that a prefix of at least 4 characters stands for.

        Raises:
            KeyError: if there is none.
            AmbiguousDigestError: if there are several.
        """

    @abstractmethod
    def _shrink(self, *keys: Digest | str) -> tuple[Digest, ...]:
        """As `shrink`, always a tuple."""

    @abstractmethod
    def _query(self, call: QueryCall) -> Iterable[LazyCall]:
        """The calls that match a pattern."""

    def contains(self, key: Digest | str) -> bool:
        """Whether the cache holds the call under `key`."""
        try:
            self.load(key)
        except KeyError:
            return False
        return True

    def prepare(self, call: Call) -> PreparedCall:
        """Admit a call before its body runs: its key is sealed with the arguments as they are now.

        Raises:
            Indigestible: if an argument has no digest.
        """
        return PreparedCall(call.digest(), self)

    def shrink(self, *keys: Digest | str) -> Digest | tuple[Digest, ...]:
        """The shortest unambiguous prefix of each key, at least 4 characters long.

        Returns:
            One prefix for one key, a tuple of them for several.

        Raises:
            KeyError: if a key is not in the cache.
        """
        if not keys:
            raise TypeError("shrink() requires at least one key")
        short = self._shrink(*keys)
        return short[0] if len(keys) == 1 else short

    def query(self, template: QueryCall | None = None, **fields: Any) -> QueryIterator:
        """The calls that match a pattern.

        Args:
            template: the pattern.
            fields: the pattern's fields, instead of it.

        Raises:
            TypeError: if both are given.
        """
        from fleche.query import QueryIterator

        if template is None:
            template = QueryCall(**fields)
        elif fields:
            raise TypeError("Cannot pass keyword arguments when a QueryCall template is provided")

        def calls() -> Iterator[LazyCall]:
            try:
                yield from self._query(template)
            except Indigestible as error:
                logger.warning("No hash for query argument: %s", error)

        return QueryIterator(calls, self)

    def table(
        self,
        arguments: Iterable[str] | str | Literal[True] = (),
        results: bool = False,
        shrink_keys: bool = True,
    ) -> pandas.DataFrame:
        """All calls as a `pandas.DataFrame`, a row each; see `QueryIterator.table`.

        Args:
            arguments: the names of the arguments to show, one of them, or `True` for all.
            results: whether to show the results.
            shrink_keys: whether the index holds the shortest unambiguous keys.

        Raises:
            ImportError: if pandas is not installed.
        """
        return self.query().table(arguments, results, shrink_keys)

    def transfer(self, other: BaseCache, pop: bool = False, overwrite: bool = False) -> None:
        """Copy all calls, with their values, to another cache; see `QueryIterator.transfer`.

        Args:
            other: where to.
            pop: evict each call that was transferred from this cache.
            overwrite: replace calls that `other` holds already; else they are left alone.
        """
        self.query().transfer(other, pop=pop, overwrite=overwrite)

    def _transfer_one(self, c: LazyCall, *, overwrite: bool = False) -> bool:
        """Take over a call of another cache; whether it was taken."""
        key = c.to_lookup_key()
        with self._operation_context(key):
            if not overwrite and self.contains(key):
                return False
            self.save(_fetch_again(c, key))
            return True

    def filter(self, predicate: Callable[[Call | LazyCall], bool] | QueryCall) -> FilteredCache:
        """A read-only view of the calls that match.

        Args:
            predicate: whether a call is shown, or a pattern that it must match.
        """
        if isinstance(predicate, QueryCall):
            predicate = predicate.matches
        return FilteredCache(self, predicate)

    def readonly(self) -> ReadOnlyCache:
        """A view that is only read."""
        return ReadOnlyCache(self)

    def push(self, cache: BaseCache) -> CacheStack:
        """A stack with `cache` before this one."""
        return CacheStack((cache, self))

    @classmethod
    def from_config(cls, config: dict[str, Any] | list[dict[str, Any]]) -> BaseCache:
        """The cache that a configuration describes; see `fleche.config.cache_from_config`."""
        from fleche.config import cache_from_config

        return cache_from_config(config)


@dataclass(frozen=True)
class Cache(PerKeyLockMixin, BaseCache):
    """A pair of storages.

    Args:
        values: where arguments and results are kept, under their digests.
        calls: where the records of calls are kept, under their lookup keys.
    """

    values: ValueStorage
    calls: CallStorage

    def save(self, call: Saveable) -> Digest:
        key = call.to_lookup_key()
        with self._operation_context(key):
            try:
                if isinstance(call, PreparedCall):
                    record = call.resolve(self.values)
                elif isinstance(call, DigestedCall):
                    record = call
                else:
                    record = call.stash(self.values)
                return self.calls.save(record)
            except SaveError as error:
                raise Rejected(error) from error

    def load(self, key: Digest | str) -> LazyCall:
        return self.calls.load(key).fetch(self)

    def load_value(self, key: Digest | str) -> Any:
        return self.values.load(key)

    def contains(self, key: Digest | str) -> bool:
        return self.calls.contains(key)

    def evict(self, key: Digest | str) -> None:
        self.calls.evict(key)

    def prepare(self, call: Call) -> PreparedCall:
        arguments = call._stash_arguments(self.values)
        result = None if call.result is None else call._stash_result(self.values)
        return PreparedCall(call._to_digested(arguments, result), self)

    def expand(self, key: Digest | str) -> Digest:
        if len(key) >= 64:
            return Digest(key)
        found = _each(lambda storage: storage.expand(key), (self.calls, self.values))
        return _core.resolve_prefix(key, set(found))

    def _shrink(self, *keys: Digest | str) -> tuple[Digest, ...]:
        return _shrunk(keys, (self.calls, self.values))

    def _query(self, call: QueryCall) -> Iterator[LazyCall]:
        for record in self.calls.query(call):
            yield record.fetch(self)

    def redigest(self) -> None:
        """File every record under the key that it has today; readers find it at any time."""
        self.calls.transform()

    def gc(self) -> set[Digest]:
        """Evict the values that no call reaches; gives their keys. Call records stay.

        It reads all calls and lists all values.
        """
        reached: set[Digest] = set()
        waiting: list[Digest] = []
        for record in self.calls.query(QueryCall()):
            held = [*record.arguments.values(), record.result]
            waiting.extend(key for key in held if isinstance(key, Digest))
        children = self.values.child_digests if isinstance(self.values, HasChildDigests) else None
        while waiting:
            key = waiting.pop()
            if key in reached:
                continue
            reached.add(key)
            if children is not None:
                try:
                    waiting.extend(children(key))
                except KeyError:
                    continue
        unreached = set(self.values.list()) - reached
        for key in unreached:
            self.values.evict(key)
        return unreached


def _fetch_again(lazy: LazyCall, key: Digest, *, keep: bool = False) -> Call:
    """A call with its values, to be saved in another cache under the key that it has.

    Args:
        lazy: the call.
        key: its key.
        keep: file it under its key even if its values have other digests by now, as in another
            scheme; else it is filed as a call with these values would be.
    """
    call = lazy.fetch()
    if type(call.result) is Digest:
        call.__dict__["_returned_digest"] = isinstance(lazy._result, Digest)
    if call.to_lookup_key() == key:
        return call
    call.__dict__["_typed"] = True
    if call.to_lookup_key() == key:
        return call
    del call.__dict__["_typed"]
    if keep:
        call.__dict__["_digests"] = dict(lazy._arguments)
    return call


def _each(operation: Callable[[Any], Any], members: Iterable[Any]) -> list[Any]:
    """What an operation gives for each member that knows the key."""
    found = []
    for member in members:
        try:
            found.append(operation(member))
        except KeyError:
            continue
    return found


def _shrunk(keys: tuple[Digest | str, ...], members: Iterable[Any]) -> tuple[Digest, ...]:
    """The shortest prefix of each key that is unambiguous in every member that knows the key."""
    longest: dict[int, Digest] = {}
    for member in members:
        for position, short in _shrunk_in(member, keys):
            if len(short) > len(longest.get(position, "")):
                longest[position] = short
    for position, key in enumerate(keys):
        if position not in longest:
            raise KeyError(key)
    return tuple(longest[position] for position in range(len(keys)))


def _shrunk_in(member: Any, keys: tuple[Digest | str, ...]) -> Iterator[tuple[int, Digest]]:
    # All of them at once, which lists the member once, however many keys there are.
    held = [(position, key) for position, key in enumerate(keys) if _knows(member, key)]
    if held:
        shortened = member._shrink(*(key for _, key in held))
        yield from zip((position for position, _ in held), shortened, strict=True)


def _knows(member: Any, key: Digest | str) -> bool:
    """Whether a storage or cache holds something, a call or a value, under a whole key."""
    if len(key) < DIGEST_LENGTH:
        return False
    if isinstance(member, Cache):
        return member.calls.contains(key) or member.values.contains(key)
    if isinstance(member, _MultiCache):
        return any(_knows(inner, key) for inner in member._members)
    if isinstance(member, CacheWrapper):
        return _knows(member.cache, key)
    return bool(member.contains(key))


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

    def evict(self, key: Digest | str) -> None:
        self.cache.evict(key)

    def prepare(self, call: Call) -> PreparedCall:
        # Saved through the wrapper, not around it.
        return PreparedCall(self.cache.prepare(call).digested, self)

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


@dataclass(frozen=True)
class ReadOnlyCache(ReadOnlyMixin, CacheWrapper):
    """A view of a cache that is only read.

    Args:
        cache: the inner cache.

    >>> from fleche.config import cache_from_config
    >>> view = cache_from_config({"template": "memory"}).readonly()
    >>> try:
    ...     view.save(Call("square", {"x": 3}, result=9))
    ... except Rejected as error:
    ...     print(error.args[0])
    Cannot save to a read-only cache
    """


@dataclass(frozen=True)
class FilteringMixin(CacheWrapper):
    """Shows only the calls for which `predicate` holds."""

    predicate: Callable[[Call | LazyCall], bool]

    def load(self, key: Digest | str) -> LazyCall:
        call = self.cache.load(key)
        if not self.predicate(call):
            raise KeyError(key)
        return call

    def contains(self, key: Digest | str) -> bool:
        try:
            self.load(key)
        except KeyError:
            return False
        return True

    def _query(self, call: QueryCall) -> Iterator[LazyCall]:
        return (found for found in self.cache._query(call) if self.predicate(found))


@dataclass(frozen=True)
class FilteredCache(ReadOnlyMixin, FilteringMixin):
    """A read-only view of the calls that match.

    Args:
        cache: the inner cache.
        predicate: whether a call is shown.

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


class SizeLimitedMixin(BaseCache):
    """Holds at most `max_size` calls; the oldest one goes first. Values stay."""

    max_size: int

    def save(self, call: Saveable) -> Digest:
        key = super().save(call)  # type: ignore[safe-super]
        self._enforce_size_limit()
        return key

    def evict(self, key: Digest | str) -> None:
        super().evict(key)  # type: ignore[safe-super]

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
        keys = self._keys_by_age()
        while len(keys) > max(self.max_size, 0):
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

    >>> from fleche.config import cache_from_config
    >>> cache = cache_from_config({"template": "memory", "max_size": 2})
    >>> for x in range(4):
    ...     _ = cache.save(Call("square", {"x": x}, result=x * x))
    >>> sorted(cache.query().results())
    [4, 9]
    """

    max_size: int


class _MultiCache(BaseCache):
    """Several caches, asked one after the other."""

    @property
    @abstractmethod
    def _members(self) -> tuple[BaseCache, ...]: ...

    def load_value(self, key: Digest | str) -> Any:
        for member in self._members:
            try:
                return member.load_value(key)
            except KeyError:
                continue
        raise KeyError(key)

    def contains(self, key: Digest | str) -> bool:
        return any(member.contains(key) for member in self._members)

    def expand(self, key: Digest | str) -> Digest:
        if len(key) >= 64:
            return Digest(key)
        return _core.resolve_prefix(key, set(_each(lambda m: m.expand(key), self._members)))

    def _shrink(self, *keys: Digest | str) -> tuple[Digest, ...]:
        return _shrunk(keys, self._members)

    def _query(self, call: QueryCall) -> Iterator[LazyCall]:
        seen = set()
        for member in self._members:
            for found in member._query(call):
                key = found.to_lookup_key()
                if key not in seen:
                    seen.add(key)
                    yield found


@dataclass(frozen=True)
class CacheStack(PerKeyLockMixin, _MultiCache):
    """Caches on top of each other: saves go to the first, loads try one after the other, and a
    hit in a later one is filed into the first.

    Args:
        stack: the caches.

    Raises:
        ValueError: if one of them is a stack.

    >>> from fleche.config import cache_from_config
    >>> first, second = [cache_from_config({"template": "memory"}) for _ in range(2)]
    >>> key = second.save(Call("square", {"x": 3}, result=9))
    >>> CacheStack((first, second)).load(key).result
    9
    >>> first.contains(key)
    True
    """

    stack: tuple[BaseCache, ...]

    def __post_init__(self) -> None:
        if any(isinstance(member, CacheStack) for member in self.stack):
            raise ValueError("CacheStack cannot be nested inside another CacheStack")
        object.__setattr__(self, "stack", tuple(self.stack))

    @property
    def _members(self) -> tuple[BaseCache, ...]:
        return self.stack

    def push(self, cache: BaseCache) -> CacheStack:
        return CacheStack((cache, *self.stack))

    def save(self, call: Saveable) -> Digest:
        return self.stack[0].save(call)

    def prepare(self, call: Call) -> PreparedCall:
        return PreparedCall(self.stack[0].prepare(call).digested, self)

    def load(self, key: Digest | str) -> LazyCall:
        for position, member in enumerate(self.stack):
            try:
                call = member.load(key)
            except KeyError:
                continue
            except Exception:
                # One that is out of order must not hide what the others hold.
                logger.warning(
                    "Cache %s of the stack failed to load %s", position, key, exc_info=True
                )
                continue
            return call if position == 0 else self._backfilled(call)
        raise KeyError(key)

    def _backfilled(self, call: LazyCall) -> LazyCall:
        """The call as the first cache has it, filed there unless it is already."""
        key = call.to_lookup_key()
        base = self.stack[0]
        with self._operation_context(key):
            try:
                if not base.contains(key):
                    base.save(_fetch_again(call, key, keep=True))
                    logger.info("Transferred hit for %s from higher cache to base cache", key)
                return base.load(key)
            except KeyError:
                # The later cache lost a value: a miss there must not become one for all.
                return call
            except Exception as error:
                logger.warning("Failed to transfer hit for %s to base cache: %s", key, error)
                return call

    def evict(self, key: Digest | str) -> None:
        for member in self.stack:
            try:
                member.evict(key)
            except (KeyError, Rejected):
                continue


@dataclass(frozen=True)
class CachePool(ReadOnlyMixin, _MultiCache):
    """A read-only union of caches; nothing is copied between them.

    Args:
        caches: the caches.

    >>> from fleche.config import cache_from_config
    >>> first, second = [cache_from_config({"template": "memory"}) for _ in range(2)]
    >>> key = second.save(Call("square", {"x": 3}, result=9))
    >>> CachePool((first, second)).contains(key), first.contains(key)
    (True, False)
    """

    caches: tuple[BaseCache, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "caches", tuple(self.caches))

    @property
    def _members(self) -> tuple[BaseCache, ...]:
        return self.caches

    def load(self, key: Digest | str) -> LazyCall:
        for member in self.caches:
            try:
                return member.load(key)
            except KeyError:
                continue
        raise KeyError(key)
