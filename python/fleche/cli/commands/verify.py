"""`fleche verify`: whether every entry of a cache can be read, and is what its key says."""

from __future__ import annotations

import argparse

from fleche.auditing.report import Report
from fleche.cli.command import CONFIRM, DONE, FOUND, Command
from fleche.cli.output import Column, Output
from fleche.cli.stores import cache_named
from fleche.look.numbers import count

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quick", action="store_true", help="load no value: presence, signatures, form of files"
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="evict what is damaged (not what only cannot be read here); needs --yes",
    )
    parser.add_argument("--yes", action="store_true", help="really evict")


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.auditing import verify

    report = verify(
        cache_named(given.cache),
        quick=given.quick,
        repair=given.repair and given.yes,
        progress=output.progress,
    )
    output.give(report.to_json(), lambda: _show(report, output))
    if given.repair and not given.yes and not report.is_sound:
        output.say("nothing was evicted: give --yes, too")
        return CONFIRM
    return DONE if report.is_sound else FOUND


def _show(report: Report, output: Output) -> None:
    if report.problems:
        output.table(
            [Column("what", style="bold"), Column("key"), Column("where"), Column("why")],
            [
                (str(problem.kind), problem.key or "", problem.where, problem.what)
                for problem in report.problems
            ],
        )
        output.line()
    output.line(f"{count(report.records, 'record')}, {count(report.values, 'value')}")
    for kind, number in report.counts().items():
        output.line(f"{number:,} {kind}")
    if report.unproven:
        output.line(f"{count(report.unproven, 'value')} whose keys do not tell what they were")
    if report.orphans:
        output.line(f"{count(len(report.orphans), 'value')} that no record needs: gc removes them")
    if report.leftovers:
        left = count(len(report.leftovers), "file")
        output.line(f"{left} that writers left, which go by themselves")
    for note in report.notes:
        output.line(note)
    if report.repaired:
        output.line(f"evicted: {len(report.repaired):,}")
    if report.is_sound:
        output.line("nothing is wrong")
    else:
        output.line("something is wrong", style="red")


COMMAND = Command(
    help="whether every entry can be read, and is what its key says; repairs nothing by itself",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche verify --quick", "presence, signatures and form alone"),
        ("fleche verify --repair --yes", "evict what is damaged"),
    ),
)
