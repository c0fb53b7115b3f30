"""What the unit tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory below a home of its own, with nothing configured and nothing loaded."""
    from fleche import config, state

    home = tmp_path / "home"
    folder = home / "project"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "FLECHE_SECRET_KEY", "FLECHE_DIGEST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    live, defaults = dict(config._live_caches), dict(state._DEFAULTS)
    config._live_caches.clear()
    state._DEFAULTS.clear()
    yield Path(os.getcwd())
    config._live_caches.clear()
    config._live_caches.update(live)
    state._DEFAULTS.clear()
    state._DEFAULTS.update(defaults)
