"""Many threads, some of them over SSH, on one store."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fleche.caches import Cache
from tests.stress import workload

STEPS = 60


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is found, and left alone, thousands of times is no news."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def test_everything_at_once(remote):
    store = remote.store()
    assert isinstance(store, Cache)
    shared = remote.cache()
    # Three threads on one connection, two servers more, and one that needs none.
    caches = [shared, shared, shared, remote.cache(), remote.cache(), store]
    with ThreadPoolExecutor(len(caches)) as pool:
        work = [
            pool.submit(workload.Worker(cache, number).run, STEPS)
            for number, cache in enumerate(caches)
        ]
        saved = set().union(*(each.result(300) for each in work))
    assert saved
    workload.check_record_by_record(store, saved)
