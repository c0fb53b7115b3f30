"""What a plan would drop, as a part of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fleche.look.numbers import duration, size
from fleche.look.pages import Section
from fleche.look.tables import Cell, Column, table

if TYPE_CHECKING:
    from fleche.caches.bounds.plans import Plan

__all__ = ["Planned", "by_function", "planned_section"]


class Planned(Protocol):
    """What a plan would drop of a function."""

    @property
    def function(self) -> str:
        """Its name, with its module."""

    @property
    def calls(self) -> int:
        """How many calls would go."""

    @property
    def bytes(self) -> int:
        """What room that makes."""

    @property
    def seconds(self) -> float:
        """What it would take to compute them again."""


class _OfFunction(NamedTuple):
    function: str
    calls: int
    bytes: int
    seconds: float


def by_function(plan: Plan) -> list[Planned]:
    """What would go of each function."""
    return [_OfFunction(name, *numbers) for name, numbers in plan.functions().items()]


def planned_section(plan: Sequence[Planned] | None) -> Section | None:
    """The part of the page about a plan; `None` without one."""
    if plan is None:
        return None
    columns = [Column("function"), *(Column(title, True) for title in ("calls", "bytes", "time"))]
    rows = [
        (
            each.function,
            Cell(f"{each.calls:,}", each.calls),
            Cell(size(each.bytes), each.bytes),
            Cell(duration(each.seconds), each.seconds),
        )
        for each in sorted(plan, key=lambda each: -each.bytes)
    ]
    if not rows:
        return Section("plan", "What the plan would drop", ("Nothing has to go.",))
    caption = "By function: the calls that would go, the room that makes, and the time to compute "
    shown = table(columns, rows, f"{caption}them again", sorted_by=2)
    return Section("plan", "What the plan would drop", (shown,))
