"""Little memory: a `MemoryError` or a miss, never the end of the process. What loading takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STORES: dict[str, dict[str, Any]] = {
    "pickle": {"type": "pickle"},
    "compressed": {"type": "pickle", "compress": True},
    "signed": {"type": "pickle", "secret_key": ["aa"]},
    "both": {"type": "cloudpickle", "compress": True, "secret_key": ["aa"]},
    "sqlite": {"type": "sqlite", "url": "cache.db"},
    "cbor": {"type": "cbor"},
}

PREPARED = """
import logging, resource, sys
import numpy
from fleche import cache, digest, fleche
from fleche.config import cache_from_config

import csv, importlib.metadata, itertools  # there may be no memory to load them later
logging.disable()
config, megabytes = eval(sys.argv[1]), int(sys.argv[2])
if "url" in config:
    pair = {"values": config, "calls": {**config, "type": "sql"}}
else:
    calls = {**config, "root": "calls"}
    if config["type"] == "cbor":
        calls["type"] = "pickle"
    pair = {"values": {**config, "root": "values"}, "calls": calls}
store = cache_from_config(pair)

def used():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()

def limit(more):
    resource.setrlimit(resource.RLIMIT_AS, (used() + (more << 20), resource.RLIM_INFINITY))

@fleche(hash_code=False)
def f(x):
    return bytes(x << 20)

@fleche(hash_code=False)
def g(x):
    return len(x)
"""

HIT = """
with cache(store):
    f(1), g(bytes(1 << 20)), g(numpy.ones((1000, 2))[::2, ::2]), g([1.5]), f.load(1)
    outcomes = set()
    for more in range(8, 4 * megabytes, megabytes // 4):
        limit(more)
        try:
            outcomes.add(len(f.load(megabytes)) >> 20)
        except MemoryError:
            outcomes.add("MemoryError")
        except KeyError:
            outcomes.add("KeyError")
        limit(1 << 20)
    assert outcomes <= {megabytes, "MemoryError", "KeyError"}, outcomes
    assert megabytes in outcomes and len(outcomes) > 1, outcomes
"""

MISS = """
with cache(store):
    f(1), g(bytes(1 << 20)), g(numpy.ones((1000, 2))[::2, ::2]), g([1.5]), f.load(1)
    outcomes = set()
    for number, more in enumerate(range(8, 5 * megabytes, megabytes // 4)):
        limit(more)
        try:
            value = numpy.ones((megabytes << 19, 2), dtype="u1")
        except MemoryError:
            continue
        finally:
            pass
        for kind in (lambda: value, lambda: value[::2, ::2], lambda: value[:, 0].tobytes(),
                     lambda: [value[0], value], lambda: {"x": value.T}):
            try:
                outcomes.add(g(kind()))
            except MemoryError:
                outcomes.add("MemoryError")
        del value
        limit(1 << 20)
    assert any(type(outcome) is int for outcome in outcomes), outcomes
"""

MANY = """
with cache(store):
    f(1), g(bytes(1 << 20)), g(numpy.ones((1000, 2))[::2, ::2]), g([1.5]), f.load(1)
    outcomes = set()
    for more in range(8, 4 * megabytes, megabytes // 4):
        limit(1 << 20)
        value = [float(x) for x in range(megabytes << 13)]
        limit(more)
        for kind in (list, tuple, dict.fromkeys, set, lambda value: "x" * (megabytes << 20)):
            try:
                outcomes.add(g(kind(value)))
            except MemoryError:
                outcomes.add("MemoryError")
    limit(1 << 20)
    assert any(type(outcome) is int for outcome in outcomes), outcomes
"""

PEAK = """
import threading
with cache(store):
    f(1)
    f.load(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert len(f.load(megabytes)) == megabytes << 20
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print((after - before) / (megabytes << 20))
"""


def run(folder: Path, code: str, kind: str, megabytes: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PREPARED + code, repr(STORES[kind]), str(megabytes)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "panic" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


FILL = """
with cache(store):
    f(megabytes)
"""


def test_a_hit_for_which_there_is_no_memory(kind: str, tmp_path: Path) -> None:
    run(tmp_path, FILL, kind, 64)
    run(tmp_path, HIT, kind, 64)


def test_a_miss_for_which_there_is_no_memory(kind: str, tmp_path: Path) -> None:
    run(tmp_path, MISS, kind, 32)


def test_many_small_things_for_which_there_is_no_memory(tmp_path: Path) -> None:
    run(tmp_path, MANY, "pickle", 8)


def test_loading_takes_little_more_than_twice_the_size(kind: str, tmp_path: Path) -> None:
    run(tmp_path, FILL, kind, 300)
    assert float(run(tmp_path, PEAK, kind, 300)) < 2.2
