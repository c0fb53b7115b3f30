"""A thousand forks for each storage, while threads use it, by every way to fork.

`tests/crashes/test_forks.py` forks at each place of an operation.
"""

from __future__ import annotations

import fcntl
import json
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fleche.caches import Cache
from fleche.config import cache_from_config
from tests.s3_servers import ACCESS, SECRET

from . import workload
from .test_caches_stress import pair

HERE = Path(__file__).resolve()
KINDS = ["memory", "pickle", "bags", "bags of a prefix", "sqlite", "postgresql", "ssh"]
KINDS += ["cbor", "bucket", "bucket over http"]
# How many forks each takes (a thousand for each storage, most of a bucket's in a folder), how many
# threads the first process has, and of how many forked processes one uses the store: some take
# their time.
FORKS = {"bags": 500, "bags of a prefix": 500, "bucket": 900, "bucket over http": 100}
THREADS = {"bags": 1, "bags of a prefix": 1}
EVERY = {"pickle": 2, "bags": 10, "bags of a prefix": 10, "sqlite": 2, "postgresql": 10, "ssh": 50}
EVERY |= {"cbor": 10, "bucket": 20, "bucket over http": 10}


def configured(kind: str, folder: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    values, calls = f"{folder}/values", f"{folder}/calls"
    files = {"type": "pickle", "root": values, "lock_timeout": 60.0}
    match kind:
        case "memory":
            return {"template": "memory"}
        case "pickle":
            return pair(files, {**files, "root": calls})
        case "bags" | "bags of a prefix":
            bags = {"type": "bagofholding_hdf", "lock_timeout": 60.0}
            bags["prefix_length"] = int(kind != "bags")
            return pair({**bags, "root": values}, {**bags, "root": calls})
        case "sqlite":
            url = f"{folder}/calls.db"
            return pair({"type": "sqlite", "url": url}, {"type": "sql", "url": url})
        case "postgresql":
            url = request.getfixturevalue("postgresql").new_database()
            return pair(files, {"type": "sql", "url": url})
        case "cbor":
            return pair({**files, "type": "cbor"}, {**files, "root": calls})
        case "bucket" | "bucket over http":
            bucket = {"type": "bucket", **bucket_for(kind, folder, request)}
            return pair(bucket, {**bucket, "mirror": f"{folder}/mirror"})
    toml = f'[default]\nroot = true\ncache = "a"\n[a]\ntemplate = "pickle"\nroot = "{folder}"\n'
    (folder / "fleche.toml").write_text(toml)
    server = {"python": sys.executable, "workdir": str(folder)}
    login = list(request.getfixturevalue("one_login"))
    host = request.getfixturevalue("sshd").host
    return {"type": "ssh", "host": host, "ssh_options": login, **server}


def bucket_for(kind: str, folder: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """A folder, or a place on a server."""
    if kind == "bucket":
        return {"url": f"file://{folder}/bucket"}
    server = request.getfixturevalue("seaweedfs")
    surroundings = request.getfixturevalue("monkeypatch")
    surroundings.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    surroundings.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    surroundings.setenv("AWS_REGION", "us-east-1")
    return {"url": f"s3://{server.new_bucket()}", "endpoint": server.endpoint}


def stored(kind: str, config: dict[str, Any], folder: Path) -> Cache:
    """The store itself, opened anew."""
    if kind == "ssh":
        config = {"template": "pickle", "root": str(folder)}
    store = cache_from_config(config)
    assert isinstance(store, Cache)
    return store


@contextmanager
def forking(order: dict[str, Any]) -> Iterator[list[str]]:
    """Runs the forking process; gives what was said until only idle processes are left."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.stress.forking", json.dumps(order)],
        cwd=HERE.parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines, missing = [], order["forks"] + 1
        for line in process.stdout:
            lines.append(line.rstrip())
            missing -= line.startswith("ended")
            if not missing:
                break
        yield lines
        assert process.wait() == 0
        process.stdin.close()
        # Nobody has the other end any more: none hangs.
        assert process.stdout.read() == ""


def locks_in(folder: Path) -> list[Path]:
    return [*folder.glob("**/.locks/*"), *folder.glob("**/*lock")]


def becomes_free(path: Path) -> bool:
    """Whether nobody keeps a lock: who is just ending, and writes its statistics, does not."""

    def lock() -> None:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)

    waiting = threading.Thread(target=lock, daemon=True)
    waiting.start()
    waiting.join(30)
    return not waiting.is_alive()


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_forks(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    config = configured(kind, tmp_path, request)
    order = {
        "config": config,
        "seed": random.randrange(1 << 30),
        "forks": FORKS.get(kind, 1000),
        "threads": THREADS.get(kind, 2),
        "every": EVERY.get(kind, 1),
    }
    print("seed", order["seed"])
    with forking(order) as lines:
        assert [line for line in lines if line.startswith("failed")] == []
        assert sum(line.startswith("ended") for line in lines) == order["forks"] + 1
        # Idle processes are still there, and hold nothing.
        assert [path for path in locks_in(tmp_path) if not becomes_free(path)] == []
    if kind == "memory":
        return
    saved = {int(line.split()[1]) for line in lines if line.startswith("saved")}
    assert len(saved) == -(-order["forks"] // order["every"])
    store = stored(kind, config, tmp_path)
    for number in saved | set(range(workload.KEPT)):
        call = store.load(workload.key_of(number))
        assert call.result == workload.expected(number)
        assert call.arguments["value"] == workload.argument(number)
    if kind in ("sqlite", "postgresql"):
        store.calls._store.close()  # type: ignore[attr-defined]
    if kind == "sqlite":
        names = sorted(path.name for path in tmp_path.glob("[!.]*"))
        assert names == ["calls.db", "calls.db-values"]
        with closing(sqlite3.connect(tmp_path / "calls.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
