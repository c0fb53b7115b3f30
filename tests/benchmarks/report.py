"""The table and the JSON of a run."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from tests.benchmarks.rows import Goal
from tests.benchmarks.run import Result, versions

HEADER = ("work", "fleche", "reference", "ratio", "others", "goal", "met")


def quantity(value: float, unit: str) -> str:
    """Return a number with three digits and a readable unit.

    >>> quantity(0.0000021, "s"), quantity(0.021, "s"), quantity(2.1e9, "B")
    ('2.10 us', '21.0 ms', '2.10 GB')
    """
    if unit == "s":
        scales = [(1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")]
    else:
        scales = [(1e9, "GB"), (1e6, "MB"), (1e3, "KB")]
    size, name = next((s for s in scales if abs(value) >= s[0]), scales[-1])
    number = value / size
    digits = 2 if abs(number) < 10 else 1 if abs(number) < 100 else 0
    return f"{number:.{digits}f} {name}"


def goal_text(goal: Goal, unit: str) -> str:
    who = "" if goal.contestant == "fleche" else f"{goal.contestant.removeprefix('fleche ')}: "
    if goal.limit is not None:
        return f"{who}<= {quantity(goal.limit, unit)}"
    whom = "" if goal.against == "reference" else f" {goal.against}"
    factor = f"{goal.factor:.3g}x" if goal.factor >= 1 else f"<= {1 / goal.factor:.2g} of"
    return f"{who}{factor}{whom}"


def table_line(result: Result) -> tuple[str, ...]:
    """Return the cells of one row."""
    row, shown = result.row, lambda name: quantity(result.value(name), result.row.unit)

    def cell(name: str) -> str:
        return shown(name) if name in result.samples else ""

    ratios = [
        f"{goal.contestant.removeprefix('fleche ')} " * (goal.contestant != "fleche")
        + f"{result.ratio(goal.contestant, 'reference'):.3g}x"
        for goal in row.goals
        if {goal.contestant, "reference"} <= result.samples.keys() and goal.against == "reference"
    ]
    others = [f"{n} {shown(n)}" for n in result.samples if n not in ("fleche", "reference")]
    verdicts = {True: "yes", False: "**no**", None: "?"}
    return (
        row.title,
        cell("fleche"),
        cell("reference"),
        ", ".join(dict.fromkeys(ratios)),
        ", ".join(others),
        ", ".join(goal_text(goal, row.unit) for goal in row.goals),
        ", ".join(verdicts[result.met(goal)] for goal in row.goals),
    )


def table(results: list[Result]) -> str:
    """Return a Markdown table that also reads well in a terminal."""
    lines = [HEADER, *(table_line(result) for result in results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    text = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    text.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(text)


def machine() -> dict[str, object]:
    """Return what the times depend on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform()}


def as_json(results: list[Result], pythons: dict[str, Path]) -> dict[str, object]:
    """Return a whole run: samples, goals, machine and versions."""
    return {
        "machine": machine(),
        "versions": {
            name: versions(pythons[name]) for name in ("fleche", "reference") if name in pythons
        },
        "rows": [
            {
                "name": result.row.name,
                "title": result.row.title,
                "unit": result.row.unit,
                "contestants": {
                    name: {
                        "value": result.value(name),
                        "samples": samples,
                    }
                    for name, samples in result.samples.items()
                },
                "goals": [{**vars(goal), "met": result.met(goal)} for goal in result.row.goals],
            }
            for result in results
        ],
    }
