"""The rows of the benchmark: what is timed, for whom, and the goals."""

from __future__ import annotations

from dataclasses import dataclass

CALLERS = ("fleche", "reference", "joblib", "diskcache", "cachier")
#: Peers, and what no cache can pass: a row of bare SQLite, an entry of LMDB.
DATABASES = ("diskcache", "marimo", "mandala", "sqlite3", "lmdb")
#: How many records there are when the costs of a hit and a query are compared: they stay the same.
GROWTH = (100, 10_000, 100_000)
DIGESTERS = ("fleche", "fleche sha256", "reference", "joblib")


@dataclass(frozen=True)
class Goal:
    """A promise: `contestant` takes at most 1 / `factor` of what `against` takes, or `limit`."""

    factor: float = 0.0
    against: str = "reference"
    limit: float | None = None
    contestant: str = "fleche"


@dataclass(frozen=True)
class Row:
    """One line of the table; what it does stands in `work.py` under the same name."""

    name: str
    title: str
    contestants: tuple[str, ...]
    goals: tuple[Goal, ...]
    rounds: int = 9
    """How often each contestant takes its turn."""
    unit: str = "s"
    fresh: bool = False
    """A new process for every sample."""


ROWS = (
    Row(
        "hit-memory",
        "hit, memory, `f(1)`",
        ("fleche", "reference", "lru_cache"),
        (Goal(60), Goal(limit=3e-6)),
    ),
    Row(
        "hit-pickle",
        "hit, pickle values and calls",
        CALLERS,
        (Goal(10), Goal(1, against="diskcache")),
    ),
    Row(
        "hit-bag",
        "hit, bag values and calls",
        ("fleche", "reference"),
        (Goal(10),),
        rounds=5,
    ),
    Row(
        "hit-sqlite",
        "hit, pickle values and SQLite calls",
        ("fleche", "reference"),
        (Goal(40),),
    ),
    Row(
        "hit-database",
        "hit, values and calls in one SQLite database",
        ("fleche", *DATABASES),
        (Goal(limit=4e-6), Goal(1, against="diskcache")),
    ),
    Row("miss-memory", "miss, memory", ("fleche", "reference", "lru_cache"), (Goal(20),)),
    Row("miss-pickle", "miss, pickle values and calls", CALLERS, (Goal(10),)),
    Row("miss-bag", "miss, bag values and calls", ("fleche", "reference"), (Goal(5),), rounds=5),
    Row(
        "miss-sqlite",
        "miss, pickle values and SQLite calls",
        ("fleche", "reference"),
        (Goal(15),),
    ),
    Row(
        "miss-database",
        "miss, values and calls in one SQLite database",
        ("fleche", *DATABASES),
        (Goal(limit=45e-6), Goal(1, against="diskcache")),
    ),
    Row("older-hit-pickle", "verified hit of the reference's key, pickle", ("fleche",), ()),
    Row("older-hit-sqlite", "verified hit of the reference's key, SQLite", ("fleche",), ()),
    Row("older-miss-pickle", "miss in a store of the reference, pickle", ("fleche",), ()),
    Row("older-miss-sqlite", "miss in a store of the reference, SQLite", ("fleche",), ()),
    Row("key", "key of `f(1)`", ("fleche", "reference"), (Goal(40),)),
    Row(
        "digest-ints",
        "digest, list of 10,000 ints",
        DIGESTERS,
        (Goal(40), Goal(4, contestant="fleche sha256")),
    ),
    Row(
        "digest-array",
        "digest, 64 MB float array",
        DIGESTERS,
        (Goal(10), Goal(1, contestant="fleche sha256")),
    ),
    Row("digest-frame", "digest, DataFrame 100,000 x 10", DIGESTERS, (Goal(5),)),
    Row(
        "digest-atoms",
        "digest by reduction, `ase.Atoms` of 1,000 atoms",
        ("fleche", "pickle.dumps", "joblib"),
        (Goal(1 / 3, against="pickle.dumps"),),
    ),
    Row(
        "hit-script",
        "hit, memory, a lambda that names a global",
        ("fleche",),
        (Goal(limit=3e-6),),
    ),
    Row(
        "save-dicts-memory",
        "save a list of 10,000 dicts, memory",
        ("fleche", "reference"),
        (Goal(5),),
        rounds=5,
    ),
    Row(
        "save-dicts-pickle",
        "save a list of 10,000 dicts, pickle",
        ("fleche", "reference"),
        (Goal(5),),
        rounds=3,
    ),
    Row(
        "query-sqlite",
        "10,000 SQLite records: query by one argument, table of the 1,000 matches",
        ("fleche", "reference"),
        (Goal(20),),
        rounds=3,
    ),
    Row(
        "query-pickle",
        "10,000 pickle records: query by one argument, 1,000 matches",
        ("fleche", "reference"),
        (Goal(10),),
        rounds=3,
    ),
    Row(
        "table-pickle",
        "10,000 pickle records: query by one argument, table of the 1,000 matches",
        ("fleche", "reference"),
        (),
        rounds=3,
    ),
    *(
        Row(
            f"{work}-sqlite-{records}",
            f"{title}, SQLite, among {records:,} records",
            ("fleche",),
            (Goal(limit=limit),),
            rounds=5,
        )
        for work, title, limit in (
            ("hit-among", "hit", 30e-6),
            ("query-among", "query by one argument, one match", 300e-6),
        )
        for records in GROWTH
    ),
    Row(
        "import",
        "import, over bare Python",
        ("fleche", "reference", "joblib", "diskcache", "cachier"),
        (Goal(limit=0.030),),
        rounds=15,
        fresh=True,
    ),
    Row(
        "peak-memory",
        "peak memory, save and load a 1 GB array",
        ("fleche", "reference", "joblib"),
        (Goal(1 / 1.1),),
        rounds=1,
        unit="B",
        fresh=True,
    ),
)
