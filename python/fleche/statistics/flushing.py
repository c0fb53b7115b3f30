"""Writing down what was counted: every few seconds, by a call that ends then, and when the process
ends. There is no thread for it.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import Any

from fleche import _core
from fleche._foundation.log import logger_of
from fleche.statistics import ledgers

__all__ = ["begin", "flush", "write"]

logger = logger_of("fleche.statistics")

INTERVAL = 5.0
"""So many seconds of a killed process are lost."""

# How long to wait for others who write to the same file, in seconds: at the end there is no next
# time. A call waits for nobody.
_PATIENCE, _AT_END = 1.0, 5.0

# A fork does not come in the middle, if it does not have to wait longer than this.
_FORK = 5.0

# A call that is made while another one writes, by a signal handler for example, goes on.
_writing = threading.RLock()

# The processes that know when to write, and that write at their end, or as one of
# `multiprocessing`.
_ends: dict[str, int] = {}


def begin() -> None:
    """Have what is counted written down from now on."""
    if _ends.get("calls") != os.getpid():
        _ends["calls"] = os.getpid()
        _core.write_statistics_in(INTERVAL)
    if "atexit" not in _ends:
        _ends["atexit"] = os.getpid()
        atexit.register(_end)
    # Its processes end without `atexit`.
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None and _ends.get("multiprocessing") != os.getpid():
        _ends["multiprocessing"] = os.getpid()
        util.Finalize(None, _end, exitpriority=-100)


def write(cache: Any) -> None:
    """Write down what was counted, for a call that ends; whoever else writes is not waited for.

    Args:
        cache: the call's; of other caches that are in servers, the next call there writes.
    """
    try:
        if _writing.acquire(blocking=False):
            try:
                own = ledgers.ledger_of(cache)
                for ledger in ledgers.ledgers():
                    if ledger is own or ledger.is_local:
                        ledger.flush(0.0)
            finally:
                _writing.release()
    except Exception as error:
        logger.debug("Statistics cannot be written: %s", error)
    finally:
        _core.write_statistics_in(INTERVAL)


def flush(patience: float = _PATIENCE) -> None:
    """Write down what was counted in this process.

    Args:
        patience: how many seconds to wait for others who write.
    """
    for ledger in ledgers.ledgers():
        ledger.flush(patience)


def _end() -> None:
    if _writing.acquire(timeout=_AT_END):
        try:
            flush(_AT_END)
        finally:
            _writing.release()


_is_held = False


def _before_fork() -> None:
    global _is_held
    # By a thread that goes on after the fork; the child has none that could.
    _is_held = _writing.acquire(timeout=_FORK)


def _in_parent() -> None:
    if _is_held:
        _writing.release()


def _in_child() -> None:
    global _writing
    _writing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
