"""`fleche ls`: the functions whose calls a cache holds."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from fleche.cli.command import DONE, Command
from fleche.cli.output import Column, Output
from fleche.cli.shown import age, duration
from fleche.cli.stores import cache_named, runtime_of, stopped_at

__all__ = ["COMMAND"]


@dataclass
class _Function:
    name: str
    module: str | None
    calls: int = 0
    seconds: float = 0.0
    newest: float | None = None


def _run(given: argparse.Namespace, output: Output) -> int:
    found: dict[tuple[str, str | None], _Function] = {}
    cache = cache_named(given.cache)
    for call in output.progress(cache.query(), "Reading records"):
        function = found.setdefault((call.name, call.module), _Function(call.name, call.module))
        function.calls += 1
        function.seconds += runtime_of(call) or 0.0
        stopped = stopped_at(call)
        if stopped is not None:
            function.newest = max(stopped, function.newest or stopped)
    functions = sorted(found.values(), key=lambda each: (-each.seconds, each.name))
    data = [
        {
            "function": each.name,
            "module": each.module,
            "calls": each.calls,
            "seconds": each.seconds,
            "newest": each.newest,
        }
        for each in functions
    ]

    def show() -> None:
        output.table(
            [
                Column("function", style="bold"),
                Column("module"),
                Column("calls", right=True),
                Column("computation", right=True),
                Column("newest", right=True),
            ],
            [
                (
                    each.name,
                    each.module or "",
                    f"{each.calls:,}",
                    duration(each.seconds),
                    f"{age(each.newest)} ago",
                )
                for each in functions
            ],
        )

    output.give(data, show)
    return DONE


COMMAND = Command(
    help="the functions whose calls the cache holds, and what they took to compute",
    run=_run,
    examples=(("fleche ls --cache shared --json", "of the section [shared], for a program"),),
)
