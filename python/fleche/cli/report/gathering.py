"""What a report says of a cache: gathered in one pass over its records, without loading values."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleche.call.ages import runtime_of, stopped_at
from fleche.cli.functions import Function, Progress, functions_of

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.call import LazyCall
    from fleche.statistics import Statistics

__all__ = ["Gathered", "gather"]

# So many of the calls that took longest are kept, to tell which is worth most.
_SLOWEST = 1000


@dataclass
class Gathered:
    """What a report says.

    Args:
        functions: those that took longest first.
        bytes: of all values that their calls need; `None` if that is not known.
        days: seconds of computation by the day on which calls ended.
        slowest: the calls that took longest.
        statistics: what became of calls; `None` if that cannot be read.
        problem: why it cannot be read.
    """

    functions: list[Function] = field(default_factory=list)
    bytes: int | None = None
    days: dict[str, float] = field(default_factory=dict)
    slowest: list[LazyCall] = field(default_factory=list)
    statistics: Statistics | None = None
    problem: str | None = None

    @property
    def calls(self) -> int:
        """How many calls there are."""
        return sum(each.calls for each in self.functions)

    @property
    def seconds(self) -> float:
        """What all calls took to compute."""
        return sum(each.seconds for each in self.functions)


def gather(
    cache: BaseCache, progress: Progress, with_bytes: bool = True, days: int | None = None
) -> Gathered:
    """Read the records of a cache, and what was counted.

    Args:
        cache: the cache.
        progress: iterates over what is read, and shows it.
        with_bytes: whether to measure values.
        days: of how many days statistics are; `None`: of all.
    """
    from fleche.statistics import stats

    found = Gathered()
    slowest: list[tuple[float, int, LazyCall]] = []
    places = iter(range(1 << 62))

    def look(call: LazyCall) -> None:
        seconds, stopped = runtime_of(call) or 0.0, stopped_at(call)
        if stopped is not None and (day := _day(stopped)) is not None:
            found.days[day] = found.days.get(day, 0.0) + seconds
        # The number tells apart what took as long: calls have no order.
        entry = seconds, -next(places), call
        if len(slowest) < _SLOWEST:
            heapq.heappush(slowest, entry)
        elif entry[:2] > slowest[0][:2]:
            heapq.heapreplace(slowest, entry)

    functions, found.bytes = functions_of(cache, progress, with_bytes, look)
    found.functions = sorted(functions, key=lambda each: (-each.seconds, each.full_name))
    found.slowest = [call for *_, call in sorted(slowest, key=lambda each: each[:2], reverse=True)]
    try:
        found.statistics = stats(cache, days=days)
    except OSError as error:
        found.problem = str(error)
    return found


def _day(stamp: float) -> str | None:
    try:
        return time.strftime("%Y-%m-%d", time.localtime(stamp))
    except (OverflowError, OSError, ValueError):
        return None
