"""A thread stands at each place of an operation while the process forks: no child hangs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repeats import explores

from .killing import HERE
from .stores import ALL_KINDS, HELD, Sql, fill, key_of, version_in

# Bags are slow, and pass few places that are watched.
CASES = [
    (name, kind)
    for kind in ("pickle", "sqlite", "bags", "bags of a prefix")
    for name in ("save", "read", "gc")
]
# These pass each place once a file: of them every third, so that each kind of place has its turn.
STEPS = {"bags of a prefix": 3}


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_thread_stands_still(name: str, kind: str, tmp_path: Path) -> None:
    store = ALL_KINDS[kind](tmp_path)
    fill(store)
    if isinstance(store.calls, Sql):
        store.calls._store.close()
    step = 1 if explores() else STEPS.get(kind, 1)
    order = {"root": str(tmp_path), "kind": kind, "name": name, "step": step}
    done = subprocess.run(
        [sys.executable, "-m", "tests.crashes.forked", json.dumps(order)],
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 2
    again = ALL_KINDS[kind](tmp_path)
    assert [version_in(again, key_of(number), number) for number in HELD] == [0] * len(HELD)
    assert len(list(again.query(name="work"))) == len(list(again.calls.list()))
    if isinstance(again.calls, Sql):
        again.calls._store.close()
