"""What buckets cost, on SeaweedFS: hits, misses, looking up many calls, values of 100 MB, queries.

Beside each stands the same number of bare requests of the client that they are made with, as the
floor, in turns; and, where it is installed, those of `obstore`.

    python -m tests.benchmarks.buckets
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from fleche import cache, fleche
from fleche.call import Call
from fleche.config import cache_from_config
from tests.s3_servers import ACCESS, SECRET, running_seaweedfs

ROUNDS = 300


@fleche
def answer(x: int) -> float:
    """A call whose result is small."""
    return x / 7


def timed(work: Callable[[], Any]) -> float:
    """How long something takes, in seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turns(rounds: int, *works: Callable[[], Any]) -> list[float]:
    """The median time of each, in seconds, made in turns."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for each, work in zip(times, works, strict=True):
            each.append(timed(work))
    return [statistics.median(each) for each in times]


def shown(what: str, ours: float, floor: float, unit: float = 1e3, name: str = "ms") -> None:
    """Print a line."""
    print(f"{what:<42} {ours * unit:10.2f} {name}  floor {floor * unit:10.2f} {name}  "
          f"ratio {ours / floor:5.2f}", flush=True)  # fmt: skip


def main() -> None:
    """Measure, and print."""
    os.environ.update(AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET)
    os.environ["AWS_REGION"] = "us-east-1"
    with running_seaweedfs() as server, tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        settings = {"url": f"s3://{server.new_bucket()}", "endpoint": server.endpoint}
        held: Any = cache_from_config({"template": "bucket", **settings})
        calls = held.calls
        bucket = calls._at.bucket
        with cache(held):
            answer(0)
            answer(0)
            (key,) = calls.list()
            path = calls._path(key)
            hit, floor = in_turns(ROUNDS, lambda: answer(0), lambda: bucket.get(path))
            shown("hit, against one GET", hit, floor)
            try:
                import obstore
                from obstore.store import S3Store

                there = f"{settings['url'].split('/')[3]}/{path}"
                store = S3Store(
                    settings["url"].split("/")[2],
                    endpoint=server.endpoint,
                    client_options={"allow_http": True},
                )
                hit, floor = in_turns(
                    ROUNDS, lambda: answer(0), lambda: obstore.get(store, there).bytes()
                )
                shown("hit, against one GET of obstore", hit, floor)
            except ImportError:
                print("obstore is not installed")
            numbers = iter(range(1, 10**9))

            def missed() -> None:
                answer(next(numbers))

            def four() -> None:
                number = next(numbers)
                bucket.get(f"x/{number}")
                for part in ("a", "b", "c"):
                    bucket.create(f"x/{number}{part}", b"0" * 300)

            miss, floor = in_turns(ROUNDS, missed, four)
            shown("miss, against one GET and three PUT", miss, floor)
        keys = [*calls.list()][:256]
        paths = [calls._path(each) for each in keys]
        look, floor = in_turns(
            10, lambda: held._contains_many(keys), lambda: [bucket.version(each) for each in paths]
        )
        shown("looking up 256 calls, against one by one", look, floor)
        value = os.urandom(100_000_000)
        save, floor = in_turns(
            3,
            lambda: held.save(Call("f", {"x": next(numbers)}, result=value + bytes(4))),
            lambda: bucket.overwrite(f"x/{next(numbers)}", value),
        )
        shown("100 MB saved (again), against one write", save, floor)
        other = os.urandom(100_000_000)
        first = timed(lambda: held.values.save(other))
        shown("100 MB saved (new), against one write", first, floor)
        digest = held.values.save(value)
        where = held.values._path(digest)
        load, floor = in_turns(5, lambda: held.values.load(digest), lambda: bucket.get(where))
        shown("100 MB loaded, against one GET", load, floor)
        queries(settings)


def queries(settings: dict[str, Any]) -> None:
    """10,000 records, queried by somebody who has seen none, and again."""
    config = {"template": "bucket", **settings, "url": settings["url"] + "/q"}
    writer: Any = cache_from_config(config)
    records = [Call("f", {"x": x}, result=x / 3).digest() for x in range(10_000)]
    index = writer.calls._index
    for record in records:
        index.told(record.to_lookup_key(), record, lambda: None)
    # What is queried are records: that they are there is asked of a list of them.
    bucket = writer.calls._at.bucket
    entries = writer.calls._entries
    from concurrent.futures import ThreadPoolExecutor

    from fleche.storage.buckets.entries import pack

    def put(record: Any) -> None:
        key = record.to_lookup_key()
        path = writer.calls._path(key)
        bucket.overwrite(path, entries.encode(pack(entries.dumps(record, path), {})))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, records))
    index.flush()
    reader: Any = cache_from_config(config)
    first = timed(lambda: reader.query(name="f", arguments={"x": 5}).count())
    again = [timed(lambda: reader.query(name="f", arguments={"x": 5}).count()) for _ in range(20)]
    whole = [timed(lambda: reader.query(name="f").count()) for _ in range(3)]
    print(f"10,000 records, the first query {first:.2f} s, later ones "
          f"{statistics.median(again) * 1e3:.1f} ms, of all "
          f"{statistics.median(whole) * 1e3:.0f} ms", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
