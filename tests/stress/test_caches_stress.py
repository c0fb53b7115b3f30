"""Many threads and many processes on one store: every kind of cache over every storage."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from fleche.caches import Cache
from fleche.config import cache_from_config

from . import workload

THREADS, PROCESSES = 4, 3
# How many steps each of them takes; bags are slow.
STEPS = {"memory": 400, "bag": 30, "bag, prefix": 30, "postgresql": 100}


def pair(values: dict[str, Any], calls: dict[str, Any]) -> dict[str, Any]:
    return {"values": values, "calls": calls}


def configured(kind: str, request: pytest.FixtureRequest, folder: str) -> dict[str, Any]:
    values, calls = f"{folder}/values", f"{folder}/calls"
    match kind:
        case "memory":
            return {"template": "memory"}
        case "pickle":
            return {"template": "pickle", "root": folder}
        case "signed, compressed":
            common = {"type": "cloudpickle", "secret_key": "5e" * 32, "compress": True}
            return pair({**common, "root": values}, {**common, "root": calls})
        case "bag":
            return {"template": "bagofholding_hdf", "root": folder}
        case "bag, prefix":
            bag = {"type": "bagofholding_hdf", "prefix_length": 1, "lock_timeout": 60.0}
            return pair({**bag, "root": values}, {**bag, "root": calls})
        case "sqlite":
            url = f"sqlite:///{folder}/calls.db"
            return pair({"type": "sqlite", "url": url}, {"type": "sql", "url": url})
        case _:
            url = request.getfixturevalue("postgresql").new_database()
            return pair({"type": "pickle", "root": values}, {"type": "sql", "url": url})


@pytest.fixture(
    params=["memory", "pickle", "signed, compressed", "bag", "bag, prefix", "sqlite", "postgresql"]
)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def _quiet():
    """What is found, and left alone, thousands of times is no news."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def config(kind, request, tmp_path) -> dict[str, Any]:
    return configured(kind, request, str(tmp_path))


@pytest.fixture
def store(kind, config) -> Iterator[Cache]:
    opened = cache_from_config(config)
    assert isinstance(opened, Cache)
    yield opened
    if kind in ("sqlite", "postgresql"):
        opened.calls._store.close()


@pytest.fixture
def processes(kind):
    """Runs functions in other processes, if the store is not in the memory of this one."""
    if kind == "memory":
        with ThreadPoolExecutor(1) as pool:
            yield lambda function, *arguments: pool.submit(set)
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
            yield pool.submit


def test_everything_at_once(kind, config, store, processes):
    steps = STEPS.get(kind, 200)
    work = [processes(workload.in_process, config, 100 + n, steps) for n in range(PROCESSES)]
    with ThreadPoolExecutor(THREADS) as pool:
        threads = [pool.submit(workload.Worker(store, n).run, steps) for n in range(THREADS)]
        saved = set().union(*(each.result(300) for each in threads + work))
    assert saved
    workload.check_record_by_record(store, saved)


def test_a_limited_store_keeps_the_newest(kind, config, store, processes):
    size, count = 7, 15
    work = [
        processes(workload.in_process_limited, config, size, 1000 * (n + 1), count)
        for n in range(PROCESSES)
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        mine = workload.limited(store, size)
        threads = [
            pool.submit(workload.fill, mine, 100_000 + 1000 * n, count) for n in range(THREADS)
        ]
        for each in threads + work:
            each.result(300)
    assert len(list(store.calls.list())) == size
    for call in store.query():
        number = call.result["number"]
        assert call.result == workload.expected(number)
        assert call.arguments["value"] == workload.argument(number)
        # Of each worker's calls these are among the last.
        assert number % 1000 >= count - size
