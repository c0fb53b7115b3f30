"""Keeps a cache within its limits: one small step at each save.

Whatever fails here is said in the log and loses nothing: the next step finds what this one missed.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche._foundation import seam
from fleche._foundation.log import logger_of
from fleche.caches.base import Rejected
from fleche.caches.bounds.ledger import Ledger
from fleche.caches.bounds.reading import Reader
from fleche.caches.bounds.sources import source_of
from fleche.caches.bounds.victims import Rules, victims
from fleche.caches.garbage.places import place_of
from fleche.caches.garbage.users import are_all_known, users_of
from fleche.digest import Digest
from fleche.storage.file import FileStorage

if TYPE_CHECKING:
    from fleche.caches.pair import Cache

__all__ = ["Keeper"]

logger = logger_of("fleche.cache")

# How long a save waits for other processes and threads that account for theirs, in seconds: what
# is missed is caught up with later. Who asks for something waits longer.
_PATIENCE, _ASKED = 0.2, 60.0

# How long a step reads calls of which it knows nothing, and evicts, in seconds.
_BUDGET = 0.1

# For so many seconds values that other caches may need are taken for such.
_SHARED = 60.0

# So many values are removed at once, and so many entries looked through that cannot be read.
_AT_ONCE, _FEW = 1000, 100

_NAME = ".fleche-ledger"


class _Busy(OSError):
    """Another thread accounts for something, and takes long."""


class Keeper:
    """Keeps one cache within its limits.

    Args:
        cache: the cache.
        rules: what it is kept to.
    """

    def __init__(self, cache: Cache, rules: Rules) -> None:
        self.cache = cache
        self.rules = rules
        self.uses = _core.Uses() if rules.policy in ("lru", "lfu") else None
        self.path = _path_of(cache)
        self._source = source_of(cache.calls)
        self._reader = Reader(cache.values, cache.calls)
        self._ledger: Ledger | None = None
        self._number: int | None = None
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._of_parents: list[Ledger | None] = []
        self._are_shared_until = 0.0
        self._said: set[str] = set()

    # What happens to the cache

    def begin(self) -> None:
        """To be called before a call is saved: what changed in the store until then, others did."""
        if self._ledger is None or self._process != os.getpid():
            with self._guarded(), self._turn():
                pass

    def saved(
        self,
        key: Digest,
        record: Any,
        live: tuple[dict[str, Any], Any] | None,
    ) -> None:
        """Account for a call that was just saved, and evict what is too much.

        Args:
            key: its key.
            record: its record.
            live: its arguments and its result, as far as they are at hand.
        """
        raw = bytes.fromhex(key)
        with self._guarded(), self._turn() as ledger:
            self._catch_up(ledger, [raw])
            self._reader.account(ledger, key, record, live)
            self._keep(ledger, raw, time.monotonic() + _BUDGET)

    def evicted(self, key: Digest) -> None:
        """Account for a call that somebody removed."""
        if self._is_begun():
            raw = bytes.fromhex(key)
            with self._guarded(), self._turn() as ledger:
                self._catch_up(ledger, [raw])
                ledger.drop(raw)

    def flush(self) -> None:
        """Write down which calls were hits."""
        if self.uses is not None and self.path is not None and self._is_begun():
            with self._guarded(), self._turn():
                pass

    def enforce(self) -> None:
        """Bring the account up to date, and evict all that is too much."""
        with self._guarded(), self._turn(_ASKED) as ledger:
            self._catch_up(ledger)
            self._keep(ledger, None, float("inf"))

    def why_evicted(self, key: Digest) -> tuple[float, str] | None:
        """When and why a limit evicted a call, as far as that is remembered."""
        if self._is_begun():
            with self._guarded(), self._turn() as ledger:
                return ledger.why_evicted(bytes.fromhex(key))
        return None

    def kept_records(self) -> frozenset[Digest]:
        """The keys of calls whose records are there without their values."""
        if self._is_begun():
            with self._guarded(), self._turn() as ledger:
                return frozenset(Digest(key.hex()) for key in ledger.kept())
        return frozenset()

    def copy(self) -> Ledger | None:
        """The account as it is now, as one of its own in memory; `None` if there is none."""
        if not self._is_begun():
            return None
        copied = None
        with self._guarded():
            with self._turn(_ASKED):
                pass
            if self._ledger is not None:
                copied = Ledger(None, 0.0)
                self._ledger.db.backup(copied.db)
        return copied

    # The account

    def _is_begun(self) -> bool:
        return self._ledger is not None or (self.path is not None and self.path.exists())

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, Rejected) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or isinstance(error, _Busy):
                logger.debug("The limits of a cache are not kept this time: %s", error)
                return
            if isinstance(error, sqlite3.Error) and _is_damage(error):
                self._make_anew()
            self._warn(
                f"The limits of a cache are not kept at the moment: {error}. Its results are "
                f"stored as ever"
            )

    def _warn(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            logger.warning("%s", text)

    @contextlib.contextmanager
    def _turn(self, patience: float | None = None) -> Iterator[Ledger]:
        """Nobody else changes the account meanwhile."""
        if patience is None:
            patience = _PATIENCE
        if self._process != os.getpid():
            # That of the parent is left as it is: it is in use there.
            self._of_parents.append(self._ledger)
            self._ledger, self._process, self._lock = None, os.getpid(), threading.RLock()
        if not self._lock.acquire(timeout=patience):
            raise _Busy("locked by another thread")
        try:
            ledger = self._opened(patience)
            with ledger.turn():
                if self.uses is not None:
                    for key, count in self.uses.take():
                        ledger.use(key, count)
                yield ledger
                self._source.settle(ledger)
        except BaseException:
            # What was done to the store may not be written down: it is compared, the next time.
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None
            raise
        finally:
            self._lock.release()

    def _opened(self, patience: float) -> Ledger:
        if self._ledger is not None:
            if self.path is None or _number_of(self.path) == self._number:
                return self._ledger
            # The folder was removed or replaced, or the account made anew.
            self._ledger.close()
            self._ledger = None
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._ledger = self._open(patience)
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
            logger.debug("The account of a cache is made anew: %s", error)
            self._make_anew()
            self._ledger = self._open(patience)
        self._number = None if self.path is None else _number_of(self.path)
        return self._ledger

    def _open(self, patience: float) -> Ledger:
        is_local = self.path is None or _core.network_file_system(self.path.parent) is None
        ledger = Ledger(self.path, patience)
        try:
            ledger.begin(is_local)
            with ledger.turn():
                self._begin(ledger)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def _begin(self, ledger: Ledger) -> None:
        if self.rules.policy == "cheapest" and not ledger.meta("contents"):
            # What calls were computed from is not known: all of them are looked at again.
            ledger.set_meta("contents", 1)
            ledger.read_again()
        self._source.begin(ledger)

    def _make_anew(self) -> None:
        """Remove an account that is of no use: it is made again from what is stored."""
        if self._ledger is not None:
            with contextlib.suppress(sqlite3.Error):
                self._ledger.close()
            self._ledger = None
        if self.path is not None:
            for ending in ("", "-wal", "-shm", "-journal"):
                with contextlib.suppress(FileNotFoundError):
                    self.path.with_name(self.path.name + ending).unlink()

    def _catch_up(self, ledger: Ledger, own: Sequence[bytes] = ()) -> None:
        for key in self._source.changes(ledger, own):
            ledger.note(key)

    # Evicting

    def _keep(self, ledger: Ledger, saved: bytes | None, until: float) -> None:
        """Evict what is too much, for as long as a step takes."""
        if not self._reader.read(ledger, until) and not self._read_alone(ledger, until):
            # What others need is not known yet.
            return
        evicted = []
        for victim in victims(ledger, self.rules, saved):
            evicted.append(victim.key)
            key = Digest(victim.key.hex())
            if not self.rules.keep_records:
                self.cache.calls.evict(key)
            logger.debug("Call %s is evicted: %s", key, victim.why)
            seam.look_up("evicted")(self.cache, key)
            if time.monotonic() > until:
                ledger.evict(victim.number, self.rules.keep_records, victim.why)
                break
        if evicted and not self.rules.keep_records:
            self._catch_up(ledger, evicted)
        # To be sure of what is stored takes long in some storages: many at once, then.
        enough = max(ledger.count() // 100, 1) if self._source.is_slow else 1
        if ledger.has_garbage(enough) == enough:
            self._remove_garbage(ledger, until)

    def _read_alone(self, ledger: Ledger, until: float) -> bool:
        """Look at what is noted and not there: whoever is about to save it, has by then."""
        if time.monotonic() > until:
            return False
        with self.cache.values._collection.collecting():
            return self._reader.read(ledger, until, alone=True)

    def _remove_garbage(self, ledger: Ledger, until: float) -> None:
        """Remove values that no call needs, while nobody saves."""
        values = self.cache.values
        with values._collection.collecting():
            # Who saved until now is accounted for; nobody saves any longer.
            self._catch_up(ledger)
            if not self._reader.read(ledger, until, alone=True) or not self._have_values_alone():
                return
            pinned = {*values._collection.pinned()}
            garbage = {Digest(key.hex()): number for number, key in ledger.garbage(_AT_ONCE)}
            keys = self._unmentioned(ledger, [key for key in garbage if key not in pinned])
            for key in keys:
                values.evict(key)
            ledger.forget_values(garbage[key] for key in keys)
            self._source.tidy(ledger)

    def _unmentioned(self, ledger: Ledger, keys: list[Digest]) -> list[Digest]:
        """Those that no entry mentions which cannot be read here."""
        opaque = ledger.opaque(_FEW + 1)
        if not opaque or not keys:
            return keys
        mentioned: set[Digest] | None = set()
        for kind, storage in (("call", self.cache.calls), ("value", self.cache.values)):
            entries = [Digest(key.hex()) for each, key in opaque if each == kind]
            if not entries or mentioned is None:
                continue
            found = storage._mentions(entries, keys) if len(opaque) <= _FEW else None
            mentioned = None if found is None else mentioned.union(found)
        if mentioned is None:
            self._warn(
                "Values of calls that a limit evicted stay, as entries that cannot be read here "
                f"may need them ({opaque[0][1].hex()}): Cache.gc() removes what nobody needs"
            )
            return []
        return [key for key in keys if key not in mentioned]

    def _have_values_alone(self) -> bool:
        """Whether no other cache needs the values; to be asked while nobody saves."""
        values, user, place = self.cache.values, self.cache._user, place_of(self.cache.values)
        if not isinstance(place, Path):
            return len(users_of(self.cache)) == 1
        if user is None or time.monotonic() < self._are_shared_until:
            return False
        # Who saves there and is not noted yet, removes it first.
        mark = place / ".fleche-alone"
        with contextlib.suppress(FileNotFoundError):
            if mark.read_text() == user[0]:
                return True
        with contextlib.suppress(Rejected):
            # It takes a while to find that out.
            if are_all_known(values) and len(users_of(self.cache)) == 1:
                mark.write_text(user[0])
                return True
        self._are_shared_until = time.monotonic() + _SHARED
        self._warn(
            f"The limits of a cache evict calls, but not their values in {str(place)!r}, which "
            f"other caches may need: Cache.gc() removes what nobody needs. Give this cache values "
            f"of its own; or say by Cache.shares_values_with() that there are no others"
        )
        return False


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether an account is of no use: no database, a damaged one, or one of another version."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return code in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_ERROR,
    )


def _number_of(path: Path) -> int | None:
    """What tells a file from one that takes its place; `None` if there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _path_of(cache: Any) -> Path | None:
    """The file for the account of a cache; `None`: it is kept in memory."""
    calls, values = place_of(cache.calls), place_of(cache.values)
    if isinstance(calls, Path):
        if isinstance(cache.calls, FileStorage):
            return calls / _NAME
        return calls.with_name(f".{calls.name}-ledger")
    # Of a database server: beside the values.
    return values / _NAME if isinstance(values, Path) and isinstance(calls, str) else None
