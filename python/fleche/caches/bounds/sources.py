"""What changed in a storage of calls since somebody looked, whoever changed it.

Folders note each change in a file, once that file is there (`src/engine/files/changes.rs`); in an
SQLite database rows have numbers; of other storages the keys are listed. What none of that shows,
as what other packages do to a folder, is found out by a process when it begins.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from fleche import _core
from fleche.caches.bounds.ledger import Ledger
from fleche.storage.file import FileStorage
from fleche.storage.memory import MemoryBackend
from fleche.storage.sql import Sql

__all__ = ["Source", "source_of"]

_KEY = 32

# The notes of a folder begin anew when there is so much of them, in bytes.
_MUCH = 1 << 22


class Source:
    """A storage of calls of which nothing is known but its keys.

    Args:
        calls: the storage.
    """

    # Whether it takes long to look for changes.
    is_slow = True

    def __init__(self, calls: Any) -> None:
        self.calls = calls

    def begin(self, ledger: Ledger) -> None:
        """Look for what changed before this process noted anything."""
        self.compare(ledger)

    def changes(self, ledger: Ledger, own: Sequence[bytes] = ()) -> Iterable[bytes]:
        """Keys of calls that changed since the last time.

        Args:
            ledger: the account.
            own: keys of calls that were just saved or evicted here, each once: these are, or are
                about to be, accounted for.
        """
        self.compare(ledger, own)
        return ()

    def settle(self, ledger: Ledger) -> None:
        """Note how the storage is now: all that was done to it is accounted for."""

    def tidy(self, ledger: Ledger) -> None:
        """Remove notes that are accounted for; nobody saves meanwhile."""

    def compare(self, ledger: Ledger, own: Sequence[bytes] = ()) -> None:
        """Compare all keys with those in the account."""
        listed = {bytes.fromhex(key) for key in self.calls.list()}
        known = ledger.keys()
        new: Collection[bytes] = listed - known - {*own}
        if len(new) > 1:
            by_age = getattr(self.calls, "_list_by_age", self.calls.list)
            new = [key for each in by_age() if (key := bytes.fromhex(each)) in new]
        for key in new:
            ledger.note(key)
        for key in known.difference(listed):
            ledger.drop(key)


class _Memory(Source):
    """The dictionary of a process: the newest call stands last."""

    is_slow = False
    _newest: bytes | None = None

    def changes(self, ledger: Ledger, own: Sequence[bytes] = ()) -> Iterable[bytes]:
        calls = self.calls.storage
        try:
            newest = next(reversed(calls), None)
        except RuntimeError:  # Another thread saves.
            newest = None
        last = None if newest is None else bytes.fromhex(newest)
        expected = ledger.count() + sum(not ledger.has(key) for key in own)
        if len(calls) != expected or last is None or last not in (*own, self._newest):
            self.compare(ledger, own)
        self._newest = last
        return ()


class _Rows(Source):
    """An SQLite database: what is saved, or saved again, gets the next number."""

    is_slow = False

    def begin(self, ledger: Ledger) -> None:
        new = self._new(ledger)
        if new is not None:
            added = sum(not ledger.has(bytes.fromhex(key)) for _, key in new)
            if self.calls._store.count() == ledger.count() + added:
                return
        self._compare(ledger, ())

    def changes(self, ledger: Ledger, own: Sequence[bytes] = ()) -> Iterable[bytes]:
        new = self._new(ledger)
        if new is None:
            self._compare(ledger, own)
            return ()
        if new:
            self._note(ledger, new[-1])
        return [key for each in new if (key := bytes.fromhex(each[1])) not in own]

    def _compare(self, ledger: Ledger, own: Sequence[bytes]) -> None:
        # What is saved meanwhile is seen once more, the next time.
        newest = self.calls._store.newest()
        if newest is not None:
            self._note(ledger, newest)
        self.compare(ledger, own)

    def _note(self, ledger: Ledger, newest: tuple[int, str]) -> None:
        ledger.set_meta("row", newest[0])
        ledger.set_meta("newest", newest[1])

    def _new(self, ledger: Ledger) -> list[tuple[int, str]] | None:
        """What was saved since the newest call that is known; `None` if that one is gone, and its
        number may be another one's."""
        row = ledger.meta("row")
        if row is None:
            return None
        rows: list[tuple[int, str]] = self.calls._store.since(row)
        if not rows or rows[0] != (row, ledger.meta("newest")):
            return None
        return rows[1:]


class _Notes(Source):
    """A folder, whose changes are noted in a file."""

    is_slow = False

    def __init__(self, calls: Any) -> None:
        super().__init__(calls)
        self.root = Path(calls.root)
        self.path = self.root / ".fleche-changes"
        self._is_much = False

    def begin(self, ledger: Ledger) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            if ledger.meta("changed") == self._changed():
                return
        # What is noted meanwhile is seen once more.
        ledger.set_meta("read", self.path.stat().st_size)
        self.compare(ledger)

    def changes(self, ledger: Ledger, own: Sequence[bytes] = ()) -> Iterable[bytes]:
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                read = ledger.meta("read") or 0
                # Begun anew, by a process that could not write that down.
                file.seek(read if read <= size else 0)
                notes = file.read()
        except FileNotFoundError:
            # The folder is another one.
            self.begin(ledger)
            return ()
        whole = len(notes) - len(notes) % _KEY
        ledger.set_meta("read", (read if read <= size else 0) + whole)
        self._is_much = size > _MUCH
        keys = [notes[start : start + _KEY] for start in range(0, whole, _KEY)]
        for key in own:
            # Others may have noted it as well.
            if key in keys:
                keys.remove(key)
        return dict.fromkeys(keys)

    def settle(self, ledger: Ledger) -> None:
        ledger.set_meta("changed", self._changed())

    def tidy(self, ledger: Ledger) -> None:
        if self._is_much:
            # That is not written down yet: if it never is, nothing is left to be read twice.
            os.truncate(self.path, 0)
            ledger.set_meta("read", 0)
            self._is_much = False

    def _changed(self) -> int:
        return self.root.stat().st_mtime_ns


def source_of(calls: Any) -> Source:
    """What tells the changes of a storage of calls."""
    kind = type(calls)
    if isinstance(calls, FileStorage) and kind.list is FileStorage.list:
        return _Notes(calls)
    if isinstance(calls, Sql) and isinstance(calls._store, _core.SqliteStore):
        return _Rows(calls) if kind.list is Sql.list else Source(calls)
    if isinstance(calls, MemoryBackend) and kind.list is MemoryBackend.list:
        return _Memory(calls)
    return Source(calls)
