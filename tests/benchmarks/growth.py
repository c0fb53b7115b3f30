"""`python -m tests.benchmarks.growth [--most N] [--json FILE] [--svg FILE]`: costs of many records.

Stores are filled to 10^2, 10^3 ... records, and each operation is timed at each size. Records and
results are written in bulk, as the bytes and rows that `save` would write; arguments are left out.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fleche import cache, fleche
from fleche.caches import Cache
from fleche.call import Call
from fleche.digest import Digest, digest
from fleche.storage import CallPickleFile, Sql, ValuePickleFile
from tests.benchmarks.report import machine, quantity

OPERATIONS = {
    "hit": "a hit, any of the calls",
    "miss": "a miss",
    "contains": "contains, a whole key",
    "expand": "expand, a prefix of 12 characters",
    "evict": "evict, a whole key",
    "list": "list all keys",
    "query": "query by an argument, one match",
}
SAMPLES = 100
#: A folder that was written to less than this ago is read anew by `expand`, in seconds.
QUIET = 0.2

METADATA = {"runtime": {"timestart": 1.5, "timestop": 2.0, "walltime": 0.5}}


def identity(x: int) -> int:
    return x


def record(x: int) -> tuple[str, bytes, str, str]:
    """The key of a call's record, its pickle, and the digests of argument and result."""
    call = Call("identity", {"x": x}, METADATA, identity.__module__, None, None, x)
    held = call.digest()
    return held.to_lookup_key(), pickle.dumps(held), held.arguments["x"], str(held.result)


class Store:
    """A cache that is filled step by step."""

    def __init__(self, root: Path, calls: Any) -> None:
        self.values = ValuePickleFile(root / "values")
        self.calls = calls
        self.cache = Cache(self.values, calls)
        self.function = fleche(meta=())(identity)
        self.root = root
        self.known: list[tuple[int, Digest]] = []
        self.size = 0
        self.fresh = iter(range(10**9, 2 * 10**9))
        with cache(self.cache):
            # Files, tables and profiles are made by the first call.
            self.function(next(self.fresh))

    def fill(self, size: int) -> None:
        (self.root / "values").mkdir(parents=True, exist_ok=True)
        self.write(self.written(range(self.size, size)))
        self.size = size
        self.known = [(x, Digest(record(x)[0])) for x in random.sample(range(size), SAMPLES)]

    def written(self, xs: range) -> Iterator[tuple[str, bytes, str, str]]:
        """Records, whose results are written on the way."""
        for x in xs:
            found = record(x)
            (self.root / "values" / found[3]).write_bytes(pickle.dumps(x))
            yield found

    def write(self, records: Iterator[tuple[str, bytes, str, str]]) -> None:
        raise NotImplementedError


class Pickle(Store):
    """Records in files."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, CallPickleFile(root / "calls"))

    def write(self, records: Iterator[tuple[str, bytes, str, str]]) -> None:
        for key, data, _, _ in records:
            (self.root / "calls" / key).write_bytes(data)


class Sqlite(Store):
    """Records in SQLite, values in files."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, Sql(str(root / "calls.db")))

    def write(self, records: Iterator[tuple[str, bytes, str, str]]) -> None:
        # Two copies of SQLite in one process must not have one file open.
        self.calls._store.close()
        database = sqlite3.connect(self.root / "calls.db")
        insert = "INSERT INTO {} VALUES ({})"
        with database:
            for key, _, argument, result in records:
                call = (key, "identity", identity.__module__, None, None, result)
                database.execute(insert.format("calls", "?, ?, ?, ?, ?, ?"), call)
                row = (key, 0, "x", argument)
                database.execute(insert.format("arguments", "NULL, ?, ?, ?, ?"), row)
                runtime = (key, "runtime", json.dumps(METADATA["runtime"]))
                database.execute(insert.format("metadata", "NULL, ?, ?, ?"), runtime)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()


def per_call(function: Callable[[Any], Any], arguments: list[Any], passes: int = 3) -> float:
    """Seconds a call: of several passes over the arguments the best, of a pass the median."""
    best = float("inf")
    for _ in range(passes):
        times = []
        for argument in arguments:
            start = time.perf_counter()
            function(argument)
            times.append(time.perf_counter() - start)
        best = min(best, statistics.median(times))
    return best


def measure(store: Store) -> dict[str, float]:
    """Seconds for each operation on a store as it is."""
    xs, keys = [x for x, _ in store.known], [key for _, key in store.known]
    found: dict[str, float] = {}
    with cache(store.cache):
        found["hit"] = per_call(store.function, xs)
        found["miss"] = per_call(lambda _: store.function(next(store.fresh)), xs)
        new = [next(store.fresh) for _ in range(SAMPLES)]
        for x in new:
            store.function(x)
        found["evict"] = per_call(store.cache.evict, [store.function.digest(x) for x in new], 1)
    time.sleep(QUIET)
    calls = store.calls
    found["list"] = per_call(lambda _: calls.list(), [None] * 3)
    found["contains"] = per_call(calls.contains, keys)
    found["expand"] = per_call(calls.expand, [Digest(key[:12]) for key in keys])
    few = xs[: max(1, min(10, 10**5 // store.size))]
    query = store.cache.query
    found["query"] = per_call(lambda x: query(arguments={"x": digest(x)}).only(), few)
    return found


def run(most: int, root: Path) -> dict[str, dict[int, dict[str, float]]]:
    """Seconds by storage, number of records and operation."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for kind in (Pickle, Sqlite):
        store = kind(root / kind.__name__)
        sizes = found[kind.__name__] = {}
        size = 100
        while size <= most:
            start = time.perf_counter()
            store.fill(size)
            filled = time.perf_counter() - start
            sizes[size] = measure(store)
            print(f"{kind.__name__}, {size:,} records (filled in {filled:.0f} s)", file=sys.stderr)
            size *= 10
    return found


def table(found: dict[str, dict[int, dict[str, float]]]) -> str:
    """Return the numbers as Markdown."""
    sizes = list(next(iter(found.values())))
    lines = [
        "| operation | calls in | " + " | ".join(f"{size:,}" for size in sizes) + " |",
        "| --- | --- |" + " --- |" * len(sizes),
    ]
    for operation, title in OPERATIONS.items():
        for kind, measured in found.items():
            cells = [quantity(measured[size][operation], "s") for size in sizes]
            where = "pickle" if kind == "Pickle" else "SQLite"
            lines.append(f"| {title} | {where} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(found: dict[str, dict[int, dict[str, float]]], file: Path) -> None:
    """Draw a panel for each operation, legible on light and on dark pages."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    grey = "#808080"
    style = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), grey
    )
    # Text stays text, and the same numbers give the same file.
    style |= {"svg.fonttype": "none", "svg.hashsalt": "fleche", "font.size": 10}
    with pyplot.rc_context(style):
        figure, panels = pyplot.subplots(2, 4, figsize=(13, 5.6), sharex=True)
        for panel in panels.flat[len(OPERATIONS) :]:
            panel.set_visible(False)
        for panel, (operation, title) in zip(panels.flat, OPERATIONS.items(), strict=False):
            for (kind, measured), color, marker in zip(
                found.items(), ("#d9730d", "#2f8fd8"), "os", strict=True
            ):
                times = [measured[size][operation] for size in measured]
                label = "calls in pickle files" if kind == "Pickle" else "calls in SQLite"
                panel.loglog(list(measured), times, color=color, marker=marker, label=label)
            low, high = panel.get_ylim()
            # At least three decades, so that what is flat looks flat.
            middle = (low * high) ** 0.5
            panel.set_ylim(min(low, middle / 32), max(high, middle * 32))
            panel.minorticks_off()
            panel.set_title(title, fontsize=10)
            panel.grid(color=grey, alpha=0.25)
        for panel in panels[:, 0]:
            panel.set_ylabel("seconds")
        for panel in panels[1]:
            panel.set_xlabel("records in the store")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper center", ncols=2, frameon=False)
        figure.tight_layout(rect=(0, 0, 1, 0.94))
        figure.savefig(file, transparent=True, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.growth")
    parser.add_argument("--most", type=int, default=10**6, help="the largest number of records")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw them there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleche-growth-") as root:
        found = run(options.most, Path(root))
        print(table(found))
        print("\n" + ", ".join(f"{name}: {value}" for name, value in machine().items()))
        if options.json:
            numbers = {"machine": machine(), "seconds": found}
            options.json.write_text(json.dumps(numbers, indent=1) + "\n")
        if options.svg:
            plot(found, options.svg)
        print("Removing the files ...", file=sys.stderr)


if __name__ == "__main__":
    main()
