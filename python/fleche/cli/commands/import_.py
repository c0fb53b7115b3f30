"""`fleche import`: takes the calls of a signed file."""

from __future__ import annotations

import argparse

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Output
from fleche.cli.stores import cache_named, import_from_here
from fleche.look.numbers import count

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what `fleche export` wrote")
    parser.add_argument(
        "--any-code",
        action="store_true",
        help="take calls of functions that have another text here, too",
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.export import import_calls

    import_from_here()
    done = import_calls(
        given.file,
        cache_named(given.cache),
        any_code=given.any_code,
        progress=output.progress,
    )
    data = {
        "signer": done.signer,
        "taken": done.taken,
        "present": done.present,
        "failed": done.failed,
    }
    taken, present = count(done.taken, "call"), f"{done.present:,} there already"
    output.give(data, lambda: output.line(f"{taken} taken, {present}; signed by {done.signer}"))
    for key, why in done.failed.items():
        output.say(f"not taken: {key[:8]}: {why}", "red")
    return FOUND if done.failed else DONE


COMMAND = Command(
    help="take the calls of a file that was handed on, if its signer is trusted",
    run=_run,
    arguments=_arguments,
    examples=(("fleche import figure3.fleche --cache shared", "into the section [shared]"),),
)
