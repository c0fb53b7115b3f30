"""Calls that returned a future: what is computing, until it is done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche.digest import Digest

if TYPE_CHECKING:
    from concurrent.futures import Future

    from fleche.caches import BaseCache


class Pending:
    """The futures of a function whose results are to be saved, with the cache they go to."""

    def __init__(self) -> None:
        # The core looks here, too.
        self.futures: dict[Digest, tuple[BaseCache, Future[Any]]] = {}
        # In a forked child it is held by nobody that is not there.
        self._lock = _core.KeyLocks().of("")

    def running(self, cache: BaseCache, key: Digest) -> Any:
        """The future that computes a call at this moment, or its result; `None` if none does."""
        with self._lock:
            held = self.futures.get(key)
        if held is None or held[0] is not cache:
            return None
        future = held[1]
        if future.cancelled():
            return None
        if not future.done():
            return future
        return None if future.exception() is not None else future.result()

    def add(
        self,
        cache: BaseCache,
        key: Digest,
        future: Future[Any],
        save: Callable[[Any], None],
        abandon: Callable[[], None],
    ) -> None:
        """Note a future, and have its result saved, or the call given up, once it is done."""
        pending = cache, future

        def done(finished: Future[Any]) -> None:
            try:
                if finished.cancelled() or finished.exception() is not None:
                    abandon()
                else:
                    save(finished.result())
            finally:
                with self._lock:
                    if self.futures.get(key) is pending:
                        del self.futures[key]

        with self._lock:
            self.futures[key] = pending
        future.add_done_callback(done)


def is_future(value: Any) -> bool:
    """Whether it is a future of `concurrent.futures`."""
    # One exists only where its module was imported.
    futures = sys.modules.get("concurrent.futures._base")
    return futures is not None and isinstance(value, futures.Future)
