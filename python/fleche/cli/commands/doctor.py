"""`fleche doctor`: whether a cache and the place that it is in are in order."""

from __future__ import annotations

import argparse

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Output
from fleche.cli.selection import whole_number
from fleche.cli.shown import count
from fleche.cli.stores import Mistake, cache_named

__all__ = ["COMMAND"]

_STYLES = {"ok": "green", "note": "yellow", "problem": "red"}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sample",
        type=whole_number,
        default=200,
        metavar="N",
        help="look for classes that cannot be imported in so many values (default 200)",
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.cli.checks import Finding, check
    from fleche.cli.commands.config import mistakes

    found = [
        Finding("configuration", "problem", text, "mend it; `fleche config` shows all of it")
        for text in mistakes()
    ]
    try:
        cache = cache_named(given.cache)
    except (Mistake, ValueError, ImportError, OSError) as error:
        advice = "mend that first; what is in the cache was not looked at"
        if not any(str(error) in each.text for each in found):
            found.append(Finding("cache", "problem", str(error), advice))
    else:
        found += output.progress(check(cache, given.sample), "Looking")
    problems = sum(each.level == "problem" for each in found)

    def show() -> None:
        for each in found:
            output.line(f"{each.level:8}{each.about}: {each.text}", _STYLES[each.level])
            if each.advice:
                output.line(f"        -> {each.advice}")
        output.say(f"{count(problems, 'problem')} found" if problems else "no problem found")

    output.give([each.data for each in found], show)
    return FOUND if problems else DONE


COMMAND = Command(
    help="whether the cache, its place and its values are in order, and what to do if not",
    run=_run,
    arguments=_arguments,
    examples=(("fleche doctor --cache shared --sample 1000", "look into more values"),),
)
