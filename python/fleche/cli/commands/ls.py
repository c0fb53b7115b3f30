"""`fleche ls`: the functions whose calls a cache holds."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from fleche.cli.command import DONE, Command
from fleche.cli.functions import Function, functions_of
from fleche.cli.output import Column, Output
from fleche.cli.selection import whole_number
from fleche.cli.stores import cache_named
from fleche.look.numbers import age, duration, size

__all__ = ["COMMAND"]


_ORDERS: dict[str, Callable[[Function], tuple[Any, str]]] = {
    "time": lambda each: (-each.seconds, each.name),
    "calls": lambda each: (-each.calls, each.name),
    "bytes": lambda each: (-(each.bytes or 0), each.name),
    "newest": lambda each: (-(each.newest or 0.0), each.name),
    "name": lambda each: (each.name, each.module or ""),
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sort",
        choices=_ORDERS,
        default="time",
        help="what stands first: most hours of computation (time), most calls or bytes, the "
        "newest call, or by name",
    )
    parser.add_argument("--limit", type=whole_number, metavar="N", help="the first N functions")
    parser.add_argument(
        "--no-bytes", action="store_true", help="leave the sizes out: many files take a while"
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    found, _ = functions_of(cache_named(given.cache), output.progress, not given.no_bytes)
    functions = sorted(found, key=_ORDERS[given.sort])[: given.limit]
    output.give([_data(each) for each in functions], lambda: _show(functions, output))
    return DONE


def _data(each: Function) -> dict[str, Any]:
    return {
        "function": each.name,
        "module": each.module,
        "calls": each.calls,
        "seconds": each.seconds,
        "newest": each.newest,
        "bytes": each.bytes,
        "shared_bytes": each.shared,
    }


def _show(functions: list[Function], output: Output) -> None:
    if not functions:
        output.say("no calls are stored")
        return
    sizes = any(each.bytes is not None for each in functions)
    columns = [
        Column("function", style="bold"),
        Column("module"),
        Column("calls", right=True),
        Column("computation", right=True),
        Column("newest", right=True),
    ]
    if sizes:
        columns += [Column("bytes", right=True), Column("shared", right=True)]
    rows = []
    for each in functions:
        newest = "?" if each.newest is None else f"{age(each.newest)} ago"
        row = [each.name, each.module or "", f"{each.calls:,}", duration(each.seconds), newest]
        room = [size(each.bytes), size(each.shared) if each.shared else ""]
        rows.append([*row, *room][: len(columns)])
    output.table(columns, rows)


COMMAND = Command(
    help="the functions whose calls the cache holds, and what they took to compute",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche ls --sort bytes --limit 10", "the ten that take the most room"),
        ("fleche ls --cache shared --json", "of the section [shared], for a program"),
    ),
)
