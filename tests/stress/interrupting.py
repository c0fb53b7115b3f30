"""A process that is interrupted again and again while it uses a store.

Run by `test_interrupt_stress.py` as `python -m tests.stress.interrupting ORDER`. One of its threads
sends the signal, at random moments of one kind of call, and says how long the call went on
afterwards.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from fleche import cache
from fleche.caches import BaseCache, Cache
from fleche.call import QueryCall
from fleche.config import cache_from_config

from . import workload
from .forking import save, say


class Interrupts:
    """Sends a signal to the main thread at a random moment of a call."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.begin, self.sent, self.over = threading.Event(), threading.Event(), False
        self.when = self.delay = 0.0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while self.begin.wait() and not self.over:
            self.begin.clear()
            time.sleep(self.delay)
            self.when = time.monotonic()
            os.kill(os.getpid(), signal.SIGINT)
            self.sent.set()

    def during(self, work: Callable[[], Any], longest: float) -> float | None:
        """How long `work` went on after the signal; `None` if it had ended before."""
        self.sent.clear()
        self.delay = self.choose.random() * longest
        ended = None
        try:
            self.begin.set()
            work()
            ended = time.monotonic()
            # It comes here, then.
            assert self.sent.wait(60)
            time.sleep(0.05)
            raise AssertionError("the interrupt came, and was lost")
        except KeyboardInterrupt:
            now = time.monotonic()
        self.sent.wait()
        return None if ended is not None and ended < self.when else now - self.when


def works(store: BaseCache, choose: random.Random) -> dict[str, Callable[[], Any]]:
    """What is interrupted, by name; each takes a while."""
    other = cache_from_config({"template": "memory"})

    def hits() -> None:
        for _ in range(200):
            save(store, choose.randrange(workload.KEPT))

    def misses() -> None:
        first = choose.randrange(1 << 30)
        for number in range(first, first + 100):
            with cache(store):
                workload.square(number)

    def queries() -> None:
        for _ in range(50):
            list(store.query(QueryCall(name="compute")))

    def transfers() -> None:
        for _ in range(20):
            store.query(QueryCall(name="compute")).transfer(other, overwrite=True)
            other.transfer(store, overwrite=True)

    kinds = {"hits": hits, "misses": misses, "queries": queries, "transfers": transfers}
    if isinstance(store, Cache):

        def collect() -> None:
            for _ in range(50):
                store.values.save(["garbage", choose.random()])
                store.gc()

        kinds["gc"] = collect
    return kinds


def main(order: dict[str, Any]) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    choose = random.Random(order["seed"])
    store = cache_from_config(order["config"])
    for number in range(workload.KEPT):
        save(store, number)
    interrupts = Interrupts(order["seed"])
    kinds = works(store, choose)
    for number in range(order["times"]):
        name = list(kinds)[number % len(kinds)]
        took = interrupts.during(kinds[name], order["longest"])
        if took is not None:
            say(f"{name} {took:.3f}")
        if hasattr(store, "reconnect"):
            with contextlib.suppress(KeyboardInterrupt):
                store.reconnect()
    for number in range(workload.KEPT):
        save(store, number)
    say("done")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
