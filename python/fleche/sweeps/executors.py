"""The calls of a sweep that run in an executor: threads, processes, clusters."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING, Any

from fleche.digest import Digest
from fleche.executor import own_submit
from fleche.sweeps.grid import Arguments
from fleche.sweeps.running import Brought, Ended, Task

if TYPE_CHECKING:
    from fleche.caches import BaseCache

# How long nothing but a finished call is looked at, in seconds.
_PATIENCE = 0.1
# So many calls are submitted before the first of them is done, or four for each worker.
_FEWEST = 64


class There:
    """Calls that run in an executor, a bounded number of them submitted at a time.

    Args:
        executor: of any kind that has a `submit`.
        task: what is submitted, with the arguments and the key of a call.
        call: the arguments of each call.
        keys: the key of each call; `None` for calls without.
        cache: where what comes back from other processes is saved, if it was not there.
    """

    def __init__(
        self,
        executor: Any,
        task: Task,
        call: Callable[[int], Arguments],
        keys: list[Digest | None],
        cache: BaseCache | None,
    ) -> None:
        self._submit = own_submit(executor)
        self._task = task
        self._call = call
        self._keys = keys
        self._cache = cache
        self.workers = workers_of(executor)
        self._window = max(_FEWEST, 4 * self.workers)
        self.waiting: OrderedDict[int, None] = OrderedDict()
        # By a number of its own each: a call that was taken back may be submitted once more.
        self._submitted: dict[int, tuple[int, Any]] = {}
        self._numbers = itertools.count()
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._refused: list[Ended] = []
        self._broken: Exception | None = None
        self._lost: set[int] = set()

    def want(self, positions: Iterable[int]) -> None:
        """Have calls run, unless they do already."""
        running = {position for position, _ in self._submitted.values()}
        self.waiting.update((position, None) for position in positions if position not in running)

    def start(self) -> None:
        """Have calls run as long as others are waited for."""
        while self.waiting and len(self._submitted) < self._window and self._broken is None:
            position, _ = self.waiting.popitem(last=False)
            number = next(self._numbers)
            try:
                args, kwargs = self._call(position)
                future = self._submit(self._task, args, kwargs, self._keys[position])
            except Exception as error:
                if isinstance(error, BrokenExecutor | RuntimeError) and not isinstance(
                    error, RecursionError
                ):
                    # It takes no calls any more; those that it has may still end.
                    self._broken = error
                    self._take_back(position)
                else:
                    # An argument of this call cannot be sent.
                    self._refused.append((position, None, error))
            else:
                self._submitted[number] = position, future
                future.add_done_callback(lambda _, number=number: self._ended.put(number))

    def next(self, wanted: int | None) -> Ended:
        """Wait for the end of a call.

        Raises:
            Exception: that of the executor, if it takes no calls any more.
        """
        while True:
            self.start()
            if self._refused:
                return self._refused.pop()
            if not self._submitted and self._broken is not None:
                broken, self._broken = self._broken, None
                raise broken
            try:
                # Not without end: on some systems that could not be interrupted.
                number = self._ended.get(timeout=_PATIENCE)
            except queue.Empty:
                continue
            if number not in self._submitted:
                # It was taken back.
                continue
            position, future = self._submitted.pop(number)
            try:
                return position, self._unpacked(future.result()), None
            except Exception as error:
                if not isinstance(error, BrokenExecutor) or position in self._lost:
                    return position, None, error
                # A worker died, of this call or another one: whether the executor goes on without
                # it, the next call that is submitted finds out.
                self._lost.add(position)
                self._take_back(position)

    def _unpacked(self, result: Any) -> Any:
        if isinstance(result, Brought) and self._cache is not None:
            return result.unpacked(self._cache)
        return result

    def stop(self) -> None:
        """Take back what has not begun."""
        while self._refused:
            self._take_back(self._refused.pop()[0])
        for number, (position, future) in reversed(self._submitted.copy().items()):
            if future.cancel() or future.cancelled():
                del self._submitted[number]
                self._take_back(position)

    def _take_back(self, position: int) -> None:
        self.waiting[position] = None
        self.waiting.move_to_end(position, last=False)


def workers_of(executor: Any) -> int:
    """How many calls an executor runs at a time, as far as it tells."""
    count = getattr(executor, "_max_workers", None)
    if isinstance(count, int) and count > 0:
        return count
    threads = getattr(executor, "nthreads", None)
    if callable(threads):
        # A client of dask's.
        with contextlib.suppress(Exception):
            return max(1, int(sum(threads().values())))
    return os.cpu_count() or 1
