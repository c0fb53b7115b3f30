"""`fleche stats`: what became of the calls in a cache, by function and by day."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fleche.cli.command import DONE, Command
from fleche.cli.output import Column, Output
from fleche.cli.selection import number_of_days
from fleche.cli.stores import cache_named
from fleche.look.numbers import count, duration, size

if TYPE_CHECKING:
    from fleche.statistics import Statistics

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--days", type=number_of_days, metavar="N", help="of the last N days, today among them"
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.statistics import stats
    from fleche.statistics.tallies import enabled

    if not enabled():
        output.say(
            "calls are not counted now: FLECHE_STATISTICS, or statistics in the section [default] "
            "of the fleche.toml, says so"
        )
    found = stats(cache_named(given.cache), days=given.days)
    functions, days = found.by_function(), found.by_day()
    data = {
        **found.to_dict(),
        "by_function": {name: each.to_dict() for name, each in functions.items()},
        "by_day": {day: each.to_dict() for day, each in days.items()},
    }

    def show() -> None:
        output.table(_columns("function"), [_row(name, each) for name, each in functions.items()])
        output.line()
        output.table(_columns("day"), [*(_row(day, each) for day, each in days.items())])
        output.line()
        saved, computed = duration(found.seconds_saved), duration(found.seconds_computed)
        hits, misses = count(found.hits, "hit"), f"{found.misses:,} not found"
        output.line(f"{hits}, {misses}; about {saved} saved, {computed} computed", "bold")
        for reason, number in sorted(found.uncached.items()):
            output.line(f"{count(number, 'call')} not cached: {reason}")
        if found.pickled:
            values = count(found.pickled, "value")
            output.line(f"{values} pickled, as CBOR could not hold them (fallback = 'pickle')")
        if found.evicted:
            output.line(f"{count(found.evicted, 'call')} evicted")

    output.give(data, show)
    return DONE


def _columns(first: str) -> list[Column]:
    numbers = "hits", "misses", "hit rate", "saved", "computed", "written", "uncached"
    return [Column(first, style="bold"), *(Column(title, right=True) for title in numbers)]


def _row(name: str, found: Statistics) -> tuple[str, ...]:
    rate = "" if found.hit_rate is None else f"{found.hit_rate:.0%}"
    return (
        name,
        f"{found.hits:,}",
        f"{found.misses:,}",
        rate,
        duration(found.seconds_saved),
        duration(found.seconds_computed),
        size(found.bytes),
        f"{sum(found.uncached.values()):,}",
    )


COMMAND = Command(
    help="hits, misses and the time saved, by function and by day",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche stats", "of the default cache, since it is counted"),
        ("fleche stats --days 7 --json", "of a week, for a program"),
    ),
)
