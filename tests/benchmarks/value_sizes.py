"""`python -m tests.benchmarks.value_sizes`: values in one database, as rows and as files beside it.

From which size a value is a file beside the database (`ValueSqlite`). A call returns that many
bytes: the time of a miss and of a hit, both ways in turns; the median of several rounds. Files lie
in the page cache.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fleche import cache, fleche
from fleche.config import cache_from_config
from fleche.storage import ValueSqlite
from tests.benchmarks.report import machine

SIZES = tuple(1 << power for power in range(10, 20))
ROUNDS = 9
#: How many bytes a round writes, and the most calls.
WRITTEN, CALLS = 1 << 24, 200


@fleche
def content(number: int, size: int) -> bytes:
    return number.to_bytes(8, "big") * (size // 8)


def database(folder: Path, largest: int) -> Any:
    """One database in which values of more bytes than that are files."""
    with patch.object(ValueSqlite, "_largest", largest):
        return cache_from_config({"template": "sqlite", "root": str(folder)})


def round_of(store: Any, size: int, numbers: range) -> tuple[float, float]:
    """The seconds of a miss and of a hit."""
    with cache(store):
        taken = []
        for _ in ("miss", "hit"):
            start = time.perf_counter()
            for number in numbers:
                content(number, size)
            taken.append((time.perf_counter() - start) / len(numbers))
    return taken[0], taken[1]


def row(size: int) -> str:
    calls = max(4, min(CALLS, WRITTEN // size))
    ways = {"rows": 1 << 30, "files": 0}
    with tempfile.TemporaryDirectory() as folder:
        stores = {way: database(Path(folder, way), largest) for way, largest in ways.items()}
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for turn in range(ROUNDS + 1):
            for way, store in stores.items():
                found = round_of(store, size, range(turn * calls, (turn + 1) * calls))
                # The first makes the files of the store.
                if turn:
                    taken[way].append(found)
    medians = [
        statistics.median(found[which] for found in taken[way]) * 1e6
        for which in (0, 1)
        for way in ways
    ]
    return f"| {size / 1024:g} KB | " + " | ".join(f"{one:,.1f} us" for one in medians) + " |"


def main() -> None:
    print(", ".join(f"{name}: {value}" for name, value in machine().items()))
    print("\n| size | miss, row | miss, file | hit, row | hit, file |\n| --- " + "| --- " * 4 + "|")
    for size in map(int, sys.argv[1:] or map(str, SIZES)):
        print(row(size), flush=True)


if __name__ == "__main__":
    main()
