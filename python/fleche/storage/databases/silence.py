"""Servers that stop answering, as a suspended one does: what waits for them is cut off."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from typing import Any

import sqlalchemy
from sqlalchemy.engine import Engine

__all__ = ["bounded", "patience"]

# In seconds. Less would cut off servers that are merely slow, where nobody is to wait for locks.
_LEAST = 5.0

# So much longer than for its locks we wait for a server, which is to say itself that it gave up.
_MORE = 1.0

_TIMER = "fleche.silence"


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

    def begin(connection: Any, record: Any, *_: Any) -> None:
        timer = threading.Timer(seconds, functools.partial(_shut_down, connection))
        timer.daemon = True
        record.info[_TIMER] = timer
        timer.start()

    def end(_: Any, record: Any) -> None:
        timer = record.info.pop(_TIMER, None)
        if timer is not None:
            timer.cancel()

    sqlalchemy.event.listen(engine, "checkout", begin)
    sqlalchemy.event.listen(engine, "checkin", end)
    return engine


def _shut_down(connection: Any) -> None:
    # It may be closed at this moment.
    with contextlib.suppress(Exception):
        same = socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        try:
            same.shutdown(socket.SHUT_RDWR)
        finally:
            same.close()
