"""A file of several bags, too large to be copied for a change: killed while it is changed."""

from __future__ import annotations

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
from fleche.storage import SaveError
from fleche.storage._bags import LARGEST_COPY
from fleche.storage.bagofholding_file import ValueBagOfHoldingH5File

from .stores import copy

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
    """Each value is there as it was, or the file cannot be read, and all are misses."""
    storage = opened(tmp_path / "store")
    for key, number in HELD.items():
        storage.put(value_of(number), key)
    file = tmp_path / "store" / "a.h5"
    assert file.stat().st_size > LARGEST_COPY
    before = copy(tmp_path / "store", tmp_path / "before")
    choose = random.Random(7)
    killed = unreadable = version = 0
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
        again = opened(tmp_path / "store")
        found = [key for key in HELD if again.contains(key)]
        assert len(found) in (0, len(HELD))
        if not found:
            # As the documentation says; what is saved to it is refused, with a word.
            unreadable += 1
            with pytest.raises(KeyError):
                again.get(next(iter(HELD)))
            with pytest.raises(SaveError):
                again.put(value_of(1), CHANGED)
            copy(before, tmp_path / "store")
            continue
        for key, number in HELD.items():
            assert np.array_equal(again.get(key), value_of(number))
        if again.contains(CHANGED):
            changed = again.get(CHANGED)
            assert changed.shape == (5000,)
            assert abs(changed[0]) <= version
            assert np.all(changed == changed[0])
        assert set(again.list()) <= {*HELD, CHANGED}
        again.put(value_of(1), CHANGED)
        again.evict(CHANGED)
    print(f"{unreadable} of {killed} left a file that cannot be read")
    # It is a matter of a tenth of a millisecond.
    assert unreadable <= killed / 4
