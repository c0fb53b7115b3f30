"""`fleche lineage`: the calls that made the arguments of a call, or that took its result."""

from __future__ import annotations

import argparse

from fleche.cli.command import DONE, Command
from fleche.cli.output import Output
from fleche.cli.stores import cache_named, call_of, import_from_here

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", help="the call's key, or at least 4 characters of its beginning")
    parser.add_argument("--depth", type=int, help="how many steps to go (default: to the end)")
    parser.add_argument(
        "--outputs", action="store_true", help="the calls that took the result, and so on"
    )
    parser.add_argument("--dot", action="store_true", help="print it for Graphviz")


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.lineage import Index, lineage_of

    import_from_here()
    cache = cache_named(given.cache)
    call = call_of(cache, given.key)
    index = Index(cache, output.progress)
    found = lineage_of(call, given.depth, given.outputs, index)
    if found.unread:
        output.say(f"{found.unread} values cannot be read here, which may hide calls", "yellow")
    if given.dot:
        output.line(found.to_dot())
    else:
        output.give(found.to_dict(), lambda: output.line(found.tree()))
    return DONE


COMMAND = Command(
    help="the calls that made the arguments of a call, or that took its result",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche lineage 3f2a91", "as a tree"),
        ("fleche lineage 3f2a91 --dot | dot -Tsvg > figure3.svg", "as a picture"),
        ("fleche lineage 3f2a91 --outputs", "what was computed with its result"),
    ),
)
