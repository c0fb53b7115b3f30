"""Several caches as one: stacks, which copy hits to their first cache, and pools, which do not."""

from __future__ import annotations

import contextlib
import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche.caches.base import BaseCache, Rejected, Saveable, fetch_again
from fleche.caches.prefixes import each, shortest, shrunk
from fleche.caches.views import ReadOnlyMixin
from fleche.call import Call, LazyCall, PreparedCall, QueryCall
from fleche.call.outcomes import stored_result
from fleche.digest import Digest
from fleche.storage.base import Intent
from fleche.storage.thread_safe import PerKeyLockMixin

if TYPE_CHECKING:
    from fleche.storage.claims import Claims

logger = logging.getLogger("fleche.cache")


class _MultiCache(BaseCache):
    """Several caches, asked one after the other."""

    @property
    @abstractmethod
    def _members(self) -> tuple[BaseCache, ...]: ...

    @property
    def _is_looked_at(self) -> bool:
        return all(member._is_looked_at for member in self._members)

    def load_value(self, key: Digest | str) -> Any:
        for member in self._members:
            try:
                return member.load_value(key)
            except KeyError:
                continue
        raise KeyError(key)

    def contains(self, key: Digest | str) -> bool:
        return any(member.contains(key) for member in self._members)

    def _contains_many(self, keys: Sequence[Digest]) -> list[bool]:
        if type(self).contains is not _MultiCache.contains:
            return super()._contains_many(keys)
        held = [False] * len(keys)
        for member in self._members:
            left = [position for position, found in enumerate(held) if not found]
            for position, found in zip(left, self._held_by(member, left, keys), strict=True):
                held[position] = found
        return held

    def _prefetch(self, keys: Sequence[Digest]) -> None:
        left = [*keys]
        for position, member in enumerate(self._members):
            member._prefetch(left)
            if position + 1 < len(self._members) and left:
                held = member._contains_many(left)
                left = [key for key, there in zip(left, held, strict=True) if not there]

    @staticmethod
    def _held_by(member: BaseCache, left: list[int], keys: Sequence[Digest]) -> list[bool]:
        try:
            return member._contains_many([keys[position] for position in left])
        except Exception:
            # One that is out of order must not hide what the others hold.
            logger.warning("A cache failed to look up %s calls", len(left), exc_info=True)
            return [False] * len(left)

    def _shortest(self, keys: Sequence[Digest | str]) -> list[Digest | None]:
        if type(self)._shrink is not _MultiCache._shrink:
            return super()._shortest(keys)
        return shortest(keys, self._members)

    def _may_hold(self, scheme: str) -> bool:
        return any(member._may_hold(scheme) for member in self._members)

    def _find_older(self, older: _core.OlderCall) -> LazyCall | None:
        # One may hold another call of the same older key.
        for member in self._members:
            try:
                found = member._find_older(older)
            except Exception:
                logger.warning("A cache failed to load %s", older.older_key, exc_info=True)
                continue
            if found is not None:
                return found
        return None

    def expand(self, key: Digest | str) -> Digest:
        if len(key) >= 64:
            return Digest(key)
        return _core.resolve_prefix(key, set(each(lambda m: m.expand(key), self._members)))

    def _shrink(self, *keys: Digest | str) -> tuple[Digest, ...]:
        return shrunk(keys, self._members)

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

    >>> from fleche.call import Call
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

    @contextlib.contextmanager
    def _operation_context(
        self, key: Digest | str, *, intent: Intent = Intent.WRITE
    ) -> Iterator[None]:
        # The stack's own lock first, as several threads may come here through it; only the first
        # cache is changed.
        with contextlib.ExitStack() as contexts:
            contexts.enter_context(super()._operation_context(key, intent=intent))
            for position, member in enumerate(self.stack):
                needed = Intent.READ if position else intent
                contexts.enter_context(member._operation_context(key, intent=needed))
            yield

    @property
    def _once(self) -> bool:  # type: ignore[override]
        return bool(self.stack) and self.stack[0]._once

    def _claims(self) -> Claims | None:
        return self.stack[0]._claims() if self.stack else None

    def push(self, cache: BaseCache) -> CacheStack:
        return CacheStack((cache, *self.stack))

    def save(self, call: Saveable) -> Digest:
        return self.stack[0].save(call)

    def prepare(self, call: Call) -> PreparedCall:
        return self.stack[0].prepare(call)._through(self)

    def load(self, key: Digest | str) -> LazyCall:
        for position, call in self._found(key):
            # Its values may be in any of the caches.
            return replace(call if position == 0 else self._backfilled(call, key), _cache=self)
        raise KeyError(key)

    def _found(self, key: Digest | str, begin: int = 0) -> Iterator[tuple[int, LazyCall]]:
        """The call in each cache, from one on, that has it, and which one that is."""
        for position, member in enumerate(self.stack[begin:], begin):
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
            yield position, call

    def _records(self, key: Digest) -> Iterator[LazyCall]:
        for _, call in self._found(key):
            yield replace(call, _cache=self)

    def _result_from(self, key: Digest, begin: int) -> Any:
        """The result of a call, from the first cache, from one on, that has record and value."""
        for position, call in self._found(key, begin):
            # A record whose file was renamed is not that of the call.
            if call.to_lookup_key() != key:
                continue
            with contextlib.suppress(KeyError):
                if position == 0:
                    return stored_result(call)
                # The first cache has no such record, or one whose result was lost.
                return stored_result(self._backfilled(call, key))
        raise KeyError(key)

    def _file_older(self, older: _core.OlderCall, found: LazyCall, result: Any) -> None:
        self.stack[0]._file_older(older, found, result)

    def _backfilled(self, call: LazyCall, asked: str) -> LazyCall:
        """The call as the first cache has it, filed there unless it is already."""
        key = call.to_lookup_key()
        if not key.startswith(asked):
            # Under another scheme's key: `_take_older` files what is verified.
            return call
        base = self.stack[0]
        with self._operation_context(key):
            try:
                if not self._is_whole(base, key):
                    base.save(fetch_again(call, key, keep=True))
                    logger.info("Transferred hit for %s from higher cache to base cache", key)
                return base.load(key)
            except KeyError:
                # The later cache lost a value: a miss there must not become one for all.
                return call
            except Exception as error:
                logger.warning("Failed to transfer hit for %s to base cache: %s", key, error)
                return call

    @staticmethod
    def _is_whole(cache: BaseCache, key: Digest) -> bool:
        """Whether a cache has a call with its result."""
        try:
            return stored_result(cache.load(key)) is not None
        except KeyError:
            return False

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

    >>> from fleche.call import Call
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
                found = member.load(key)
            except KeyError:
                continue
            found.__dict__["_asked"] = self
            return found
        raise KeyError(key)
