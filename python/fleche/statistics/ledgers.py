"""Where the calls of each cache are counted: beside its store, or in this process alone.

A ledger holds what this process counted, by function, and hands it to the file of the store. Where
nothing can be written it keeps it, until it can.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from pathlib import Path
from typing import Any, Protocol

from fleche import _core
from fleche._foundation.log import logger_of
from fleche.statistics.counts import Counts, Row, Rows, add

__all__ = ["Ledger", "ledger_of", "ledgers", "rows_of"]

logger = logger_of("fleche.statistics")

_NAME = ".fleche-statistics"


class Store(Protocol):
    """Where statistics last."""

    def read(self) -> Rows: ...
    def write(self, rows: Rows, patience: float) -> bool: ...


class Ledger:
    """What this process counted of the calls in a store.

    Args:
        store: where it lasts; `None`: nowhere.
        writes: whether it is written there, or the store is only read.
    """

    def __init__(self, store: Store | None = None, writes: bool = True) -> None:
        self.store = store
        self.writes = writes and store is not None
        self._tallies: dict[tuple[str | None, str], _core.Tally] = {}
        self.clear()

    @property
    def is_local(self) -> bool:
        """Whether it is written into a file, which takes no time."""
        from fleche.statistics.files import StatisticsFile

        return isinstance(self.store, StatisticsFile)

    def clear(self) -> None:
        """Begin at zero, as a forked child does."""
        # Calls wait for nobody who writes: for short sections only, and never for themselves, as
        # one may be made by a signal handler, or as something is finalised.
        self._lock, self._writing = threading.RLock(), threading.RLock()
        self._rows: Rows = {}
        for tally in self._tallies.values():
            tally.take()

    def tally(self, function: str, module: str | None) -> _core.Tally:
        """What the core counts the calls of a function with."""
        return self._tallies.setdefault((module, function), _core.Tally())

    def add(self, function: str, module: str | None, counts: Counts) -> None:
        """Count something that has no number in a tally."""
        row = Row(_today(), module, function)
        with self._lock:
            add(self._rows, [(row, counts)])

    def rows(self) -> Rows:
        """What was counted: here, and in what lasts.

        Raises:
            OSError: if the file cannot be read.
        """
        with self._writing:
            rows = {} if self.store is None else self.store.read()
            add(rows, self.pending().items())
            return rows

    def pending(self) -> Rows:
        """What was counted here, and is not written down."""
        with self._lock:
            self._collect()
            return dict(self._rows)

    def flush(self, patience: float) -> None:
        """Write down what was counted since the last time; what cannot be written waits."""
        if not self.writes or self.store is None:
            return
        with self._writing:
            with self._lock:
                self._collect()
                rows, self._rows = self._rows, {}
            if not rows:
                return
            is_written = False
            try:
                is_written = self.store.write(rows, patience)
            except Exception as error:
                logger.debug("Statistics cannot be written: %s", error)
            finally:
                if not is_written:
                    with self._lock:
                        add(self._rows, rows.items())

    def _collect(self) -> None:
        day = _today()
        for (module, function), tally in list(self._tallies.items()):
            hits, misses, computed, failed, seconds, size, pickled = tally.take()
            counts = Counts(
                hits=hits,
                misses=misses,
                computed=computed,
                failed=failed,
                seconds=seconds,
                bytes=size,
                pickled=pickled,
            )
            if counts:
                add(self._rows, [(Row(day, module, function), counts)])


# By its file or database, and whether it is written.
_by_place: dict[tuple[Path | str, bool], Ledger] = {}

# By the number of a cache, as long as it lives.
_by_cache: dict[int, tuple[weakref.ref[Any], Ledger]] = {}


def ledgers() -> list[Ledger]:
    """Every ledger of this process."""
    return [*_by_place.values(), *(ledger for _, ledger in list(_by_cache.values()))]


def ledger_of(cache: Any) -> Ledger:
    """Where the calls of a cache are counted."""
    from fleche.caches import CacheStack, CacheWrapper, RefreshingCache

    writes = True
    while isinstance(cache, CacheStack | CacheWrapper):
        if isinstance(cache, CacheStack):
            if not cache.stack:
                break
            cache = cache.stack[0]
        else:
            writes = writes and isinstance(cache, RefreshingCache)
            cache = cache.cache
    place = _place_of(cache)
    if place is not None:
        if (place, writes) not in _by_place:
            _by_place.setdefault((place, writes), Ledger(_store_at(place, cache), writes))
        return _by_place[place, writes]
    number = id(cache)
    reference, ledger = _by_cache.get(number, (None, None))
    if reference is None or ledger is None or reference() is not cache:
        ledger = Ledger()
        reference = weakref.ref(cache, lambda dead: _forget(number, dead))
        _by_cache[number] = reference, ledger
    return ledger


def rows_of(cache: Any) -> Rows:
    """What was counted of the calls in a cache: in all processes, and here up to now.

    Raises:
        OSError: if the file cannot be read.
    """
    ledger = ledger_of(cache)
    places = [place for place, each in _by_place.items() if each is ledger]
    if not places:
        return ledger.rows()
    # What writes first: it writes nothing between the reading of the file and that of its numbers.
    place = places[0][0]
    first, *others = [each for writes in (True, False) if (each := _by_place.get((place, writes)))]
    rows = first.rows()
    for other in others:
        add(rows, other.pending().items())
    return rows


def _forget(number: int, dead: weakref.ref[Any]) -> None:
    # Another one may have its number by now.
    if _by_cache.get(number, (None,))[0] is dead:
        del _by_cache[number]


def _place_of(cache: Any) -> Path | str | None:
    """The file, or the database, for the statistics of a store; `None`: they do not last."""
    from fleche.storage.file import FileStorage

    calls = getattr(cache, "calls", None)
    place = getattr(calls, "_place", bool)()
    if isinstance(place, str):
        # A database server; storages of users may have texts of their own.
        return place if hasattr(getattr(calls, "_store", None), "_run") else None
    if not isinstance(place, Path):
        return None
    if isinstance(calls, FileStorage):
        return place / _NAME
    return place.with_name(f".{place.name}-statistics")


def _store_at(place: Path | str, cache: Any) -> Store:
    if isinstance(place, Path):
        from fleche.statistics.files import StatisticsFile

        return StatisticsFile(place, cache.calls._place())
    from fleche.statistics.databases import StatisticsTable

    return StatisticsTable(cache.calls._store)


def _in_child() -> None:
    """A forked child counts its own calls only."""
    for ledger in ledgers():
        ledger.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _today() -> str:
    return time.strftime("%Y-%m-%d")
