"""A store that the reference filled, used and moved by many at once: nothing is computed again."""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import Cache
from fleche.storage import CallPickleFile, Sql, ValuePickleFile
from tests.unit.schemes import scheme

CALLS, THREADS, PROCESSES = 60, 3, 3
ran: list[Any] = []


def opened(kind: str, folder: Path) -> Cache:
    values = ValuePickleFile(folder / "values")
    if kind == "sqlite":
        return Cache(values, Sql(str(folder / "calls.db")))
    return Cache(values, CallPickleFile(folder / "calls"))


@fleche
def work(x: float, label: list[str]) -> dict[str, Any]:
    ran.append(x)
    return {"x": x, "rows": [[x, label], [-x, label]]}


def arguments(number: int) -> tuple[float, list[str]]:
    return number + 0.25, [f"label {number}"]


def use(kind: str, folder: Path, seed: int) -> list[Any]:
    """Makes every call, in an order of its own, from several threads; gives what ran."""
    ran.clear()
    held = opened(kind, folder)
    numbers = [*range(CALLS)] * 3
    random.Random(seed).shuffle(numbers)

    def call(number: int) -> None:
        x, label = arguments(number)
        with cache(held):
            assert work(x, label) == {"x": x, "rows": [[x, label], [-x, label]]}

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(call, numbers))
    return [*ran]


def use_in_a_process(kind: str, folder: Path, seed: int, told: Any) -> None:
    told.put(use(kind, folder, seed))


@pytest.mark.parametrize("moving", [False, True], ids=["used", "moved meanwhile"])
@pytest.mark.parametrize("kind", ["pickle", "sqlite"])
def test_every_call_is_found_by_everybody(kind: str, moving: bool, tmp_path: Path) -> None:
    held = opened(kind, tmp_path)
    with scheme("sha256"), cache(held):
        for number in range(CALLS):
            work(*arguments(number))
    spawn = multiprocessing.get_context("spawn")
    told = spawn.Queue()
    processes = [
        spawn.Process(target=use_in_a_process, args=(kind, tmp_path, seed, told))
        for seed in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    while moving and any(process.is_alive() for process in processes):
        held.redigest()
        held.gc()
    computed = [told.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    assert computed == [[]] * PROCESSES
    held.redigest()
    held.gc()
    assert not held.calls._may_hold("sha256")
    assert len(list(held.calls.list())) == CALLS
    assert use(kind, tmp_path, 99) == []
