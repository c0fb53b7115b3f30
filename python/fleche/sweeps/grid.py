"""The calls of a sweep: which arguments each of them has."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Grid:
    """The calls of a sweep, in their order.

    Args:
        name: the function's.
        labels: what its positional parameters are called, as many as there are iterables.
        iterables: the positional arguments, taken together as `map` does.
        lists: the keyword arguments, of which all combinations are taken.

    Raises:
        TypeError: if there are none, or one of them is no list of values.

    >>> grid = Grid("f", ["x"], [[1, 2]], {"n": [5, 6]})
    >>> [grid.arguments(position) for position in range(len(grid))]
    [{'x': 1, 'n': 5}, {'x': 1, 'n': 6}, {'x': 2, 'n': 5}, {'x': 2, 'n': 6}]
    >>> grid.call(1)
    ((1,), {'n': 6})
    """

    def __init__(
        self,
        name: str,
        labels: list[str],
        iterables: Iterable[Iterable[Any]],
        lists: Mapping[str, Iterable[Any]],
    ) -> None:
        columns = [_checked(*pair) for pair in zip(labels, iterables, strict=True)]
        if not columns and not lists:
            raise TypeError(
                f"{name}.map() needs the arguments of the calls: give an iterable for each "
                f"positional one, and lists for those by keyword"
            )
        axes = [_checked(*pair) for pair in lists.items()]
        together = zip(*columns, strict=False) if columns else [()]
        self._together = len(columns)
        self._keywords = tuple(lists)
        self.labels = (*labels, *lists)
        self._rows = [(*row, *point) for row, point in _pairs(together, axes)]

    def __len__(self) -> int:
        return len(self._rows)

    def call(self, position: int) -> Arguments:
        """The arguments that a call gets."""
        row = self._rows[position]
        if not self._keywords:
            return row, {}
        together = self._together
        return row[:together], dict(zip(self._keywords, row[together:], strict=True))

    def arguments(self, position: int) -> dict[str, Any]:
        """The arguments of a call, by name."""
        return dict(zip(self.labels, self._rows[position], strict=True))

    def shape(self) -> Arguments:
        """Arguments that fit a signature if those of the calls do."""
        return (None,) * self._together, dict.fromkeys(self._keywords)


def labels_of(function: Any, count: int) -> list[str]:
    """What the first positional parameters of a function are called."""
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # compiled ones may not tell
        parameters = []
    labels = [
        parameter.name
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")
    more = (f"{rest}[{number}]" for number in itertools.count())
    return [*itertools.islice(itertools.chain(labels, more), count)]


def _pairs(
    together: Iterable[tuple[Any, ...]], axes: list[Iterable[Any]]
) -> Iterable[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    # An iterator is used up by the first row: the points are listed once.
    points = [*itertools.product(*axes)]
    return ((row, point) for row in together for point in points)


def _checked(label: str, values: Any) -> Iterable[Any]:
    if isinstance(values, str | bytes | bytearray | Mapping):
        kind = type(values).__name__
        raise TypeError(
            f"map() takes a list of values for {label}, not the {kind} {_shown(values)}: put it "
            f"into a list if it is one value"
        )
    try:
        iterator: Iterable[Any] = iter(values)
    except TypeError:
        raise TypeError(
            f"map() takes a list of values for {label}, not {_shown(values)}: put it into a list "
            f"if it is one value, the same for all calls"
        ) from None
    return iterator


def _shown(value: Any) -> str:
    import reprlib

    return reprlib.repr(value)
