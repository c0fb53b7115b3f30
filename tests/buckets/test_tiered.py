"""A local cache over a bucket: what is saved is here at once, and there in the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import Rejected, TieredCache
from fleche.call import Call
from fleche.config import cache_from_config, cache_to_config
from tests.buckets.proxy import Proxy
from tests.s3_servers import S3Server

RUNS: list[Any] = []


@fleche
def negated(x: Any) -> Any:
    RUNS.append(x)
    return -x


@pytest.fixture(autouse=True)
def _fresh(asked_at_once: None) -> None:
    RUNS.clear()


@pytest.fixture
def config(proxy: Proxy, seaweedfs: S3Server, tmp_path: Path) -> dict[str, Any]:
    """A local cache over a bucket behind the proxy."""
    remote = {
        "template": "bucket",
        "url": f"s3://{seaweedfs.new_bucket()}",
        "endpoint": proxy.endpoint,
        "timeout": 10.0,
    }
    return {"local": {"template": "pickle", "root": str(tmp_path / "local")}, "remote": remote}


def _made(config: dict[str, Any], **more: Any) -> TieredCache:
    made = cache_from_config({**config, **more})
    assert isinstance(made, TieredCache)
    return made


def _elsewhere(config: dict[str, Any], folder: Path) -> TieredCache:
    """The cache as another machine has it."""
    return _made({**config, "local": {"template": "pickle", "root": str(folder)}})


def test_what_is_saved_here_is_found_elsewhere(config: dict[str, Any], tmp_path: Path) -> None:
    here = _made(config)
    with cache(here):
        assert negated(3) == -3
    assert here.flush() == 0
    there = _elsewhere(config, tmp_path / "other")
    with cache(there):
        assert negated(3) == -3
    assert RUNS == [3]
    # It was filed there.
    assert there.local.query(name="negated").count() == 1
    assert cache_from_config(cache_to_config(here)) == here


def test_a_hit_here_asks_nobody(config: dict[str, Any], proxy: Proxy) -> None:
    here = _made(config)
    with cache(here):
        negated(3)
        here.flush()
        proxy.requests.clear()
        assert negated(3) == -3
    assert proxy.requests == []


def test_a_bucket_that_fails_stops_nobody(
    config: dict[str, Any], proxy: Proxy, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    here = _made(config)
    proxy.fault = lambda method, path: (403, "AccessDenied", "no")
    with cache(here):
        assert [negated(x) for x in range(5)] == [0, -1, -2, -3, -4]
    assert here.flush() == 0
    assert len(here.unwritten()) == 5
    assert "fleche flush" in caplog.text
    # It is mended: what was left is written.
    proxy.fault = lambda method, path: None
    assert _made(config).flush() == 5
    with cache(_elsewhere(config, tmp_path / "other")):
        assert negated(4) == -4
    assert RUNS == [0, 1, 2, 3, 4]


def test_who_wants_to_know_is_told(config: dict[str, Any], proxy: Proxy) -> None:
    here = _made(config, on_failure="raise")
    proxy.fault = lambda method, path: (403, "AccessDenied", "no")
    here.save(Call("f", {"x": 1}, result=2))
    with pytest.raises(Rejected, match="far cache"):
        here.flush()
    here.save(Call("f", {"x": 2}, result=2))
    here._behind.wait()
    with pytest.raises(Rejected, match="do not permit"):
        here.save(Call("f", {"x": 3}, result=2))


def test_a_full_queue_does_not_hold_up(
    config: dict[str, Any], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fleche.caches import tiered

    monkeypatch.setattr(tiered, "_PATIENCE", 0.05)
    config["remote"]["timeout"] = 3.0
    here = _made(config, queue=1)
    proxy.fault = lambda method, path: 0.5
    for x in range(4):
        here.save(Call("f", {"x": x}, result=x))
    proxy.released.set()
    proxy.fault = lambda method, path: None
    here.flush()
    assert here.unwritten() == []
    assert here.far.query(name="f").count() == 4


def test_a_remote_cache_that_is_only_read(config: dict[str, Any], tmp_path: Path) -> None:
    writer = _made(config)
    with cache(writer):
        negated(1)
    writer.flush()
    reader = _elsewhere(config, tmp_path / "other")
    config["remote"]["read_only"] = True
    reader = _elsewhere(config, tmp_path / "other")
    with cache(reader):
        assert (negated(1), negated(2)) == (-1, -2)
    assert reader.flush() == 0
    assert writer.far.query(name="negated").count() == 1


PROGRAM = textwrap.dedent(
    """
    import json, os, sys
    from fleche import cache, fleche
    from fleche.config import cache_from_config

    @fleche
    def f(x):
        return -x

    with cache(cache_from_config(json.loads(sys.argv[1]))):
        for x in range(5):
            f(x)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), 9)
    """
)


@pytest.mark.parametrize("end", ["ended", "killed"])
def test_the_end_of_a_program(config: dict[str, Any], tmp_path: Path, end: str) -> None:
    command = [sys.executable, "-c", PROGRAM, json.dumps(config), end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == (-signal.SIGKILL if end == "killed" else 0), done.stderr
    here = _made(config)
    written = here.flush()
    assert written == 0 or end == "killed"
    assert here.far.query(name="f").count() == 5
    assert os.path.isdir(config["local"]["root"])


def test_a_sweep_asks_for_many_hits_at_once(config: dict[str, Any], proxy: Proxy) -> None:
    remote = cache_from_config(config["remote"])
    with cache(remote):
        assert negated.map(range(40)).results() == [-x for x in range(40)]
        proxy.requests.clear()
        assert negated.map(range(40)).results() == [-x for x in range(40)]
    assert [*range(40)] == RUNS
    methods = [method for method, _ in proxy.requests]
    assert methods.count("GET") <= 40
    assert methods.count("HEAD") <= 40


def test_the_command_writes_what_is_left(
    config: dict[str, Any], proxy: Proxy, tmp_path: Path
) -> None:
    here = _made(config)
    proxy.fault = lambda method, path: (403, "AccessDenied", "no")
    here.save(Call("f", {"x": 1}, result=2))
    here.flush()
    proxy.fault = lambda method, path: None
    project = tmp_path / "home" / "project"
    project.mkdir(parents=True)
    lines = [
        f"{name} = {{ {', '.join(f'{key} = {json.dumps(each)}' for key, each in held.items())} }}"
        for name, held in config.items()
    ]
    text = '[default]\ncache = "team"\n[team]\n' + "\n".join(lines)
    (project / "fleche.toml").write_text(text)

    def run(*words: str) -> tuple[int, Any]:
        command = [sys.executable, "-m", "fleche", "flush", "--json", *words]
        done = subprocess.run(
            command, cwd=project, capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)

    assert run() == (0, {"written": 1, "failed": 0})
    assert run() == (0, {"written": 0, "failed": 0})
    assert here.far.query(name="f").count() == 1
