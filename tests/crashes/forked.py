"""A process that forks while one of its threads stands at a place in the middle of an operation.

Run by `test_forks.py` as `python -m tests.crashes.forked ORDER`. Of each place two children are
forked: one makes the same operation, the other does nothing. It says how many places there were.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .stores import ALL_KINDS, OPERATIONS, Step, take
from .watching import watched

# A fork waits for short sections: who stands in one goes on after this time.
MOMENT, SECONDS = 0.03, 60


class Standing:
    """Has a thread stand still at one of the places that it comes to."""

    def __init__(self, which: int) -> None:
        self.which, self.count = which, 0
        self.process = os.getpid()
        self.thread: int | None = None
        self.stands, self.go = threading.Event(), threading.Event()

    def __call__(self, name: str, path: Path) -> None:
        if threading.get_ident() != self.thread or os.getpid() != self.process:
            return
        self.count += 1
        if self.count == self.which:
            self.stands.set()
            self.go.wait(MOMENT)


def fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def locked(root: Path) -> list[str]:
    """The lock files that somebody holds."""
    held = []
    for path in (*root.glob("*/.locks/*"), *root.glob("*/*.lock")):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(str(path))
    return held


def once(order: dict[str, Any], which: int) -> bool:
    """Whether there is a place of this number; forks there."""
    root = Path(order["root"])
    cache = ALL_KINDS[order["kind"]](root)

    def work(number: int) -> None:
        if order["name"] == "save":
            # The store does not grow: the places of a save are as many each time.
            take(cache, root, Step("save", 2 + number, which % 2))
        else:
            OPERATIONS[order["name"]].run(cache, root, lambda number: None)

    cache.values.save(["unneeded", 0])
    hook = Standing(which)

    def run() -> None:
        hook.thread = threading.get_ident()
        with contextlib.suppress(KeyError):
            work(0)
        hook.stands.set()

    with watched(hook):
        thread = threading.Thread(target=run)
        thread.start()
        assert hook.stands.wait(SECONDS)
        wait, idle = os.pipe()
        lazy = fork(lambda: os.close(idle) or (os.read(wait, 1) and None))
        busy = fork(lambda: work(1))
        hook.go.set()
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert os.waitpid(busy, 0)[1] == 0, "the child hung, or failed"
    assert not locked(root), "an idle child holds a lock"
    os.close(wait)
    os.close(idle)
    assert os.waitpid(lazy, 0)[1] == 0
    return hook.count >= which


def main(order: dict[str, Any]) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    which = 1
    while once(order, which):
        which += order["step"]
    print(which - 1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
