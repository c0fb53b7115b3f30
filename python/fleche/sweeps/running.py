"""The calls of a sweep that run: in the calling thread, or as what is sent to an executor."""

from __future__ import annotations

import functools
import importlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any

from fleche._foundation.log import logger_of
from fleche.call.outcomes import Outcome, given, stored_result
from fleche.digest import Digest
from fleche.state import BoundWrapper
from fleche.sweeps.grid import Arguments
from fleche.wrapper.strictness import TOLD

if TYPE_CHECKING:
    from fleche.caches import BaseCache, Cache

logger = logger_of("fleche")

#: A call that ended: which one, its result, and what it raised.
Ended = tuple[int, Any, Exception | None]


@dataclass(frozen=True, repr=False)
class Task:
    """The calls of a sweep: as plain calls, but one warning a cause is enough.

    Args:
        function: the decorated function, bound to the cache and metadata of the sweep.
        sweep: what tells the sweep from others.
    """

    function: Callable[..., Any]
    sweep: str

    # What dashboards of clusters show of it; that of a memory cache would be all that it holds.
    @property
    def __name__(self) -> str:
        name: str = getattr(self.function, "func", self.function).__name__
        return name

    def __repr__(self) -> str:
        return f"<Task of {self.__name__}>"

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any = None) -> Any:
        function: Any = self.function
        if type(function) is BoundWrapper and function._is_active():
            function = function.func
        if key is not None:
            return function(*args, **kwargs)
        # It has something to say.
        before = TOLD.set(_told(self.sweep))
        try:
            return function(*args, **kwargs)
        finally:
            TOLD.reset(before)

    # To another process: a cache in memory stays here.
    def __reduce__(self) -> tuple[Any, ...]:
        bound = self.function
        if not isinstance(bound, BoundWrapper):
            return _task, (_Named.of(bound), None, None, self.sweep)
        function = _Named.of(bound.func)
        if _is_in_memory(bound.cache):
            return AwayTask, (function, _others(bound.cache), bound.meta, self.sweep)
        return _task, (function, bound.cache, bound.meta, self.sweep)


def _task(function: Any, cache: BaseCache | None, meta: Any, sweep: str) -> Task:
    function = _Named.function_of(function)
    return Task(function if cache is None else BoundWrapper(function, cache, meta), sweep)


@dataclass(frozen=True)
class AwayTask:
    """The calls of a sweep in another process, whose cache is in the memory of this one.

    Each has an empty cache of its own, in which it and the calls below it are saved; that goes
    back with the result.
    """

    function: Any
    others: tuple[BaseCache, ...]
    meta: Any
    sweep: str

    def __call__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], key: Digest | None = None
    ) -> Brought:
        import traceback

        from fleche.caches import Cache, CacheStack
        from fleche.storage import CallMemory, ValueMemory

        own = Cache(ValueMemory({}), CallMemory({}))
        cache = CacheStack((own, *self.others)) if self.others else own
        task = _task(self.function, cache, self.meta, self.sweep)
        result: Any = None
        try:
            result = task(args, kwargs)
        except Exception as error:
            result = Outcome(error, "".join(traceback.format_exception(error)))
        else:
            if key is not None and own.contains(key):
                # It goes once.
                return Brought(own, None, key)
        return Brought(own, result, None)


@dataclass(frozen=True)
class Brought:
    """What a call brought from another process: its result, and all that it saved.

    Args:
        cache: what it saved.
        result: its result, or an `Outcome`.
        key: the call's key, if its result is in the cache.
    """

    cache: Cache
    result: Any
    key: Digest | None

    def unpacked(self, into: BaseCache) -> Any:
        """The result; what was saved is saved in the cache of here.

        Raises:
            Exception: what the call raised.
        """
        for call in self.cache.query():
            try:
                into._transfer_one(call)
            except Exception:
                logger.warning(
                    "Cache failed to save a call of %s, which ran in another process",
                    call.name,
                    exc_info=True,
                )
        if self.key is None:
            return given(self.result)
        return given(stored_result(self.cache.load(self.key)))


class Here:
    """Calls that run in the calling thread, each when it is asked for."""

    workers = 1

    def __init__(self, task: Task, call: Callable[[int], Arguments], keys: list[Any]) -> None:
        self._task = task
        self._call = call
        self._keys = keys
        self.waiting: OrderedDict[int, None] = OrderedDict()

    def want(self, positions: Iterable[int]) -> None:
        """Have calls run, unless they do already."""
        self.waiting.update(dict.fromkeys(positions))

    def start(self) -> None:
        """Have calls run as long as others are waited for."""

    def next(self, wanted: int | None) -> Ended:
        """Wait for the end of a call: the one that is wanted, or the next one."""
        if wanted is not None and wanted in self.waiting:
            del self.waiting[wanted]
            position = wanted
        else:
            position, _ = self.waiting.popitem(last=False)
        try:
            return position, self._task(*self._call(position), self._keys[position]), None
        except Exception as error:
            return position, None, error

    def stop(self) -> None:
        """Take back what has not begun."""


@functools.lru_cache(maxsize=32)
def _told(sweep: str) -> set[str]:
    """The warnings that a sweep has given in this process."""
    return set()


def _is_in_memory(cache: BaseCache) -> bool:
    """Whether what is saved in a cache is in the memory of this process alone."""
    from fleche.caches import Cache, CacheStack, CacheWrapper

    if isinstance(cache, CacheStack):
        return _is_in_memory(cache.stack[0])
    if isinstance(cache, CacheWrapper):
        return _is_in_memory(cache.cache)
    if not isinstance(cache, Cache):
        return False
    from fleche.storage.memory import MemoryBackend
    from fleche.storage.urls import IN_MEMORY

    return any(
        isinstance(storage, MemoryBackend) or getattr(storage, "url", None) == IN_MEMORY
        for storage in (cache.values, cache.calls)
    )


def _others(cache: BaseCache) -> tuple[BaseCache, ...]:
    """The caches of a stack that another process can reach, too."""
    from fleche.caches import CacheStack

    if not isinstance(cache, CacheStack):
        return ()
    return tuple(member for member in cache.stack[1:] if not _is_in_memory(member))


@dataclass(frozen=True)
class _Named:
    """The function of a class method, which pickles as that does: by its name.

    Args:
        method: the class method, bound.
    """

    method: MethodType

    @staticmethod
    def of(function: Any) -> Any:
        """What pickles in the place of a decorated function."""
        try:
            found: Any = importlib.import_module(function.__module__)
            for name in function.__qualname__.split("."):
                found = getattr(found, name)
        except Exception:
            return function
        is_class_method = isinstance(found, MethodType) and found.__func__ is function
        return _Named(found) if is_class_method else function

    @staticmethod
    def function_of(found: Any) -> Any:
        """The function that is meant."""
        return found.method.__func__ if isinstance(found, _Named) else found
