"""`fleche doctor`: whether a cache and the place that it is in are in order."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Output
from fleche.cli.selection import whole_number
from fleche.cli.stores import Mistake, cache_named
from fleche.look.numbers import count

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.cli.checks import Finding

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
    parser.add_argument(
        "--against",
        nargs="?",
        const="",
        metavar="REQUIREMENTS",
        help="look at every value instead: whether its packages are there, in the versions that it "
        "was pickled by; here, or by a requirements.txt",
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.cli.checks import Finding
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
        found += output.progress(_looked_at(given, cache), "Looking")
    problems = sum(each.level == "problem" for each in found)

    def show() -> None:
        for each in found:
            output.line(f"{each.level:8}{each.about}: {each.text}", _STYLES[each.level])
            if each.advice:
                output.line(f"        -> {each.advice}")
        output.say(f"{count(problems, 'problem')} found" if problems else "no problem found")

    output.give([each.data for each in found], show)
    return FOUND if problems else DONE


def _looked_at(given: argparse.Namespace, cache: BaseCache) -> Iterator[Finding]:
    from fleche.cli.against import check_against
    from fleche.cli.checks import check
    from fleche.cli.requirements import read

    if given.against is None:
        return check(cache, given.sample)
    if not given.against:
        return check_against(cache, None)
    try:
        return check_against(cache, read(Path(given.against)))
    except (OSError, ValueError) as error:
        raise Mistake(f"--against: {error}") from error


COMMAND = Command(
    help="whether the cache, its place and its values are in order, and what to do if not",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche doctor --cache shared --sample 1000", "look into more values"),
        ("fleche doctor --against new.txt", "before an upgrade: what would not load"),
    ),
)
