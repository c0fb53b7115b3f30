"""`python -m tests.benchmarks.looking [--calls N] [--kinds files sqlite] [--root FOLDER]`: what the
commands take that look at a whole store.

A store of N calls of `step(x) = x + 1` is written in bulk, as the bytes and rows that `save` would
write, so that each value but two is an argument and a result. Each command is a process of its own:
its time, its processor time, and the most memory that it took. The store is removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleche.call import DigestedCall
from fleche.config import cache_from_config
from fleche.digest import Digest, digest
from tests.benchmarks.report import machine, quantity

KINDS = ("files", "sqlite")
METADATA = {"runtime": {"timestart": 1.7e9, "timestop": 1.7e9 + 0.5, "walltime": 0.5}}
#: How many rows are written at once.
BATCH = 10_000

COMMANDS: dict[str, list[str]] = {
    "ls --no-bytes": ["ls", "--no-bytes"],
    "ls": ["ls"],
    "du": ["du"],
    "stats": ["stats"],
    "gc": ["gc"],
    "verify --quick": ["verify", "--quick"],
    "verify": ["verify"],
    "export": ["export", "-o", "export.fleche", "step"],
}


def step(x: int) -> int:
    return x + 1


def records(calls: int, keys: list[Digest]) -> Iterator[DigestedCall]:
    for x in range(calls):
        yield record("step", {"x": keys[x]}, keys[x + 1])


def record(name: str, arguments: dict[str, Digest], result: Digest | None) -> DigestedCall:
    return DigestedCall(
        name=name, arguments=arguments, metadata=METADATA, module="steps", result=result
    )


def fill(folder: Path, kind: str, calls: int) -> None:
    """Write a store, and a `fleche.toml` that names it."""
    template = "pickle" if kind == "files" else "sqlite"
    config = {"template": template, "root": str(folder)}
    (folder / "fleche.toml").write_text(
        "[default]\nroot = true\ncache = 'store'\n[store]\n"
        + "".join(f"{name} = {json.dumps(each)}\n" for name, each in config.items())
    )
    cache = cache_from_config(config)
    # Folders, tables and notes are made by the first call.
    first = record("first", {}, None)
    cache.save(first)
    cache.evict(first.to_lookup_key())
    keys = [digest(x) for x in range(calls + 1)]
    if kind == "files":
        (folder / "values").mkdir(exist_ok=True)
        for x, key in enumerate(keys):
            (folder / "values" / key).write_bytes(pickle.dumps(x, 5))
        for each in records(calls, keys):
            (folder / "calls" / each.to_lookup_key()).write_bytes(pickle.dumps(each))
        return
    cache.values.evict(cache.values.save(0))
    # Two copies of SQLite in one process must not have one file open.
    cache.calls._store.close()  # type: ignore[attr-defined]
    database = sqlite3.connect(folder / "cache.db")
    runtime = json.dumps(METADATA["runtime"])
    rows: list[tuple[str, DigestedCall]] = []
    values = ((bytes.fromhex(key), pickle.dumps(x, 5)) for x, key in enumerate(keys))
    with database:
        database.executemany(
            "INSERT INTO fleche_values VALUES (?, 'pickle', ?, ?, NULL)",
            ((key, len(data), data) for key, data in values),
        )
    for each in records(calls, keys):
        rows.append((each.to_lookup_key(), each))
        if len(rows) == BATCH:
            _insert(database, rows, runtime)
            rows = []
    _insert(database, rows, runtime)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def _insert(
    database: sqlite3.Connection, rows: list[tuple[str, DigestedCall]], runtime: str
) -> None:
    with database:
        database.executemany(
            "INSERT INTO calls VALUES (?, ?, ?, NULL, NULL, ?)",
            [(key, each.name, each.module, each.result) for key, each in rows],
        )
        database.executemany(
            "INSERT INTO arguments VALUES (NULL, ?, 0, 'x', ?)",
            [(key, each.arguments["x"]) for key, each in rows],
        )
        database.executemany(
            "INSERT INTO metadata VALUES (NULL, ?, 'runtime', ?)",
            [(key, runtime) for key, _ in rows],
        )


def run(folder: Path, words: list[str]) -> dict[str, Any]:
    """What a command took."""
    start = time.perf_counter()
    process = os.fork()
    if process == 0:
        try:
            os.chdir(folder)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            os.execv(sys.executable, [sys.executable, "-m", "fleche", *words])
        finally:
            os._exit(127)
    _, status, used = os.wait4(process, 0)
    return {
        "seconds": time.perf_counter() - start,
        "processor": used.ru_utime + used.ru_stime,
        "system": used.ru_stime,
        "memory": used.ru_maxrss * 1024,
        "status": os.waitstatus_to_exitcode(status),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--root", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(), "calls": given.calls}
    for kind in given.kinds:
        folder = Path(tempfile.mkdtemp(prefix="fleche-looking-", dir=given.root)).resolve()
        try:
            fill(folder, kind, given.calls)
            # Exports are signed: with a key of their own.
            os.environ["HOME"] = os.environ["XDG_CONFIG_HOME"] = str(folder)
            run(folder, ["key"])
            print(f"\n{given.calls:,} calls in {kind}: time, processor time, memory", flush=True)
            for name in given.only:
                each = found.setdefault(kind, {})[name] = run(folder, COMMANDS[name])
                took = (quantity(each[part], "s") for part in ("seconds", "processor"))
                cells = [name, *took, quantity(each["memory"], "B"), f"status {each['status']}"]
                print(f"| {' | '.join(cells)} |", flush=True)
        finally:
            shutil.rmtree(folder)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
