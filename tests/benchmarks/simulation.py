"""`python -m tests.benchmarks.simulation [--workers N] [--calls N]`: many workers, one store.

A model of a store, and workers that call a cached function: plain events, in the order of time,
the same ones for the same seed. It answers what no machine here can: how many calls a second a
thousand workers get done, and how often one is computed twice, with `once` and without.

A request waits for its turn at the part of the store that has its key, is served, and travels: the
delay of the network comes on top. Who waits for a claim looks at it as `fleche` does, by the same
functions.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from fleche.storage.databases.leases import BEAT, LEASE, pause_within
from fleche.wrapper.once import next_look

#: A process of the simulation: gives the seconds until it goes on.
Process = Iterator[float]


@dataclass(frozen=True)
class Store:
    """What a store can do.

    Args:
        name: what it is called.
        parts: how many parts serve requests independently, each one after the other.
        read: seconds that a part is busy with a look-up.
        write: the same with a save, a claim, or the end of one.
        travel: seconds of the network, there and back.
    """

    name: str
    parts: int
    read: float
    write: float
    travel: float


# Constants of PostgreSQL: processor time of a statement in the server, as `servers.py` measures.
# Those of S3: 5,500 GET and 3,500 PUT a second and prefix are its documented limits; the delay is
# typical of small objects within a region.
STORES = (
    Store("PostgreSQL, 2 cores", 2, 2.5e-4, 5.8e-4, 5e-4),
    Store("PostgreSQL, 16 cores", 16, 2.5e-4, 5.8e-4, 5e-4),
    Store("bucket, 1 prefix", 1, 1 / 5500, 1 / 3500, 0.03),
    Store("bucket, 256 prefixes", 256, 1 / 5500, 1 / 3500, 0.03),
)


@dataclass
class Outcome:
    """What came of a run.

    Args:
        seconds: until the last worker ended.
        bodies: how often each call was computed to its end.
        requests: of each kind.
        busy: the share of the time in which the busiest part of the store was at work.
    """

    seconds: float = 0.0
    bodies: Counter[int] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    busy: float = 0.0

    @property
    def duplicates(self) -> int:
        """How many computations were for nothing."""
        return self.bodies.total() - len(self.bodies)

    @property
    def rate(self) -> float:
        """Different calls done in a second."""
        return len(self.bodies) / self.seconds


class Simulation:
    """Workers that all want the same calls.

    Args:
        store: what holds the results.
        workers: how many there are.
        calls: how many different calls; each worker wants all of them.
        body: how many seconds a call computes, on average.
        once: whether one of those who want a call computes it.
        shuffled: whether each worker wants them in an order of its own.
        deaths: how probable it is that a worker dies while it computes.
        seed: other numbers give other runs.
    """

    def __init__(
        self,
        store: Store,
        *,
        workers: int,
        calls: int,
        body: float,
        once: bool,
        shuffled: bool = False,
        deaths: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.store = store
        self.now = 0.0
        self.held: set[int] = set()
        #: The end of each claim, which its owner moves on while it lives; without end, if it does.
        self.claims: dict[int, float] = {}
        self.outcome = Outcome()
        self._calls, self._body, self._once = calls, body, once
        self._shuffled, self._deaths = shuffled, deaths
        self._random = random.Random(seed)
        # Keys are digests: calls are spread over the parts evenly.
        self._part_of = [self._random.randrange(store.parts) for _ in range(calls)]
        self._free = [0.0] * store.parts
        self._work = [0.0] * store.parts
        self._events: list[tuple[float, int, Process]] = []
        self._number = 0
        for _ in range(workers):
            self._go_on(self._random.uniform(0, 0.1), self._worker())

    def run(self) -> Outcome:
        """Let all workers come to their end."""
        while self._events:
            self.now, _, process = heapq.heappop(self._events)
            for delay in process:
                self._go_on(delay, process)
                break
        self.outcome.seconds = self.now
        self.outcome.busy = max(self._work) / self.now
        return self.outcome

    def _go_on(self, delay: float, process: Process) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + delay, self._number, process))

    def _request(self, kind: str, call: int) -> float:
        """Seconds until a request is answered."""
        self.outcome.requests[kind] += 1
        part = self._part_of[call]
        takes = self.store.read if kind == "look" else self.store.write
        self._free[part] = max(self._free[part], self.now) + takes
        self._work[part] += takes
        return self._free[part] - self.now + self.store.travel

    def _worker(self) -> Process:
        calls = [*range(self._calls)]
        if self._shuffled:
            self._random.shuffle(calls)
        for call in calls:
            yield self._request("look", call)
            if call in self.held:
                continue
            if not (yield from self._compute(call)):
                return

    def _compute(self, call: int) -> Iterator[float]:
        """Compute a call, or wait for who does; whether the worker lives."""
        if self._once:
            yield from self._claim(call)
            yield self._request("look", call)
            if call in self.held:
                yield from self._release(call)
                return True
        seconds = self._random.lognormvariate(0, 0.5) * self._body
        if self._random.random() < self._deaths:
            died = self._random.uniform(0, seconds)
            yield died
            if self._once:
                self.claims[call] = self.now - died % BEAT + LEASE
            return False
        yield seconds
        if self._once:
            self.outcome.requests["beat"] += int(seconds / BEAT)
        yield self._request("save", call)
        self.held.add(call)
        self.outcome.bodies[call] += 1
        if self._once:
            yield from self._release(call)
        return True

    def _claim(self, call: int) -> Process:
        begun, look = self.now, 0.02
        yield self._request("claim", call)
        while self._is_claimed(call):
            yield self._request("look", call)
            end = self.now + look
            while self._is_claimed(call) and self.now < end:
                yield min(pause_within(look), end - self.now)
                yield self._request("claim", call)
            look = next_look(look, self.now - begun)
        self.claims[call] = float("inf")

    def _is_claimed(self, call: int) -> bool:
        return self.claims.get(call, -1.0) >= self.now

    def _release(self, call: int) -> Process:
        yield self._request("release", call)
        self.claims.pop(call, None)


def rows(workers: int, calls: int, body: float) -> Iterator[tuple[str, str, int, bool, Outcome]]:
    """Each store, the order of the calls and their number, `once` or not, and what came of it."""
    for shuffled, number in ((False, calls // 20), (True, calls)):
        order = "an order of its own" if shuffled else "the same order"
        for store in STORES:
            for once in (False, True):
                simulation = Simulation(
                    store, workers=workers, calls=number, body=body, once=once, shuffled=shuffled
                )
                yield store.name, order, number, once, simulation.run()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulation", description=__doc__
    )
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=1000, help="in the same order: a twentieth")
    parser.add_argument("--body", type=float, default=10.0, help="seconds that a call computes")
    options = parser.parse_args()
    print("| each worker has | store | `once` | calls/s | in vain | requests/s | busiest part |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, order, number, once, outcome in rows(options.workers, options.calls, options.body):
        requests = outcome.requests.total() / outcome.seconds
        rate = f"{outcome.rate:.2f}" if outcome.rate < 1 else f"{outcome.rate:.0f}"
        cells = f"{rate} | {outcome.duplicates:,} | {requests:,.0f} | {outcome.busy:.0%}"
        answer = "yes" if once else "no"
        print(f"| {number} calls, {order} | {name} | {answer} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
