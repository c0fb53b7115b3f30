"""A cache in memory over one in files, which the workers of a process pool fill."""

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from laboratory import Material, Opaque, describe, energy, fails, nothing, scaled, total
from observed import Log, drain, outcome, report, shown

from fleche import BoundWrapper, cache, tags, wrap_executor
from fleche.caches import BaseCache, CacheStack
from fleche.config import cache_from_config, cache_to_config
from fleche.digest import digest

CONFIG = """
[files]
values.type = "pickle"
values.root = "store/values"
values.remaining_depth = 1
calls.type = "pickle"
calls.root = "store/calls"

[[stack]]
values.type = "memory"
values.remaining_depth = 1
calls.type = "memory"

[[stack]]
values.type = "pickle"
values.root = "store/values"
values.remaining_depth = 1
calls.type = "pickle"
calls.root = "store/calls"
"""

TEMPERATURES = (100.5, 200.5, 300.5, 400.5)


def new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def finished(futures: list["Future[Any]"]) -> list[bool]:
    """Which came back as finished: the pool has not been asked for these."""
    return [future.done() for future in futures]


def plain(text: str, *, times: int = 1) -> list[object]:
    """Not cached; says which cache is active in the worker."""
    return [text * times, type(cache()).__name__]


def in_the_pool(pool: ProcessPoolExecutor, files: BaseCache) -> dict[str, object]:
    """What the workers computed is in the files afterwards."""
    steel = Material("steel", 7.5, [1, 2, 3])
    with cache(files), tags(run="pool"):
        first = [pool.submit(energy, temperature) for temperature in TEMPERATURES]
        found = [shown(future.result()) for future in first]
        others = [
            pool.submit(describe, steel, "hot", alpha=1).result(),
            # Not through the wrapped submit, but with the cache and the metadata of here.
            *pool.map(describe.bind(steel, "bound"), ()),
            pool.submit(describe.bind(steel, "bound", label="x", beta=2)).result(),
        ]
        mapped = list(pool.map(BoundWrapper.bind(total), ([100.5, 200.5], [300.5])))
        helpers = [pool.submit(plain, "ab", times=2).result(), pool.submit(abs, -2).result()]
        ran = drain()
        bad = [
            outcome(lambda: pool.submit(fails, 1).result()),
            outcome(lambda: pool.submit(energy, 1.5, 2.5, 3.5).result()),
            outcome(lambda: pool.submit(nothing, 1).result()),
            drain(),
        ]
        again = [pool.submit(energy, temperature) for temperature in TEMPERATURES]
        seen = {
            "finished": finished(again),
            "same": [shown(future.result()) for future in again] == found,
            "in the parent": [energy.contains(t) for t in (*TEMPERATURES, 500.5)],
            "tagged": energy.query(metadata={"tags": {"run": "pool"}}).count(),
        }
    return {
        "found": found,
        "others": others,
        "mapped": shown(mapped),
        "helpers": helpers,
        "bad": bad,
        "computed": ran,
        "again": [seen, drain()],
    }


def over_files(pool: ProcessPoolExecutor, stack: CacheStack) -> dict[str, object]:
    """The stack loads from the files, keeps hits in memory, and saves to memory."""
    memory, files = stack.stack
    sizes: list[object] = []

    def size() -> None:
        sizes.append([memory.query().count(), files.query().count(), stack.query().count()])

    with cache(stack):
        size()
        hits = [shown(energy(temperature)) for temperature in TEMPERATURES[:2]]
        size()
        front = [
            outcome(memory.load, energy.digest(t)) != {"raised": "KeyError"} for t in TEMPERATURES
        ]
        hits.append(shown(total([100.5, 200.5])))
        size()
        # New in the stack: saved in front, not in the files.
        fresh = [
            shown(energy(900.5)),
            shown(scaled(energy.query(900.5).only().detach().result, 0.5)),
            drain(),
        ]
        size()
        where = [memory.contains(energy.digest(900.5)), files.contains(energy.digest(900.5))]
        # A worker gets a copy of the stack: what it finds stays in its own memory.
        sent = [pool.submit(energy, 300.5), pool.submit(energy, 800.5)]
        remote = [finished(sent)[:1], [shown(future.result()) for future in sent], drain()]
        missing = energy.contains(800.5)
        with wrap_executor(ThreadPoolExecutor(2)) as threads:
            futures = [threads.submit(energy, temperature) for temperature in (100.5, 900.5)]
            near = [finished(futures), [shown(future.result()) for future in futures], drain()]
        found = sorted(call.arguments["temperature"] for call in energy.query())
        stack.evict(energy.digest(900.5))
        with cache(memory):
            energy.query(100.5).evict()
        gone = [energy.contains(900.5), energy.contains(100.5), memory.query().count()]
        with cache(files):
            kept = [energy.contains(100.5), energy.contains(200.5)]
            refilled = [shown(energy(100.5)), drain()]
        seen = energy.contains(100.5)
    return {
        "sizes": sizes,
        "hits": hits,
        "in front": front,
        "fresh": fresh,
        "where": where,
        "in a worker": [remote, missing],
        "in threads": near,
        "all": found,
        "gone": gone,
        "in the files": kept,
        "refilled": refilled,
        "seen": seen,
    }


def moved(stack: CacheStack) -> dict[str, object]:
    """Between the layers, and what a stack refuses."""
    memory, files = stack.stack
    with cache(memory):
        energy(700.5)
        before = [files.contains(energy.digest(700.5)), drain()]
        energy.query(700.5).transfer(files, pop=True)
        after = [files.contains(energy.digest(700.5)), energy.contains(700.5)]
    with cache(files):
        hit = [shown(energy(700.5)), drain()]
        with cache("memory", stack=True):
            types = [type(layer).__name__ for layer in cache().stack]
            third = [shown(energy(700.5)), drain()]
        energy.query(700.5).evict()
        left = energy.contains(700.5)
    with cache(files.readonly().push(memory)):
        pushed = [type(cache()).__name__, shown(energy(200.5)), drain()]
    with cache(stack):
        unknown = [outcome(cache().load, "f" * 64), outcome(cache().load_value, "e" * 64)]
        opaque = [outcome(energy, Opaque()), outcome(energy.digest, Opaque()), drain()]
    return {
        "before": before,
        "after": after,
        "hit": hit,
        "types": types,
        "third": third,
        "left": left,
        "pushed": pushed,
        "nested": outcome(CacheStack, (stack, files)),
        "pushed stack": outcome(files.push, stack),
        "unknown": unknown,
        "opaque": opaque,
        "values": outcome(stack.load_value, digest(700.5)),
    }


def main() -> None:
    Path("fleche.toml").write_text(CONFIG)
    log = Log()
    with cache("files"):
        files = cache()
    with cache("stack"):
        stack = cache()
    pool = new_pool()
    document: dict[str, object] = {"wrapped": wrap_executor(pool) is pool}
    with pool:
        found = in_the_pool(pool, files)
        document["computed"] = found.pop("computed")
        document["pool"] = [found, log.drain()]
        document["stack"] = [over_files(pool, stack), log.drain()]
    document["moved"] = [moved(stack), log.drain()]
    document["interned"] = [cache("stack") is None, cache() is stack]
    document["configuration"] = [
        [sorted(layer) for layer in cache_to_config(stack)],
        cache_from_config(cache_to_config(stack)[1]) == files,
    ]
    report(document)


if __name__ == "__main__":
    main()
