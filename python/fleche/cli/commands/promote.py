"""`fleche promote`: old records for a function that was changed and still computes the same."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from typing import TYPE_CHECKING, Any

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.commands.audit import find_modules_here, tolerance_arguments
from fleche.cli.output import Column, Output
from fleche.cli.stores import Mistake, cache_named
from fleche.look.numbers import count, duration

if TYPE_CHECKING:
    from fleche.auditing import Promotion

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("function", help="its dotted name, package.module.function")
    parser.add_argument(
        "--evidence",
        type=int,
        default=20,
        metavar="RUNS",
        help="how many runs must agree (default: 20; of fewer records, all)",
    )
    parser.add_argument("--replace", action="store_true", help="evict the old records")
    tolerance_arguments(parser)


def _function_named(text: str) -> Any:
    from fleche.wrapper.moved import names_of_function

    find_modules_here()
    for module, name in names_of_function(text.replace(":", "."), ""):
        if not module:
            continue
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{module}.".startswith(f"{error.name}."):
                continue
            raise
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None:
            continue
        if not hasattr(found, "fleche"):
            raise Mistake(f"{text} is not decorated with fleche: no call of it is cached")
        return found
    raise Mistake(f"there is no function {text!r}: give package.module.function")


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.auditing import Tolerance, promote

    # What functions print is no result of the command.
    with contextlib.redirect_stdout(sys.stderr):
        result = promote(
            _function_named(given.function),
            given.evidence,
            cache=cache_named(given.cache),
            tolerance=Tolerance(given.rtol, given.atol),
            replace=given.replace,
            seed=given.seed,
            progress=output.progress,
        )
    output.give(result.to_json(), lambda: _show(result, output))
    return FOUND if result.refusal else DONE


def _show(result: Promotion, output: Output) -> None:
    if result.runs:
        output.table(
            [
                Column("verdict", style="bold"),
                Column("call"),
                Column("time", right=True),
                Column("what"),
            ],
            [(str(run.verdict), run.key, duration(run.seconds), run.what) for run in result.runs],
        )
        output.line()
    if result.contested:
        output.line(f"{count(result.contested, 'record')} left out: they contradict each other")
    if result.refusal:
        output.line(f"nothing was promoted: {result.refusal}", style="red")
    else:
        runs = count(result.agreed, "run")
        output.line(f"{count(len(result.promoted), 'record')} promoted, as {runs} agreed")


COMMAND = Command(
    help="have calls of a changed function find its old results, if sampled runs agree",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche promote lab.relax --evidence 20", "after a refactoring of lab.relax"),
        ("fleche promote lab.relax --rtol 1e-9", "where numbers may differ a little"),
    ),
)
