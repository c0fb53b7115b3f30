"""Threads of ours, for work that nobody waits for, or that must not keep an event loop waiting."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

__all__ = ["Pool"]


class Pool:
    """A thread pool that is made when it is first needed, once per process.

    Args:
        name: what the names of its threads begin with.
        threads: how many there are at most.

    >>> pool = Pool("example", 1)
    >>> pool.threads().submit(abs, -2).result()
    2
    >>> pool.threads() is pool.threads()
    True
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name, self._most = name, threads
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def threads(self) -> ThreadPoolExecutor:
        """The pool of this process: a forked child has no threads but its own."""
        if self._pool is None or self._process != os.getpid():
            self._process = os.getpid()
            self._pool = ThreadPoolExecutor(self._most, thread_name_prefix=self._name)
        return self._pool
