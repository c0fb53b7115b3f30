"""What a fork waits for, so that nothing lives on half in the child.

The core waits for short sections of its own (`src/engine/fork.rs`). Here is what it cannot know of:
modules that other threads are importing, as many are at the first call. In the child such a module
would stay locked, and half imported, for ever.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from importlib import _bootstrap
from typing import Any

from fleche import _core

try:
    import _imp
except ImportError:  # Another Python than CPython: its imports are its own affair.
    _imp = None  # type: ignore[assignment]

# A fork does not wait longer than this, in seconds: an import may wait for the thread that forks.
_PATIENCE = 10.0

# So long after it was asked for, a lock that nobody has is not about to be taken.
_MOMENT = 0.05


def await_others() -> None:
    """Have every fork of this process wait for other threads.

    To be called again after a module was imported that locks something at forks: what is asked for
    last, waits first.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_settle, after_in_parent=_release, after_in_child=_release)


def _settle() -> None:
    since = time.monotonic()
    while True:
        _core.announce_fork()
        if _imp is None:
            return
        # Who begins an import asks for this lock first.
        _imp.acquire_lock()
        if not _others_import(time.monotonic() - since):
            return
        # What is imported may have to pass what a fork keeps closed.
        _release()
        time.sleep(0.001)


def _release() -> None:
    if _imp is not None:
        _imp.release_lock()
    _core.withdraw_fork()


def _others_import(waited: float) -> bool:
    if waited > _PATIENCE:
        return False
    me = threading.get_ident()
    locks: Any = getattr(_bootstrap, "_module_locks", {})
    for reference in list(locks.values()):
        lock = reference()
        owner = getattr(lock, "owner", None)
        if owner != me and (owner is not None or (lock is not None and waited < _MOMENT)):
            return True
    return False


class kept:  # noqa: N801 - a decorator
    """As `functools.cached_property`, whose lock, in some versions of Python, a forked child would
    find held for ever."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make, self._name, self.__doc__ = make, make.__name__, make.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        return vars(instance).setdefault(self._name, self._make(instance))
