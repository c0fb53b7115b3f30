"""`fleche audit`: a sample of the stored calls, run again."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Column, Output
from fleche.cli.stores import Mistake, cache_named
from fleche.look.numbers import count, duration

if TYPE_CHECKING:
    from fleche.auditing import Audit

__all__ = ["COMMAND", "find_modules_here", "seconds_of", "tolerance_arguments"]

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float:
    """A time as people write it.

    Raises:
        Mistake: if it is none.

    >>> seconds_of("90"), seconds_of("30m"), seconds_of("1.5h")
    (90.0, 1800.0, 5400.0)
    """
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(number) :].strip() or "s"
    try:
        return float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        raise Mistake(f"{text!r} is no time: write 90s, 30m or 2h") from None


def tolerance_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says how far numbers may be apart."""
    for name, what in (("rtol", "relative to the stored number"), ("atol", "in any case")):
        parser.add_argument(
            f"--{name}",
            type=float,
            default=0.0,
            metavar="NUMBER",
            help=f"how far numbers may be apart, {what} (default: 0, types and all bits count)",
        )
    parser.add_argument("--seed", type=int, default=0, help="for another sample (default: 0)")


def find_modules_here() -> None:
    """Have the modules of the working directory found, as `python -m fleche` does."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("function", nargs="?", help="of this function alone, by its name")
    parser.add_argument(
        "--budget", default="10m", metavar="TIME", help="as 90s, 30m or 2h (default: 10m)"
    )
    parser.add_argument("--most", type=int, metavar="CALLS", help="how many calls to run at most")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="in so many processes")
    tolerance_arguments(parser)


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.auditing import Tolerance, audit

    find_modules_here()
    # What functions print is no result of the command.
    with contextlib.redirect_stdout(sys.stderr):
        found = audit(
            cache_named(given.cache),
            budget=seconds_of(given.budget),
            tolerance=Tolerance(given.rtol, given.atol),
            name=given.function,
            most=given.most,
            seed=given.seed,
            jobs=given.jobs,
            progress=output.progress,
        )
    output.give(found.to_json(), lambda: _show(found, output))
    return DONE if found.is_sound else FOUND


def _show(found: Audit, output: Output) -> None:
    told = [run for run in found.runs if not run.verdict.agrees]
    if told:
        output.table(
            [Column("verdict", style="bold"), Column("function"), Column("call"), Column("what")],
            [(str(run.verdict), run.name, run.key, run.what) for run in told],
        )
        output.line()
    by_function: dict[tuple[str, str], list[str]] = {}
    seconds: dict[tuple[str, str], float] = {}
    for run in found.runs:
        place = run.name, run.module or ""
        by_function.setdefault(place, []).append(str(run.verdict))
        seconds[place] = seconds.get(place, 0.0) + (run.seconds or 0.0)
    verdicts = [*found.counts()]
    output.table(
        [
            Column("function", style="bold"),
            Column("module"),
            *(Column(verdict, right=True) for verdict in verdicts),
            Column("time", right=True),
        ],
        [
            (*place, *(f"{held.count(each):,}" for each in verdicts), duration(seconds[place]))
            for place, held in sorted(by_function.items())
        ],
    )
    for skipped in found.skipped:
        where = f"{skipped.module}.{skipped.name}"
        output.line(f"{count(skipped.calls, 'call')} of {where} not run: {skipped.why}")
    if found.left_out:
        output.line(f"{count(found.left_out, 'call')} left out: the budget allows for no more")
    for note in found.notes:
        output.line(note)
    if not found.is_sound:
        output.line("something is wrong", style="red")


COMMAND = Command(
    help="run a sample of the stored calls again, and compare",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche audit --budget 30m", "as many as take half an hour"),
        ("fleche audit relax --rtol 1e-9", "of one function, where numbers may differ a little"),
        ("fleche audit --jobs 4", "in four processes"),
    ),
)
