"""Tables that are read without scripts, and sorted where they run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleche.look.markup import Markup, joined, tag

__all__ = ["Cell", "Column", "table"]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: what stands above it.
        is_number: whether it holds numbers, which are aligned to the right.
    """

    title: str
    is_number: bool = False


@dataclass(frozen=True)
class Cell:
    """What stands in a cell that is sorted by a number.

    Args:
        text: what is read.
        order: what it is sorted by; `None`: it comes last.
        share: the part of the largest one in its column, drawn as a bar below it.
    """

    text: object
    order: float | None = None
    share: float | None = None


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[object]],
    caption: str | None = None,
    sorted_by: int | None = None,
) -> Markup:
    """A table; the first cell of each row is what the row is about.

    Args:
        columns: its columns.
        rows: for each a cell for each column: a `Cell`, markup, or text.
        caption: what is in it.
        sorted_by: the column that its rows are sorted by, the largest first; `None`: it is not
            to be sorted.

    >>> text = table([Column("function"), Column("calls", True)], [("<f>", 3)])
    >>> text[text.index("<tbody>") :]
    '<tbody><tr><th scope="row">&lt;f&gt;</th><td class="number">3</td></tr></tbody></table>'
    """
    head = (
        tag(
            "th",
            column.title,
            scope="col",
            class_="number" if column.is_number else None,
            aria_sort="descending" if place == sorted_by else None,
        )
        for place, column in enumerate(columns)
    )
    body = (
        tag("tr", *(_cell(place, columns[place], cell) for place, cell in enumerate(row)))
        for row in rows
    )
    return tag(
        "table",
        None if caption is None else tag("caption", caption),
        tag("thead", tag("tr", *head)),
        tag("tbody", joined(body)),
        class_=None if sorted_by is None else "sortable",
    )


def _cell(place: int, column: Column, cell: object) -> Markup:
    order, bar = None, None
    if isinstance(cell, Cell):
        order, bar = cell.order, _bar(cell.share)
        cell = cell.text
    kind = "number" if column.is_number else None
    if place == 0:
        return tag("th", cell, scope="row", class_=kind)
    return tag("td", cell, bar, class_=kind, data_order=order)


def _bar(share: float | None) -> Markup | None:
    """A bar that says no more than the number above it: nobody has it read out."""
    if share is None:
        return None
    return tag(
        "svg",
        tag("rect", width=f"{100 * min(max(share, 0.0), 1.0):.1f}", height="4"),
        viewBox="0 0 100 4",
        preserveAspectRatio="none",
        class_="share",
        aria_hidden="true",
        focusable="false",
    )
