"""`fleche ls`: the functions whose calls a cache holds."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleche.cli.command import DONE, Command
from fleche.cli.output import Column, Output
from fleche.cli.selection import whole_number
from fleche.cli.shown import age, duration, size
from fleche.cli.stores import cache_named, pairs, runtime_of, stopped_at

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.digest import Digest

__all__ = ["COMMAND"]


@dataclass
class _Function:
    name: str
    module: str | None
    calls: int = 0
    seconds: float = 0.0
    newest: float | None = None
    bytes: int | None = None
    shared: int | None = None
    keys: set[Digest] = field(default_factory=set)

    def add(self, call: Any) -> None:
        self.calls += 1
        self.seconds += runtime_of(call) or 0.0
        stopped = stopped_at(call)
        if stopped is not None:
            self.newest = max(stopped, self.newest or stopped)


_ORDERS: dict[str, Callable[[_Function], tuple[Any, str]]] = {
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
    cache = cache_named(given.cache)
    found: dict[tuple[str, str | None], _Function] = {}
    for call in output.progress(cache.query(), "Reading records"):
        function = found.setdefault((call.name, call.module), _Function(call.name, call.module))
        function.add(call)
        if not given.no_bytes:
            from fleche.cli.needs import held_by

            function.keys.update(held_by(call))
    if not given.no_bytes:
        _measure(cache, [*found.values()])
    functions = sorted(found.values(), key=_ORDERS[given.sort])[: given.limit]
    output.give([_data(each) for each in functions], lambda: _show(functions, output))
    return DONE


def _measure(cache: BaseCache, functions: list[_Function]) -> None:
    """Note the bytes of values that a function's calls need alone, and with those of others."""
    from fleche.cli.needs import Values

    counted: set[Digest] = set()
    for pair in pairs(cache):
        values = Values(pair.values)
        reached = [values.reached(each.keys) - counted for each in functions]
        seen: set[Digest] = set()
        several: set[Digest] = set()
        for keys in reached:
            several |= seen & keys
            seen |= keys
        counted |= seen
        for each, keys in zip(functions, reached, strict=True):
            if (alone := values.size(keys - several)) is not None:
                each.bytes = (each.bytes or 0) + alone
                each.shared = (each.shared or 0) + (values.size(keys & several) or 0)


def _data(each: _Function) -> dict[str, Any]:
    return {
        "function": each.name,
        "module": each.module,
        "calls": each.calls,
        "seconds": each.seconds,
        "newest": each.newest,
        "bytes": each.bytes,
        "shared_bytes": each.shared,
    }


def _show(functions: list[_Function], output: Output) -> None:
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
