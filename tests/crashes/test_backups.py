"""Copies of stores that are in use, as `docs/backups.md` tells to make them."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import Cache
from fleche.config import cache_from_config

SAVING = """
import itertools, sys
from fleche import cache, fleche
from fleche.config import cache_from_config
f = fleche(hash_code=False)(lambda x: [x, [x]])
store = cache_from_config({"template": sys.argv[1], "root": "store", **eval(sys.argv[2])})
with cache(store):
    for x in itertools.count():
        f(x)
"""


def config(template: str, root: Path) -> dict[str, Any]:
    more = {"values": "pickle"} if template == "sql" else {}
    return {"template": template, "root": str(root), **more}


def opened(template: str, root: Path) -> Cache:
    return cache_from_config(config(template, root))  # type: ignore[return-value]


@contextmanager
def in_use(template: str, folder: Path) -> Iterator[None]:
    """Another process saves into `store` without end, and is killed."""
    more = {"values": "pickle"} if template == "sql" else {}
    saving = subprocess.Popen([sys.executable, "-c", SAVING, template, repr(more)], cwd=folder)
    try:
        values = folder / "store" / "values"
        deadline = time.monotonic() + 60
        while not (values.is_dir() and len(os.listdir(values)) > 200):
            assert saving.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield
    finally:
        saving.send_signal(signal.SIGKILL)
        saving.wait()


def copied(source: Path, target: Path) -> None:
    """As `rsync -a`: what vanishes meanwhile is no error."""
    target.mkdir(parents=True)
    for entry in os.scandir(source):
        try:
            if entry.is_dir():
                copied(Path(entry.path), target / entry.name)
            else:
                shutil.copy2(entry.path, target / entry.name)
        except FileNotFoundError:
            continue


def is_whole(store: Cache) -> int:
    """How many calls there are, all of which have their values."""
    count = 0
    for call in store.query():
        x = call.arguments["x"]
        assert call.result == [x, [x]]
        count += 1
    return count


@pytest.mark.parametrize("template", ["pickle", "bagofholding_hdf"])
def test_records_first_and_values_afterwards(template: str, tmp_path: Path) -> None:
    with in_use(template, tmp_path):
        for part in ("calls", "values"):
            copied(tmp_path / "store" / part, tmp_path / "copy" / part)
    store = opened(template, tmp_path / "copy")
    assert is_whole(store) > 10
    store.gc()
    assert is_whole(store) > 10
    # And back again, in the place of the other one.
    shutil.move(tmp_path / "store", tmp_path / "away")
    shutil.move(tmp_path / "copy", tmp_path / "store")
    store = opened(template, tmp_path / "store")
    count = is_whole(store)
    f = fleche(hash_code=False)(lambda x: [x, [x]])
    with cache(store):
        f(-1)
    assert is_whole(store) == count + 1


def test_a_database_is_copied_by_sqlite(tmp_path: Path) -> None:
    code = "import sqlite3, sys; " + (
        "sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))"
    )
    with in_use("sql", tmp_path):
        (tmp_path / "copy").mkdir()
        places = [str(tmp_path / name / "calls.db") for name in ("store", "copy")]
        subprocess.run([sys.executable, "-c", code, *places], check=True)
        copied(tmp_path / "store" / "values", tmp_path / "copy" / "values")
    assert is_whole(opened("sql", tmp_path / "copy")) > 10


def test_what_a_lost_log_costs(tmp_path: Path) -> None:
    """The last calls, each whole or not at all; the database is in order."""
    saved = SAVING.replace("itertools.count()", "range(1500)") + "print(flush=True); input()"
    more = repr({"values": "pickle"})
    command = [sys.executable, "-c", saved, "sql", more]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        copied(tmp_path / "store" / "values", tmp_path / "copy" / "values")
        assert (tmp_path / "store" / "calls.db-wal").stat().st_size > 0
        shutil.copy2(tmp_path / "store" / "calls.db", tmp_path / "copy" / "calls.db")
        process.kill()
    assert is_whole(opened("sql", tmp_path / "store")) == 1500
    assert 0 < is_whole(opened("sql", tmp_path / "copy")) < 1500
    check = sqlite3.connect(tmp_path / "copy" / "calls.db").execute("PRAGMA integrity_check")
    assert check.fetchone() == ("ok",)
