"""A local copy of what the records in a bucket say, for queries; it may be removed at any time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fleche import _core
from fleche._foundation.errors import BucketError
from fleche.call import DigestedCall, QueryCall
from fleche.digest import Digest
from fleche.storage.base import logger
from fleche.storage.buckets.entries import Entries
from fleche.storage.buckets.place import Place
from fleche.storage.buckets.urls import Where
from fleche.storage.sql import Sql

__all__ = ["LATE", "LOOK", "Mirror", "folder_of"]

#: A segment may come so much later than its name says, as clocks differ, in seconds.
LATE = 900.0

#: In a segment, in place of a record: what became of it is seen in the bucket alone.
LOOK = "look"

# How many objects are read at once.
_CHUNK = 256

# A full listing is made again once so many times its own duration has passed, and so many seconds.
_SELDOM, _AT_LEAST = 100.0, 60.0

# Times in listings may be so coarse, in seconds.
_MOMENT = 2.0

_NOTHING: dict[str, Any] = {"newest": 0.0, "seen": [], "listed": 0.0, "took": 0.0, "changed": 0.0}


def folder_of(where: Where, endpoint: str | None, given: str | None) -> Path:
    """The folder of the copy of a bucket's records.

    Args:
        where: the bucket.
        endpoint: the server, if it is not the service's own.
        given: the folder for copies; `None`: in the user's folder for caches.
    """
    if given is not None:
        base = Path(given).expanduser()
    elif os.environ.get("XDG_CACHE_HOME"):
        base = Path(os.environ["XDG_CACHE_HOME"]) / "fleche" / "buckets"
    elif sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or "~"
        base = Path(local).expanduser() / "fleche" / "buckets"
    else:
        base = Path("~/.cache/fleche/buckets").expanduser()
    told = f"{where.url}\n{endpoint or ''}"
    return base / hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()[:16]


class Mirror:
    """The records of a bucket in a local database.

    Args:
        place: the bucket.
        entries: how its entries are read.
        record_of: reads the record in the bytes of one; `None`, if they are of no use.
        folder: where the database is.
    """

    def __init__(
        self,
        place: Place,
        entries: Entries,
        record_of: Callable[[bytes, str], DigestedCall | None],
        folder: Path,
    ) -> None:
        self._place, self._entries, self._record_of = place, entries, record_of
        self._folder = folder
        self._database: Sql | None = None
        self._memory: dict[str, Any] | None = None

    def query(self, template: QueryCall) -> Iterator[DigestedCall]:
        """The records that match, as they were a moment ago.

        Raises:
            OSError: if the copy is damaged.
        """
        database = self._opened()
        try:
            self._sync(database)
        except BucketError as error:
            logger.warning("Looking for calls among those known here already: %s", error)
        yield from database.query(template)

    def _opened(self) -> Sql:
        if self._database is None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._database = Sql(str(self._folder / "calls.db"))
            except OSError as error:
                logger.warning(
                    "The records of %s are kept in memory for queries, as %s cannot be written "
                    "(%s); set `mirror` to a folder that can",
                    *(self._place.where.url, self._folder, error.strerror or error),
                )
                self._database, self._memory = Sql(), dict(_NOTHING)
        return self._database

    def _sync(self, database: Sql) -> None:
        if self._memory is not None:
            self._catch_up(database, self._memory)
            return
        path = self._folder / "state.json"
        lock = _core.lock_file(self._folder / "lock", self._place.access.timeout, False)
        if lock is None:
            # Somebody is bringing it up to date.
            return
        try:
            state = dict(_NOTHING)
            with contextlib.suppress(OSError, ValueError):
                held = json.loads(path.read_text())
                if held.keys() == state.keys() and database.list():
                    state = held
            before = json.dumps(state)
            try:
                self._catch_up(database, state)
            finally:
                if json.dumps(state) != before:
                    # One name, under the lock: an interrupt leaves one such file at most.
                    temporary = path.with_name("state.new")
                    temporary.write_text(json.dumps(state))
                    temporary.replace(path)
        finally:
            lock.release()

    def _catch_up(self, database: Sql, state: dict[str, Any]) -> None:
        """Take over what was written since."""
        after = None
        if state["newest"]:
            after = f"i/{stamp(max(state['newest'] - LATE, 0.0))}"
        listed = self._place.ask(lambda bucket: bucket.list("i", after))
        known = set(state["seen"])
        names = [name for name, _, _ in listed]
        new = [name for name in names if name not in known]
        for begin in range(0, len(new), _CHUNK):
            chunk = new[begin : begin + _CHUNK]
            for name, stored in zip(chunk, self._read(chunk), strict=True):
                if stored is not None:
                    self._apply(database, name, stored)
                # A clock that is ahead hides nobody's.
                state["newest"] = max(state["newest"], min(time_of(name), time.time()))
        since = state["newest"] - LATE
        state["seen"] = [name for name in names if time_of(name) >= since]
        rest = max(_AT_LEAST, _SELDOM * state["took"])
        if not 0 <= time.time() - state["listed"] < rest:
            self._compare(database, state)

    def _apply(self, database: Sql, name: str, stored: bytes) -> None:
        try:
            entries = self._entries.loads(self._entries.decode(stored, name), name)
            unsure = [key for key, record in entries if record == LOOK]
            for key, record in entries:
                if record == LOOK:
                    continue
                if record is None:
                    database.evict(Digest(key))
                else:
                    database._store.save(record, key)
        except KeyError:
            # It was said; what it told is found by comparing.
            return
        except (TypeError, ValueError) as error:
            logger.warning("The index segment %s is none, passed over: %r", name, error)
            return
        self._look_at(database, unsure, evicts=True)

    def _compare(self, database: Sql, state: dict[str, Any]) -> None:
        """Compare with a list of all records: who died may not have told of its last ones."""
        begun = time.monotonic()
        listed = self._place.ask(lambda bucket: bucket.list("r", None))
        wall = time.time()
        there = {name.rpartition("/")[2]: changed for name, _, changed in listed}
        held = {*map(str, database.list())}
        for key in held - there.keys():
            database.evict(Digest(key))
        # What was replaced while the list was made, as well.
        since = state["changed"] - state["took"] - _MOMENT
        first = not state["listed"]
        wanted = [
            key
            for key, changed in there.items()
            if key not in held or (not first and changed > since)
        ]
        self._look_at(database, wanted, evicts=False)
        state["listed"], state["took"] = wall, time.monotonic() - begun
        state["changed"] = max([state["changed"], *there.values()])

    def _look_at(self, database: Sql, keys: list[str], *, evicts: bool) -> None:
        """Take over records as they are in the bucket; whether to evict those that are not."""
        for at in range(0, len(keys), _CHUNK):
            chunk = keys[at : at + _CHUNK]
            paths = [f"r/{key[:2]}/{key}" for key in chunk]
            for key, path, stored in zip(chunk, paths, self._read(paths), strict=True):
                record = None if stored is None else self._record_of(stored, path)
                if record is not None:
                    database._store.save(record, key)
                elif evicts and stored is None:
                    database.evict(Digest(key))

    def _read(self, paths: list[str]) -> list[bytes | None]:
        found: list[bytes | None] = self._place.ask(lambda bucket: bucket.get_many(paths))
        return found


def stamp(seconds: float) -> str:
    """A time as the names of segments begin with it: later ones sort behind.

    >>> stamp(1.5)
    '000000005dc'
    """
    return f"{int(seconds * 1000):011x}"


def time_of(name: str) -> float:
    """The time in the name of a segment, in seconds since 1970; 0 if it has none.

    >>> time_of("i/000000005dc-ab12")
    1.5
    """
    try:
        return int(name.rpartition("/")[2].partition("-")[0], 16) / 1000
    except ValueError:
        return 0.0
