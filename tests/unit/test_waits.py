"""Waits for others: no longer than `lock_timeout`, and until Ctrl-C at most."""

from __future__ import annotations

import fcntl
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

PROGRAM = """
import os, signal, sys, threading, time
from fleche import cache, fleche
from fleche.config import cache_from_config
from fleche.caches import Rejected
from fleche.storage import SaveError
timeout, what, interrupt = float(sys.argv[1]), sys.argv[2], sys.argv[3] == "interrupt"
files = {"type": "pickle", "lock_timeout": timeout}
bags = {"type": "bagofholding_hdf", "prefix_length": 1, "lock_timeout": timeout}
values = {**(bags if "bags" in sys.argv else files), "root": "values"}
calls = {"type": "sql", "url": sys.argv[4], "lock_timeout": timeout}
store = cache_from_config(
    {"values": values, "calls": calls if sys.argv[4] else {**files, "root": "calls"}}
)
@fleche
def f(x):
    return [x]

cache(store)
def hold(held, over, holding):
    with holding:
        held.set()
        over.wait()

if what == "prepare":
    f(0)
    sys.exit()
with_key = f.digest(1)
works = {
    "save": lambda: f(1),
    "evict": lambda: store.evict(f.digest(0)),
    "gc": lambda: store.gc(),
    "key": lambda: store.save(f.call(1)),
}
if what == "key":
    held, over = threading.Event(), threading.Event()
    holder = store._operation_context(with_key)
    threading.Thread(target=hold, args=(held, over, holder), daemon=True).start()
    held.wait()
if what == "gc":
    store.values.save(["garbage"])
print("waits", flush=True)
sent = []
if interrupt:
    def send():
        time.sleep(0.3)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=send, daemon=True).start()
since = time.monotonic()
try:
    works[what]()
    print("done", end=" ")
except KeyboardInterrupt:
    since = sent[0]
    print("interrupted", end=" ")
except (SaveError, Rejected, OSError) as error:
    print("refused", end=" ")
print(time.monotonic() - since)
sys.stdout.flush()
os._exit(0)
"""


def run(folder: Path, timeout: float, what: str, place: str = "", interrupt: str = "") -> list[str]:
    where = ["", place] if place == "bags" else [place]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(timeout), what, interrupt, *where],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[1:]


@contextmanager
def locked(*paths: Path) -> Iterator[None]:
    """As a process holds them that was suspended."""
    files = [path.open("a+") for path in paths]
    try:
        for file in files:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        for file in files:
            file.close()


@contextmanager
def in_use(database: Path) -> Iterator[None]:
    """As a process uses it that was suspended while it saved."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def collection(folder: Path) -> object:
    return locked(folder / "values" / ".locks" / "collection")


def keys(folder: Path) -> object:
    return locked(*(folder / "calls" / ".locks" / digit for digit in "0123456789abcdef"))


def bag_locks(folder: Path) -> object:
    return locked(*(folder / "values" / f"{digit}.h5.lock" for digit in "0123456789abcdef"))


def database(folder: Path) -> object:
    return in_use(folder / "calls.db")


WAITS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "a save, for a collection": ("save", "", collection),
    "a save, for a file": ("save", "", keys),
    "a save, for bags": ("save", "bags", bag_locks),
    "a save, for a database": ("save", "calls.db", database),
    "a collection, for those who save": ("gc", "", collection),
    "an eviction, for a file": ("evict", "", keys),
    "an eviction, for a database": ("evict", "calls.db", database),
}


@pytest.mark.parametrize("wait", WAITS)
class TestWaits:
    def test_as_long_as_allowed(self, wait: str, tmp_path: Path) -> None:
        what, place, held = WAITS[wait]
        run(tmp_path, 1.0, "prepare", place)
        with held(tmp_path):  # type: ignore[attr-defined]
            outcome, seconds = run(tmp_path, 0.5, what, place)
        # A call returns, with a warning; anything else says that it failed.
        assert outcome == ("done" if what == "save" else "refused")
        assert 0.5 <= float(seconds) < 1.4

    def test_until_an_interrupt(self, wait: str, tmp_path: Path) -> None:
        what, place, held = WAITS[wait]
        run(tmp_path, 1.0, "prepare", place)
        with held(tmp_path):  # type: ignore[attr-defined]
            outcome, seconds = run(tmp_path, 60.0, what, place, "interrupt")
        assert outcome == "interrupted"
        assert float(seconds) < 0.2
        # Nothing is left of it.
        assert run(tmp_path, 60.0, "save", place)[0] == "done"


def test_a_thread_that_waits_for_another_one_is_interrupted(tmp_path: Path) -> None:
    outcome, seconds = run(tmp_path, 60.0, "key", "", "interrupt")
    assert outcome == "interrupted"
    assert float(seconds) < 0.2


class TestServers:
    """A record that another client is about to change, and was suspended."""

    @pytest.fixture(params=["postgresql", "mariadb"])
    def url(self, request: pytest.FixtureRequest) -> str:
        url: str = request.getfixturevalue(request.param).new_database()
        return url

    @contextmanager
    def in_use(self, url: str) -> Iterator[None]:
        import sqlalchemy

        scheme, _, rest = url.partition("://")
        driver = {"postgresql": "psycopg", "mariadb": "pymysql"}[scheme]
        engine = sqlalchemy.create_engine(f"{scheme}+{driver}://{rest}")
        with engine.connect() as other:
            for table in ("arguments", "metadata", "calls", "fleche_order"):
                other.execute(sqlalchemy.text(f"DELETE FROM {table}"))
            yield
            other.rollback()
        engine.dispose()

    def test_as_long_as_allowed(self, url: str, tmp_path: Path) -> None:
        run(tmp_path, 1.0, "prepare", url)
        with self.in_use(url):
            since = time.monotonic()
            outcome, seconds = run(tmp_path, 1.0, "evict", url)
        assert outcome == "refused", since
        assert 0.9 <= float(seconds) < 3.0

    def test_until_an_interrupt(self, url: str, tmp_path: Path) -> None:
        run(tmp_path, 1.0, "prepare", url)
        with self.in_use(url):
            outcome, seconds = run(tmp_path, 60.0, "evict", url, "interrupt")
        assert outcome == "interrupted"
        assert float(seconds) < 0.2
        assert run(tmp_path, 60.0, "save", url)[0] == "done"
