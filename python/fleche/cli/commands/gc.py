"""`fleche gc`: remove the values that no call needs."""

from __future__ import annotations

import argparse

from fleche.cli.command import CONFIRM, DONE, Command
from fleche.cli.output import Output
from fleche.cli.stores import cache_named, written_to
from fleche.look.numbers import count, size

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do it; else it is only shown")


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.caches.garbage.collect import preview
    from fleche.caches.garbage.users import are_all_known
    from fleche.storage.sizes import sizes_of

    cache = written_to(cache_named(given.cache))
    garbage = preview(cache)
    sizes = sizes_of(cache.values, garbage)
    if given.yes and garbage:
        garbage = cache.gc()
    room = sum(sizes.get(key, 0) for key in garbage) if sizes or not garbage else None
    aside = not are_all_known(cache.values)
    verb = (
        ("set aside" if aside else "removed")
        if given.yes
        else ("would set aside" if aside else "would remove")
    )
    data = {"values": len(garbage), "bytes": room, "aside": aside, "done": given.yes}

    def show() -> None:
        if not garbage:
            output.say("every value is needed by a call")
            return
        more = "" if given.yes else "; --yes does it"
        output.say(f"{verb} {count(len(garbage), 'value')}, {size(room)}{more}")

    output.give(data, show)
    return DONE if given.yes or not garbage else CONFIRM


COMMAND = Command(
    help="remove the values that no call needs; shows how many first, and does it with --yes",
    run=_run,
    arguments=_arguments,
    examples=(("fleche gc --cache shared --yes", "of the section [shared]"),),
)
