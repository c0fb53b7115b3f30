"""A file of several bags, too large to be copied for a change: killed while it is changed."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import random
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fleche.digest import Digest
from fleche.storage import SaveError, _bag_journal
from fleche.storage._bag_journal import journal_of
from fleche.storage._bags import LARGEST_COPY
from fleche.storage.bagofholding_file import ValueBagOfHoldingH5File
from tests.forks import exit_code_of_child

KILLS = 60
# The values that are there from the beginning, one of them of 17 MB, and one that comes and goes.
HELD = {Digest(f"a{number}" + "0" * 62): number for number in range(3)}
CHANGED = Digest("a9" + "0" * 62)


def value_of(number: int) -> np.ndarray:
    return np.full(LARGEST_COPY // 8 + 100_000 if number == 0 else 1000, number, dtype=float)


def opened(root: Path) -> ValueBagOfHoldingH5File:
    return ValueBagOfHoldingH5File(root, prefix_length=1, lock_timeout=10.0)


def killed_after(seconds: float, work: Callable[[], None]) -> bool:
    """Whether the process that does `work` was killed before it was done."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0
    return os.WIFSIGNALED(status)


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_killed_while_it_is_changed(tmp_path: Path) -> None:
    """Each value is there as it was."""
    storage = opened(tmp_path / "store")
    for key, number in HELD.items():
        storage.put(value_of(number), key)
    file = tmp_path / "store" / "a.h5"
    assert file.stat().st_size > LARGEST_COPY
    choose = random.Random(7)
    killed = undone = version = 0
    longest = 0.02
    while killed < KILLS:
        version += 1

        def change(version: int = version) -> None:
            mine = opened(tmp_path / "store")
            mine.put(np.full(5000, version), CHANGED)
            mine.evict(CHANGED)
            mine.put(np.full(5000, -version), CHANGED)

        if not killed_after(choose.random() * longest, change):
            longest *= 0.95
            continue
        killed += 1
        longest *= 1.02
        undone += journal_of(file).exists()
        again = opened(tmp_path / "store")
        for key, number in HELD.items():
            assert np.array_equal(again.get(key), value_of(number))
        if again.contains(CHANGED):
            changed = again.get(CHANGED)
            assert changed.shape == (5000,)
            assert abs(changed[0]) <= version
            assert np.all(changed == changed[0])
        assert set(again.list()) <= {*HELD, CHANGED}
        assert not journal_of(file).exists()
        again.put(value_of(1), CHANGED)
        again.evict(CHANGED)
    print(f"{undone} of {killed} left a change that was undone")
    assert undone


@pytest.mark.parametrize("then", ["contains", "get", "list", "put", "evict", "rebag", "refix"])
def test_stopped_at_each_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
    """Whatever is done next finds the file as it was."""
    storage = opened(tmp_path / "store")
    for key, number in HELD.items():
        storage.put(value_of(number), key)
    storage.put([1, 2], CHANGED)
    file = tmp_path / "store" / "a.h5"
    before = file.read_bytes()
    other = Digest("a8" + "0" * 62)
    writes = itertools.count()
    stop_at, stopped = 0, True
    write = _bag_journal.UndoableFile.write

    def stop(opened: _bag_journal.UndoableFile, content: memoryview) -> int:
        if next(writes) != stop_at:
            return write(opened, content)
        # A kill: half is written, and nobody tidies up.
        write(opened, content[: len(content) // 2])
        os._exit(9)

    while stopped:

        def change() -> None:
            monkeypatch.setattr(_bag_journal.UndoableFile, "write", stop)
            mine = opened(tmp_path / "store")
            mine.put([3, 4], CHANGED)
            mine.put([5, 6], other)

        writes = itertools.count()
        stopped = exit_code_of_child(change) == 9
        if not stopped:
            break
        again = opened(tmp_path / "store")
        match then:
            case "contains":
                assert all(again.contains(key) for key in HELD)
            case "get":
                assert again.get(CHANGED) in ([1, 2], [3, 4])
            case "list":
                assert {*HELD, CHANGED} <= set(again.list())
            case "put":
                again.put([1, 2], CHANGED)
            case "evict":
                again.evict(other)
            case "rebag":
                again.rebag()
            case "refix":
                assert again.refix(0).refix(1).get(CHANGED) in ([1, 2], [3, 4])
        for key, number in HELD.items():
            assert np.array_equal(again.get(key), value_of(number))
        assert again.get(CHANGED) in ([1, 2], [3, 4])
        assert not journal_of(file).exists()
        file.write_bytes(before)
        stop_at += 1
    assert stop_at > 5
    assert opened(tmp_path / "store").get(other) == [5, 6]


@pytest.mark.parametrize("part", ["write", "_keep"])
def test_a_disk_that_is_full_at_each_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """What is saved is refused with the cause, and the file is as it was, byte by byte."""
    storage = opened(tmp_path / "store")
    storage.put(value_of(0), next(iter(HELD)))
    file = tmp_path / "store" / "a.h5"
    whole = getattr(_bag_journal.UndoableFile, part)
    room = calls = 0

    def full(changed: _bag_journal.UndoableFile, *given: object) -> object:
        nonlocal calls
        calls += 1
        if calls <= room:
            return whole(changed, *given)
        with changed._told():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    storage.put([1, 2], CHANGED)
    storage.evict(CHANGED)
    before = file.read_bytes()
    monkeypatch.setattr(_bag_journal.UndoableFile, part, full)
    while storage_is_full(storage):
        assert file.read_bytes() == before
        assert not journal_of(file).exists()
        room += 1
        calls = 0
    assert room > 3
    assert storage.get(CHANGED) == [1, 2]


def storage_is_full(storage: ValueBagOfHoldingH5File) -> bool:
    """Whether saving fails, and says that the disk is full."""
    try:
        storage.put([1, 2], CHANGED)
    except SaveError as error:
        return os.strerror(errno.ENOSPC) in str(error)
    return False
