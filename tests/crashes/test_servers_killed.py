"""Database servers that are killed while they are written to, and started again."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleche.caches import Cache, Rejected
from fleche.storage import Sql, ValueMemory
from tests.conftest import DatabaseServer, running_mariadb, running_postgresql

from .stores import call_of, key_of, version_in

KILLS, NUMBERS = 4, 6


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """One of the test's own, that keeps what it said that it has."""
    if request.param == "postgresql":
        running = running_postgresql()
    else:
        # Not only once a second, as it is set for the other tests.
        running = running_mariadb("--innodb-flush-log-at-trx-commit=2")
    with running as killable:
        yield killable


class Saver(threading.Thread):
    """Saves new versions of a record, one after the other, until it is told to stop."""

    def __init__(self, cache: Cache, number: int) -> None:
        super().__init__()
        self.cache, self.number = cache, number
        self.version, self.saved, self.failures = 0, 0, 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            self.version += 1
            try:
                self.cache.save(call_of(self.number, self.version))
                self.saved = self.version
            except (OSError, Rejected):
                self.failures += 1
                time.sleep(0.01)


def test_killed_under_load(server: DatabaseServer) -> None:
    """What was saved is there, what was being saved is there whole or not at all."""
    url = server.new_database()
    cache = Cache(ValueMemory({}), Sql(url, lock_timeout=0.5))
    savers = [Saver(cache, number) for number in range(NUMBERS)]
    for saver in savers:
        saver.start()
    choose = random.Random(5)
    try:
        for _ in range(KILLS):
            before = [saver.saved for saver in savers]
            deadline = time.monotonic() + 60
            while any(s.saved < b + 3 for s, b in zip(savers, before, strict=True)):
                assert time.monotonic() < deadline, "the server does not answer any more"
                time.sleep(0.01)
            time.sleep(choose.random() * 0.05)
            server.process.kill()
            server.process.start()
            assert server.process.listening
    finally:
        for saver in savers:
            saver.done.set()
        for saver in savers:
            saver.join()
    again = Cache(cache.values, Sql(url))
    for saver in savers:
        version = version_in(again, key_of(saver.number), saver.number)
        assert version in range(saver.saved, saver.version + 1)
    assert len(list(again.query(name="work"))) == NUMBERS
    for held in (cache, again):
        held.calls._store.close()  # type: ignore[attr-defined]


def test_suspended(server: DatabaseServer) -> None:
    """A server that does not answer stalls nobody for longer than lock_timeout and little more."""
    cache = Cache(ValueMemory({}), Sql(server.new_database(), lock_timeout=0.5))
    cache.save(call_of(0, 1))
    processes = [server.process.id, *_children_of(server.process.id)]
    for each in processes:
        os.kill(each, signal.SIGSTOP)
    try:
        for work in (
            lambda: cache.save(call_of(0, 2)),
            lambda: Sql(cache.calls.url, lock_timeout=0.5).list(),  # type: ignore[attr-defined]
        ):
            began = time.monotonic()
            with pytest.raises((OSError, Rejected), match="has not answered within"):
                work()
            assert time.monotonic() - began < 12
    finally:
        for each in processes:
            os.kill(each, signal.SIGCONT)
    assert version_in(cache, key_of(0), 0) in (1, 2)
    cache.save(call_of(0, 3))
    assert version_in(cache, key_of(0), 0) == 3
    cache.calls._store.close()  # type: ignore[attr-defined]


def _children_of(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(each) for each in found.split()]
