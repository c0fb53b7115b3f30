"""`fleche evict`: remove calls."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fleche.cli.command import CONFIRM, DONE, FOUND, Command
from fleche.cli.output import Output
from fleche.cli.selection import add_options, is_given, selected
from fleche.cli.stores import Mistake, cache_named, key_of
from fleche.look.numbers import count

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.call import LazyCall

__all__ = ["COMMAND"]

# So many calls are shown to who has yet to say yes.
_SHOWN = 20


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keys", nargs="*", metavar="KEY", help="a call's key, or its beginning")
    add_options(parser)
    parser.add_argument("--yes", action="store_true", help="do it; else it is only shown")


def _run(given: argparse.Namespace, output: Output) -> int:
    if given.keys and is_given(given):
        raise Mistake("give keys, or options that choose calls, not both")
    if not given.keys and not is_given(given):
        raise Mistake(
            "say which calls: KEY ..., or options as --function relax --older 90d; of all "
            "functions: --function '*'"
        )
    cache = cache_named(given.cache)
    calls: list[LazyCall] = []
    if given.keys:
        keys = [str(key_of(cache, key)) for key in given.keys]
    else:
        from fleche.query.filed import filed_key

        calls = selected(cache, given)
        keys = [str(filed_key(call, cache)) for call in calls]
    if given.yes:
        for key in output.progress(keys, "Evicting"):
            cache.evict(key)

    def show() -> None:
        if given.yes:
            output.say(f"evicted {count(len(keys), 'call')}; `fleche gc` removes their values")
        elif keys:
            _preview(cache, keys, calls, output)
            output.say(f"would evict {count(len(keys), 'call')}; --yes does it")
        else:
            output.say("no call is stored of which all this holds")

    output.give({"evicted" if given.yes else "would_evict": keys}, show)
    if not keys:
        return FOUND
    return DONE if given.yes else CONFIRM


def _preview(cache: BaseCache, keys: list[str], calls: list[LazyCall], output: Output) -> None:
    if not calls:
        for key in keys:
            output.line(key)
        return
    from fleche.cli.commands.find import table_of

    table_of(cache, calls[:_SHOWN], output)
    if len(calls) > _SHOWN:
        output.line(f"... and {len(calls) - _SHOWN:,} more")


COMMAND = Command(
    help="remove calls from the cache; shows them first, and does it with --yes",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche evict 3fa9c1 --yes", "the call whose key begins so"),
        ("fleche evict --function relax --older 90d", "show what would go"),
    ),
)
