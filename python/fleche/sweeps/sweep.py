"""What `f.map` returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from fleche.state import BoundWrapper, get_cache, get_metadata
from fleche.sweeps.failures import SweepFailed
from fleche.sweeps.grid import Grid, labels_of
from fleche.sweeps.ledger import Ledger
from fleche.sweeps.progress import Progress
from fleche.sweeps.running import Task

if TYPE_CHECKING:
    import pandas

    from fleche.caches import BaseCache
    from fleche.sweeps.table import Row
    from fleche.wrapper.calls import CachedCalls

_R_co = TypeVar("_R_co", covariant=True)

_NUMBERS = count()


class Sweep(Generic[_R_co]):
    """Many calls of a cached function: what `f.map` returns.

    Nothing runs before something is asked for: results, by a loop or a method. A call runs once,
    however often it is asked for, in the thread that asks or in the sweep's executor. Results are
    loaded from the cache when they are asked for; the sweep keeps those that the cache does not.

    Ctrl-C, or leaving a loop, takes back what has not begun; who asks again goes on from there.

    >>> from fleche import cache, fleche
    >>> @fleche
    ... def power(x, n):
    ...     return x**n
    >>> with cache("memory"):
    ...     sweep = power.map([2, 3], n=[1, 2])
    >>> len(sweep), list(sweep)
    (4, [2, 4, 3, 9])
    """

    def __init__(
        self,
        calls: CachedCalls,
        function: Callable[..., _R_co],
        iterables: tuple[Iterable[Any], ...],
        lists: Mapping[str, Iterable[Any]],
        *,
        executor: Any,
        progress: bool | None,
        errors: Literal["raise", "return"],
    ) -> None:
        _check(calls, executor, progress, errors)
        self._name = calls.name
        self._returns_errors = errors == "return"
        self._grid = Grid(calls.name, labels_of(function, len(iterables)), iterables, lists)
        _check_fit(calls, *self._grid.shape())
        # What is active now counts, whoever asks for results later.
        cache, bound = _bound(function)
        self._ledger = Ledger(
            calls,
            self._grid.call,
            len(self._grid),
            cache,
            Task(bound, f"{os.getpid()}-{next(_NUMBERS)}"),
            executor,
            Progress(calls.name, progress),
        )
        self._keeping = calls.keeping

    def __len__(self) -> int:
        return len(self._grid)

    def __repr__(self) -> str:
        calls = "1 call" if len(self) == 1 else f"{len(self)} calls"
        ledger = self._ledger
        if not ledger.is_known:
            return f"<Sweep of {self._name}: {calls}; ask for .results() to run them>"
        status = [ledger.status[ledger.first(position)] for position in range(len(self))]
        counts = (f"{status.count(one)} {one}" for one in ("hit", "ran", "failed", "missing"))
        return f"<Sweep of {self._name}: {calls}; {', '.join(counts)}>"

    def __iter__(self) -> Iterator[_R_co]:
        """The results, in the order of the calls, each as soon as it is there.

        Raises:
            SweepFailed: in the place of the first result that is missing, if calls failed; all
                others are done by then.
        """
        with self._ledger.running():
            for position in range(len(self)):
                result, error = self._ledger.outcome(position)
                if error is None:
                    yield result
                elif self._returns_errors:
                    yield cast("_R_co", error)
                else:
                    self.run()

    def as_completed(self) -> Iterator[tuple[dict[str, Any], _R_co]]:
        """Arguments and results as they come: first those in the cache, then the others.

        Raises:
            SweepFailed: at the end, if calls failed.

        >>> from fleche import cache, fleche
        >>> @fleche
        ... def half(x):
        ...     return x / 2
        >>> with cache("memory"):
        ...     _ = half(8)
        ...     for arguments, result in half.map([6, 8]).as_completed():
        ...         print(arguments, result)
        {'x': 8} 4.0
        {'x': 6} 3.0
        """
        ledger = self._ledger
        with ledger.running():
            shown: set[int] = set()
            for first in self._as_they_come():
                if first in shown or (found := ledger.found(first)) is None:
                    # Cannot be read: it runs, and comes later.
                    continue
                for position in (first, *ledger.repeated.get(first, ())):
                    shown.add(position)
                    result, error = found if position == first else ledger.outcome(position)
                    if error is not None and not self._returns_errors:
                        continue
                    given = result if error is None else cast("_R_co", error)
                    yield self._grid.arguments(position), given
            self._raise_failures()

    def _as_they_come(self) -> Iterator[int]:
        """Calls that were hits, and then the others as they end."""
        ledger = self._ledger
        yield from [position for position, status in enumerate(ledger.status) if status == "hit"]
        seen = 0
        while True:
            while seen < len(ledger.ended):
                seen += 1
                yield ledger.ended[seen - 1]
            if not ledger.missing:
                return
            ledger.advance()

    def run(self) -> None:
        """Run what is not in the cache, without loading what is.

        Raises:
            SweepFailed: if calls failed, after all others are done.
        """
        with self._ledger.running():
            while self._ledger.missing:
                self._ledger.advance()
            self._raise_failures()

    def results(self) -> list[_R_co]:
        """All results, in the order of the calls.

        Raises:
            SweepFailed: if calls failed, after all others are done.
        """
        return list(self)

    def table(self) -> pandas.DataFrame:
        """All calls as a table, a row each: arguments, `status`, `result`, and metadata.

        The status says whether the cache held a call (`"hit"`), or it `"ran"` or `"failed"`; what
        a failed one raised stands in the column `error`.

        Raises:
            ImportError: if pandas is not installed.
        """
        from fleche.sweeps.table import table

        return table(self._grid.labels, self._rows())

    def _rows(self) -> Iterator[Row]:
        ledger = self._ledger
        with ledger.running():
            while ledger.missing:
                ledger.advance()
            for position in range(len(self)):
                result, error = ledger.outcome(position)
                first = ledger.first(position)
                arguments, metadata = self._grid.arguments(position), ledger.metadata(first)
                yield arguments, ledger.status[first], result, error, metadata

    def _raise_failures(self) -> None:
        if self._returns_errors:
            return
        ledger = self._ledger
        if self._keeping.keeps_exceptions():
            # Those that the cache holds count, too.
            for position, status in enumerate(ledger.status):
                if status == "hit":
                    ledger.found(position)
        if not ledger.errors:
            return
        failures = []
        for position in range(len(self)):
            error = ledger.errors.get(ledger.first(position))
            if error is not None:
                failures.append((self._grid.arguments(position), error))
        raise SweepFailed.of(self._name, len(self), failures)


def _check(calls: CachedCalls, executor: Any, progress: Any, errors: Any) -> None:
    """See that options are options."""
    name = calls.name
    if calls.awaited is not None:
        raise TypeError(
            f"{name} is a coroutine function, whose calls are awaited: "
            f"await asyncio.gather(*[{name}(x) for x in ...])"
        )
    for option, value, is_right, wanted in (
        ("executor", executor, executor is None or hasattr(executor, "submit"), "an executor"),
        ("progress", progress, progress is None or type(progress) is bool, "True, False or None"),
        ("errors", errors, _is_one_of(errors, "raise", "return"), "'raise' or 'return'"),
    ):
        if not is_right:
            also = (
                f"; the parameter {option} of {name} gets its values by position, or from a "
                f"functools.partial that is decorated"
                if calls.takes(option)
                else ""
            )
            raise TypeError(f"map({option}=...) takes {wanted}, not {value!r}{also}")


def _is_one_of(value: Any, *texts: str) -> bool:
    return isinstance(value, str) and value in texts


def _check_fit(calls: CachedCalls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """See that arguments fit the function, before any call runs."""
    target = calls.target
    if target.adds():
        args, kwargs = target.positional(args), {**target.kwargs, **kwargs}
    try:
        calls.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{calls.name}.map(): {error}") from None


def _bound(function: Callable[..., Any]) -> tuple[BaseCache | None, Callable[..., Any]]:
    """The active cache, and the function bound to it."""
    try:
        cache = get_cache()
    except OSError:
        # As a plain call: it says so, and runs without.
        return None, function
    return cache, BoundWrapper(function, cache, get_metadata())


# Its class is found as `fleche.sweeps.Sweep`, its methods are not.
__test__ = {"as_completed": Sweep.as_completed}
