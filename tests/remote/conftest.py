"""A real SSH server on loopback, and caches that are served through it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleche import _core
from fleche.caches import BaseCache
from fleche.config import cache_from_config
from fleche.remote import SshCache
from tests.compat import reference_environment
from tests.ssh_server import SshServer

CONFIG = """\
[default]
root = true
cache = "files"
digest = "{scheme}"
[files]
values = {{type = "cloudpickle", root = "{folder}/values"}}
calls = {{type = "cloudpickle", root = "{folder}/calls"}}
"""


@pytest.fixture(scope="session")
def reference_python() -> Path:
    """An interpreter of this version that has the reference installed."""
    return reference_environment.reference_python()


class Remote:
    """A folder on "another machine", with a `fleche.toml` of its own, and caches that reach it."""

    def __init__(self, server: SshServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.opened: list[SshCache] = []
        folder.mkdir()
        self.configure()

    def configure(self, text: str = CONFIG, *, scheme: str | None = None) -> None:
        scheme = _core.scheme() if scheme is None else scheme
        filled = text.format(folder=self.folder, scheme=scheme) if text is CONFIG else text
        (self.folder / "fleche.toml").write_text(filled)

    def settings(self, **changes: Any) -> dict[str, Any]:
        """The fields of an `SshCache` that reaches the folder."""
        settings = {
            "host": self.server.host,
            "python": sys.executable,
            "ssh_options": self.server.options,
            "workdir": str(self.folder),
        }
        return settings | changes

    def cache(self, **changes: Any) -> SshCache:
        """A cache that is served from the folder; closed when the test ends."""
        cache = SshCache(**self.settings(**changes))
        self.opened.append(cache)
        return cache

    def store(self) -> BaseCache:
        """What the folder holds, read directly."""
        return cache_from_config({"template": "cloudpickle", "root": str(self.folder)})


@pytest.fixture
def new_remote(sshd: SshServer, tmp_path: Path) -> Iterator[Callable[[], Remote]]:
    made: list[Remote] = []

    def make() -> Remote:
        made.append(Remote(sshd, tmp_path / f"remote {len(made)}"))
        return made[-1]

    yield make
    for remote in made:
        for cache in remote.opened:
            cache.close()


@pytest.fixture
def remote(new_remote: Callable[[], Remote]) -> Remote:
    return new_remote()


@pytest.fixture
def sha256() -> Iterator[None]:
    """Scheme `sha256`, here and on what is configured meanwhile."""
    before = _core.scheme()
    _core.set_scheme("sha256")
    yield
    _core.set_scheme(before)


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a shell script in the place of `ssh`."""

    def install(script: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        path = folder / "ssh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return path

    return install
