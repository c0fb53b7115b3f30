"""What the unit tests share."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from fleche import cache, config
from fleche.caches import BaseCache, CacheStack
from fleche.config import cache_from_config

from .calls import memory_cache


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    """Caches that other tests loaded by their names are none of this one's."""
    with patch.dict(config._live_caches, clear=True):
        yield


@pytest.fixture(params=["memory", "pickle", "sql", "sqlite", "bagofholding_hdf", "stack", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    """An empty cache of each kind, active while the test runs."""
    kind = request.param
    files = "pickle" if kind == "stack" else kind
    config = {"template": files} | ({} if files == "memory" else {"root": str(tmp_path)})
    if kind == "bucket":
        place = {"url": (tmp_path / "bucket").as_uri(), "mirror": str(tmp_path / "mirror")}
        config = {"template": kind, **place}
    held = cache_from_config(config)
    if kind == "stack":
        held = CacheStack((memory_cache(), held))
    with cache(held):
        yield held


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory below a home of its own, with nothing configured and nothing loaded."""
    from fleche import state

    home = tmp_path / "home"
    folder = home / "project"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "FLECHE_SECRET_KEY", "FLECHE_DIGEST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    with patch.dict(state._DEFAULTS, clear=True):
        yield Path(os.getcwd())


@pytest.fixture
def others_run_during() -> Iterator[Callable[[Callable[[], Any]], bool]]:
    """Whether another thread gets to run while some work is done, tried until it did."""
    interval = sys.getswitchinterval()

    def check(work: Callable[[], Any]) -> bool:
        started, go, ran = threading.Event(), threading.Event(), []

        def other() -> None:
            started.set()
            go.wait()
            ran.append(True)

        thread = threading.Thread(target=other)
        thread.start()
        started.wait()
        # From here on only what gives up the interpreter lets the other thread go on.
        sys.setswitchinterval(1000)
        go.set()
        for _ in range(100):
            work()
            if ran:
                break
        found = bool(ran)
        sys.setswitchinterval(interval)
        thread.join()
        return found

    yield check
    sys.setswitchinterval(interval)
