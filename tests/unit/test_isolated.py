"""`@fleche(isolate=True)`: a directory of its own for each call, whoever else calls meanwhile."""

from __future__ import annotations

import logging
import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleche import cache, fleche
from fleche.caches import Cache
from fleche.wrapper import isolated as _isolated

from .calls import memory_cache


@pytest.fixture(autouse=True)
def active() -> Iterable[Cache]:
    held = memory_cache()
    with cache(held):
        yield held


@pytest.fixture
def cwd_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "fleche" / "cwd"


def test_isolated_calls_run_in_a_fresh_directory(cwd_root: Path) -> None:
    @fleche(isolate=True)
    def f(x: int) -> str:
        assert os.listdir() == []
        Path("left.txt").write_text("left")
        return os.getcwd()

    before = os.getcwd()
    where = Path(f(1))
    assert where.parent == cwd_root
    assert where.name.startswith(f.digest(1))
    assert os.getcwd() == before
    assert list(cwd_root.iterdir()) == []


def test_what_a_killed_process_left_goes_after_a_day(
    cwd_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @fleche(isolate=True)
    def f(x: int) -> str:
        Path("left.txt").write_text("left")
        return os.getcwd()

    program = """
import os, signal, sys
from fleche.wrapper.isolated import fresh_directory
with fresh_directory("f"):
    open("left.txt", "w").close()
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    print("in", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", program]
    subprocess.run([*command, "killed"], check=False)
    (killed,) = cwd_root.glob("f_*")
    with subprocess.Popen(
        [*command, "lives"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as living:
        assert living.stdout is not None
        assert living.stdout.readline() == b"in\n"
        for lock in cwd_root.glob(".*.lock"):
            os.utime(lock, (0, 0))
        monkeypatch.setattr(_isolated, "_swept", {})
        f(1)
        (left,) = cwd_root.glob("f_*")
        assert left != killed
        assert (left / "left.txt").exists()
        living.communicate()
    assert list(cwd_root.iterdir()) == []


def test_what_cannot_be_locked_may_be_in_use(
    cwd_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without locks nobody's directory is removed."""
    in_use = cwd_root / "f_of_somebody"
    in_use.mkdir(parents=True)
    lock = cwd_root / ".f_of_somebody.lock"
    lock.touch()
    os.utime(lock, (0, 0))

    class NoLock:
        is_held = False

        def release(self) -> None: ...

    monkeypatch.setattr(_isolated, "_swept", {})
    monkeypatch.setattr(_isolated._core, "lock_file", lambda *_: NoLock())
    with _isolated.fresh_directory("f"):
        assert in_use.exists()
    assert in_use.exists()


def test_isolated_calls_that_fail_leave_nothing(cwd_root: Path) -> None:
    @fleche(isolate=True)
    def f() -> None:
        Path("left.txt").write_text("left")
        raise ZeroDivisionError

    before = os.getcwd()
    with pytest.raises(ZeroDivisionError):
        f()
    assert os.getcwd() == before
    assert list(cwd_root.iterdir()) == []


def test_a_hit_makes_no_directory(cwd_root: Path) -> None:
    @fleche(isolate=True)
    def f() -> str:
        return os.getcwd()

    f()
    cwd_root.rmdir()
    f()
    assert not cwd_root.exists()


def test_uncached_calls_are_isolated_too(cwd_root: Path) -> None:
    f = fleche(isolate=True)(lambda x: os.getcwd())
    assert Path(f(object())).parent == cwd_root


# Threads


def test_calls_in_threads_never_share_a_directory(cwd_root: Path, active: Cache) -> None:
    met = threading.Barrier(4)

    @fleche(isolate=True)
    def f(x: int) -> int:
        Path("out.txt").write_text(str(x))
        threading.Event().wait(0.002)
        return int(Path("out.txt").read_text())

    def work(first: int) -> list[int]:
        met.wait()
        with cache(active):
            return [f(x) for x in range(first, first + 10)]

    before = os.getcwd()
    with ThreadPoolExecutor(4) as pool:
        returned = list(pool.map(work, range(0, 40, 10)))
    assert returned == [list(range(first, first + 10)) for first in range(0, 40, 10)]
    assert all(call.arguments["x"] == call.result for call in active.query())
    assert os.getcwd() == before
    assert list(cwd_root.iterdir()) == []


def test_calls_inside_of_others_have_directories_of_their_own(cwd_root: Path) -> None:
    @fleche(isolate=True)
    def fib(n: int) -> int:
        Path("n.txt").write_text(str(n))
        result = n if n < 2 else fib(n - 1) + fib(n - 2)
        assert os.listdir() == ["n.txt"]
        assert Path("n.txt").read_text() == str(n)
        return result

    assert fib(6) == 8
    assert list(cwd_root.iterdir()) == []


def test_one_that_waits_long_is_told_for_what(
    cwd_root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_isolated, "PATIENCE", 0.01)
    begun, told = threading.Event(), threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    @fleche(isolate=True, hash_code=False)
    def first(x: int) -> int:
        begun.set()
        assert told.wait(60)
        return x

    second = fleche(isolate=True)(lambda x: x)
    handler = Told()
    logging.getLogger("fleche").addHandler(handler)
    thread = threading.Thread(target=first, args=(1,))
    thread.start()
    assert begun.wait(60)
    assert second(2) == 2
    thread.join()
    logging.getLogger("fleche").removeHandler(handler)
    [warning] = [r.getMessage() for r in caplog.records if "isolated" in r.getMessage()]
    assert "take turns" in warning


# Forks


def test_a_child_forked_inside_leaves_the_directory_to_its_parent(cwd_root: Path) -> None:
    @fleche(isolate=True)
    def f(x: int) -> tuple[int, list[str]]:
        Path("mine.txt").write_text("here")
        return (os.fork() or -1), os.listdir()

    parent = os.getpid()
    before = os.getcwd()
    child, found = f(1)
    if os.getpid() != parent:
        # The end of the call, in the child.
        os._exit(0 if os.getcwd() == before else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert found == ["mine.txt"]


def test_a_child_forked_meanwhile_is_where_the_program_was(cwd_root: Path) -> None:
    begun, forked = threading.Event(), threading.Event()

    @fleche(isolate=True, hash_code=False)
    def f(x: int) -> bool:
        here = os.getcwd()
        begun.set()
        assert forked.wait(60)
        return os.path.isdir(here)

    before = os.getcwd()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(f, 1)
        assert begun.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            # No turn is taken in here by a thread that is not.
            with _isolated.fresh_directory("child"):
                inside = os.getcwd()
            os._exit(0 if os.getcwd() == before and inside != before else 1)
        status = os.waitpid(child, 0)[1]
        forked.set()
        assert running.result()
    assert status == 0
    assert os.getcwd() == before


# Places


def test_without_a_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    f = fleche(isolate=True)(lambda x: os.getcwd())
    assert Path(f(1)).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("home", ["/dev/null/home", "relative"])
def test_with_a_home_folder_that_is_none(
    home: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative, which counts as unset")
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    f = fleche(isolate=True)(lambda x: os.getcwd())
    assert Path(f(1)).parent == tmp_path


def test_where_the_working_directory_is_gone(cwd_root: Path, tmp_path: Path) -> None:
    code = """
import os
from fleche import cache, fleche
cache("memory")
os.mkdir("gone")
os.chdir("gone")
os.rmdir("../gone")
f = fleche(isolate=True)(lambda x: os.listdir())
assert f(1) == []
os.chdir("..")
assert "gone" not in os.listdir()
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
