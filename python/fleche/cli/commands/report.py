"""`fleche report`: a page about a cache."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche.cli.command import DONE, Command
from fleche.cli.output import Output
from fleche.cli.selection import number_of_days
from fleche.cli.stores import Mistake, cache_named, call_of, import_from_here, written_to
from fleche.look.numbers import count, size

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.cli.report.gathering import Gathered
    from fleche.lineage import Lineage

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the page to write")
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--lineage",
        metavar="KEY",
        help="show the lineage of this call (default: of the one that is worth most); reads all "
        "values, as `fleche lineage` does",
    )
    group.add_argument(
        "--no-lineage", action="store_true", help="leave the lineage out: no value is loaded"
    )
    parser.add_argument(
        "--days", type=number_of_days, metavar="N", help="statistics of the last N days alone"
    )
    parser.add_argument(
        "--no-bytes", action="store_true", help="leave the sizes out: many files take a while"
    )
    parser.add_argument(
        "--plan", metavar="SIZE", help="show what would go of a cache of this size: 200GB, 1.5TiB"
    )
    parser.add_argument("--title", help="the heading of the page")


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche._foundation.whole_files import new_file
    from fleche.cli.report.gathering import gather
    from fleche.cli.report.planned import by_function
    from fleche.cli.report.sections import report_page

    path = _path(given.output)
    cache = cache_named(given.cache)
    try:
        plan = None if given.plan is None else written_to(cache).plan(given.plan)
    except ValueError as error:
        raise Mistake(str(error)) from None
    root = None if given.lineage is None else call_of(cache, given.lineage)
    found = gather(cache, output.progress, not given.no_bytes, given.days)
    lineage, said = None, ""
    if root is not None:
        lineage = _lineage_of(cache, root, output)
    elif not given.no_lineage:
        lineage, said = _most_valuable(cache, found, output)
    name = given.cache or "default"
    text = report_page(
        given.title or f"fleche: the cache [{name}]",
        f"As it was on {time.strftime('%Y-%m-%d at %H:%M')}.",
        found,
        lineage,
        said,
        given.days,
        None if plan is None else by_function(plan),
        end=f"Written by fleche {_core.VERSION}. Nothing is loaded from elsewhere.",
    )
    page = text.encode()
    with new_file(path) as file:
        file.write(page)
    data = {
        "file": str(path),
        "bytes": len(page),
        "calls": found.calls,
        "functions": len(found.functions),
        "seconds": found.seconds,
        "lineage": None if lineage is None else str(lineage.root),
    }
    calls, functions = count(found.calls, "call"), count(len(found.functions), "function")
    output.give(data, lambda: output.line(f"{path}: {calls} of {functions}, {size(len(page))}"))
    return DONE


def _path(text: str) -> Path:
    """Where to write.

    Raises:
        Mistake: if something else is there.
    """
    from fleche.look.pages import GENERATOR

    # Through a link, not in its place.
    path = Path(text).resolve()
    if not path.exists():
        return path
    if not path.is_file():
        raise Mistake(f"{text!r} is no file: name the page to write, as report.html")
    with open(path, "rb") as file:
        begin = file.read(4096)
    if begin and f'content="{GENERATOR}"'.encode() not in begin:
        raise Mistake(f"{text!r} is there, and is no report: give another name, or remove it")
    return path


def _lineage_of(cache: BaseCache, root: Any, output: Output) -> Lineage:
    from fleche.lineage import Index, lineage_of

    import_from_here()
    return lineage_of(root, index=Index(cache, output.progress))


def _most_valuable(cache: BaseCache, found: Gathered, output: Output) -> tuple[Lineage | None, str]:
    """The lineage of the call that is worth most, and what is said of it."""
    from fleche.cli.report.ancestry import affordable, most_valuable
    from fleche.lineage import Index, lineage_of

    import_from_here()
    known = affordable(cache, found.slowest)
    index = Index(cache, output.progress, known)
    root = most_valuable(index)
    if root is None:
        return None, ""
    said = "The call that took longest, together with all calls before it"
    if len(known) < found.calls:
        said += f", among {count(len(known), 'call')} that took long"
    return lineage_of(index.calls[root], index=index), f"{said}."


COMMAND = Command(
    help="write a page about the cache: time saved, functions, a lineage",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche report -o report.html", "one file that needs nothing else"),
        ("fleche report -o report.html --lineage 3f2a91", "with the lineage of this call"),
        ("fleche report -o report.html --no-lineage", "loads no value"),
    ),
)
