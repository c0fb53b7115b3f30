"""Sixteen threads and eight processes at work on one SQLite file."""

from __future__ import annotations

import multiprocessing
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleche.call import Call, DigestedCall, QueryCall
from fleche.digest import digest
from fleche.storage import Sql

THREADS, PROCESSES = 16, 8
SECONDS = 8.0
SHARED = 20


def record(worker: int, number: int, version: int) -> DigestedCall:
    """A record of a worker's; saved again with another result, it replaces the one before."""
    metadata = {"tags": {"worker": worker, "version": version}}
    return Call(
        "f", {"worker": worker, "number": number}, metadata, "m", 1, result=version
    ).digest()


def work(storage: Sql, worker: int, end: float) -> dict[str, int]:
    """Save, load, query and evict; gives the versions of the records that must be there."""
    choose = random.Random(worker)
    held: dict[str, tuple[int, int]] = {}
    version = 0
    # Every worker has done some of each, however slow the machine is.
    while time.monotonic() < end or version < 40:
        version += 1
        number = choose.randrange(30)
        mine = record(worker, number, version)
        key = storage.save(mine)
        held[key] = number, version
        assert storage.load(key) == mine
        # One that all workers replace: whoever's it is, it is whole.
        storage.save(record(-1, version % SHARED, worker))
        common = storage.load(record(-1, version % SHARED, 0).to_lookup_key())
        owner = common.metadata["tags"]["version"]
        assert common == record(-1, version % SHARED, owner)
        if version % 5 == 0:
            gone = choose.choice(list(held))
            storage.evict(gone)
            del held[gone]
            assert not storage.contains(gone)
        if version % 20 == 0:
            found = storage.query(QueryCall(arguments={"worker": worker}))
            assert {call.to_lookup_key() for call in found} == set(held)
            tagged = storage.query(QueryCall(metadata={"tags": {"worker": worker}}))
            assert {call.to_lookup_key() for call in tagged} == set(held)
    return {key: version for key, (_, version) in held.items()}


def process(path: Path, worker: int, end: float, answers: multiprocessing.Queue) -> None:
    answers.put(work(Sql(str(path)), worker, end))


def test_nothing_fails_and_nothing_is_lost(tmp_path):
    path = tmp_path / "calls.db"
    storage = Sql(str(path))
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    end = time.monotonic() + SECONDS
    children = [
        context.Process(target=process, args=(path, THREADS + number, end, answers))
        for number in range(PROCESSES)
    ]
    for child in children:
        child.start()
    with ThreadPoolExecutor(THREADS) as pool:
        # Half of them with a storage, and so connections, of their own.
        threads = [
            pool.submit(work, storage if number % 2 else Sql(str(path)), number, end)
            for number in range(THREADS)
        ]
        expected = [thread.result() for thread in threads]
    expected += [answers.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
        assert child.exitcode == 0

    versions = {key: version for held in expected for key, version in held.items()}
    everything = {call.to_lookup_key(): call for call in storage.query(QueryCall())}
    assert set(everything) == set(storage.list())
    common = {key for key, call in everything.items() if call.arguments["worker"] == digest(-1)}
    assert len(common) == SHARED
    assert set(everything) - common == set(versions)
    for key, version in versions.items():
        assert everything[key].result == digest(version, typed=True)
        assert everything[key].metadata["tags"]["version"] == version
