"""The database of an account: its tables, and its transactions."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Database"]

_VERSION = "1"

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE functions (id INTEGER PRIMARY KEY, module TEXT, name TEXT, calls INTEGER DEFAULT 0,
    bytes INTEGER DEFAULT 0, counted INTEGER DEFAULT 0);
CREATE UNIQUE INDEX functions_by_name ON functions (name, module);
CREATE TABLE calls (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB UNIQUE NOT NULL,
    function INTEGER, state INTEGER, bytes INTEGER DEFAULT 0, seconds REAL DEFAULT 0,
    saved REAL DEFAULT 0, used INTEGER DEFAULT 0, uses INTEGER DEFAULT 0, cost REAL DEFAULT 0);
CREATE INDEX calls_unread ON calls (id) WHERE state = 0;
CREATE TABLE held (id INTEGER PRIMARY KEY, key BLOB UNIQUE NOT NULL, bytes INTEGER, refs INTEGER);
CREATE TABLE needs (call INTEGER, value INTEGER, PRIMARY KEY (call, value)) WITHOUT ROWID;
CREATE TABLE shares (function INTEGER, value INTEGER, refs INTEGER,
    PRIMARY KEY (function, value)) WITHOUT ROWID;
CREATE TABLE garbage (value INTEGER PRIMARY KEY);
CREATE TABLE opaque (kind TEXT, key BLOB, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE evicted (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB UNIQUE, at REAL, why TEXT);
CREATE TABLE made (content BLOB, call INTEGER, PRIMARY KEY (content, call)) WITHOUT ROWID;
CREATE INDEX made_by_call ON made (call);
CREATE TABLE edges (taker INTEGER, maker INTEGER, PRIMARY KEY (taker, maker)) WITHOUT ROWID;
CREATE INDEX edges_by_maker ON edges (maker);
INSERT INTO functions (id, module, name) VALUES (0, '', '');
"""


class Database:
    """The database of an account.

    Args:
        path: the file; `None`: in memory.
        patience: how many seconds to wait for other processes.

    Raises:
        sqlite3.Error: if it cannot be opened; `DatabaseError` if it is no such database.
    """

    def __init__(self, path: Path | None, patience: float) -> None:
        self.db = sqlite3.connect(
            ":memory:" if path is None else path,
            timeout=patience,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            # What a crash of the machine costs is made again.
            self.db.execute("PRAGMA synchronous = OFF")
            self.db.execute("PRAGMA cache_size = -16000")
        except sqlite3.Error:
            self.db.close()
            raise
        self._ordered: set[str] = set()
        # By module and name: numbers stay what they are.
        self._functions: dict[tuple[str | None, str], int] = {}
        # Of the transaction that goes on: what is noted, and of which functions bytes are counted.
        self._meta: dict[str, Any] = {}
        self._noted: set[str] = set()
        self._counted: set[int] = set()

    def begin(self, wal: bool) -> bool:
        """Make the tables where there are none; whether they were there already."""
        run = self.db.execute
        if run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            version = run("SELECT value FROM meta WHERE name = 'version'").fetchone()
            if version != (_VERSION,):
                raise sqlite3.DatabaseError("an account of another version")
            return True
        run(f"PRAGMA journal_mode = {'WAL' if wal else 'TRUNCATE'}")
        run("BEGIN IMMEDIATE")
        if not (is_there := run("SELECT count(*) FROM sqlite_master").fetchone()[0]):
            for statement in _SCHEMA.split(";\n"):
                run(statement)
            run("INSERT INTO meta VALUES ('version', ?)", (_VERSION,))
        run("COMMIT")
        return bool(is_there)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """A transaction: nobody else changes the account meanwhile.

        Raises:
            sqlite3.OperationalError: if others hold it for too long.
        """
        run = self.db.execute
        run("BEGIN IMMEDIATE")
        try:
            self._meta = dict(run("SELECT name, value FROM meta"))
            self._noted = set()
            self._counted = {row[0] for row in run("SELECT id FROM functions WHERE counted")}
            yield
            notes = [(name, self._meta[name]) for name in self._noted]
            self.db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", notes)
        except BaseException:
            self._functions.clear()
            with contextlib.suppress(sqlite3.Error):
                run("ROLLBACK")
            raise
        run("COMMIT")

    def meta(self, name: str) -> Any:
        """Something noted; `None` if it is not."""
        return self._meta.get(name)

    def set_meta(self, name: str, value: Any) -> None:
        """Note something."""
        if self._meta.get(name, self) != value:
            self._meta[name] = value
            self._noted.add(name)

    def close(self) -> None:
        self.db.close()
