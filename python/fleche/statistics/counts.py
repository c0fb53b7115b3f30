"""What is counted of calls, and adding it up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

__all__ = ["Counts", "Row", "Rows", "add", "from_json", "to_json"]


class Row(NamedTuple):
    """What is counted apart: a function's calls on a day.

    Args:
        day: the local date, as ISO 8601 has it.
        module: the function's module; `None` where it does not count in keys.
        function: its qualified name; empty for what no function is known of.
    """

    day: str
    module: str | None
    function: str


class Counts:
    """How many calls came to what.

    Args:
        numbers: numbers to begin with, by the names of the attributes.
        uncached: by reason, how many were not cached.
    """

    #: Every number but those of the reasons.
    NUMBERS = "hits", "misses", "computed", "failed", "evicted", "bytes", "pickled", "seconds"

    __slots__ = (*NUMBERS, "uncached")

    def __init__(self, uncached: Mapping[str, int] = {}, **numbers: float) -> None:
        self.hits = self.misses = self.computed = self.failed = self.evicted = self.bytes = 0
        self.pickled = 0
        self.seconds = 0.0
        self.uncached = dict(uncached)
        for name, number in numbers.items():
            setattr(self, name, number)

    def __bool__(self) -> bool:
        return bool(self.uncached) or any(getattr(self, name) for name in self.NUMBERS)

    def __iadd__(self, other: Counts) -> Counts:
        for name in self.NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, number in other.uncached.items():
            self.uncached[reason] = self.uncached.get(reason, 0) + number
        return self


Rows: TypeAlias = dict[Row, Counts]


def add(rows: Rows, more: Iterable[tuple[Row, Counts]]) -> None:
    """Add counts to those of the same function and day."""
    for row, counts in more:
        if (held := rows.get(row)) is None:
            held = rows[row] = Counts()
        held += counts


def to_json(rows: Rows) -> list[Any]:
    """Rows as JSON has them; what is 0 is left out."""
    return [
        [
            *row,
            {name: number for name in Counts.NUMBERS if (number := getattr(counts, name))},
            counts.uncached,
        ]
        for row, counts in rows.items()
    ]


def from_json(data: Any) -> list[tuple[Row, Counts]]:
    """What `to_json` gave.

    Raises:
        ValueError: if it is something else.
    """
    try:
        return [
            (Row(_text(day), module and _text(module), _text(function)), _counts(*numbers))
            for day, module, function, *numbers in data
        ]
    except (TypeError, AttributeError) as error:
        raise ValueError(f"these are no statistics: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def _counts(numbers: Mapping[str, float], uncached: Mapping[str, int]) -> Counts:
    # A later version may count more.
    known = {name: number + 0 for name, number in numbers.items() if name in Counts.NUMBERS}
    return Counts({reason: number + 0 for reason, number in uncached.items()}, **known)
