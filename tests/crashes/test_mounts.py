"""Stores on file systems as they are mounted: full, read-only, and without locks."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from fleche import cache, fleche
from fleche.caches import Rejected
from fleche.config import cache_from_config

from .stores import STORES, made

Log = pytest.LogCaptureFixture

ran: list[Any] = []


@fleche(hash_code=False)
def f(x: Any) -> Any:
    ran.append(x)
    return [x, b"\0" * 1000 + os.urandom(1000)]


#: `gc` of a bucket, which has no locks, leaves alone what was written in the last day.
FREEING = pytest.mark.parametrize("kind", [kind for kind in STORES if kind != "bucket"])


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def not_mounted(said: str) -> NoReturn:
    """Skips the test where mounting is not allowed; whatever else went wrong is a failure."""
    reason = f"cannot mount here: {said.strip()[-200:]}"
    refusals = ("permission denied", "not permitted", "must be superuser", "/dev/fuse")
    if any(refusal in said.lower() for refusal in refusals):
        pytest.skip(reason)
    pytest.fail(reason)


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    """A file system at `folder`; the test is skipped where mounting is not allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, folder], capture_output=True, text=True)
    if done.returncode != 0:
        not_mounted(done.stderr)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes, and files for some hundred entries."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m,nr_inodes=300", "tmpfs") as disk:
        yield disk


def fill_up(disk: Path) -> None:
    """Take every byte, and every file, that is left."""
    number = 0
    with open(disk / "filling", "wb", buffering=0) as filling:
        try:
            while True:
                filling.write(b"x" * 4096)
        except OSError:
            pass
    try:
        while True:
            (disk / f"filling{number}").touch()
            number += 1
    except OSError:
        pass


def warnings(log: Log) -> list[str]:
    return [r.getMessage() for r in log.records if r.levelno >= logging.WARNING]


def test_a_full_disk_computes_and_frees(kind: str, small: Path, caplog: Log) -> None:
    root = small / "store"
    store = made(kind, root)
    with cache(store):
        kept = {x: f(x) for x in range(12)}
    fill_up(small)
    ran.clear()
    with cache(store):
        for x, result in kept.items():
            assert f(x) == result
        assert ran == []
        caplog.clear()
        # One warning a call, which names the cause.
        for x in ("new", "newer"):
            caplog.clear()
            assert f(x)[0] == x
            [said] = warnings(caplog)
            assert "No space left" in said or "disk is full" in said, said
            assert "cannot be put into" not in said
            assert not f.contains(x)
        assert ran == ["new", "newer"]
        if kind == "bucket":
            return
        # What frees space works.
        for x in range(6):
            store.evict(f.digest(x))
            assert not f.contains(x)
        garbage = store.gc()
        assert len(garbage) >= 6
        assert not garbage & set(store.values.list())
        for x in range(6, 12):
            assert f(x) == kept[x]
        if kind == "bags":
            # A file of several bags gives its room back once it is copied, or empty.
            for x in range(6, 12):
                store.evict(f.digest(x))
            store.gc()
        # And then there is room again.
        caplog.clear()
        ran.clear()
        assert f("new")[0] == "new"
        assert f.contains("new")
        assert warnings(caplog) == []
        assert ran == ["new"]


def test_a_full_disk_and_a_database(small: Path, caplog: Log) -> None:
    store = made("sqlite", small / "store")
    with cache(store):
        kept = {x: f(x) for x in range(9)}
        for x in range(3, 9):
            store.evict(f.digest(x))
        fill_up(small)
        ran.clear()
        assert [f(x) for x in range(3)] == [kept[x] for x in range(3)]
        assert ran == []
        caplog.clear()
        assert f("new")[0] == "new"
        assert len(warnings(caplog)) == 1
        assert store.gc()
        assert f("new")[0] == "new"
        assert f.contains("new")


@FREEING
def test_gc_alone_frees_a_full_disk(kind: str, small: Path) -> None:
    store = made(kind, small / "store")
    with cache(store):
        for x in range(12):
            f(x)
    for x in range(6):
        store.evict(f.digest(x))
    fill_up(small)
    free = os.statvfs(small).f_bfree
    garbage = store.gc()
    assert len(garbage) >= 6
    assert not garbage & set(store.values.list())
    assert os.statvfs(small).f_bfree > free


def test_a_store_without_locks_yet_is_freed(small: Path) -> None:
    """As the reference makes them."""
    store = made("pickle", small / "store")
    with cache(store):
        for x in range(12):
            f(x)
    for kind in ("values", "calls"):
        shutil.rmtree(small / "store" / kind / ".locks")
    fill_up(small)
    store = made("pickle", small / "store")
    store.evict(f.digest(1))
    assert len(store.gc()) > 0


@FREEING
def test_another_process_frees_a_full_disk(kind: str, small: Path) -> None:
    root = small / "store"
    store = made(kind, root)
    with cache(store):
        for x in range(12):
            f(x)
    if kind == "sqlite":
        store.calls._store.close()  # type: ignore[attr-defined]
    fill_up(small)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store = made(kind, root)
            store.query(arguments={"x": 3}).evict()
            status = 0 if store.gc() else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    with cache(made(kind, root)):
        assert not f.contains(3)
        assert f.contains(4)


def test_a_read_only_mount_gives_hits(kind: str, tmp_path: Path, caplog: Log) -> None:
    writable = tmp_path / "writable"
    store = made(kind, writable)
    with cache(store):
        kept = {x: f(x) for x in range(3)}
        store.evict(f.digest(2))
    if kind == "sqlite":
        store.calls._store.close()  # type: ignore[attr-defined]
    with mounted(tmp_path / "mount", "--bind", str(writable)) as root:
        subprocess.run(["mount", "-o", "remount,ro,bind", root], check=True)
        ran.clear()
        store = made(kind, root)
        with cache(store):
            assert [f(x) for x in range(2)] == [kept[0], kept[1]]
            assert ran == []
            assert store.query().count() == 2
            assert len(list(store.query().results())) == 2
            caplog.clear()
            assert f("new")[0] == "new"
            [said] = warnings(caplog)
            assert "ead-only" in said or "readonly" in said, said
            with pytest.raises(OSError, match=r"(?i)read-?only"):
                store.evict(f.digest(0))
            if kind != "bucket":
                with pytest.raises(Rejected, match=r"(?i)read-?only"):
                    store.gc()
            assert f(0) == kept[0]


@pytest.fixture
def without_locks(tmp_path: Path) -> Iterator[Path]:
    """A file system on which `flock` and `fcntl` say that there are no locks."""
    folder = tmp_path / "mount"
    folder.mkdir()
    command = [sys.executable, str(Path(__file__).parent / "no_locks.py"), str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        if server.stdout.readline() != "mounted\n":
            not_mounted(server.stderr.read())
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


PICKLED = pytest.mark.parametrize("kind", ["pickle", "compressed", "signed"])


@PICKLED
def test_a_file_system_without_locks(kind: str, without_locks: Path, caplog: Log) -> None:
    with (
        (without_locks / "file").open("w") as file,
        pytest.raises(OSError, match="No locks available"),
    ):
        fcntl.flock(file, fcntl.LOCK_EX)
    store = made(kind, without_locks / "store")
    with cache(store):
        kept = {x: f(x) for x in range(5)}
        ran.clear()
        assert [f(x) for x in range(5)] == list(kept.values())
        assert ran == []
        assert store.query().count() == 5
        store.evict(f.digest(1))
        assert len(store.gc()) > 0
        assert [f(x) for x in (0, 2, 3, 4)] == [kept[x] for x in (0, 2, 3, 4)]
    said = warnings(caplog)
    # Once for each folder.
    assert len(said) == 2
    assert all("going on without locks" in message for message in said)


@PICKLED
def test_several_processes_without_locks(kind: str, without_locks: Path) -> None:
    children = []
    for first in range(0, 40, 10):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with cache(made(kind, without_locks / "store")):
                    for x in (*range(first, first + 10), *range(5)):
                        f(x)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    with cache(made(kind, without_locks / "store")):
        ran.clear()
        assert [f(x)[0] for x in range(40)] == [*range(40)]
        assert ran == []


def test_bags_without_locks(without_locks: Path, caplog: Log) -> None:
    """HDF5 locks its files by itself, and wants to be told not to."""
    store = made("bag", without_locks / "store")
    with cache(store):
        assert f(1)[0] == 1
    assert any("Errno 37" in message for message in warnings(caplog))
    code = """
from fleche import cache, fleche

from fleche.config import cache_from_config
f = fleche(hash_code=False)(lambda x: [x])
with cache(cache_from_config({"template": "bagofholding_hdf", "root": "store"})):
    f(1)
    assert f.contains(1)
    assert f(1) == [1]
"""
    told = {**os.environ, "HDF5_USE_FILE_LOCKING": "FALSE"}
    subprocess.run(
        [sys.executable, "-c", code], cwd=without_locks, env=told, check=True, timeout=60
    )


def test_a_database_without_locks(without_locks: Path) -> None:
    """It is out of use."""
    with pytest.raises(OSError, match="lock"):
        cache_from_config(
            {
                "values": {"type": "memory"},
                "calls": {
                    "type": "sql",
                    "url": str(without_locks / "calls.db"),
                    "lock_timeout": 0.2,
                },
            }
        )
