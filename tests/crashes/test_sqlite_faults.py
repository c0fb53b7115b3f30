"""SQLite's own system calls fail, one by one, and processes are killed before each of them."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sqlite3
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest

from fleche.caches import Rejected
from fleche.storage import SaveError

from .killing import HERE
from .stores import KINDS, OPERATIONS, copy, prepare, verify
from .watching import AtCall, watched

OPERATED = ("save", "save over", "evict", "gc", "read", "redigest from the reference")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
DOCUMENTED = (SaveError, Rejected, KeyError, OSError)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SQLite's calls are watched there")


class OfSqlite(AtCall):
    """Lets one system call of SQLite's fail; without a number it ends the process before it."""

    def __init__(self, which: int, number: int | None) -> None:
        super().__init__(which)
        self.number = number

    def __call__(self, name: str, path: Path) -> int | None:
        return super().__call__(name, path) if name.startswith("sqlite: ") else None

    def act(self, path: Path) -> int | None:
        if self.number is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.number


def run(name: str, root: Path, hook: OfSqlite) -> set[int]:
    """Opens a store and runs an operation; gives the records that are done."""
    done: set[int] = set()
    with contextlib.suppress(*DOCUMENTED), watched(hook, sqlite=True):
        store = KINDS["sqlite"](root)
        try:
            OPERATIONS[name].run(store, root, done.add)
        finally:
            store.calls._store.close()  # type: ignore[attr-defined]
    return done


def check(root: Path, name: str, done: set[int]) -> None:
    verify(root, name, "sqlite", done)
    with contextlib.closing(sqlite3.connect(root / "calls.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("shift", range(len(ERRORS)))
@pytest.mark.parametrize("name", OPERATED)
def test_a_call_fails(name: str, shift: int, tmp_path: Path) -> None:
    prepare(tmp_path / "before", name, "sqlite")
    for which in count(1):
        root = copy(tmp_path / "before", tmp_path / "store")
        hook = OfSqlite(which, ERRORS[(which + shift) % len(ERRORS)])
        done = run(name, root, hook)
        try:
            check(root, name, done)
        except BaseException as broken:
            broken.add_note(f"after a failure of call {which}, {hook.call}")
            raise
        if not hook.reached:
            assert which > 20
            break


@pytest.mark.parametrize("name", OPERATED[:3])
def test_killed_before_a_call(name: str, tmp_path: Path) -> None:
    prepare(tmp_path / "before", name, "sqlite")
    code = "import sys; from tests.crashes.test_sqlite_faults import killed; killed(*sys.argv[1:])"
    command = [sys.executable, "-c", code, name, str(tmp_path)]
    subprocess.run(command, cwd=HERE.parents[2], check=True, timeout=300)


def killed(name: str, folder: str) -> None:
    """In a process of its own, which forks those that are killed."""
    before, store = Path(folder) / "before", Path(folder) / "store"
    for which in count(1):
        root = copy(before, store)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _be_killed(name, root, which, writer)
        os.close(writer)
        with open(reader, "rb") as said:
            done = {*said.read()}
        status = os.waitpid(child, 0)[1]
        check(root, name, done)
        if not os.WIFSIGNALED(status):
            assert (status, which > 20) == (0, True)
            break


def _be_killed(name: str, root: Path, which: int, writer: int) -> NoReturn:
    """Runs an operation, up to a system call; writes the numbers of the records that are done."""
    with watched(OfSqlite(which, None), sqlite=True):
        store = KINDS["sqlite"](root)
        OPERATIONS[name].run(store, root, lambda number: os.write(writer, bytes([number])) and None)
        store.calls._store.close()  # type: ignore[attr-defined]
    os._exit(0)
