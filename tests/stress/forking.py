"""A process that forks again and again, at any moment, while its threads use a store.

Run by `test_fork_stress.py` as `python -m tests.stress.forking ORDER`. Each process that comes of
it does as its threads do, says in a line what it saved, and ends. Some wait, idle, for the end of
their standard input; the first process ends before those that it forked last.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import multiprocessing
import os
import random
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

from fleche import cache
from fleche.caches import BaseCache, Cache
from fleche.call import QueryCall
from fleche.config import cache_from_config

from . import workload

# So many processes run at a time, and nobody takes longer than this for what takes milliseconds.
AT_ONCE, SECONDS = 6, 60
# The calls of forked processes have numbers of their own.
FIRST = 1000
OUT = 1


def say(line: str) -> None:
    os.write(OUT, f"{line}\n".encode())


def save(store: BaseCache, number: int) -> None:
    with cache(store):
        result = workload.compute(workload.argument(number))
    assert result == workload.expected(number), (number, result)


def use(store: BaseCache, choose: random.Random) -> None:
    """One of the things that are done to a store."""
    kept, gone = choose.randrange(workload.KEPT), choose.randrange(workload.KEPT, workload.NUMBERS)
    what = choose.random()
    if what < 0.4:
        save(store, kept)
    elif what < 0.6:
        save(store, gone)
    elif what < 0.75:
        store.evict(workload.key_of(gone))
    elif what < 0.9:
        wanted = QueryCall(name="compute", arguments={"value": workload.argument(kept)})
        found = [call.to_lookup_key() for call in store.query(wanted)]
        assert found == [workload.key_of(kept)], (kept, found)
    elif what < 0.95:
        assert store.load(workload.key_of(kept)).result == workload.expected(kept)
    elif isinstance(store, Cache) and what < 0.96:
        store.gc()
    else:
        assert store.contains(workload.key_of(kept))


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Whatever goes wrong is said in a line."""
    try:
        yield
    except BaseException:
        say("failed " + traceback.format_exc().replace("\n", " | "))
        raise


class Thread(threading.Thread):
    """Uses a store until it is told to stop, or so many times."""

    def __init__(self, store: BaseCache, seed: int, times: int | None = None) -> None:
        super().__init__()
        self.store, self.choose, self.times = store, random.Random(seed), times
        self.done = threading.Event()

    def run(self) -> None:
        with told():
            while not self.done.is_set() and self.times != 0:
                use(self.store, self.choose)
                if self.times is not None:
                    self.times -= 1


def child(store: BaseCache, number: int, seed: int, uses: bool) -> None:
    """What a forked process does."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    with told():
        if uses:
            save(store, FIRST + number)
            say(f"saved {FIRST + number}")
            use(store, random.Random(seed))
            if number % 10 == 0:
                threads = [Thread(store, seed + n, times=3) for n in (1, 2)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
    faulthandler.cancel_dump_traceback_later()


def end(number: int, free: int) -> None:
    say(f"ended {number}")
    os.write(free, b".")
    if number % 50 == 7:
        # An idle worker.
        sys.stdin.buffer.read()


def by_fork(store: BaseCache, number: int, seed: int, uses: bool, free: int) -> int:
    process = os.fork()
    if process == 0:
        status = 1
        try:
            child(store, number, seed, uses)
            end(number, free)
            status = 0
        finally:
            # The parent's, which are not this one's to wait for.
            multiprocessing.process._children.clear()  # type: ignore[attr-defined]
            if number % 5:
                os._exit(status)
            sys.exit(status)
    return process


def by_daemon(store: BaseCache, number: int, seed: int, uses: bool, free: int) -> int:
    """As programs become daemons: their parents end before they begin."""
    process = os.fork()
    if process == 0:
        os.setsid()
        by_fork(store, number, seed, uses, free)
        os._exit(0)
    return process


def by_multiprocessing(store: BaseCache, number: int, seed: int, uses: bool, free: int) -> int:
    context = multiprocessing.get_context("fork")

    def work() -> None:
        child(store, number, seed, uses)
        end(number, free)

    process = context.Process(target=work)
    process.start()
    assert process.pid is not None
    return process.pid


def main(order: dict[str, Any]) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    # What is looked for is a matter of moments: threads take turns more often than usual.
    sys.setswitchinterval(0.0005)
    choose = random.Random(order["seed"])
    store = cache_from_config(order["config"])
    for number in range(workload.KEPT):
        save(store, number)
    slots, free = os.pipe()
    os.write(free, b"." * AT_ONCE)
    threads = [Thread(store, order["seed"] + n) for n in range(order["threads"])]
    for thread in threads:
        thread.start()
    ways = [by_fork, by_daemon, by_multiprocessing]
    for number in range(order["forks"]):
        os.read(slots, 1)
        time.sleep(choose.random() * 0.002)
        uses = number % order["every"] == 0
        ways[number % 3](store, number, choose.randrange(1 << 30), uses, free)
        # Those that have ended.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    for thread in threads:
        thread.done.set()
    for thread in threads:
        thread.join()
    say("ended")
    # Not as `multiprocessing` would have it: the parent ends first.
    multiprocessing.process._children.clear()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
