"""A local cache over one that is far away: saves go to both, to the second one behind the back."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import Any

from fleche._foundation.log import logger_of
from fleche._foundation.pools import Pool
from fleche.caches.base import BaseCache, Rejected, Saveable
from fleche.caches.union import CacheStack
from fleche.caches.views import ReadOnlyMixin
from fleche.call import LazyCall
from fleche.digest import Digest
from fleche.query import QueryIterator
from fleche.storage.claims import Claim, Claims, Holder

__all__ = ["ON_FAILURE", "TieredCache"]

logger = logger_of("fleche.cache")

ON_FAILURE = ("warn", "raise")

# So many calls are written to the far cache at once.
_AT_ONCE = 4

# A save waits so long, in seconds, for room in a full queue.
_PATIENCE = 5.0

# So many calls that could not be written are known by their keys.
_KEPT = 1000

# A cause that was told is told again after so many seconds.
_SILENT = 600.0

_NAMES = ("local", "far")


@dataclass(frozen=True)
class TieredCache(CacheStack):
    """A local cache over a far one. Calls are saved in the local cache, and written to the far one
    by threads while the program goes on; at its end what is left is written. Loads try the local
    cache first; a hit in the far one is filed into it.

    A program that is killed leaves calls in the local cache that the far one does not have:
    `flush`, or the command `fleche flush`, writes them.

    Args:
        stack: the local cache and the far one. A far one that is read-only is not written to.
        queue: how many calls may wait to be written; a save waits for room, for seconds at most.
        on_failure: where the far cache fails: `"warn"`: log it and go on; `"raise"`: the next
            `save`, and `flush`, raise it.

    Raises:
        ValueError: if these are not two caches, or a setting is none.

    >>> from fleche.call import Call
    >>> from fleche.config import cache_from_config
    >>> local, far = [cache_from_config({"template": "memory"}) for _ in range(2)]
    >>> cache = TieredCache((local, far))
    >>> key = cache.save(Call("square", {"x": 3}, result=9))
    >>> cache.flush()
    0
    >>> far.load(key).result
    9
    """

    queue: int = 1000
    on_failure: str = "warn"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.stack) != 2:
            raise ValueError("a tiered cache has two members: the local cache and the far one")
        if self.on_failure not in ON_FAILURE:
            raise ValueError(f"on_failure must be one of {ON_FAILURE}, not {self.on_failure!r}")
        if self.queue < 1:
            raise ValueError(f"queue must be at least 1, not {self.queue!r}")

    @property
    def local(self) -> BaseCache:
        """The cache that is near."""
        return self.stack[0]

    @property
    def far(self) -> BaseCache:
        """The cache that is far away."""
        return self.stack[1]

    @property
    def _writes(self) -> bool:
        return not isinstance(self.far, ReadOnlyMixin)

    @property
    def _behind(self) -> _WriteBehind:
        # Not a field: it is no part of which cache this is. `setdefault` is atomic.
        held = vars(self).get("_queue_of_writes")
        if held is None:
            held = vars(self).setdefault("_queue_of_writes", _WriteBehind(self.queue))
        return held  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_queue_of_writes"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def save(self, call: Saveable) -> Digest:
        if self.on_failure == "raise":
            self._behind.raise_failure()
        key = self.local.save(call)
        if self._writes:
            self._behind.add(key, self._write)
        return key

    def _write(self, key: Digest) -> None:
        """Have the far cache hold a call as the local one has it."""
        try:
            call = self.local.load(key)
        except KeyError:
            # It was evicted meanwhile.
            return
        self.far._transfer_one(call, overwrite=True)

    def flush(self) -> int:
        """Write to the far cache what it does not have of the local one, and wait for that.

        Returns:
            How many calls were written that this process had not saved, or had failed to write.

        Raises:
            Rejected: if some could not be written and `on_failure` is `"raise"`.
        """
        self._behind.wait()
        failures = self._behind.take_failures()
        if not self._writes:
            return 0
        keys = [call.to_lookup_key() for call in QueryIterator(self._local_calls, self.local)]
        missing = [*failures]
        try:
            held = self.far._contains_many(keys) if keys else []
        except Exception as error:
            self._behind.fail(keys, error)
        else:
            there = {key for key, is_there in zip(keys, held, strict=True) if is_there}
            missing = [key for key in dict.fromkeys([*keys, *failures]) if key not in there]
            for key in missing:
                self._behind.add(key, self._write, None)
            self._behind.wait()
        failed = self._behind.failures
        if failed and self.on_failure == "raise":
            raise _refusal(self._behind.take_failures())
        return sum(key not in failed for key in missing)

    # A far cache that fails is not spoken of at each call.

    def _found(self, key: Digest | str, begin: int = 0) -> Iterator[tuple[int, LazyCall]]:
        for position, member in enumerate(self.stack[begin:], begin):
            try:
                call = member.load(key)
            except KeyError:
                continue
            except Exception as error:
                self._behind.say(f"{_NAMES[position]} cache", error)
                continue
            yield position, call

    def _may_hold(self, scheme: str) -> bool:
        for name, member in zip(_NAMES, self.stack, strict=True):
            try:
                if member._may_hold(scheme):
                    return True
            except Exception as error:
                self._behind.say(f"{name} cache", error)
        return False

    def unwritten(self) -> list[Digest]:
        """The calls that the far cache could not take, as far as this process knows."""
        return [*self._behind.failures]

    def _local_calls(self) -> Any:
        from fleche.call import QueryCall

        return self.local._query(QueryCall())

    # One computation for all who want the same call, wherever they are: as the far cache says.

    @property
    def _once(self) -> bool:  # type: ignore[override]
        return any(member._once for member in self.stack)

    def _claims(self) -> Claims | None:
        claims = self.far._claims() if self._writes else self.local._claims()
        return None if claims is None else _WrittenClaims(claims, self._behind)


class _WriteBehind:
    """Calls that wait to be written.

    Args:
        most: how many may wait.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool = Pool("fleche-write-behind", _AT_ONCE)
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._room = threading.BoundedSemaphore(self._most)
        self._lock = threading.Lock()
        self._waiting: dict[Digest, Future[None]] = {}
        self._failures: dict[Digest, Exception] = {}
        self._said: dict[Any, float] = {}

    def add(
        self, key: Digest, write: Callable[[Digest], None], patience: float | None = _PATIENCE
    ) -> None:
        """Have a call written.

        Args:
            key: its key.
            write: writes it.
            patience: how long to wait for room, in seconds; `None`: until there is some.
        """
        if self._process != os.getpid():
            # What the parent has to write is the parent's.
            self._begin()
        if not self._room.acquire(timeout=patience):
            self.fail([key], Rejected(f"{self._most} calls wait to be written already"))
            return
        try:
            future = self._pool.threads().submit(self._do, key, write)
        except RuntimeError:
            # The process ends: there are no threads any more.
            self._do(key, write)
            return
        with self._lock:
            self._waiting[key] = future
        future.add_done_callback(lambda done: self._forget(key, done))

    def _do(self, key: Digest, write: Callable[[Digest], None]) -> None:
        try:
            write(key)
        except Exception as error:
            self.fail([key], error)
        finally:
            self._room.release()

    def _forget(self, key: Digest, future: Future[None]) -> None:
        with self._lock:
            if self._waiting.get(key) is future:
                del self._waiting[key]

    def fail(self, keys: Iterable[Digest], error: Exception) -> None:
        """Calls could not be written."""
        with self._lock:
            for key in keys:
                if len(self._failures) < _KEPT:
                    self._failures[key] = error
        self.say("far cache, where `fleche flush` writes later what is in the local one", error)

    def say(self, what: str, error: Exception) -> None:
        """Say that a cache failed: once for a cause, and then again after some time."""
        cause = (what, type(error), getattr(error, "kind", None))
        now = time.monotonic()
        first = now - self._said.get(cause, -_SILENT) >= _SILENT
        if first:
            self._said[cause] = now
        level = logging.WARNING if first else logging.DEBUG
        logger.log(level, "Going on without the %s: %s", what, error)

    def settle(self, key: Digest) -> None:
        """Wait until a call was written."""
        with self._lock:
            future = self._waiting.get(key)
        if future is not None:
            wait_for([future])

    def wait(self) -> None:
        """Wait until all that waits was written."""
        if self._process == os.getpid():
            with self._lock:
                futures = [*self._waiting.values()]
            wait_for(futures)

    def take_failures(self) -> dict[Digest, Exception]:
        """As `failures`, which are forgotten."""
        with self._lock:
            failures, self._failures = self._failures, {}
        return failures

    @property
    def failures(self) -> dict[Digest, Exception]:
        """The calls that could not be written, and why."""
        with self._lock:
            return dict(self._failures)

    def raise_failure(self) -> None:
        """Raise what the far cache failed with.

        Raises:
            Rejected: if it did.
        """
        failures = self.take_failures()
        if failures:
            raise _refusal(failures)


def _refusal(failures: dict[Digest, Exception]) -> Rejected:
    key, error = next(iter(failures.items()))
    more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
    refusal = Rejected(f"call {key}{more} cannot be written to the far cache: {error}")
    refusal.__cause__ = error
    return refusal


class _WrittenClaims(Claims):
    """Claims that are given up only when the result can be seen by those who wait for it."""

    def __init__(self, inner: Claims, behind: _WriteBehind) -> None:
        place: Hashable = inner.place
        super().__init__(place)
        self._inner, self._behind = inner, behind

    def take(self, key: str, seconds: float = 0, holder: Holder | None = None) -> Claim | None:
        claim = self._inner.take(key, seconds, holder)
        return None if claim is None else _WrittenClaim(claim, self._behind, Digest(key))

    def holder(self, key: str) -> Holder | None:
        return self._inner.holder(key)


class _WrittenClaim(Claim):
    def __init__(self, inner: Claim, behind: _WriteBehind, key: Digest) -> None:
        super().__init__(inner.dead)
        self._inner, self._behind, self._key = inner, behind, key

    def wait_for(self, key: str | None) -> None:
        self._inner.wait_for(key)

    def release(self) -> None:
        self._behind.settle(self._key)
        self._inner.release()
