"""`fleche transfer`: copy calls to the cache of another section."""

from __future__ import annotations

import argparse

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Output
from fleche.cli.selection import add_options, selected
from fleche.cli.stores import Mistake, cache_named

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keys", nargs="*", metavar="KEY", help="a call's key, or its beginning")
    parser.add_argument("--to", required=True, metavar="NAME", help="the section to copy to")
    add_options(parser)


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.cli.copying import copy

    source, target = cache_named(given.cache), cache_named(given.to)
    if source == target:
        raise Mistake("that is the cache that the calls are in: name another one by --to")
    calls = selected(source, given, given.keys)
    done = copy(calls, source, target, output, total=len(calls))
    output.give(done.data, lambda: done.say(output))
    return FOUND if done.failed else DONE


COMMAND = Command(
    help="copy calls, with their values, to the cache of another section",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche transfer --to shared", "all calls; those that are there are skipped"),
        ("fleche transfer --to shared -f relax --newer 7d", "those of relax, of this week"),
    ),
)
