"""The page of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fleche.call.ages import runtime_of, stopped_at
from fleche.cli.functions import Function
from fleche.cli.report.gathering import Gathered
from fleche.cli.report.planned import Planned, planned_section
from fleche.cli.selection import name_of
from fleche.look.bars import drawn_by_period
from fleche.look.layers import Arrow, Box, drawn_in_layers
from fleche.look.markup import Markup, tag
from fleche.look.numbers import age, count, duration, size, when
from fleche.look.pages import Section, page
from fleche.look.tables import Cell, Column, table

if TYPE_CHECKING:
    from fleche.lineage import Lineage
    from fleche.statistics import Statistics

__all__ = ["report_page"]

# So many functions, and so many lines of a lineage, are listed.
_FUNCTIONS, _LINES = 200, 200


def report_page(
    title: str,
    about: str,
    found: Gathered,
    lineage: Lineage | None = None,
    said_of_lineage: str = "",
    days: int | None = None,
    plan: Sequence[Planned] | None = None,
    end: str = "",
) -> str:
    """The page of a report.

    Args:
        title: its heading.
        about: what it is about, in a sentence.
        found: what was gathered.
        lineage: that of a call.
        said_of_lineage: why it is that call, or why there is none.
        days: of how many days statistics are; `None`: of all.
        plan: what a plan would drop; `None`: there is none.
        end: the last line.
    """
    sections = [
        _saved(found, days),
        _functions(found),
        _lineage(lineage, said_of_lineage),
        planned_section(plan),
    ]
    top = tag("p", about, class_="quiet"), _tiles(found, days)
    return page(title, top, [each for each in sections if each is not None], end)


def _tiles(found: Gathered, days: int | None) -> Markup:
    counted = found.statistics
    of_days = "" if days is None else f", last {count(days, 'day')}"
    said = [
        ("Calls", f"{found.calls:,}"),
        ("Functions", f"{len(found.functions):,}"),
        ("Computation kept", duration(found.seconds)),
    ]
    if found.bytes is not None:
        said.append(("Size of values", size(found.bytes)))
    if counted is not None and counted.hits + counted.misses:
        rate = "" if counted.hit_rate is None else f" ({counted.hit_rate:.0%})"
        said.append((f"Hits{of_days}", f"{counted.hits:,}{rate}"))
        said.append((f"Time saved{of_days}", duration(counted.seconds_saved)))
    tiles = (tag("div", tag("dt", name), tag("dd", text)) for name, text in said)
    return tag("dl", *tiles, class_="tiles")


def _saved(found: Gathered, days: int | None) -> Section:
    of_days = "" if days is None else f" in the last {count(days, 'day')}"
    saved = None
    if found.statistics is not None:
        by_day = found.statistics.by_day()
        seconds = {day: each.seconds_saved for day, each in by_day.items()}
        saved = drawn_by_period("Time saved by hits", seconds, "saved-time")
    said: list[object] = []
    if saved is not None:
        said.append(
            tag(
                "p",
                f"What hits{of_days} would have taken to compute, estimated by the mean time of "
                f"their functions.",
            )
        )
        said.append(saved)
    else:
        said.append(tag("p", _nothing_saved(found, of_days)))
    kept = drawn_by_period("Computation kept", found.days, "kept-time")
    if kept is not None:
        said.append(tag("h3", "Computation that is kept"))
        said.append(tag("p", "What the calls in the cache took, by the day on which they ended."))
        said.append(kept)
    return Section("saved", "Time saved", tuple(said))


def _nothing_saved(found: Gathered, of_days: str) -> str:
    if found.problem is not None:
        return f"The statistics cannot be read: {found.problem}"
    from fleche.statistics.tallies import enabled

    if enabled():
        return f"No hits were counted{of_days}."
    return (
        "Calls are not counted now: FLECHE_STATISTICS, or statistics in the section [default] of "
        "the fleche.toml, says so."
    )


def _functions(found: Gathered) -> Section:
    counted = {} if found.statistics is None else found.statistics.by_function()
    functions = [*found.functions, *_gone(found.functions, counted)]
    if not functions:
        return Section("functions", "Functions", (tag("p", "No calls are stored."),))
    has_bytes = any(each.bytes is not None for each in functions)
    columns = [Column("function"), *(Column(title, True) for title in ("calls", "computation"))]
    if has_bytes:
        columns += [Column("bytes", True), Column("shared", True)]
    columns.append(Column("newest", True))
    if counted:
        columns += [Column("hits", True), Column("saved", True)]
    shown = functions[:_FUNCTIONS]
    most = _Most(shown)
    rows = ([*_row(each, most, has_bytes, counted)] for each in shown)
    caption = (
        "By function: its calls, what they took to compute, and the bytes of the values that they "
        "need alone and shared with others"
        if has_bytes
        else "By function: its calls, and what they took to compute"
    )
    listed = table(columns, rows, caption, sorted_by=2)
    parts: list[object] = [
        tag("div", listed, class_="scroll", tabindex="0", role="group", aria_label="Functions")
    ]
    left_out = functions[_FUNCTIONS:]
    if left_out:
        calls, seconds = sum(e.calls for e in left_out), sum(e.seconds for e in left_out)
        more = count(len(left_out), "more function")
        parts.append(tag("p", f"And {more}: {count(calls, 'call')}, {duration(seconds)}."))
    return Section("functions", "Size and cost by function", tuple(parts))


def _gone(functions: Sequence[Function], counted: Mapping[str, Statistics]) -> list[Function]:
    """Functions of which no call is stored any more, and that saved time while there was one."""
    known = {each.full_name for each in functions}
    return [
        Function(name, None) for name, of_it in counted.items() if of_it.hits and name not in known
    ]


class _Most:
    """The largest numbers of some functions."""

    def __init__(self, functions: Sequence[Function]) -> None:
        self.seconds = max((each.seconds for each in functions), default=0.0) or 1.0
        self.bytes = max((each.bytes or 0 for each in functions), default=0) or 1


def _row(
    each: Function, most: _Most, has_bytes: bool, counted: Mapping[str, Statistics]
) -> Iterator[object]:
    yield each.full_name
    yield Cell(f"{each.calls:,}", each.calls)
    yield Cell(duration(each.seconds), each.seconds, each.seconds / most.seconds)
    if has_bytes:
        room = size(each.bytes) if each.calls else ""
        yield Cell(room, each.bytes, (each.bytes or 0) / most.bytes)
        yield Cell(size(each.shared) if each.shared else "", each.shared or 0)
    newest = "" if not each.calls else "?" if each.newest is None else f"{age(each.newest)} ago"
    yield Cell(newest, each.newest)
    if counted:
        of_it = counted.get(each.full_name)
        hits = 0 if of_it is None else of_it.hits
        saved = 0.0 if of_it is None else of_it.seconds_saved
        yield Cell(f"{hits:,}", hits)
        yield Cell(duration(saved) if saved else "", saved)


def _lineage(lineage: Lineage | None, said: str) -> Section | None:
    if lineage is None:
        return Section("lineage", "Lineage", (tag("p", said),)) if said else None
    call = lineage.calls[lineage.root]
    boxes = {
        key: Box(name_of(held), key[:8], runtime_of(held)) for key, held in lineage.calls.items()
    }
    arrows = [Arrow(edge.maker, edge.taker, edge.argument) for edge in lineage.edges]
    total = sum(box.seconds or 0.0 for box in boxes.values())
    shown = [
        ("call", f"{name_of(call)} {lineage.root[:16]}"),
        ("ended", when(stopped_at(call))),
        ("took", duration(runtime_of(call))),
        ("with those before it", duration(total)),
    ]
    parts: list[object] = [
        tag("p", said) if said else None,
        table([Column("what"), Column("value")], shown),
    ]
    if arrows:
        title = f"Lineage of {call.name}"
        parts.append(drawn_in_layers(lineage.root, boxes, arrows, title, "lineage-drawing"))
        text = tag("pre", _tree(lineage), tabindex="0")
        parts.append(tag("details", tag("summary", "The same as text"), text))
    else:
        parts.append(tag("p", "No call that is known made its arguments."))
    if lineage.unread:
        unread = count(lineage.unread, "value")
        parts.append(tag("p", f"{unread} cannot be read here, which may hide calls."))
    return Section("lineage", "Lineage", tuple(parts))


def _tree(lineage: Lineage) -> str:
    lines = lineage.tree().splitlines()
    more = len(lines) - _LINES
    return "\n".join([*lines[:_LINES], *([f"and {more:,} more lines"] if more > 0 else [])])
