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
from h5py import h5f

from fleche.digest import Digest
from fleche.storage import SaveError
from fleche.storage.bagofholding_file import ValueBagOfHoldingH5File
from fleche.storage.bags.files import LARGEST_COPY
from fleche.storage.bags.journal import journal_of
from tests.forks import exit_code_of_child

from .watching import Failing, Killing, watched

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
    # On a busy machine few are killed in the middle of a change; some have to be.
    while killed < KILLS or (not undone and killed < 10 * KILLS):
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


class KillingInJournal(Killing):
    """Ends the process before a system call on a file that is changed in place, or its journal."""

    def __call__(self, name: str, path: Path) -> int | None:
        return super().__call__(name, path) if is_changed_in_place(path) else None


class FailingInJournal(Failing):
    """The same for a call that fails."""

    def __call__(self, name: str, path: Path) -> int | None:
        writes = name in ("write", "ftruncate", "open")
        return super().__call__(name, path) if writes and is_changed_in_place(path) else None


def is_changed_in_place(path: Path) -> bool:
    return path.name in ("a.h5", "a.h5-journal")


@pytest.fixture
def filled(tmp_path: Path) -> ValueBagOfHoldingH5File:
    storage = opened(tmp_path / "store")
    for key, number in HELD.items():
        storage.put(value_of(number), key)
    storage.put([1, 2], CHANGED)
    return storage


def test_killed_before_each_system_call(filled: ValueBagOfHoldingH5File) -> None:
    """Whatever is done next finds the file as it was."""
    next_done = itertools.cycle(("contains", "get", "list", "put", "evict", "rebag", "refix"))
    file = filled.root / "a.h5"
    before = file.read_bytes()
    other = Digest("a8" + "0" * 62)
    undone = 0

    def change(call: int) -> None:
        with watched(KillingInJournal(call)):
            mine = opened(filled.root)
            mine.put([3, 4], CHANGED)
            mine.put([5, 6], other)

    for call in itertools.count(1):
        if exit_code_of_child(lambda call=call: change(call)) == 0:
            break
        undone += journal_of(file).exists()
        again = opened(filled.root)
        match next(next_done):
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
    assert undone > 5
    assert opened(filled.root).get(other) == [5, 6]


def test_the_disk_is_full_at_each_write(filled: ValueBagOfHoldingH5File) -> None:
    """What is saved is refused with the cause, and the file is as it was, byte by byte."""
    file = filled.root / "a.h5"
    before = file.read_bytes()
    refused = 0
    while True:
        failing = FailingInJournal(refused + 1, errno.ENOSPC)
        if not is_refused(filled, failing):
            break
        assert file.read_bytes() == before
        assert not journal_of(file).exists()
        refused += 1
    assert refused > 10
    assert filled.get(CHANGED) == [3, 4]
    # HDF5 holds nothing of it open, which it would write once more when the interpreter ends.
    assert h5f.get_obj_count(h5f.OBJ_ALL, h5f.OBJ_FILE | h5f.OBJ_GROUP | h5f.OBJ_DATASET) == 0


def is_refused(storage: ValueBagOfHoldingH5File, failing: Failing) -> bool:
    """Whether saving fails, and says that the disk is full."""
    try:
        with watched(failing):
            storage.put([3, 4], CHANGED)
    except SaveError as error:
        return os.strerror(errno.ENOSPC) in str(error)
    return False
