"""`fleche check`: runs calls of a signed file again."""

from __future__ import annotations

import argparse
import re

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Column, Output
from fleche.cli.stores import import_from_here
from fleche.look.numbers import count, duration

__all__ = ["COMMAND"]

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _budget(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 90s, 10m, 2h, 1d")
    return float(found[1]) * _SECONDS[found[2]]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what `fleche export` wrote")
    parser.add_argument(
        "--budget", type=_budget, metavar="TIME", help="for how long to begin calls: 90s, 10m, 2h"
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.export.checking import Verdict, check_calls

    import_from_here()
    done = check_calls(given.file, given.budget, progress=output.progress)
    data = [
        {
            "key": each.key,
            "function": each.call,
            "verdict": each.verdict.value,
            "why": each.why,
            "seconds": each.seconds,
        }
        for each in done
    ]

    def show() -> None:
        columns = [Column("key"), Column("function"), Column("result"), Column("took", right=True)]
        output.table(
            [*columns, Column("why")],
            [
                (
                    each.key[:8],
                    each.call,
                    each.verdict.value,
                    "" if each.seconds is None else duration(each.seconds),
                    each.why,
                )
                for each in done
            ],
        )
        same = sum(each.verdict is Verdict.SAME for each in done)
        run = sum(each.seconds is not None for each in done)
        output.line(f"{count(len(done), 'leaf call')}, {run} run, {same} the same")

    output.give(data, show)
    wrong = (Verdict.DIFFERENT, Verdict.FAILED)
    return FOUND if any(each.verdict in wrong for each in done) else DONE


COMMAND = Command(
    help="run the leaf calls of a file that was handed on again, and compare the results",
    run=_run,
    arguments=_arguments,
    examples=(("fleche check figure3.fleche --budget 10m", "for ten minutes at most"),),
    takes_cache=False,
)
