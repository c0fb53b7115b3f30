"""What was counted, as users look at it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from fleche._foundation import seam
from fleche.statistics.counts import Counts, Row, Rows
from fleche.statistics.ledgers import rows_of

if TYPE_CHECKING:
    from fleche.caches import BaseCache

__all__ = ["Statistics", "stats"]

# A function's module and its name.
_Function: TypeAlias = tuple[str | None, str]

# So many records tell how long calls take that nobody saw being computed.
_ENOUGH = 1000


class Statistics:
    """What became of calls; `fleche.stats()` and `f.stats()` give it.

    Args:
        rows: what was counted.
        means: how many seconds a call takes, by module and function.
    """

    def __init__(self, rows: Rows, means: Mapping[_Function, float]) -> None:
        self._rows = rows
        self._means = means
        self._total = Counts()
        for counts in rows.values():
            self._total += counts

    @property
    def hits(self) -> int:
        """How many calls were found in the cache."""
        return self._total.hits

    @property
    def misses(self) -> int:
        """How many calls were looked for, and not found, so that they were computed."""
        return self._total.misses

    @property
    def hit_rate(self) -> float | None:
        """The part of the calls that was found; `None` if there were none."""
        calls = self.hits + self.misses
        return self.hits / calls if calls else None

    @property
    def computed(self) -> int:
        """How many calls were computed and returned."""
        return self._total.computed

    @property
    def failed(self) -> int:
        """How many calls were computed and raised."""
        return self._total.failed

    @property
    def seconds_computed(self) -> float:
        """How long those that returned ran."""
        return self._total.seconds

    @property
    def seconds_saved(self) -> float:
        """How long the hits would have run: an estimate, each by its function's mean run time."""
        return sum(
            counts.hits * self._means.get((row.module, row.function), 0.0)
            for row, counts in self._rows.items()
        )

    @property
    def bytes(self) -> int:
        """How many bytes were written for arguments, results and records."""
        return self._total.bytes

    @property
    def pickled(self) -> int:
        """How many values were pickled, as CBOR could not hold them (`fallback = "pickle"`)."""
        return self._total.pickled

    @property
    def evicted(self) -> int:
        """How many calls were removed, of whichever functions."""
        return self._total.evicted

    @property
    def uncached(self) -> dict[str, int]:
        """How many calls were not cached, by reason; `docs/statistics.md` lists them."""
        return dict(self._total.uncached)

    def by_day(self) -> dict[str, Statistics]:
        """The same for each day, the first one first."""
        return self._by(lambda row: row.day)

    def by_function(self) -> dict[str, Statistics]:
        """The same for each function, by module and name; the one that saved most first."""
        found = self._by(_name)
        found.pop("", None)
        order = sorted(found, key=lambda name: (-found[name].seconds_saved, name))
        return {name: found[name] for name in order}

    def _by(self, part: Callable[[Row], str]) -> dict[str, Statistics]:
        parts: dict[str, Rows] = {}
        for row, counts in self._rows.items():
            parts.setdefault(part(row), {})[row] = counts
        return {name: Statistics(parts[name], self._means) for name in sorted(parts)}

    def to_dict(self) -> dict[str, Any]:
        """The numbers, as JSON has them."""
        names = "hits", "misses", "hit_rate", "computed", "failed", "seconds_computed"
        more = "seconds_saved", "bytes", "pickled", "evicted", "uncached"
        return {name: getattr(self, name) for name in (*names, *more)}

    def __repr__(self) -> str:
        shown = [f"{self.hits} hits", f"{self.misses} misses"]
        if self.hit_rate is not None:
            shown.append(f"hit rate {self.hit_rate:.0%}")
        shown.append(f"{_duration(self.seconds_saved)} saved")
        shown.append(f"{_duration(self.seconds_computed)} computed")
        shown.append(f"{self.bytes} bytes written")
        if self.pickled:
            shown.append(f"{self.pickled} pickled, not CBOR")
        shown += [f"{number} uncached ({reason})" for reason, number in self.uncached.items()]
        return f"<Statistics: {', '.join(shown)}>"

    def _repr_html_(self) -> str:
        """A table by function, in notebooks."""
        from fleche.look.notebooks import notebook
        from fleche.look.tables import Column, table

        numbers = "hits", "misses", "hit rate", "saved", "computed", "bytes"
        columns = [Column("function"), *(Column(title, True) for title in numbers)]
        rows = [("all", self), *self.by_function().items()]
        cells = [(name, *_cells(each)) for name, each in rows]
        return notebook("Statistics", table(columns, cells))


def stats(
    cache: BaseCache | str | None = None,
    *,
    days: int | None = None,
    function: _Function | None = None,
) -> Statistics:
    """What became of the calls in a cache: of all processes, and in this one up to now.

    A stack counts in its first cache. What is in memory, out of reach, or only read, is counted in
    this process alone.

    Args:
        cache: the cache, or the name of a configured one; the active one if not given.
        days: of how many days, today among them; `None`: of all.
        function: the module and the name of a function; `None`: of all.

    Raises:
        OSError: if they cannot be read.
        TypeError: if `cache` is no cache.
        ValueError: if `days` is less than 1.

    >>> import fleche
    >>> @fleche.fleche
    ... def half(x):
    ...     return x / 2
    >>> from fleche.config import cache_from_config
    >>> with fleche.cache(cache_from_config({"template": "memory"})):
    ...     _ = half(3), half(3), half(3), half(4)
    ...     fleche.stats().hits, half.stats().hit_rate
    (2, 0.5)
    """
    from fleche.caches import BaseCache

    if days is not None and days < 1:
        raise ValueError(f"days={days!r}: give 1 for today, 7 for a week")
    if cache is None:
        cache = seam.look_up("active_cache")()
    elif isinstance(cache, str):
        cache = seam.look_up("load_cache_config")(cache)
    if not isinstance(cache, BaseCache):
        raise TypeError(f"stats() takes a cache or its name, not a {type(cache).__name__}")
    rows = rows_of(cache)
    if function is not None:
        rows = {row: counts for row, counts in rows.items() if row[1:] == function}
    means = _means(cache, rows)
    if days is not None:
        first = str(datetime.date.today() - datetime.timedelta(days=min(days, 10_000) - 1))
        rows = {row: counts for row, counts in rows.items() if row.day >= first}
    return Statistics(rows, means)


def _means(cache: BaseCache, rows: Rows) -> dict[_Function, float]:
    """How long a call of each function takes."""
    totals: dict[_Function, Counts] = {}
    for row, counts in rows.items():
        total = totals.setdefault((row.module, row.function), Counts())
        total += counts
    means = {}
    for function, total in totals.items():
        if total.computed:
            means[function] = total.seconds / total.computed
        elif total.hits:
            means[function] = _recorded(cache, function)
    return means


def _recorded(cache: BaseCache, function: _Function) -> float:
    """As the records say, of calls that were computed before anybody counted."""
    import statistics

    module, name = function
    try:
        records = islice(cache.query(name=name, module=module), _ENOUGH)
        held = (each for record in records for each in record.metadata.values())
        times = [each["walltime"] for each in held if "walltime" in each]
    except Exception:
        return 0.0
    return statistics.median(times) if times else 0.0


def _name(row: Row) -> str:
    return f"{row.module}.{row.function}" if row.module else row.function


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def _cells(found: Statistics) -> tuple[str, ...]:
    rate = "" if found.hit_rate is None else f"{found.hit_rate:.0%}"
    times = _duration(found.seconds_saved), _duration(found.seconds_computed)
    return f"{found.hits:,}", f"{found.misses:,}", rate, *times, f"{found.bytes:,}"
