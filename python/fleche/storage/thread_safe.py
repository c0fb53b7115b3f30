"""Mixins that make a storage safe for threads.

Both hold a lock around every operation on a key. They stand first among the bases:

>>> from fleche.storage import ValueMixin
>>> from fleche.storage.void import VoidBackend
>>> class Storage(PerKeyLockMixin, VoidBackend, ValueMixin):
...     pass
>>> with Storage()._operation_context("ab" * 32):
...     pass
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fleche import _core
from fleche.digest import Digest
from fleche.storage.base import NO_CONTEXT, Intent, OperationContext


class _PicklableRLock:
    """A lock that travels as a new, free one; the thread that holds it may take it again."""

    def __init__(self) -> None:
        # In a forked child it is held by nobody that is not there.
        self._lock = _core.KeyLocks().of("")

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()


@dataclass(frozen=True)
class SerializingMixin(OperationContext):
    """One operation at a time on the whole storage."""

    _lock: _PicklableRLock = field(
        default_factory=_PicklableRLock, init=False, repr=False, compare=False
    )

    @contextlib.contextmanager
    def _operation_context(
        self, key: Digest | str, *, intent: Intent = Intent.WRITE
    ) -> Iterator[None]:
        with self._lock, super()._operation_context(key, intent=intent):
            yield


class PerKeyLockMixin(OperationContext):
    """One operation at a time on each key."""

    # A backend whose reads see the old or the new object, never a part, has them wait for nobody.
    _reads_need_lock: ClassVar[bool] = True

    def _get_key_lock(self, key: Digest | str) -> Any:
        """The reentrant lock of `key`."""
        # Not a field: it must not count in equality, hash or configuration. `setdefault` is atomic.
        locks = self.__dict__.get("_key_locks")
        if locks is None:
            locks = self.__dict__.setdefault("_key_locks", _core.KeyLocks())
        return locks.of(key)

    def _operation_context(
        self, key: Digest | str, *, intent: Intent = Intent.WRITE
    ) -> contextlib.AbstractContextManager[Any]:
        others = super()._operation_context(key, intent=intent)
        if intent is Intent.READ and not self._reads_need_lock:
            return others
        lock = self._get_key_lock(key)
        return lock if others is NO_CONTEXT else _both(lock, others)


@contextlib.contextmanager
def _both(
    first: contextlib.AbstractContextManager[Any], second: contextlib.AbstractContextManager[Any]
) -> Iterator[None]:
    with first, second:
        yield
