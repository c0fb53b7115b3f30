"""Caches that stay within limits of bytes, age and number."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from fleche import _core
from fleche.caches.base import Saveable
from fleche.caches.bounds.keeper import Keeper
from fleche.caches.bounds.limits import Limits
from fleche.caches.bounds.victims import Rules
from fleche.caches.pair import Cache
from fleche.call import Call, LazyCall, PreparedCall
from fleche.digest import Digest

if TYPE_CHECKING:
    from datetime import timedelta

    from fleche.caches.bounds.ledger import Ledger

__all__ = ["BoundedCache"]

# What writes down at the end of the process which calls were hits.
_OPEN: weakref.WeakSet[Keeper] = weakref.WeakSet()
_ends: dict[str, int] = {}


def _flush_all() -> None:
    for keeper in [*_OPEN]:
        keeper.flush()


def _flush_at_end() -> None:
    if "atexit" not in _ends:
        atexit.register(_flush_all)
        _ends["atexit"] = os.getpid()
    # Its processes end without `atexit`.
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None and _ends.get("multiprocessing") != os.getpid():
        util.Finalize(None, _flush_all, exitpriority=-100)
        _ends["multiprocessing"] = os.getpid()


@dataclass(frozen=True)
class BoundedCache(Cache):
    """A pair of storages that is kept within limits, a little at each save.

    Values go with the last call that needs them. The call that was just saved stays in any case,
    and so do the arguments of calls that run.

    Args:
        values: where arguments and results are kept, under their digests.
        calls: where the records of calls are kept, under their lookup keys.
        max_bytes: the bytes of records and values together; a number, or text as `"200GB"`.
        max_age: how old a call may get: seconds, a `timedelta`, or text as `"90d"`.
        max_size: the largest number of calls.
        policy: which calls go first: `"oldest"`; `"lru"`, used longest ago; `"lfu"`, used least
            often; `"cheapest"`, the least seconds of computation per byte that is free without it.
        keep_records: whether the records of calls stay when their values go.
        functions: limits of some functions, by `module.name`.

    Raises:
        ValueError: if a limit is none, there is no such policy, or both storages are in one place.

    >>> from fleche.call import Call
    >>> from fleche.storage import CallMemory, ValueMemory
    >>> cache = BoundedCache(ValueMemory({}), CallMemory({}), max_size=2, keep_records=True)
    >>> for x in range(4):
    ...     _ = cache.save(Call("square", {"x": x}, result=x * x))
    >>> cache.query().count(), sorted(cache.values.load(key) for key in cache.values.list())
    (4, [2, 3, 4, 9])
    """

    max_bytes: int | str | None = None
    max_age: float | str | timedelta | None = None
    max_size: int | None = None
    policy: str = "oldest"
    keep_records: bool = False
    functions: Mapping[str, Limits] = field(default_factory=dict, hash=False)

    # Read by the core at each hit.
    _uses: ClassVar[_core.Uses | None] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = Limits(self.max_bytes, self.max_age, self.max_size)
        for name in ("max_bytes", "max_age", "max_size"):
            object.__setattr__(self, name, getattr(limits, name))
        functions = {}
        for name, given in self.functions.items():
            try:
                functions[name] = given if isinstance(given, Limits) else Limits(**given)
            except (ValueError, TypeError) as error:
                raise ValueError(f"functions.{name!r}: {error}") from None
        object.__setattr__(self, "functions", functions)
        self._begin()

    def _begin(self) -> None:
        limits = Limits(self.max_bytes, self.max_age, self.max_size)
        rules = Rules(limits, self.functions, self.policy, self.keep_records)
        # Not fields: they are no part of a cache's configuration.
        vars(self)["_keeper"] = keeper = Keeper(self._pair(), rules)
        vars(self)["_uses"] = keeper.uses
        if keeper.uses is not None:
            _OPEN.add(keeper)
            _flush_at_end()

    def _pair(self) -> Cache:
        """The storages alone: what is kept in bounds does not keep this."""
        return Cache(self.values, self.calls)

    if TYPE_CHECKING:

        @property
        def _keeper(self) -> Keeper: ...

    def save(self, call: Saveable) -> Digest:
        live = _live(call)
        self._keeper.begin()
        key, record = self._saved(call)
        self._keeper.saved(key, record, live)
        return key

    def _save_older(self, older: _core.OlderCall, call: Call) -> None:
        # The limits count when it is moved: while there are two, none of the others has to go.
        live = _live(call)
        self._keeper.begin()
        key, record = self._saved(call)
        super().evict(older.older_key)
        self._keeper.saved(key, record, live)

    def load(self, key: Digest | str) -> LazyCall:
        call = super().load(key)
        if self._uses is not None and len(key) == len(_WHOLE):
            self._uses.note(key)
        return call

    def evict(self, key: Digest | str) -> None:
        try:
            whole = self.calls.expand(key)
        except KeyError:
            whole = None
        super().evict(key)
        if whole is not None:
            self._keeper.evicted(whole)

    def enforce(self) -> None:
        """Evict all that is too much at once, as saves do in small steps.

        To be called where limits were lowered, or a store was filled by others.
        """
        self._keeper.enforce()

    def why_evicted(self, key: Digest | str) -> tuple[float, str] | None:
        """When a limit evicted a call, in seconds since 1970, and which one.

        Args:
            key: the call's whole key.

        Returns:
            `None` if none did, or more than 10,000 calls ago.
        """
        return self._keeper.why_evicted(Digest(key))

    def kept_records(self) -> frozenset[Digest]:
        """The keys of calls whose values a limit evicted, and whose records stayed."""
        return self._keeper.kept_records()

    def _account(self) -> Ledger | None:
        return self._keeper.copy()

    def _rules_for_plan(self, limits: Limits, policy: str | None) -> Rules:
        own = self._keeper.rules
        policy = policy or own.policy
        if limits:
            return Rules(limits, policy=policy)
        return Rules(own.limits, own.functions, policy)

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in super().__getstate__().items()
            if name not in ("_keeper", "_uses")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()


_WHOLE = "0" * 64


def _live(call: Saveable) -> tuple[dict[str, Any], Any] | None:
    """The arguments and the result of a call, as far as they are at hand."""
    if isinstance(call, PreparedCall):
        return call._live or {}, call._result
    return (call.arguments, call.result) if isinstance(call, Call) else None
