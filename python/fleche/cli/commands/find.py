"""`fleche find`: calls, by function, arguments, metadata and time."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fleche.call.ages import runtime_of, stopped_at
from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Column, Output
from fleche.cli.selection import add_options, selected
from fleche.cli.stores import cache_named
from fleche.look.numbers import age, duration

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.call import LazyCall

__all__ = ["COMMAND", "data_of", "table_of"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", metavar="FUNCTION", help="the same as --function FUNCTION"
    )
    add_options(parser)
    parser.add_argument("--keys", action="store_true", help="print only whole keys, a line each")


def _run(given: argparse.Namespace, output: Output) -> int:
    cache = cache_named(given.cache)
    if given.name is not None:
        given.function.append(given.name)
    calls = selected(cache, given)
    data = [data_of(cache, call) for call in calls]

    def show() -> None:
        if given.keys:
            for each in data:
                print(each["key"])
        elif calls:
            table_of(cache, calls, output)
        else:
            output.say("no call is stored of which all this holds")

    output.give([each["key"] for each in data] if given.keys else data, show)
    return DONE if calls else FOUND


def data_of(cache: BaseCache, call: LazyCall) -> dict[str, Any]:
    """A call, as JSON has it; its values are not loaded."""
    from fleche.query.filed import filed_key

    return {
        "key": str(filed_key(call, cache)),
        "function": call.name,
        "module": call.module,
        "stopped": stopped_at(call),
        "seconds": runtime_of(call),
    }


def table_of(cache: BaseCache, calls: list[LazyCall], output: Output) -> None:
    """Print calls, a row each."""
    from fleche.query.filed import filed_key

    keys = [filed_key(call, cache) for call in calls]
    short = cache._shortest(keys)
    rows = []
    for key, brief, call in zip(keys, short, calls, strict=True):
        stopped = stopped_at(call)
        ended = "?" if stopped is None else f"{age(stopped)} ago"
        name = str(brief or key)
        row = [key[: max(8, len(name))], call.name, call.module or ""]
        rows.append([*row, ended, duration(runtime_of(call))])
    columns = [Column("key", style="cyan"), Column("function", style="bold"), Column("module")]
    output.table([*columns, Column("ended", right=True), Column("took", right=True)], rows)


COMMAND = Command(
    help="calls, by function, arguments, metadata and time",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche find relax --where x=3", "the calls relax(x=3, ...)"),
        ("fleche find 'alloys.*' --newer 2d --slower 10s", "of a package, of these two days"),
        ("fleche find --meta tags.project=alloys --keys", "their keys, for a pipe"),
    ),
)
