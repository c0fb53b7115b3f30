"""`fleche export`: writes calls to one signed file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Output
from fleche.cli.stores import Mistake, cache_named, call_of, import_from_here
from fleche.look.numbers import count, size

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.call import LazyCall

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "query",
        nargs="+",
        metavar="QUERY",
        help="a call's key, or at least 4 characters of its beginning; or a function's name, with "
        "or without its module, * for any characters",
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--with-lineage",
        action="store_true",
        help="with the calls that made the arguments, and so on",
    )
    parser.add_argument("--title", help="what the file is about")


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.export import export_calls

    import_from_here()
    cache = cache_named(given.cache)
    done = export_calls(
        [*_chosen(cache, given.query)],
        given.output,
        with_lineage=given.with_lineage,
        query=given.query,
        title=given.title,
    )
    length = done.path.stat().st_size
    data = {
        "file": str(done.path),
        "asked": done.asked,
        "calls": done.calls,
        "values": done.values,
        "bytes": length,
        "left_out": done.left_out,
    }
    calls, values = count(len(done.calls), "call"), count(done.values, "value")
    output.give(
        data, lambda: output.line(f"{done.path}: {calls}, {values}, {size(length)}, signed by you")
    )
    for why in done.left_out.values():
        output.say(f"left out: {why}", "yellow")
    return FOUND if done.left_out else DONE


def _chosen(cache: BaseCache, words: list[str]) -> Iterator[LazyCall]:
    """The calls that the words ask for.

    Raises:
        Mistake: if one of them stands for nothing.
    """
    for word in words:
        found = [
            call
            for call in cache.query()
            if fnmatchcase(call.name, word) or fnmatchcase(f"{call.module}.{call.name}", word)
        ]
        if found:
            yield from found
            continue
        try:
            yield call_of(cache, word)
        except Mistake:
            raise Mistake(
                f"no function is called {word!r}, and no call has a key that begins so: `fleche "
                f"ls` shows the functions"
            ) from None


COMMAND = Command(
    help="write calls, with their results and lineage, to one signed file",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche export -o figure3.fleche --with-lineage plot", "every call of plot, and before"),
        ("fleche export -o one.fleche 3f2a91", "one call"),
    ),
)
