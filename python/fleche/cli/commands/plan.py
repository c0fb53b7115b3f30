"""`fleche plan`: what would go under other limits, and what it would cost to get it back."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fleche.cli.command import DONE, Command
from fleche.cli.output import Column, Output
from fleche.cli.selection import whole_number
from fleche.cli.stores import Mistake, cache_named, written_to
from fleche.look.numbers import count, duration, size

if TYPE_CHECKING:
    from fleche.caches.bounds.plans import Plan

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    from fleche.caches.bounds.limits import POLICIES

    parser.add_argument("size", nargs="?", metavar="SIZE", help="max_bytes: 200GB, 1.5TiB")
    parser.add_argument("--max-age", metavar="AGE", help="older calls would go: 90d, 1y")
    parser.add_argument("--max-size", type=whole_number, metavar="N", help="the number of calls")
    parser.add_argument(
        "--evict",
        choices=POLICIES,
        help="which calls go first (default: as the cache is configured, or the oldest)",
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    cache = written_to(cache_named(given.cache))
    try:
        plan = cache.plan(
            given.size, max_age=given.max_age, max_size=given.max_size, evict=given.evict
        )
    except ValueError as error:
        raise Mistake(str(error)) from None
    is_asked = any(each is not None for each in (given.size, given.max_age, given.max_size))
    if not is_asked and not _has_limits(cache):
        raise Mistake("this cache has no limits: say some, as in `fleche plan 200GB`")
    output.give(plan.to_dict(), lambda: _show(plan, output))
    return DONE


def _has_limits(cache: Any) -> bool:
    from fleche.caches import BoundedCache, SizeLimitedCache

    return isinstance(cache, BoundedCache | SizeLimitedCache)


def _show(plan: Plan, output: Output) -> None:
    stays = f"{count(plan.stays, 'call')} with {size(plan.stays_bytes)}"
    if not plan.calls:
        output.say(f"nothing would go: there are {stays}")
        return
    functions = sorted(plan.functions().items(), key=lambda each: (-each[1][1], each[0]))
    rows = [
        (name, f"{calls:,}", size(room), duration(seconds))
        for name, (calls, room, seconds) in functions
    ]
    columns = [
        Column("function", style="bold"),
        Column("calls", right=True),
        Column("bytes", right=True),
        Column("computation", right=True),
    ]
    output.table(columns, rows)
    output.say(
        f"{count(len(plan.calls), 'call')} with {size(plan.bytes)} would go, which took "
        f"{duration(plan.seconds)} to compute; {stays} would stay"
    )


COMMAND = Command(
    help="what would go if the cache were limited, and what it would cost to get it back",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche plan 200GB", "the oldest calls, until the rest has no more than 200 GB"),
        ("fleche plan 200GB --evict cheapest", "those that are computed again in no time"),
        ("fleche plan --max-age 1y --json", "for a program"),
    ),
)
