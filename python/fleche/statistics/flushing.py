"""Writing down what was counted: every few seconds, in a thread, and when the process ends.

The thread ends before a fork, and begins again after it: Python warns of forks with threads.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from typing import Any

from fleche._foundation.threads import await_system
from fleche.statistics import ledgers

__all__ = ["begin", "flush"]

INTERVAL = 5.0
"""So many seconds of a killed process are lost."""

# How long to wait for others who write to the same file, in seconds: at the next time it is tried
# again, and at the end there is no next time.
_PATIENCE, _AT_END = 1.0, 5.0

# A fork, and the end of the process, wait so long for the thread.
_JOIN = 5.0

_is_ending = False
_thread: threading.Thread | None = None
_stop = threading.Event()
_beginning = threading.Lock()

# The process that writes at its end, and the one that does so as one of `multiprocessing`.
_ends: dict[str, int] = {}


def begin() -> None:
    """Have what is counted written down from now on."""
    global _thread
    # Another thread begins: that is enough.
    if _thread is not None or not _beginning.acquire(blocking=False):
        return
    try:
        if _thread is None:
            _write_at_end()
            _thread = threading.Thread(
                target=_run, args=(_stop,), name="fleche-statistics", daemon=True
            )
            # The process ends, or may have no more threads: it is written at the end.
            with contextlib.suppress(RuntimeError):
                _thread.start()
    finally:
        _beginning.release()


def flush(patience: float = _PATIENCE) -> None:
    """Write down what was counted in this process.

    Args:
        patience: how many seconds to wait for others who write.
    """
    for ledger in ledgers.ledgers():
        ledger.flush(patience)


def _run(stop: threading.Event) -> None:
    while not stop.wait(INTERVAL):
        flush()
    if _is_ending:
        flush(_AT_END)


def _write_at_end() -> None:
    if "atexit" not in _ends:
        atexit.register(_end)
        _ends["atexit"] = os.getpid()
    # Its processes end without `atexit`.
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None and _ends.get("multiprocessing") != os.getpid():
        util.Finalize(None, _end, exitpriority=-100)
        _ends["multiprocessing"] = os.getpid()


def _end() -> None:
    global _is_ending
    # By the thread, so that a server that does not answer keeps the process for seconds only.
    _is_ending = True
    if not _join():
        flush(_AT_END)
    _is_ending = False


def _join() -> bool:
    """End the thread; whether there was one."""
    global _thread, _stop
    thread, _thread = _thread, None
    if thread is None:
        return False
    _stop.set()
    # It may not have been started.
    with contextlib.suppress(RuntimeError):
        thread.join(_JOIN)
    _stop = threading.Event()
    await_system(thread.native_id)
    return thread.native_id is not None


_was_running = False


def _before_fork() -> None:
    global _was_running
    _was_running = _join()


def _in_parent() -> None:
    if _was_running:
        begin()


def _in_child() -> None:
    """The thread begins when something is counted."""
    global _thread, _stop, _beginning
    _thread, _stop, _beginning = None, threading.Event(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
