"""Servers that are killed, stopped and started again, and processes that fork meanwhile."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import BaseCache
from fleche.config import cache_from_config
from fleche.storage.buckets import place as places
from tests.s3_servers import S3Server, running_seaweedfs

RUNS: list[Any] = []


@fleche
def tripled(x: Any) -> Any:
    RUNS.append(x)
    return 3 * x


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """A server that may be killed."""
    with running_seaweedfs() as server:
        yield server


@pytest.fixture
def held(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> BaseCache:
    monkeypatch.setattr(places, "_REST", 0.0)
    RUNS.clear()
    place = {"url": f"s3://{server.new_bucket()}", "endpoint": server.endpoint}
    return cache_from_config({"template": "bucket", **place, "timeout": 2.0})


def test_a_server_that_stands_still_holds_nobody_up(
    server: S3Server, held: BaseCache, caplog: pytest.LogCaptureFixture
) -> None:
    with cache(held):
        tripled(1)
        server.signal(signal.SIGSTOP)
        begun = time.monotonic()
        assert (tripled(1), tripled(2)) == (3, 6)
        took = time.monotonic() - begun
        server.signal(signal.SIGCONT)
        # Two calls, of a few requests each that give up after two seconds.
        assert took < 60
        assert "timeout" in caplog.text or "out of reach" in caplog.text
        # It takes its time to wake up.
        end = time.monotonic() + 60
        RUNS.append(1)
        while RUNS and time.monotonic() < end:
            RUNS.clear()
            assert tripled(1) == 3
        assert RUNS == []


def test_a_server_that_is_killed_and_comes_back(
    server: S3Server, held: BaseCache, caplog: pytest.LogCaptureFixture
) -> None:
    with cache(held):
        tripled(1)
        server.kill()
        assert tripled(2) == 6
        assert "out of reach" in caplog.text
        server.start()
        assert (tripled(1), tripled(2)) == (3, 6)
    assert RUNS[:2] == [1, 2]


def test_forks_in_the_middle_of_requests(held: BaseCache) -> None:
    calls: Any = held.calls  # type: ignore[attr-defined]
    with cache(held):
        tripled(1)
    (key,) = calls.list()
    ended = threading.Event()
    found: list[Any] = []

    def ask() -> None:
        while not ended.is_set():
            found.append(calls.get(key).name)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    status = 0 if calls.get(key).name == "tripled" else 2
                finally:
                    os._exit(status)
            end = time.monotonic() + 60
            while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
                assert time.monotonic() < end, "the child hangs"
                time.sleep(0.01)
            assert done == (child, 0)
            assert calls.get(key).name == "tripled"
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert set(found) == {"tripled"}
