"""Clocks that are wrong or differ: a call that was just saved is never evicted."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import SizeLimitedCache
from fleche.config import cache_from_config
from fleche.digest import Digest

CALLS: dict[str, dict[str, Any]] = {
    "memory": {"type": "memory"},
    "pickle": {"type": "pickle", "root": "calls"},
    "compressed": {"type": "cloudpickle", "root": "calls", "compress": True},
    "bag": {"type": "bagofholding_hdf", "root": "calls"},
    "bags": {"type": "bagofholding_hdf", "root": "calls", "prefix_length": 1},
    "sqlite": {"type": "sql", "url": "calls.db"},
    "one database": {"type": "sql", "url": "calls.db"},
}


@fleche(hash_code=False)
def f(x: int) -> int:
    return x


def made(folder: Path, kind: str, size: int = 3) -> SizeLimitedCache:
    calls = dict(CALLS[kind])
    for key in ("root", "url"):
        if key in calls:
            calls[key] = str(folder / calls[key])
    values: dict[str, Any] = {"type": "pickle", "root": folder / "values"}
    if kind == "memory":
        values = {"type": "memory"}
    elif kind == "one database":
        values = {**calls, "type": "sqlite"}
    return cache_from_config({"values": values, "calls": calls, "max_size": size})  # type: ignore[return-value]


def shift(store: SizeLimitedCache, kind: str, seconds: float) -> None:
    """As if the entries had been written by a clock that differs."""
    if kind in ("pickle", "compressed", "bag"):
        for key in store.calls.list():
            path = store.calls._path(key)  # type: ignore[attr-defined]
            os.utime(path, (time.time() + seconds,) * 2)
    elif kind == "bags":
        import h5py

        for path in Path(store.calls.root).glob("*.h5"):  # type: ignore[attr-defined]
            with h5py.File(path, "r+") as file:
                for bag in file.values():
                    bag.attrs["fleche_saved_ns"] = str(time.time_ns() + int(seconds * 1e9))


@pytest.mark.parametrize("ahead", [-300, 0, 300, 1e9])
@pytest.mark.parametrize("kind", CALLS)
def test_what_was_just_saved_stays(kind: str, ahead: float, tmp_path: Path) -> None:
    store = made(tmp_path, kind)
    with cache(store):
        for x in range(3):
            f(x)
        shift(store, kind, ahead)
        if kind != "memory":
            store = made(tmp_path, kind)  # as another process
        with cache(store):
            for x in range(10, 15):
                f(x)
                assert f.contains(x)
                assert store.query().count() == 3


@pytest.mark.parametrize("kind", [kind for kind in CALLS if kind != "bags"])
def test_the_oldest_goes_by_a_slow_clock_too(kind: str, tmp_path: Path) -> None:
    store = made(tmp_path, kind)
    with cache(store):
        for x in range(3):
            f(x)
        shift(store, kind, 300)
        for x in range(10, 15):
            f(x)
        assert [x for x in (*range(3), *range(10, 15)) if f.contains(x)] == [12, 13, 14]


def test_one_call_at_most(tmp_path: Path) -> None:
    for kind in CALLS:
        store = made(tmp_path / kind, kind, 1)
        with cache(store):
            f(1)
            shift(store, kind, 300)
            for x in range(2, 5):
                f(x)
                assert [call.arguments["x"] for call in store.query()] == [x]


def test_several_processes_with_clocks_of_their_own(tmp_path: Path) -> None:
    """Each of them finds what it saved, whose turn it was last, whatever its clock says."""
    code = """
import sys, time
from unittest import mock
from fleche import cache, fleche
from fleche.config import cache_from_config
root, numbers = sys.argv[1], sys.argv[2:]
store = cache_from_config({"template": "pickle", "root": root, "max_size": 3})
f = fleche(hash_code=False)(lambda x: x)
with cache(store):
    for x in numbers:
        f(x)
        assert f.contains(x), x
"""
    root = str(tmp_path / "store")
    for turn, seconds in enumerate((300, 0, -300, 100, 0)):
        numbers = [str(10 * turn + x) for x in range(4)]
        subprocess.run([sys.executable, "-c", code, root, *numbers], check=True)
        for path in (tmp_path / "store" / "calls").iterdir():
            if len(path.name) == 64:
                there = path.stat().st_mtime
                os.utime(path, (there + seconds,) * 2)


def test_a_users_pick_sees_what_was_saved_as_the_newest(tmp_path: Path) -> None:
    picked = []

    class Picky(SizeLimitedCache):
        def _pick_eviction_target(self, keys: list[Digest]) -> Digest:
            picked.append(keys[-1])
            return keys[0]

    plain = made(tmp_path, "pickle")
    store = Picky(plain.values, plain.calls, 2)
    with cache(store):
        for x in range(3):
            f(x)
            shift(store, "pickle", 300)
        assert picked == [f.digest(2)]


def test_sqlite_goes_by_the_order_of_saves(tmp_path: Path) -> None:
    store = made(tmp_path, "sqlite")
    with cache(store):
        for x in range(5):
            f(x)
    rows = sqlite3.connect(tmp_path / "calls.db").execute("SELECT count(*) FROM calls").fetchone()
    assert rows == (3,)
