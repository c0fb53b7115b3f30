"""`python -m tests.benchmarks.storages [TEXT]`: the tables of docs/storages.md, as Markdown.

A hit and a miss of a function that does nothing, the best of several rounds, and the bytes that a
call adds to the disk, its share of the metadata of the file system left out.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from fleche import cache, fleche
from fleche.config import cache_from_config
from tests.benchmarks.report import machine

ROUNDS = 6
Make = Callable[[int], Any]


def pickled(**options: Any) -> Callable[[Path], dict[str, Any]]:
    def config(root: Path) -> dict[str, Any]:
        calls = {key: value for key, value in options.items() if key != "remaining_depth"}
        return {
            "values": {"type": "pickle", "root": str(root / "values"), **options},
            "calls": {"type": "pickle", "root": str(root / "calls"), **calls},
        }

    return config


def with_sqlite(root: Path) -> dict[str, Any]:
    url = f"sqlite:///{root / 'calls.db'}"
    return {**pickled()(root), "calls": {"type": "sql", "url": url}}


def with_cbor(root: Path) -> dict[str, Any]:
    return {**pickled()(root), "values": {"type": "cbor", "root": str(root / "values")}}


def in_one_database(**options: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda root: {"template": "sqlite", "root": str(root), **options}


STORAGES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "`memory`": lambda root: {"template": "memory"},
    "`sqlite`": in_one_database(),
    "`sqlite`, `secret_key`": in_one_database(secret_key=["ab" * 32]),
    '`sqlite`, `compress = "zstd"`': in_one_database(compress="zstd"),
    '`sqlite`, `serializer = "cbor"`': in_one_database(serializer="cbor"),
    "`pickle`": pickled(),
    "`pickle`, `remaining_depth = 1`": pickled(remaining_depth=1),
    "`pickle`, `secret_key`": pickled(secret_key=["ab" * 32]),
    "`pickle`, `compress`": pickled(compress=True),
    '`pickle`, `compress = "zstd"`': pickled(compress="zstd"),
    "`cbor` values, `pickle` calls": with_cbor,
    "`pickle` values, `sql` calls (SQLite)": with_sqlite,
    "`bagofholding_hdf`": lambda root: {"template": "bagofholding_hdf", "root": str(root)},
}

# What the function returns, made anew for each miss, and how many calls a round makes.
RESULTS: dict[str, tuple[Make, int]] = {
    "an integer": (lambda n: n, 50),
    "a list of 100 floats, all different": (lambda n: [n + i / 128 for i in range(100)], 3),
    "an array of 1,000,000 floats (8 MB, a smooth curve)": (
        lambda n: numpy.sin(numpy.arange(1_000_000) / 1000 + n),
        2,
    ),
}


FOLD = (
    "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA wal_checkpoint(TRUNCATE)')"
)


def stored(root: Path) -> tuple[int, int]:
    """How many bytes are in files, and in how many; lock files do not grow with the calls."""
    for database in root.glob("*.db"):
        # What waits in SQLite's log is counted in the database; in a process of its own, as two
        # copies of SQLite in one process must not have one file open.
        subprocess.run([sys.executable, "-c", FOLD, str(database)], check=True)
    files = [file for file in root.rglob("*") if file.is_file() and file.parent.name != ".locks"]
    sizes = [file.stat().st_size for file in files]
    return sum(sizes), len(sizes)


def timed(run: Callable[[int], Any], arguments: list[int]) -> float:
    start = time.perf_counter()
    for argument in arguments:
        run(argument)
    return (time.perf_counter() - start) / len(arguments)


class Contestant:
    """The caches of one configuration: what a hit, a miss and a call's bytes came to."""

    def __init__(self, config: dict[str, Any], root: Path, make: Make, number: int) -> None:
        self.cache = cache_from_config(config)
        self.root, self.make, self.number = root, make, number
        self.fresh = itertools.count()
        self.made: dict[int, Any] = {}

        # What it returns is no part of what it is.
        @fleche(hash_code=False)
        def function(x: int) -> Any:
            return self.made[x]

        self.function = function
        self.hit = self.miss = float("inf")
        # Opening files and databases for the first time is no part of a miss.
        self.misses()
        self.before, self.miss = stored(root), float("inf")

    def misses(self) -> None:
        arguments = list(itertools.islice(self.fresh, self.number))
        self.made.update({x: self.make(x) for x in arguments})
        with cache(self.cache):
            self.miss = min(self.miss, timed(self.function, arguments))
        self.newest = arguments

    def hits(self) -> None:
        with cache(self.cache):
            self.hit = min(self.hit, timed(self.function, self.newest))

    def stored(self) -> tuple[float, float]:
        """Bytes and files of a call."""
        calls = ROUNDS * self.number
        size, files = (now - then for now, then in zip(stored(self.root), self.before, strict=True))
        return size / calls, files / calls


def duration(seconds: float) -> str:
    micros = seconds * 1e6
    return f"{micros:,.1f} us" if micros < 10 else f"{micros:,.0f} us"


def main() -> None:
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    for title, (make, number) in RESULTS.items():
        if only not in title:
            continue
        print(f"\nThe result is {title}:\n")
        print("| storages | hit | miss | bytes a call | files a call |")
        print("| --- | --- | --- | --- | --- |")
        with tempfile.TemporaryDirectory(prefix="fleche-storages-") as folder:
            contestants = {
                name: Contestant(config(root), root, make, number)
                for index, (name, config) in enumerate(STORAGES.items())
                if (root := Path(folder, str(index)))
            }
            # In turns and in any order, so that what else the machine does meets all of them.
            turns = list(contestants.values())
            for step, rounds in ((Contestant.misses, ROUNDS), (Contestant.hits, 2 * ROUNDS)):
                for _ in range(rounds):
                    random.shuffle(turns)
                    for contestant in turns:
                        step(contestant)
            for name, one in contestants.items():
                size, files = one.stored()
                took = f"{duration(one.hit)} | {duration(one.miss)}"
                print(f"| {name} | {took} | {size:,.0f} | {files:,.0f} |")
    print("\n" + ", ".join(f"{name}: {value}" for name, value in machine().items()))


if __name__ == "__main__":
    main()
