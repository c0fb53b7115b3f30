"""What is known of each call of a sweep, and how it is found out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche.call.outcomes import given
from fleche.state import BoundWrapper
from fleche.sweeps.lookup import first_of_each, held_as_older, held_by, keys_of, walltimes
from fleche.sweeps.progress import Progress, seconds_left
from fleche.sweeps.running import Here, Task

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.sweeps.executors import There
    from fleche.sweeps.grid import Arguments
    from fleche.wrapper.calls import CachedCalls

#: What a call came to: its result, or what it raised.
Outcome = tuple[Any, Exception | None]

# How many results are kept before the cache is asked which of them it has.
_KEPT = 64

# How many hits a cache is asked for at once that is far away.
_AHEAD = 64


class Ledger:
    """The calls of a sweep, by number.

    Several calls may be the same: the first of them stands for all.

    Args:
        calls: the function's.
        call: the arguments of each call, as users give them.
        size: how many calls there are.
        cache: where they are looked up; `None`, if it cannot be opened.
        task: runs one.
        executor: where; `None`: in the thread that asks.
        progress: shows how far it is.
    """

    def __init__(
        self,
        calls: CachedCalls,
        call: Callable[[int], Arguments],
        size: int,
        cache: BaseCache | None,
        task: Task,
        executor: Any,
        progress: Progress,
    ) -> None:
        self._calls = calls
        self._call = call
        self._cache = cache
        self._task = task
        self._executor = executor
        self._progress = progress
        # "hit", "missing", "ran" or "failed"; "same" for one that repeats an earlier one.
        self.status = ["missing"] * size
        self.keys: list[Any] = []
        self._first: dict[int, int] = {}
        # Those that others repeat.
        self.repeated: dict[int, list[int]] = {}
        self.errors: dict[int, Exception] = {}
        # Those that ended in this sweep, in that order.
        self.ended: list[int] = []
        self.missing = 0
        self.hits = 0
        # Results, until the cache has them.
        self._kept: dict[int, Any] = {}
        self._most_kept = _KEPT
        self._handed_out: set[int] = set()
        self._runner: Here | There | None = None
        # Up to here hits were asked for.
        self._asked_for = 0

    @property
    def is_known(self) -> bool:
        """Whether the calls were looked up."""
        return self._runner is not None

    def first(self, position: int) -> int:
        """The call that stands for this one."""
        return self._first.get(position, position)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While something is asked for: executors are kept busy, the progress is shown."""
        runner = self._looked_up()
        try:
            runner.want(p for p, status in enumerate(self.status) if status == "missing")
            runner.start()
            if self.missing:
                total = len(self.status) - len(self._first)
                self._progress.open(total, total - self.missing, self.hits, self._seconds_left)
            yield
        finally:
            runner.stop()
            self._progress.close()

    def found(self, position: int) -> Outcome | None:
        """What a call came to; `None` if it is still to run."""
        first = self._first.get(position, position)
        if first != position and self._key_of(position) != self.keys[position]:
            # A call that ran changed its argument, or something that the function uses.
            self._part(position)
            first = position
        if first in self.errors:
            return None, self.errors[first]
        if first in self._kept:
            return self._taken(first, position)
        return None if self.status[first] == "missing" else self._loaded(first)

    def outcome(self, position: int) -> Outcome:
        """What a call came to, waited for."""
        while (found := self.found(position)) is None:
            self.advance(self.first(position))
        return found

    def advance(self, wanted: int | None = None) -> None:
        """Wait for the end of a call.

        Args:
            wanted: the one that is to run first, where that can be chosen.

        Raises:
            Exception: that of an executor that takes no calls any more.
        """
        try:
            position, result, error = self._looked_up().next(wanted)
        except Exception as refusal:
            refusal.add_note(
                f"{self.missing} calls of {self._calls.name} are left to run; what is cached is "
                f"found by the next sweep. An executor has to be open as long as results are asked "
                f"for"
            )
            raise
        self.missing -= 1
        if error is None:
            self.status[position] = "ran"
            self._kept[position] = result
        else:
            self._fail(position, error)
        self.ended.append(position)
        self._progress.one_is_done(self.hits, len(self.ended), len(self.errors))
        if len(self._kept) > self._most_kept:
            self._leave_to_cache()

    def metadata(self, first: int) -> dict[str, dict[str, Any]]:
        """What the record of a call says of it, if there is one."""
        key = self.keys[first]
        if key is None or self._cache is None:
            return {}
        try:
            return self._cache.load(key).metadata
        except Exception:
            return {}

    def _looked_up(self) -> Here | There:
        """What runs calls, after it was seen which have to."""
        if self._runner is not None:
            return self._runner
        cache, size = self._cache, len(self.status)
        known = None if cache is None else self._within(keys_of, self._calls, self._completed, size)
        self.keys = [None] * size if known is None else known
        self._first = first_of_each(self.keys)
        self.repeated = {}
        for position, first in self._first.items():
            self.status[position] = "same"
            self.repeated.setdefault(first, []).append(position)
        if cache is not None:
            self._look_up(cache)
        self.hits = self.status.count("hit")
        self.missing = self.status.count("missing")
        if self._executor is None:
            self._runner = Here(self._task, self._call, self.keys)
        else:
            from fleche.sweeps.executors import There

            self._runner = There(self._executor, self._task, self._call, self.keys, cache)
        return self._runner

    def _look_up(self, cache: BaseCache) -> None:
        keyed = [
            position
            for position, key in enumerate(self.keys)
            if key is not None and self.status[position] != "same"
        ]
        held = held_by(cache, [self.keys[position] for position in keyed])
        missing = []
        for position, is_held in zip(keyed, held, strict=True):
            if is_held:
                self.status[position] = "hit"
            else:
                missing.append(position)
        older = self._within(held_as_older, self._calls, cache, self._completed, missing)
        for position in older:
            self.status[position] = "hit"

    def _within(self, look: Callable[..., Any], *args: Any) -> Any:
        """Look at something where the cache and metadata of the sweep are active."""
        bound = self._task.function
        if not isinstance(bound, BoundWrapper):
            return look(*args)
        return BoundWrapper(look, bound.cache, bound.meta)(*args)

    def _completed(self, position: int) -> Arguments:
        """The arguments that the function below gets."""
        args, kwargs = self._call(position)
        target = self._calls.target
        if not target.adds():
            return args, kwargs
        return target.positional(args), {**target.kwargs, **kwargs}

    def _ask_ahead(self, first: int) -> None:
        """Have a cache that is far away send the hits that are likely to be wanted next."""
        if self._cache is None or first < self._asked_for:
            return
        end = min(first + _AHEAD, len(self.status))
        keys = [self.keys[each] for each in range(first, end) if self.status[each] == "hit"]
        self._asked_for = end
        with contextlib.suppress(Exception):
            self._cache._prefetch([key for key in keys if key is not None])

    def _loaded(self, first: int) -> Outcome | None:
        """What the cache has of a call; `None` if it has to run after all."""
        self._ask_ahead(first)
        if self._executor is None:
            # A plain call, whatever becomes of it.
            try:
                return self._task(*self._call(first), self.keys[first]), None
            except Exception as error:
                self._fail(first, error)
                return None, error
        stored = self._stored(first)
        if stored is None:
            self.hits -= self.status[first] == "hit"
            self.status[first] = "missing"
            self.missing += 1
            self._looked_up().want((first,))
            return None
        try:
            return given(*stored), None
        except Exception as error:
            self._fail(first, error)
            return None, error

    def _key_of(self, position: int) -> Any:
        """The key of a call as it is now."""
        return self._within(keys_of, self._calls, lambda _: self._completed(position), 1)[0]

    def _part(self, position: int) -> None:
        """Have a call that was the same as an earlier one be one of its own from now on."""
        del self._first[position]
        self.keys[position] = self._key_of(position)
        self.status[position] = "missing"
        self.missing += 1
        self._looked_up().want((position,))

    def _stored(self, first: int) -> tuple[Any] | None:
        """The result of a call as the cache holds it, an `Outcome` too; `None` without one."""
        if self._cache is None or self.keys[first] is None:
            return None
        try:
            return (self._within(self._calls.stored, self._cache, *self._completed(first)),)
        except Exception:
            return None

    def _taken(self, first: int, position: int) -> Outcome | None:
        """A result that is kept; `None` if the call has to run for one of its own."""
        result = self._kept[first]
        if first in self.repeated:
            # Of calls that are the same, none sees what is done to another's result.
            with contextlib.suppress(Exception):
                return _core.independent(result), None
            if position != first:
                self._part(position)
                return None
        elif first in self._handed_out:
            stored = self._stored(first)
            if stored is not None:
                with contextlib.suppress(Exception):
                    return given(*stored), None
        self._handed_out.add(first)
        return result, None

    def _leave_to_cache(self) -> None:
        """Forget the results that the cache holds."""
        if self._cache is not None:
            keyed = [position for position in self._kept if self.keys[position] is not None]
            held = held_by(self._cache, [self.keys[position] for position in keyed])
            for position, is_held in zip(keyed, held, strict=True):
                if is_held:
                    del self._kept[position]
        # Of calls that are not cached it is not asked again and again.
        self._most_kept = max(_KEPT, 2 * len(self._kept))

    def _fail(self, first: int, error: Exception) -> None:
        self.hits -= self.status[first] == "hit"
        self.status[first] = "failed"
        self.errors[first] = error

    def _seconds_left(self) -> float | None:
        if self._cache is None or self._runner is None:
            return None
        hits = (self.keys[p] for p, status in enumerate(self.status) if status == "hit")
        known = walltimes(self._calls, self._cache, hits)
        return seconds_left(known, self.missing, self._runner.workers)
