"""What each row times for each contestant; runs in the contestant's own interpreter.

`fleche` here is ours or the reference, by the interpreter: both are timed by the same lines.
Nothing but the standard library is imported before a row needs it.
"""

from __future__ import annotations

import functools
import itertools
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.rows import DATABASES, GROWTH

FLECHES = ("fleche", "fleche sha256", "reference")


@dataclass
class Timed:
    """A statement for `timeit`: it runs in `names`; `setup` runs, untimed, before every sample."""

    statement: str
    names: dict[str, Any]
    setup: str = "pass"
    once: bool = False
    """One run of the statement a sample: it needs what `setup` has prepared for it."""


@dataclass
class Measured:
    """A function that gives the number itself, once a process."""

    function: Callable[[], float]
    names: dict[str, Any] = field(default_factory=dict)


Work = Timed | Measured
Builder = Callable[[str, Path], Work]
WORK: dict[tuple[str, str], Builder] = {}


def work(row: str, *contestants: str) -> Callable[[Builder], Builder]:
    """Register what a row does for these contestants."""

    def register(builder: Builder) -> Builder:
        WORK.update({(row, contestant): builder for contestant in contestants})
        return builder

    return register


def identity(x: int) -> int:
    """The cached function of the calls that are timed: all that takes time is the cache."""
    return x


# --- caches -----------------------------------------------------------------------------------


def fleche_cache(kind: str, folder: Path) -> Any:
    """Make a cache of ours or the reference's active, and return the decorated function."""
    import fleche
    from fleche import storage
    from fleche.caches import Cache

    if kind == "memory":
        cache = Cache(storage.ValueMemory({}), storage.CallMemory({}))
    elif kind == "bag":
        values = storage.ValueBagOfHoldingH5File(folder / "values")
        cache = Cache(values, storage.CallBagOfHoldingH5File(folder / "calls"))
    elif kind == "database":
        cache = Cache(storage.ValueSqlite(folder / "c.db"), storage.Sql(str(folder / "c.db")))
    elif kind == "sqlite":
        values = storage.ValuePickleFile.with_pickle(folder / "values")
        cache = Cache(values, storage.Sql(str(folder / "calls.db")))
    else:
        values = storage.ValuePickleFile.with_pickle(folder / "values")
        cache = Cache(values, storage.CallPickleFile.with_pickle(folder / "calls"))
    fleche.cache(cache)
    return fleche.fleche(identity)


def cached_identity(contestant: str, kind: str, folder: Path) -> Any:
    """Return `identity` as the contestant caches it."""
    if contestant in FLECHES:
        return fleche_cache(kind, folder)
    if contestant == "lru_cache":
        return functools.lru_cache(maxsize=None)(identity)
    if contestant == "joblib":
        import joblib

        return joblib.Memory(folder, verbose=0).cache(identity)
    if contestant == "diskcache":
        import diskcache

        return diskcache.Cache(str(folder)).memoize()(identity)
    if contestant == "cachier":
        import cachier

        # One file an entry: with its one big file, a miss would rewrite all entries.
        return cachier.cachier(cache_dir=str(folder), separate_files=True)(identity)
    if contestant == "marimo":
        import marimo

        return marimo.persistent_cache(identity, save_path=str(folder))
    if contestant == "mandala":
        from mandala.imports import Storage, op

        # Active from here on, as our cache is.
        Storage(db_path=str(folder / "mandala.db")).__enter__()
        return op(identity)
    if contestant == "sqlite3":
        return bare_sqlite(folder)
    if contestant == "lmdb":
        return bare_lmdb(folder)
    raise ValueError(f"no way to cache with {contestant!r}")


def bare_sqlite(folder: Path) -> Any:
    """Pickles in a table, by key: no function, no record, nothing that others may do meanwhile."""
    import sqlite3

    rows = sqlite3.connect(folder / "bare.db", isolation_level=None)
    rows.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL")
    rows.execute("CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def get(x: int) -> int:
        key = x.to_bytes(32, "big")
        found = rows.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        if found is None:
            rows.execute("INSERT INTO entries VALUES (?, ?)", (key, pickle.dumps(x)))
            return x
        value: int = pickle.loads(found[0])
        return value

    return get


def bare_lmdb(folder: Path) -> Any:
    """As `bare_sqlite`, in LMDB; it does not wait for the disk either."""
    import lmdb

    entries = lmdb.open(str(folder), map_size=1 << 32, sync=False)

    def get(x: int) -> int:
        key = x.to_bytes(32, "big")
        with entries.begin(buffers=True) as reading:
            found = reading.get(key)
            if found is not None:
                value: int = pickle.loads(found)
                return value
        with entries.begin(write=True) as writing:
            writing.put(key, pickle.dumps(x))
        return x

    return get


def register_calls(kind: str, contestants: tuple[str, ...]) -> None:
    """Register a hit row and a miss row of one kind of storage."""

    @work(f"hit-{kind}", *contestants)
    def hit(contestant: str, folder: Path) -> Work:
        f = cached_identity(contestant, kind, folder)
        f(1)
        return Timed("f(1)", {"f": f})

    @work(f"miss-{kind}", *contestants)
    def miss(contestant: str, folder: Path) -> Work:
        f = cached_identity(contestant, kind, folder)
        f(0)
        return Timed("f(next(unseen))", {"f": f, "unseen": itertools.count(1)})


register_calls("memory", ("fleche", "reference", "lru_cache"))
register_calls("sqlite", ("fleche", "reference"))
register_calls("database", ("fleche", *DATABASES))
register_calls("pickle", ("fleche", "reference", "joblib", "diskcache", "cachier"))
register_calls("bag", ("fleche", "reference"))


def register_older(kind: str) -> None:
    """Register what calls cost in a store that the reference filled, to be beside a new one's."""

    def filled(folder: Path) -> Any:
        import fleche
        from fleche import _core

        _core.set_scheme("sha256")
        fleche_cache(kind, folder)(1)
        _core.set_scheme("exact")
        return fleche.fleche(identity)

    @work(f"older-hit-{kind}", "fleche")
    def hit(contestant: str, folder: Path) -> Work:
        f = filled(folder)
        import fleche

        # Where it cannot be filed anew it is verified each time.
        fleche.cache(fleche.cache().readonly())
        return Timed("f(1)", {"f": f})

    @work(f"older-miss-{kind}", "fleche")
    def miss(contestant: str, folder: Path) -> Work:
        return Timed("f(next(unseen))", {"f": filled(folder), "unseen": itertools.count(2)})


register_older("sqlite")
register_older("pickle")


@work("key", "fleche", "reference")
def key(contestant: str, folder: Path) -> Work:
    return Timed("f.digest(1)", {"f": fleche_cache("memory", folder)})


# --- queries ----------------------------------------------------------------------------------


def fill(calls: Any, records: int) -> None:
    """Save records of calls `identity(x, kind)` with ten kinds."""
    from fleche.call import Call

    for x in range(records):
        metadata = {"runtime": {"timestart": float(x), "timestop": x + 0.5, "walltime": 0.5}}
        call = Call("identity", {"x": x, "kind": x % 10}, metadata, "work", None, None, x)
        calls.save(call.digest())


def queried(folder: Path, records: int, kind: str = "sqlite") -> Any:
    """Return the active cache, over so many records."""
    import fleche

    fleche_cache(kind, folder)
    cache = fleche.cache()
    fill(cache.calls, records)
    return cache


@work("query-sqlite", "fleche", "reference")
def query_sqlite(contestant: str, folder: Path) -> Work:
    names = {"cache": queried(folder, 10_000)}
    return Timed("cache.query(arguments={'kind': 3}).table()", names)


@work("query-pickle", "fleche", "reference")
def query_pickle(contestant: str, folder: Path) -> Work:
    names = {"cache": queried(folder, 10_000, "pickle")}
    return Timed("cache.query(arguments={'kind': 3}).count()", names)


@work("table-pickle", "fleche", "reference")
def table_pickle(contestant: str, folder: Path) -> Work:
    names = {"cache": queried(folder, 10_000, "pickle")}
    return Timed("cache.query(arguments={'kind': 3}).table()", names)


def register_growth(records: int) -> None:
    @work(f"hit-among-sqlite-{records}", "fleche")
    def hit(contestant: str, folder: Path) -> Work:
        f = cached_identity(contestant, "sqlite", folder)
        f(1)
        queried(folder, records)
        return Timed("f(1)", {"f": f})

    @work(f"query-among-sqlite-{records}", "fleche")
    def query(contestant: str, folder: Path) -> Work:
        names = {"cache": queried(folder, records), "x": records // 2}
        return Timed("cache.query(arguments={'x': x}).only()", names)


for number_of_records in GROWTH:
    register_growth(number_of_records)


@work("hit-script", "fleche")
def hit_script(contestant: str, folder: Path) -> Work:
    from fleche import fleche

    function = fleche(lambda x: (x, SCALE))
    function(1)
    return Timed("f(1)", {"f": function})


SCALE = 3


# --- digests ----------------------------------------------------------------------------------


def digest_of(contestant: str, value: object) -> Work:
    if contestant == "joblib":
        import joblib

        return Timed("digest(value)", {"digest": joblib.hash, "value": value})
    from fleche.digest import digest

    return Timed("digest(value)", {"digest": digest, "value": value})


@work("digest-ints", *FLECHES, "joblib")
def digest_ints(contestant: str, folder: Path) -> Work:
    return digest_of(contestant, list(range(10_000)))


@work("digest-array", *FLECHES, "joblib")
def digest_array(contestant: str, folder: Path) -> Work:
    import numpy as np

    return digest_of(contestant, np.random.default_rng(0).random(8_000_000))


@work("digest-atoms", "fleche", "pickle.dumps", "joblib")
def digest_atoms(contestant: str, folder: Path) -> Work:
    from ase.build import bulk

    atoms = bulk("Cu", cubic=True).repeat((10, 5, 5))
    assert len(atoms) == 1000
    if contestant == "pickle.dumps":
        return Timed("dumps(value)", {"dumps": pickle.dumps, "value": atoms})
    return digest_of(contestant, atoms)


@work("digest-frame", *FLECHES, "joblib")
def digest_frame(contestant: str, folder: Path) -> Work:
    import numpy as np
    import pandas as pd

    table = np.random.default_rng(0).random((100_000, 10))
    return digest_of(contestant, pd.DataFrame(table, columns=[f"column_{i}" for i in range(10)]))


# --- values -----------------------------------------------------------------------------------


def small_dicts() -> list[dict[str, object]]:
    return [{"number": number, "name": f"item {number}"} for number in range(10_000)]


@work("save-dicts-memory", "fleche", "reference")
def save_dicts_memory(contestant: str, folder: Path) -> Work:
    from fleche.storage import ValueMemory

    names = {"new": lambda: ValueMemory({}, remaining_depth=0), "value": small_dicts()}
    return Timed("store.save(value)", names, setup="store = new()", once=True)


@work("save-dicts-pickle", "fleche", "reference")
def save_dicts_pickle(contestant: str, folder: Path) -> Work:
    from fleche.storage import ValuePickleFile

    def new() -> Any:
        root = tempfile.mkdtemp(dir=folder)
        return ValuePickleFile.with_pickle(root, remaining_depth=0)

    names = {"new": new, "value": small_dicts()}
    return Timed("store.save(value)", names, setup="store = new()", once=True)


# --- whole processes --------------------------------------------------------------------------


@work("peak-memory", "fleche", "reference", "joblib")
def peak_memory(contestant: str, folder: Path) -> Work:
    import resource

    import numpy as np

    value = np.random.default_rng(0).random(125_000_000)  # 1 GB

    def peak() -> float:
        nonlocal value
        if contestant == "joblib":
            import joblib

            path = folder / "value"
            joblib.dump(value, path)
            del value
            loaded = joblib.load(path)
        else:
            from fleche.storage import ValuePickleFile

            store = ValuePickleFile.with_pickle(folder)
            key = store.save(value)
            del value
            loaded = store.load(key)
        assert loaded.shape == (125_000_000,)
        scale = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale

    return Measured(peak)


def environment_of(contestant: str) -> dict[str, str]:
    """Return the environment of a contestant's process: its digest scheme, and no one's config."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLECHE_")}
    kept["XDG_CONFIG_HOME"] = os.devnull
    return kept | ({"FLECHE_DIGEST": "sha256"} if contestant == "fleche sha256" else {})
