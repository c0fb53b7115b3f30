"""The configuration page's `[[shared]]` example, and every setting of it, through a real `sshd`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import CacheStack
from fleche.config import _live_caches, cache_from_config, cache_to_config, load_cache_config
from fleche.remote import SshCache

from .conftest import Remote

ROOT = Path(__file__).parents[2]


def toml(value: Any) -> str:
    """A value as TOML has it, which for text and lists of text is what Python's `repr` gives."""
    return repr(list(value) if isinstance(value, tuple) else value)


@pytest.fixture
def page(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's example as this account's `fleche.toml`, its values replaced by working ones."""
    home = tmp_path / "home"
    home.mkdir()
    (remote.folder / "environment").write_text("export LAB=entered\n")
    remote.configure(
        "[default]\nroot = true\n[shared]\n"
        'values = {type = "cloudpickle", root = "values"}\n'
        'calls = {type = "cloudpickle", root = "calls"}\n'
    )
    text = (ROOT / "tests/data/config-page/fleche.toml").read_text()
    local, ssh = tomllib.loads(text)["shared"]
    assert (local["values"]["type"], ssh["type"]) == ("cloudpickle", "ssh")
    settings = remote.settings()
    changed = {
        "host": settings["host"],
        "python": settings["python"],
        "ssh_options": settings["ssh_options"],
        "setup_commands": ["true", ". ./environment"],
        "workdir": settings["workdir"],
    }
    assert ssh.keys() == {"type", "cache_name", *changed}
    lines = "".join(f"{key} = {toml(value)}\n" for key, value in (ssh | changed).items())
    (home / "fleche.toml").write_text(
        '[default]\ncache = "shared"\nroot = true\n'
        '[[shared]]\nvalues.type = "cloudpickle"\nvalues.root = "~/.fleche/values"\n'
        'calls.type = "cloudpickle"\ncalls.root = "~/.fleche/calls"\n'
        f"[[shared]]\n{lines}"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(home)
    before = dict(_live_caches)
    _live_caches.clear()
    yield
    for made in _live_caches.values():
        if isinstance(made, CacheStack):
            member = made.stack[1]
            assert isinstance(member, SshCache)
            member.close()
    _live_caches.clear()
    _live_caches.update(before)


def configured() -> tuple[CacheStack, SshCache]:
    """The cache of the `fleche.toml`, and the remote one in it."""
    shared = load_cache_config()
    assert isinstance(shared, CacheStack)
    ssh = shared.stack[1]
    assert isinstance(ssh, SshCache)
    return shared, ssh


def test_the_example_of_the_page(
    page: None, remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    """Computed there, found here without running, filed here, then found without the network."""
    ran = []

    @fleche
    def simulate(x: int) -> dict[str, int]:
        ran.append(x)
        return {"x": x, "y": 2 * x}

    # On the "other machine": its own store, filled by a call of its own.
    with cache(remote.store()):
        assert simulate(3) == {"x": 3, "y": 6}
    assert ran == [3]

    shared, ssh = configured()
    local = shared.stack[0]
    key = simulate.digest(3)  # type: ignore[attr-defined]
    with cache(shared):
        assert not local.contains(key)
        assert simulate(3) == {"x": 3, "y": 6}
        assert ran == [3]
        # Back-filled, arguments and metadata too.
        assert local.load(key).fetch() == remote.store().load(key).fetch()
        # From here on there is no network: the server is gone, and nobody notices.
        end_server(ssh)
        caplog.clear()
        assert simulate(3) == {"x": 3, "y": 6}
        assert ran == [3]
        assert not caplog.records
        # What is new is computed, and stays here.
        assert simulate(4) == {"x": 4, "y": 8}
        assert local.contains(simulate.digest(4))  # type: ignore[attr-defined]
        assert not remote.store().contains(simulate.digest(4))  # type: ignore[attr-defined]
    assert "connection lost" in caplog.text


def end_server(ssh: SshCache) -> None:
    process = ssh._conn._process
    assert process is not None
    os.kill(ssh.info(refresh=False)["pid"], signal.SIGKILL)
    assert process.exit_code() is not None


def test_the_settings_of_the_example(page: None, remote: Remote) -> None:
    _, ssh = configured()
    info = ssh.info()
    assert info["cache_name"] == "shared"
    assert info["cache"]["values"]["root"] == str(remote.folder / "values")
    assert Path(info["cwd"]) == remote.folder
    assert info["python"] == sys.executable
    assert info["read_only"] is False
    assert seen(ssh, "__import__('os').environ['LAB']") == "entered"
    config = cache_to_config(ssh)
    assert isinstance(config, dict)
    assert config["type"] == "ssh"
    assert cache_from_config(config) == ssh


def seen(cache: SshCache, expression: str) -> str:
    """What an expression gives on the server."""
    return str(cache.load_value(cache._save_value(Evaluated(expression))))


class Evaluated:
    """Arrives as what its expression gives there."""

    def __init__(self, expression: str) -> None:
        self.expression = expression

    def __reduce__(self) -> Any:
        return eval, (self.expression, {})


def test_cache_name(remote: Remote) -> None:
    remote.configure(
        '[default]\nroot = true\ncache = "one"\n[one]\ntemplate = "pickle"\nroot = "1"\n'
        '["the other"]\ntemplate = "pickle"\nroot = "2"\n'
    )
    assert remote.cache().info()["cache"]["values"]["root"] == str(remote.folder / "1/values")
    other = remote.cache(cache_name="the other")
    assert other.info()["cache"]["values"]["root"] == str(remote.folder / "2/values")
    assert other.info()["cache_name"] == "the other"


def test_a_cache_name_that_is_not_configured(
    remote: Remote, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="fleche.remote.host")
    cache = remote.cache(cache_name="file")
    assert cache.info()["cache"]["values"]["type"] == "memory"
    cache.close()
    assert "cache 'file' not found in configuration. Did you mean 'files'?" in caplog.text


def test_modules_are_imported_from_the_workdir(remote: Remote) -> None:
    (remote.folder / "only_there.py").write_text("class Thing:\n    size = 3\n")
    assert seen(remote.cache(), "__import__('only_there').Thing.size") == "3"


@pytest.mark.parametrize("home", ["~", "~{user}"])
def test_a_workdir_below_the_home_folder(remote: Remote, home: str) -> None:
    home = home.format(user=remote.server.user)
    there = Path(remote.cache(workdir=home).info()["cwd"])
    relative = os.path.relpath(remote.folder, there)
    cache = remote.cache(workdir=f"{home}/{relative}")
    assert Path(cache.info()["cwd"]).resolve() == remote.folder.resolve()


def test_setup_commands_run_one_after_the_other_in_the_workdir(remote: Remote) -> None:
    (remote.folder / "environment.sh").write_text("export STEP=$STEP,second\n")
    cache = remote.cache(setup_commands=["export STEP=first", ". ./environment.sh", "true"])
    assert seen(cache, "__import__('os').environ['STEP']") == "first,second"


def test_setup_commands_may_print(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="fleche.remote.host")
    cache = remote.cache(setup_commands=["echo Loading modules", "echo and this >&2"])
    assert cache.info()["cwd"] == str(remote.folder)
    assert "writes to standard output before the server starts" in caplog.text
    assert "Loading modules" in caplog.text
    cache.close()
    assert "and this" in [record.message for record in caplog.records]


def test_python_is_what_runs_the_server(remote: Remote) -> None:
    wrapper = remote.folder / "my python"
    wrapper.write_text(f'#!/bin/sh\nexport WRAPPED=yes\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    assert seen(remote.cache(python=str(wrapper)), "__import__('os').environ['WRAPPED']") == "yes"


def test_a_python_below_the_home_folder(remote: Remote) -> None:
    home = Path(remote.cache(workdir="~").info()["cwd"])
    mine = remote.folder / "python of mine"
    mine.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    mine.chmod(0o755)
    cache = remote.cache(python=f"~/{os.path.relpath(mine, home)}")
    assert cache.info()["python"] == sys.executable


def test_python_without_workdir_is_a_command_of_the_remote_shell(remote: Remote) -> None:
    python = f"env PLACE=there {sys.executable}"
    cache = remote.cache(workdir=None, python=python, cache_name="void")
    assert cache.info()["cache"]["values"]["type"] == "void"


def test_ssh_options_with_a_control_master(remote: Remote) -> None:
    """The second connection needs no login of its own, as a second factor would be asked for."""
    path = f"ControlPath={remote.server.folder}/cm"
    shared = ("-o", "ControlMaster=auto", "-o", path, "-o", "ControlPersist=10m")
    first = remote.cache(ssh_options=(*remote.server.options, *shared))
    key = first._save_value("there")
    first.close()
    try:
        # A key that lets nobody in: the connection goes through the first one's.
        other = remote.server.options_with(key=remote.server.new_key("refused"))
        assert remote.cache(ssh_options=(*other, *shared)).load_value(key) == "there"
    finally:
        exit_master = ("ssh", "-F", "none", "-o", path, "-O", "exit", remote.server.host)
        subprocess.run(exit_master, check=True, capture_output=True)


def test_commands() -> None:
    assert SshCache("host")._conn._target.command() == [
        *("ssh", "host", "python3", "-m", "fleche", "remote", "--serve")
    ]
    cache = SshCache(
        "me@host",
        cache_name="c d",
        ssh_options=["-p", "22"],  # type: ignore[arg-type]
        setup_commands=["x", "y"],  # type: ignore[arg-type]
        workdir="a b",
    )
    assert cache._conn._target.command() == [
        *("ssh", "-p", "22", "me@host"),
        "cd 'a b' && x && y && exec python3 -m fleche remote --serve --cache 'c d'",
    ]


@pytest.mark.parametrize("host", ["", "-oProxyCommand=evil"])
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(ValueError, match="host"):
        SshCache(host)


def test_a_string_in_place_of_a_list() -> None:
    with pytest.raises(TypeError, match="ssh_options: expected a list"):
        SshCache("host", ssh_options="-p 22")  # type: ignore[arg-type]


def test_nothing_runs_before_the_first_operation(
    fake_ssh: Callable[[str], Path], tmp_path: Path
) -> None:
    fake_ssh(f"touch {tmp_path}/ran")
    cache = SshCache("host", setup_commands=("x",))
    assert repr(cache) == (
        "SshCache(host='host', cache_name=None, python='python3', ssh_options=(), "
        "setup_commands=('x',), workdir=None)"
    )
    same = SshCache("host", setup_commands=["x"])  # type: ignore[arg-type]
    assert cache == same
    assert hash(cache) == hash(same)
    assert cache != SshCache("host")
    cache.close()
    cache.reconnect()
    assert not (tmp_path / "ran").exists()
