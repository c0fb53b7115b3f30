"""The disk refuses what SQLite wants to be sure of: `fsync` fails, one call after the other.

SQLite cannot be told which function to call for it: a small library is loaded before the system's.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fleche import cache
from fleche.config import cache_from_config

HERE = Path(__file__).resolve().parent

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs a C compiler"
)

#: Saves and evictions, the log folded in and the file closed. What is done by hand says what went
#: wrong, and can be done again; calls always return, and what was not saved was said.
PROGRAM = """
import ctypes, json, logging, sys
from fleche import cache, fleche
from fleche.caches import Rejected
from fleche.config import cache_from_config

said = []
logging.getLogger("fleche").addFilter(lambda record: said.append(record.getMessage()) or False)

def tried(work, *given):
    try:
        return work(*given)
    except (OSError, Rejected) as error:
        assert "disk I/O error" in str(error), error
        return work(*given)

@fleche(hash_code=False)
def f(x):
    return [x, b"x" * 1000]

unsaved = []
def call(x):
    said.clear()
    assert f(x) == [x, b"x" * 1000]
    if any("rejected save" in message and "disk I/O error" in message for message in said):
        unsaved.append(x)

store = tried(cache_from_config, {"template": "sqlite", "root": sys.argv[1]})
with cache(store):
    for x in range(40):
        call(x)
    tried(store.evict, f.digest(0))
    tried(store.gc)
    store.calls._store.close()
    # Another process, as far as the file is concerned.
    for x in range(40, 44):
        call(x)
    store.calls._store.close()
print(json.dumps([ctypes.CDLL(None).syncs(), unsaved]))
"""


def run(root: Path, library: Path, which: int) -> tuple[int, list[int]]:
    """Runs the program, whose sync of this number fails.

    Returns:
        How many there were, and what was not saved.
    """
    env = os.environ | {"LD_PRELOAD": str(library), "FAIL_SYNC": str(which)}
    order = [sys.executable, "-c", PROGRAM, str(root)]
    done = subprocess.run(order, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    number, unsaved = json.loads(done.stdout)
    return number, unsaved


def test_a_sync_fails(tmp_path: Path) -> None:
    library = tmp_path / "failing_sync.so"
    build = ["cc", "-shared", "-fPIC", "-o", str(library), str(HERE / "failing_sync.c"), "-ldl"]
    subprocess.run(build, check=True)
    number, unsaved = run(tmp_path / "whole", library, 0)
    assert number > 3
    assert unsaved == []
    for which in range(1, number + 1):
        root = tmp_path / f"store-{which}"
        _, unsaved = run(root, library, which)
        assert len(unsaved) <= 1
        with closing(sqlite3.connect(root / "cache.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        store = cache_from_config({"template": "sqlite", "root": str(root)})
        with cache(store):
            held = sorted(call.result[0] for call in store.query())
        assert held == [x for x in range(1, 44) if x not in unsaved]
