"""Index segments: what a writer saved and evicted, told to whoever queries.

Entries are gathered and written in one object, `i/<time>-<random>`, after a few seconds, when there
are many of them, before this process queries, and at its end. Who is killed before that tells
nobody: then the list of records is compared, now and then.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import threading
import time
import weakref

from fleche._foundation.errors import BucketError
from fleche.call import DigestedCall
from fleche.storage.base import logger
from fleche.storage.buckets.entries import Entries
from fleche.storage.buckets.mirror import stamp
from fleche.storage.buckets.place import Place

__all__ = ["Index"]

# After so many seconds what was gathered is written.
_SOON = 5.0
# So many entries are written at once, and so many are kept where they cannot be written.
_MANY, _MOST = 500, 20_000

_OPEN: weakref.WeakSet[Index] = weakref.WeakSet()


@atexit.register
def _flush_all() -> None:
    for index in list(_OPEN):
        index.flush()


class Index:
    """What this process tells of its records.

    Args:
        place: the bucket.
        entries: how segments are written.
    """

    def __init__(self, place: Place, entries: Entries) -> None:
        self._place, self._entries = place, entries
        self._begin()
        _OPEN.add(self)

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._last = 0.0
        self._waiting: list[tuple[str, DigestedCall | None]] = []
        self._is_running = False

    def add(self, key: str, record: DigestedCall | None) -> None:
        """A record was saved; or evicted: `None`."""
        if self._process != os.getpid():
            # What the parent gathered is the parent's to write.
            self._begin()
        with self._lock:
            self._waiting.append((str(key), record))
            count, running = len(self._waiting), self._is_running
            self._is_running = True
        if not running:
            thread = threading.Thread(target=self._run, name="fleche-index", daemon=True)
            # A process that ends has no more threads: it is written at the end.
            with contextlib.suppress(RuntimeError):
                thread.start()
        if count >= _MANY:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered; a bucket that fails is logged, and tried again later."""
        if self._process != os.getpid():
            return
        # One after the other, and later ones by later names: who reads them takes them in order.
        with self._writing:
            self._write()

    def _write(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        self._last = max(time.time(), self._last + 0.001)
        name = f"i/{stamp(self._last)}-{secrets.token_hex(6)}"
        try:
            data = self._entries.encode(self._entries.dumps(waiting, name))
            self._place.ask(lambda bucket: bucket.overwrite(name, data))
        except BaseException as error:
            with self._lock:
                self._waiting = [*waiting, *self._waiting][:_MOST]
            if not isinstance(error, BucketError):
                raise
            logger.info("Queries elsewhere do not find %d calls yet: %s", len(waiting), error)

    def _run(self) -> None:
        while True:
            time.sleep(_SOON)
            self.flush()
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    return
