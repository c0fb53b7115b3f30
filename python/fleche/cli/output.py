"""What commands print: tables for people, JSON for programs.

On a terminal, and with `rich` installed, tables have colours and long work a progress bar; in pipes
and without it they are plain text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, TypeVar

__all__ = ["Column", "Output"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: what stands above it.
        right: whether it holds numbers, which are aligned to the right.
        style: its style, as `rich` calls it.
    """

    title: str
    right: bool = False
    style: str = ""


class Output:
    """Where a command prints to.

    Args:
        as_json: whether a program reads it.
        out: for results; standard output if not given.
        err: for everything else; standard error if not given.

    >>> output = Output(False)
    >>> output.table([Column("function"), Column("calls", right=True)], [("f", "12"), ("go", "7")])
    function  calls
    f            12
    go            7
    """

    def __init__(
        self, as_json: bool, out: IO[str] | None = None, err: IO[str] | None = None
    ) -> None:
        self.as_json = as_json
        self._out, self._err = out or sys.stdout, err or sys.stderr

    def give(self, data: Any, show: Callable[[], None]) -> None:
        """Print the result of a command.

        Args:
            data: the result, as JSON has it.
            show: prints it for people.
        """
        if self.as_json:
            print(json.dumps(data, indent=2, default=str), file=self._out)
        else:
            show()

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line of a result."""
        console = self._console(self._out)
        if console is None:
            print(text, file=self._out)
        else:
            console.print(text, style=style or None, markup=False, highlight=False)

    def say(self, text: str, style: str = "") -> None:
        """Say something beside the result: it goes to standard error."""
        console = self._console(self._err)
        if console is None:
            print(text, file=self._err)
        else:
            console.print(text, style=style or None, markup=False, highlight=False)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
        """Print a table.

        Args:
            columns: its columns.
            rows: a text for each column.
        """
        console = self._console(self._out)
        if console is None:
            for line in _aligned(columns, [*rows]):
                print(line, file=self._out)
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            justify: Any = "right" if column.right else "left"
            table.add_column(column.title, justify=justify, style=column.style, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)

    def progress(self, items: Iterable[_T], what: str, total: int | None = None) -> Iterator[_T]:
        """Iterate, with a progress bar on a terminal.

        Args:
            items: what is gone through.
            what: what is done, for the bar.
            total: how many there are, if that is known.
        """
        console = self._console(self._err)
        if console is None:
            yield from items
            return
        from rich.progress import track

        yield from track(items, what, total, console=console, transient=True)

    def _console(self, file: IO[str]) -> Any:
        if self.as_json and file is self._out:
            return None
        try:
            if not file.isatty():
                return None
            from rich.console import Console
        except (ImportError, ValueError):  # it may be closed
            return None
        return Console(file=file)


def _aligned(columns: Sequence[Column], rows: list[Sequence[str]]) -> Iterator[str]:
    whole = [[column.title for column in columns], *rows]
    widths = [max(len(row[place]) for row in whole) for place in range(len(columns))]
    for row in whole:
        cells = [
            text.rjust(width) if column.right else text.ljust(width)
            for column, text, width in zip(columns, row, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()
