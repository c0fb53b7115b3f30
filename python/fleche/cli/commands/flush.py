"""`fleche flush`: write to the remote cache what only the local one has."""

from __future__ import annotations

import argparse

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Output
from fleche.cli.stores import Mistake, cache_named
from fleche.look.numbers import count

__all__ = ["COMMAND"]


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.caches import Rejected, TieredCache

    cache = cache_named(given.cache)
    if not isinstance(cache, TieredCache):
        raise Mistake(
            "this cache has no remote one behind a local one: take a section with `local` and "
            "`remote`, by --cache NAME"
        )
    try:
        written = cache.flush()
        failed = len(cache.unwritten())
    except Rejected as error:
        raise Mistake(str(error)) from None
    data = {"written": written, "failed": failed}

    def show() -> None:
        if failed:
            output.say(f"{count(failed, 'call')} could not be written: see above")
        output.say(f"wrote {count(written, 'call')} to the remote cache")

    output.give(data, show)
    return FOUND if failed else DONE


COMMAND = Command(
    help="write to the remote cache what only the local one has",
    run=_run,
    examples=(("fleche flush --cache shared", "of the section [shared]"),),
)
