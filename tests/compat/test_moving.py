"""Stores that go from the reference to us and back, the reference run for real."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("programs") / "moving.py"
KINDS = ["pickle", "signed", "sqlite", "bag", "bags"]
CALLS = 7

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path, reference_python: Path, request: pytest.FixtureRequest) -> Run:
    """Does one thing after the other with the store, opened anew for each, as the reference or as
    ours in a scheme; each call of it is a process."""

    def running(package: str, *actions: str) -> list[dict[str, Any]]:
        python = reference_python if package == "reference" else sys.executable
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        environment = {
            **kept,
            "HOME": str(tmp_path),
            "FLECHE_DIGEST": package,
            "FLECHE_STATISTICS": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        root = tmp_path / "store"
        root.mkdir(exist_ok=True)
        command = [python, PROGRAM, request.getfixturevalue("kind"), root, *actions]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        documents: list[dict[str, Any]] = json.loads(done.stdout)
        return documents

    return running


@pytest.mark.parametrize("kind", KINDS)
def test_we_hit_what_the_reference_wrote_and_it_does_again(
    kind: str, run: Run, tmp_path: Path
) -> None:
    [theirs] = run("reference", "calls")
    assert len(theirs["ran"]) == CALLS
    hits = {"results": theirs["results"], "ran": []}
    [seen] = run("exact", "looks")
    assert len(seen["keys"]) == seen["table"] == CALLS
    assert marks(kind, tmp_path / "store") == set()
    found, seen = run("exact", "calls", "looks")
    assert found == hits
    # Each call was filed anew.
    assert len(seen["keys"]) == CALLS
    assert marks(kind, tmp_path / "store") == {"exact", "sha256"}
    run("exact", "redigest")
    assert marks(kind, tmp_path / "store") == {"exact"}
    assert run("exact", "calls") == [hits]
    # And the way back.
    run("sha256", "redigest")
    assert marks(kind, tmp_path / "store") == {"sha256"}
    assert run("reference", "calls") == [hits]


@pytest.mark.parametrize("kind", KINDS)
def test_each_hits_what_the_other_writes_at_the_same_time(kind: str, run: Run) -> None:
    [ours] = run("sha256", "calls")
    assert len(ours["ran"]) == CALLS
    found, seen = run("reference", "calls", "looks")
    assert found == {"results": ours["results"], "ran": []}
    assert run("sha256", "looks") == [seen]


@pytest.mark.parametrize("kind", KINDS)
def test_marks_are_invisible_to_the_reference(kind: str, run: Run, tmp_path: Path) -> None:
    [_, ours] = run("exact", "calls", "looks")
    [theirs, computed, both, _] = run("reference", "looks", "calls", "looks", "evict")
    assert len(theirs["keys"]) == theirs["table"] == CALLS
    assert theirs == ours
    # It works beside our keys, and leaves the marks alone.
    assert len(computed["ran"]) == CALLS
    assert len(both["keys"]) == 2 * CALLS
    [left] = run("exact", "looks")
    assert len(left["keys"]) >= CALLS
    assert marks(kind, tmp_path / "store") == {"exact"}


def marks(kind: str, root: Path) -> set[str]:
    if kind == "sqlite":
        connection = sqlite3.connect(root / "calls.db")
        names = {name for (name,) in connection.execute("SELECT name FROM fleche_schemes")}
        connection.close()
        return names
    return {path.name.removeprefix(".fleche-") for path in (root / "calls").glob(".fleche-*")}
