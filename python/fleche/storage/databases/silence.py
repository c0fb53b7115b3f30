"""Servers that stop answering, as a suspended one does: what waits for them is cut off."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import weakref
from typing import Any

import sqlalchemy
from sqlalchemy.engine import Engine

from fleche._foundation.threads import await_system

__all__ = ["bounded", "patience"]

# In seconds. Less would cut off servers that are merely slow, where nobody is to wait for locks.
_LEAST = 5.0

# So much longer than for its locks we wait for a server, which is to say itself that it gave up.
_MORE = 1.0


def patience(lock_timeout: float) -> float:
    """How long a server may take for a transaction, in seconds.

    >>> patience(60), patience(0.1)
    (61.0, 6.0)
    """
    return max(lock_timeout, _LEAST) + _MORE


def bounded(engine: Engine, seconds: float) -> Engine:
    """Shut a connection of this engine down that is in use for longer than `seconds`.

    Its driver then raises what it raises where a connection breaks. For drivers that have no bound
    of their own, and whose connections tell their descriptor.
    """
    watch = _Watch(seconds)
    sqlalchemy.event.listen(engine, "checkout", watch.begin)
    sqlalchemy.event.listen(engine, "checkin", watch.end)
    return engine


class _Watch:
    """A thread that looks after the connections in use, as long as there are any.

    One for all: to start one takes longer than most statements. It ends before a fork, of which
    Python warns where there are threads, and begins again when a connection is used.

    Args:
        seconds: how long one may be in use.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._used: dict[int, tuple[float, Any]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        _WATCHES.add(self)

    def begin(self, connection: Any, record: Any, *_: Any) -> None:
        self._used[id(record)] = time.monotonic() + self._seconds, connection
        self.go_on()

    def go_on(self) -> None:
        """See that there is a thread, if a connection is in use."""
        if self._thread is not None or not self._used:
            return
        with self._lock:
            if self._thread is None:
                stop = threading.Event()
                thread = threading.Thread(
                    target=self._run, args=(stop,), name="fleche-silence", daemon=True
                )
                # The process ends, or may have no more threads: it goes without.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread, self._stop = thread, stop

    def end(self, _: Any, record: Any) -> None:
        self._used.pop(id(record), None)

    def _run(self, stop: threading.Event) -> None:
        pause = self._seconds
        while not stop.wait(pause):
            now, used = time.monotonic(), self._used.copy()
            for number, use in used.items():
                # It may be another use by now.
                if use[0] <= now and self._used.get(number) is use:
                    self._used.pop(number, None)
                    _shut_down(use[1])
            with self._lock:
                if not self._used:
                    self._thread = None
                    return
            pause = max(min(end for end, _ in used.values()) - now, 0.05) if used else self._seconds

    def pause(self) -> None:
        """End the thread, which the next use of a connection begins again."""
        thread, self._thread = self._thread, None
        self._stop.set()
        if thread is not None:
            thread.join()
            await_system(thread.native_id)

    def forget(self) -> None:
        """In a child: nothing is in use, and no other thread holds the lock."""
        self._used, self._lock, self._thread = {}, threading.Lock(), None


_WATCHES: weakref.WeakSet[_Watch] = weakref.WeakSet()


def _before_fork() -> None:
    for watch in [*_WATCHES]:
        watch.pause()


def _in_parent() -> None:
    for watch in [*_WATCHES]:
        watch.go_on()


def _in_child() -> None:
    for watch in [*_WATCHES]:
        watch.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)


def _shut_down(connection: Any) -> None:
    # It may be closed at this moment.
    with contextlib.suppress(Exception):
        same = socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        try:
            same.shutdown(socket.SHUT_RDWR)
        finally:
            same.close()
