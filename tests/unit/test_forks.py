"""Programs that fork: nothing hangs, nothing is lost, and nothing stays locked."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import fleche

STORES = {
    "pickle": '{"template": "pickle", "root": "store"}',
    "sqlite": '{"template": "sqlite", "root": "store"}',
    "bags": '{"template": "bagofholding_hdf", "root": "store"}',
}

BEGIN = """
import ctypes, faulthandler, os, signal, sys, threading, time, warnings
from fleche import cache, fleche
from fleche.config import cache_from_config
warnings.simplefilter("ignore")
signal.alarm(100)
ran = []

@fleche
def f(x):
    ran.append(x)
    return [x]

def fill(first, count=200):
    for x in range(first, first + count):
        assert f(x) == [x]
"""


def run(code: str, folder: Path, store: str = "sqlite") -> str:
    program = f"{BEGIN}\nstore = cache_from_config({STORES[store]})\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "FLECHE_CONFIG": os.devnull},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def check(folder: Path, count: int) -> None:
    """The database in a folder is whole, and holds so many calls."""
    with closing(sqlite3.connect(folder / "store" / "cache.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM calls").fetchone() == (count,)


def test_children_go_on_after_the_end_of_their_parent(tmp_path: Path) -> None:
    run(
        """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor  # at the end, it waits before we close
cache(store)
f(-1)
context = multiprocessing.get_context("fork")
for k in (0, 1):
    context.Process(target=fill, args=(1000 * k,)).start()
fill(5000, 20)
""",
        tmp_path,
    )
    check(tmp_path, 1 + 2 * 200 + 20)


WAYS = {
    "os.fork": "os.fork()",
    "twice": "os.fork() or (os.setsid() or os.fork() and os._exit(0)) or 0",
    "in C": "ctypes.PyDLL(None).fork()",
    "daemon(3)": "ctypes.PyDLL(None).daemon(1, 1)",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("store", STORES)
def test_a_daemon_and_its_neighbours(way: str, store: str, tmp_path: Path) -> None:
    """The parent ends, while the child and an unrelated process go on."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    count = 20 if store == "bags" else 200
    code = f"""
import subprocess
cache(store)
f(-1)
if {WAYS[way]}:
    sys.exit()
signal.alarm(100)
f(-2)
other = subprocess.Popen([sys.executable, "-c", CODE.replace("FIRST", "100000")])
fill(0, {count})
assert other.wait() == 0
os.write({writer}, b"done")
os._exit(0)
"""
    other = f"{BEGIN}\ncache(cache_from_config({STORES[store]}))\nfill(FIRST, {count})\n"
    program = f"{BEGIN}\nstore = cache_from_config({STORES[store]})\nCODE = {other!r}\n{code}"
    with (tmp_path / "errors").open("w") as errors:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            timeout=120,
            pass_fds=[writer],
            check=False,
        )
    os.close(writer)
    with open(reader, "rb") as said:
        assert said.read() == b"done", (tmp_path / "errors").read_text()
    assert done.returncode == 0
    found = run(f"cache(store)\nfill(-2, 2)\nfill(0, {count})\nprint(len(ran))", tmp_path, store)
    assert found == "0\n"
    if store == "sqlite":
        check(tmp_path, 2 + 2 * count)


@pytest.mark.parametrize("store", STORES)
def test_a_thread_makes_its_first_call(store: str, tmp_path: Path) -> None:
    """Modules are imported inside of it; at each of them another thread forks."""
    out = run(
        """
from importlib.abc import MetaPathFinder
stands, forked = threading.Event(), threading.Event()
thread = threading.Thread(target=lambda: (cache(store), f(0), stands.set()))
places = []

class Finder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is thread and not forked.is_set():
            places.append(name)
            stands.set()
            forked.wait(0.05)
        return None

sys.meta_path.insert(0, Finder())
thread.start()
children = []
while thread.is_alive():
    if not stands.wait(0.001):
        continue
    stands.clear()
    child = os.fork()
    if child == 0:
        sys.meta_path.pop(0)
        signal.alarm(60)
        status = 1
        try:
            cache(store)
            f(1 + len(children))
            status = 0
        finally:
            os._exit(status)
    children.append(child)
    forked.set()
    forked.clear()
assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
print(len(children))
""",
        tmp_path,
        store,
    )
    assert int(out) > 0


@pytest.mark.parametrize("prefix_length", [0, 1])
def test_an_idle_worker_holds_no_bag(prefix_length: int, tmp_path: Path) -> None:
    """It was forked while a thread saved bags, and lives on."""
    run(
        f"""
import fcntl, numpy, pathlib
part = {{"type": "bagofholding_hdf", "prefix_length": {prefix_length}, "lock_timeout": 60}}
store = cache_from_config(
    {{"values": {{**part, "root": "values"}}, "calls": {{**part, "root": "calls"}}}})

@fleche
def large(x):
    return numpy.full(100_000, x)

done = threading.Event()

def work():
    with cache(store):
        while not done.is_set():
            large(len(ran))
            ran.append(0)

thread = threading.Thread(target=work)
thread.start()
while len(ran) < 2:
    time.sleep(0.001)
wait, idle = os.pipe()
workers = []
for number in range(8):
    time.sleep(0.003 * number)
    if (worker := os.fork()) == 0:
        os.close(idle)
        os.read(wait, 1)
        os._exit(0)
    workers.append(worker)
done.set()
thread.join()
for path in [*pathlib.Path().glob("*/*"), *pathlib.Path().glob("*/.locks/*")]:
    if path.is_file():
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
store.gc()
assert len(list(store.query())) == len(ran)
os.close(idle)
for worker in workers:
    assert os.waitpid(worker, 0)[1] == 0
""",
        tmp_path,
    )


def test_code_of_users_in_a_bag_does_not_keep_a_fork(tmp_path: Path) -> None:
    """It forks itself; the file that is being written stays the parent's alone."""
    run(
        """
import fcntl, pathlib

class Forks:
    def __digest__(self):
        return "forks"

    def __reduce__(self):
        global child, idle
        wait, idle = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(idle)
            os.read(wait, 1)
            sys.exit()
        return Forks, ()

@fleche
def g(x):
    return {"a": list(range(50)), "forks": Forks()}

cache(store)
g(1)
files = [path for path in pathlib.Path("store/values").glob("*") if path.is_file()]
before = {path: path.read_bytes() for path in files}
for path in files:
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.close(idle)
assert os.waitpid(child, 0)[1] == 0
assert before == {path: path.read_bytes() for path in files}
""",
        tmp_path,
        "bags",
    )


def test_many_forks_in_a_row_with_one_connection_each(tmp_path: Path) -> None:
    """Files, and what stands for them, do not pile up."""
    run(
        """
cache(store)
f(0)
before = len(os.listdir("/proc/self/fd"))
for number in range(30):
    child = os.fork()
    if child == 0:
        f(1 + number)
        os._exit(len(os.listdir("/proc/self/fd")) > before)
    f(1000 + number)
    assert os.waitpid(child, 0)[1] == 0
assert len(os.listdir("/proc/self/fd")) <= before
""",
        tmp_path,
    )
    check(tmp_path, 61)


def test_nothing_is_made_while_others_wait_for_it() -> None:
    """What `functools.cached_property` makes is, in Python 3.11, made under a lock."""
    package = Path(fleche.__file__).parent
    for path in package.rglob("*.py"):
        assert "@functools.cached_property" not in path.read_text(), path
