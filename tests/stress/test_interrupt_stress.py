"""Ctrl-C at random moments of everything that is done to a store, and of every wait for others."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from . import workload
from .test_caches_stress import _quiet  # noqa: F401 - used by every test here
from .test_fork_stress import HERE, KINDS, configured, stored

# How often each storage is interrupted, and up to when after a call began.
TIMES = 60
LONGEST = {"ssh": 0.3, "bags": 0.1, "bags of a prefix": 0.1}
# A call ends so many seconds after the signal. The machine may be busy with other things, now and
# then: one in twenty may take longer, and a run that fell into such a time counts for nothing.
SOON, BUSY, TRIES = 0.2, 0.05, 3


def interrupted(kind: str, config: object) -> list[tuple[str, float]]:
    """What was interrupted in a process of its own, and after how many seconds each call ended."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    order = {"config": config, "seed": seed, "times": TIMES, "longest": LONGEST.get(kind, 0.03)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.stress.interrupting", json.dumps(order)],
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    # Python says so where it ignores an exception; what counts is that the call ended by it.
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "done"
    took = [(name, float(seconds)) for name, seconds in map(str.split, lines)]
    print(Counter(name for name, _ in took), max(seconds for _, seconds in took))
    # Most were interrupted in the middle, by an exception that ended them.
    assert len(took) >= TIMES / 2
    return took


@pytest.mark.parametrize("kind", KINDS)
def test_interrupts_at_any_moment(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    config = configured(kind, tmp_path, request)
    for _ in range(TRIES):
        took = interrupted(kind, config)
        late = [(name, seconds) for name, seconds in took if seconds > SOON]
        if len(late) <= BUSY * TIMES:
            break
    assert len(late) <= BUSY * TIMES, late
    if kind == "memory":
        return
    store = stored(kind, config, tmp_path)
    numbers = set()
    for call in store.query(name="compute"):
        number = call.result["number"]
        assert call.result == workload.expected(number)
        assert call.arguments["value"] == workload.argument(number)
        numbers.add(number)
    assert numbers >= set(range(workload.KEPT))
    for call in store.query(name="square"):
        assert call.result == call.arguments["number"] ** 2
    assert len(list(store.query())) == len(list(store.calls.list()))
    if kind in ("sqlite", "postgresql"):
        store.calls._store.close()  # type: ignore[attr-defined]
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "calls.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
