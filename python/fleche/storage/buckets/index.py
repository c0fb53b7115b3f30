"""Index segments: what a writer saved and evicted, told to whoever queries.

Entries are gathered and written in one object, `i/<time>-<random>`, after a few seconds, when there
are many of them, before this process queries, and at its end. Of a change that was interrupted
nobody knows whether it came to pass: its entry has whoever queries look at the record itself. Who
is killed before that tells nobody: then the list of records is compared, now and then.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable

from fleche._foundation.errors import BucketError
from fleche.call import DigestedCall
from fleche.storage.base import SaveError, logger
from fleche.storage.buckets.entries import Entries
from fleche.storage.buckets.mirror import LOOK, stamp
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


def _begin_all() -> None:
    # What the parent gathered is the parent's to write.
    for index in list(_OPEN):
        index._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all)


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
        # Only for writing: what is gathered is a list, whose operations are done at once or not.
        self._writing = threading.Lock()
        self._last = 0.0
        self._waiting: list[tuple[str, DigestedCall | None]] = []
        # The keys of interrupted changes, and when these ended: a server may be at it still.
        self._unsure: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def told(self, key: str, record: DigestedCall | None, change: Callable[[], None]) -> None:
        """Save a record, or evict it: `None`; and tell of it, whatever interrupts this.

        Raises:
            BucketError: as `change` does.
            SaveError: as `change` does.
        """
        try:
            change()
            self._waiting.append((str(key), record))
            self._soon()
        except (BucketError, SaveError):
            raise
        except BaseException:
            self._unsure[str(key)] = time.monotonic()
            self._soon()
            raise
        if len(self._waiting) >= _MANY:
            self.flush()

    def _soon(self) -> None:
        """Have what was gathered written after a while."""
        # One that an interrupt kept from being started is none; two do no harm.
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(target=self._run, name="fleche-index", daemon=True)
        # A process that ends has no more threads: it is written at the end.
        with contextlib.suppress(RuntimeError):
            self._thread.start()

    def flush(self) -> None:
        """Write what was gathered; a bucket that fails is logged, and tried again later."""
        # One after the other, and later ones by later names: who reads them takes them in order.
        with self._writing:
            self._write()

    def _write(self) -> None:
        waiting, unsure = [*self._waiting], {**self._unsure}
        if not waiting and not unsure:
            return
        now = time.monotonic()
        self._last = max(time.time(), self._last + 0.001)
        name = f"i/{stamp(self._last)}-{secrets.token_hex(6)}"
        told = [*waiting, *((key, LOOK) for key in unsure)]
        try:
            data = self._entries.encode(self._entries.dumps(told, name))
            self._place.ask(lambda bucket: bucket.overwrite(name, data))
        except BucketError as error:
            del self._waiting[_MOST:]
            logger.info("Queries elsewhere do not find %d calls yet: %s", len(told), error)
            return
        # Only now: what an interrupt keeps from being written, or from coming here, is told again.
        del self._waiting[: len(waiting)]
        for key, ended in unsure.items():
            if now - ended >= _SOON and self._unsure.get(key) == ended:
                del self._unsure[key]

    def _run(self) -> None:
        time.sleep(_SOON)
        self.flush()
        # First this, so that whoever gathers something meanwhile has it written.
        self._thread = None
        if self._waiting or self._unsure:
            self._soon()
