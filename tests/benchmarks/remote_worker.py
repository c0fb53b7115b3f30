"""What `tests.benchmarks.remote` times, for ours and the reference by the same lines.

Run by the interpreter that has the one or the other: it gets the server to use as JSON and prints
the seconds that each operation took, the least of several turns.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fleche
from fleche.call import Call, QueryCall
from fleche.config import cache_from_config
from fleche.remote import SshCache

RECORDS = 1000
LARGE_BYTES = 100_000_000


def call(function: str, x: Any, result: Any) -> Call:
    return Call(name=function, arguments={"x": x}, module="bench", result=result)


def timed(turns: int, work: Callable[[int], Any], repeat: int = 1) -> float:
    """Seconds a piece of work, in the best of several turns; it gets the number of the piece."""
    best = float("inf")
    for turn in range(turns):
        start = time.perf_counter()
        for number in range(turn * repeat, (turn + 1) * repeat):
            work(number)
        best = min(best, (time.perf_counter() - start) / repeat)
    return best


def small(cache: SshCache, times: dict[str, float]) -> None:
    many = 100
    key = cache.save(call("one", 1, 2))
    result = cache.load(key).detach().result
    keys = [cache.save(call("kept", x, -x)) for x in range(RECORDS)]
    template = QueryCall(name="kept", arguments={"x": 5})
    everything = QueryCall(name="kept")
    times["info"] = timed(5, lambda _: cache.info(), many)
    times["load"] = timed(5, lambda _: cache.load(key), many)
    times["load_value"] = timed(5, lambda _: cache.load_value(result), many)
    times["load, then the result"] = timed(5, lambda _: cache.load(key).result, many)
    times["contains"] = timed(5, lambda _: cache.contains(key), many)
    times["expand"] = timed(5, lambda _: cache.expand(key[:20]), many // 10)
    times["save"] = timed(5, lambda n: cache.save(call("saved", n, n)), many)
    saved = [cache.save(call("gone", n, n)) for n in range(5 * many)]
    times["evict"] = timed(5, lambda n: cache.evict(saved[n]), many)
    times["shrink, 1000 keys"] = timed(3, lambda _: cache.shrink(*keys))
    times["query, one of 1000"] = timed(3, lambda _: cache.query(template).count())
    times["query, all of 1000"] = timed(3, lambda _: cache.query(everything).count())
    times["the first of 1000"] = timed(3, lambda _: cache.query(everything).any())


def decorated(cache: SshCache, times: dict[str, float]) -> None:
    @fleche.fleche
    def double(x: int) -> int:
        return 2 * x

    with fleche.cache(cache):
        double(-1)
        times["hit"] = timed(5, lambda _: double(-1), 100)
        times["miss"] = timed(5, lambda n: double(n), 100)
        double(1000)
        times["contains, decorated"] = timed(5, lambda _: double.contains(1000), 100)


def transfers(cache: SshCache, times: dict[str, float]) -> None:
    memory = {"values": {"type": "memory"}, "calls": {"type": "memory"}}
    for n in range(200):
        cache.save(call("moved", n, [n, n]))
    targets = [cache_from_config(memory) for _ in range(3)]
    moved = cache.query(QueryCall(name="moved"))
    times["transfer 200 calls from there"] = timed(3, lambda n: moved.transfer(targets[n]))
    sources = [cache_from_config(memory) for _ in range(3)]
    for number, source in enumerate(sources):
        for n in range(200):
            source.save(call(f"brought {number}", n, [n, n]))
    times["transfer 200 calls to there"] = timed(3, lambda n: sources[n].transfer(cache))


def large(cache: SshCache, times: dict[str, float]) -> None:
    random = np.random.default_rng(0)
    arrays = [random.random(LARGE_BYTES // 8) for _ in range(3)]
    keys: list[Any] = []

    def save(n: int) -> None:
        keys.append(cache.save(call("large", n, arrays[n])))

    times["save 100 MB"] = timed(3, save)
    times["load 100 MB"] = timed(3, lambda n: cache.load(keys[n]).result)
    text = [bytes(array.data) for array in arrays]
    results: list[Any] = []

    def save_bytes(n: int) -> None:
        results.append(cache.save(call("bytes", n, text[n])))

    times["save 100 MB of bytes"] = timed(3, save_bytes)
    times["load 100 MB of bytes"] = timed(3, lambda n: cache.load(results[n]).result)


def main() -> None:
    settings = json.loads(sys.argv[1])
    cache = SshCache(
        settings["host"],
        python=sys.executable,
        ssh_options=tuple(settings["options"]),
        workdir=settings["workdir"],
        setup_commands=(f"export FLECHE_DIGEST={os.environ['FLECHE_DIGEST']}",),
    )
    Path(settings["workdir"], "fleche.toml").write_text(settings["config"])
    times: dict[str, float] = {}

    def start(_: int) -> None:
        cache.close()
        cache.info()

    times["start"] = timed(3, start)
    small(cache, times)
    decorated(cache, times)
    transfers(cache, times)
    large(cache, times)
    cache.close()
    print(json.dumps(times))


if __name__ == "__main__":
    main()
