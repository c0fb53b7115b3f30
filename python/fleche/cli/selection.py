"""The options by which commands choose calls, and the calls that they choose."""

from __future__ import annotations

import argparse
import ast
import datetime
import heapq
import re
import time
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from fleche.call.ages import runtime_of, stopped_at
from fleche.cli.stores import Mistake, call_of

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.call import LazyCall

__all__ = [
    "add_options",
    "duration_of",
    "is_given",
    "literal",
    "name_of",
    "names_function",
    "number_of_days",
    "selected",
    "whole_number",
]

_HOUR, _DAY = 3600.0, 86400.0
_SECONDS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": _HOUR, "d": _DAY} | {
    "w": 7 * _DAY,
    "mo": 30 * _DAY,
    "y": 365.25 * _DAY,
}
_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options by which calls are chosen."""
    group = parser.add_argument_group("which calls (all that is said must hold)")
    group.add_argument(
        *("--function", "-f"),
        action="append",
        default=[],
        metavar="NAME",
        help="of this function, by its name or module.name; * and ? stand for any characters; "
        "may be given several times",
    )
    group.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="ARG=VALUE",
        help="with this argument, a Python literal (x=3, grid=(2,2)) or else a text; "
        "ARG alone: it has such an argument",
    )
    group.add_argument(
        "--meta",
        action="append",
        default=[],
        metavar="CLASS.KEY=VALUE",
        help="with this metadata, as tags.project=alloys; without =VALUE: it has such metadata",
    )
    times = "30s, 5min, 2h, 2d, 3w, 1y, or a date as 2026-01-31"
    group.add_argument("--newer", metavar="AGE", help=f"ended later: {times}")
    group.add_argument(
        "--older", metavar="AGE", help="ended before; not those whose time nobody recorded"
    )
    group.add_argument("--slower", metavar="TIME", help="took at least so long: 10s, 2h")
    group.add_argument("--limit", type=whole_number, metavar="N", help="the newest N of them")


def number_of_days(text: str) -> int:
    """Of days that end today."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give 1 for today, 7 for a week")
    return number


number_of_days.__name__ = "number of days"


def whole_number(text: str) -> int:
    """What an option takes that is a number of things.

    >>> whole_number("12")
    12
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def is_given(given: argparse.Namespace) -> bool:
    """Whether anything was said about which calls."""
    names = ("function", "where", "meta", "newer", "older", "slower", "limit")
    return any(getattr(given, name) not in (None, []) for name in names)


def literal(text: str) -> Any:
    """A Python literal, or else the text itself.

    >>> literal("3"), literal("(1, 'a')"), literal("fcc"), literal("'3'")
    (3, (1, 'a'), 'fcc', '3')
    """
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def duration_of(text: str, option: str) -> float:
    """A time that something takes, in seconds.

    Raises:
        Mistake: if it is none.

    >>> duration_of("1.5h", "--slower"), duration_of("10", "--slower")
    (5400.0, 10.0)
    """
    found = _DURATION.fullmatch(text)
    unit = None if found is None else _SECONDS.get(found[2] or "s")
    if found is None or unit is None:
        raise Mistake(f"{option} {text!r} is no time: write 30s, 5min, 2h, 2d, 3w or 1y")
    return float(found[1]) * unit


def _moment(text: str, option: str) -> float:
    """An age, or a date, as seconds since 1970."""
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - duration_of(text, option)
    except Mistake as error:
        raise Mistake(f"{error}, or a date as 2026-01-31") from None


def name_of(call: Any) -> str:
    """A function's name with its module.

    >>> from fleche.call import Call
    >>> name_of(Call("relax", {}, module="alloys.md"))
    'alloys.md.relax'
    """
    return call.name if call.module is None else f"{call.module}.{call.name}"


def names_function(patterns: list[str], call: Any) -> bool:
    """Whether one of the patterns is a function's name, or module.name."""
    return any(
        fnmatchcase(name, pattern) for pattern in patterns for name in (call.name, name_of(call))
    )


def selected(
    cache: BaseCache, given: argparse.Namespace, keys: list[str] | None = None
) -> list[LazyCall]:
    """The calls of these keys, or else those that the options choose, the newest first.

    Args:
        cache: the cache.
        given: the options.
        keys: keys, or beginnings of them.

    Raises:
        Mistake: if an option cannot be understood, or a key is none.
    """
    conditions = [*_conditions(given)]
    calls: Iterable[LazyCall] = (
        [call_of(cache, key) for key in keys] if keys else cache.query(_pattern(given))
    )
    chosen = (call for call in calls if all(holds(call) for holds in conditions))
    if given.limit is not None:
        return heapq.nlargest(given.limit, chosen, key=_newest_first)
    return sorted(chosen, key=_newest_first, reverse=True)


def _newest_first(call: LazyCall) -> float:
    return stopped_at(call) or 0.0


def _pattern(given: argparse.Namespace) -> Any:
    """What the cache can look for itself."""
    from fleche.call import QueryCall
    from fleche.digest import digest

    arguments = {}
    for text in given.where:
        name, equals, value = text.partition("=")
        if not name.strip().isidentifier():
            raise Mistake(f"--where {text!r} is no argument: write --where x=3, or --where x")
        wanted = literal(value) if equals else None
        # In a pattern `None` means that there is such an argument.
        arguments[name.strip()] = digest(None) if equals and wanted is None else wanted
    name = None
    if len(given.function) == 1 and given.function[0].isidentifier():
        name = given.function[0]
    return QueryCall(name=name, arguments=arguments or None)


def _conditions(given: argparse.Namespace) -> Iterator[Callable[[LazyCall], bool]]:
    if given.function:
        yield lambda call: names_function(given.function, call)
    for text in given.meta:
        yield _metadata_condition(text)
    if given.newer is not None:
        begin = _moment(given.newer, "--newer")
        yield lambda call: (stopped_at(call) or 0.0) > begin
    if given.older is not None:
        end = _moment(given.older, "--older")
        yield lambda call: (stopped_at(call) or end) < end
    if given.slower is not None:
        least = duration_of(given.slower, "--slower")
        yield lambda call: (runtime_of(call) or 0.0) >= least


def _metadata_condition(text: str) -> Callable[[LazyCall], bool]:
    path, equals, value = text.partition("=")
    names = path.strip().split(".")
    if not all(names):
        raise Mistake(f"--meta {text!r} is no metadata: write --meta tags.project=alloys")
    wanted = [value, literal(value)]

    def holds(call: LazyCall) -> bool:
        held: Any = call.metadata
        for name in names:
            if not isinstance(held, dict) or name not in held:
                return False
            held = held[name]
        return not equals or any(_is_same(held, each) for each in wanted)

    return holds


def _is_same(held: Any, wanted: Any) -> bool:
    # To Python `True` is 1.
    return isinstance(held, bool) == isinstance(wanted, bool) and bool(held == wanted)
