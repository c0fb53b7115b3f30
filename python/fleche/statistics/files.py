"""Statistics in a file beside a store: a line for what a process counted in some seconds.

Lines are added under a lock, each with one write. When they have grown to more than what they come
to, they are added up by function and day, in a new file that takes the place of the old one. What a
killed process left of a line is no JSON, and is not counted.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from fleche import _core
from fleche._foundation.messages import no_message
from fleche.statistics.counts import Counts, Row, Rows, add, from_json, to_json

__all__ = ["StatisticsFile"]

# Added up when there is so much more, in bytes, than after the last time, and twice as much.
_GROWTH = 64 * 1024


class StatisticsFile:
    """The statistics of a store in files.

    Args:
        path: the file; made when there is something to be written.
        store: the folder, or the file, that it belongs to: without it nothing is written, as it may
            have been removed.
    """

    def __init__(self, path: Path, store: Path | None = None) -> None:
        self.path = path
        self._store = path.parent if store is None else store

    def read(self) -> Rows:
        """What was written so far, added up.

        Raises:
            OSError: if it is there, and cannot be read.
        """
        rows: Rows = {}
        with contextlib.suppress(FileNotFoundError):
            for line in self.path.read_bytes().splitlines():
                # Half a line, or a header.
                with contextlib.suppress(ValueError):
                    add(rows, from_json(json.loads(line)))
        return rows

    def write(self, rows: Rows, patience: float) -> bool:
        """Add counts; `False`, and nothing was written, if others write all the time, or there is
        nothing to write to.

        Args:
            rows: the counts.
            patience: how many seconds to wait for others.

        Raises:
            OSError: if nothing can be written.
        """
        if not self._store.exists() or not (self.path.exists() or self._may_begin(rows)):
            return False
        with self._locked(patience) as lock:
            if lock is None:
                return False
            self._append(_line(rows))
            if lock.is_held:
                self._add_up()
        return True

    def _may_begin(self, rows: Rows) -> bool:
        """Whether a new file is nothing strange: who only reads a store of somebody else's leaves
        none, which that one could not write to."""
        if any(counts.bytes or counts.evicted for counts in rows.values()):
            return True
        return not hasattr(os, "geteuid") or self.path.parent.stat().st_uid == os.geteuid()

    @contextlib.contextmanager
    def _locked(self, patience: float) -> Iterator[_core.FileLock | None]:
        path = self.path.with_name(f"{self.path.name}.lock")
        # Where there are no locks, whoever saves says so.
        with no_message():
            lock = _core.lock_file(path, patience, False)
        try:
            yield lock
        finally:
            if lock is not None:
                lock.release()

    def _append(self, line: bytes) -> None:
        # A line of its own, whatever a killed process left before it.
        text = b"\n" + line
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _BINARY, 0o666)
        try:
            size = os.fstat(file).st_size
            if os.write(file, text) != len(text):
                with contextlib.suppress(OSError):
                    os.ftruncate(file, size)
                raise OSError(f"{self.path} could not be written to its end")
        finally:
            os.close(file)

    def _add_up(self) -> None:
        size = self.path.stat().st_size
        if size <= _GROWTH or size <= 2 * self._added_up() + _GROWTH:
            return
        lines = [_line({row: counts}) for row, counts in sorted(self.read().items(), key=_by_day)]
        length = sum(map(len, lines))
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_bytes(b"".join([json.dumps({"added_up": length}).encode() + b"\n", *lines]))
        os.replace(new, self.path)

    def _added_up(self) -> int:
        """How long the lines were when they were added up."""
        with self.path.open("rb") as file, contextlib.suppress(ValueError, TypeError, KeyError):
            return int(json.loads(file.readline(100))["added_up"])
        return 0


# Windows changes the ends of lines elsewhere.
_BINARY = getattr(os, "O_BINARY", 0)


def _line(rows: Rows) -> bytes:
    return json.dumps(to_json(rows), separators=(",", ":")).encode() + b"\n"


def _by_day(item: tuple[Row, Counts]) -> tuple[str, str, str]:
    row = item[0]
    return row.day, row.module or "", row.function
