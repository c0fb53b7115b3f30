"""Many who want the same calls at once: 200 callers in 8 processes, whose owners are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROCESSES, THREADS, KEYS = 8, 25, 12

# Each body appends its key to a file; a call that was computed twice is there twice.
PROGRAM = """
import os, random, sys, threading, time
from fleche import cache, fleche
from fleche.config import cache_from_config

config, log, seed, processes = sys.argv[1:5]
log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@fleche(hash_code=False, hash_module=False, once=True)
def body(x):
    os.write(log, f"begin {x}\\n".encode())
    time.sleep(0.02)
    os.write(log, f"end {x}\\n".encode())
    return [x]

def calls(number):
    choose = random.Random(f"{seed} {number}")
    numbers = list(range(int(processes)))
    choose.shuffle(numbers)
    with cache(store):
        for x in numbers:
            assert body(x) == [x]

store = cache_from_config(eval(config))
threads = [threading.Thread(target=calls, args=(n,)) for n in range(%d)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("whole")
"""


def run(
    store: str, tmp_path: Path, seed: int, request: pytest.FixtureRequest
) -> tuple[list[subprocess.Popen[str]], Path]:
    if store in ("postgresql", "mariadb"):
        url = request.getfixturevalue(store).new_database()
        config: dict[str, object] = {
            "values": {"type": "pickle", "root": str(tmp_path / "values")},
            "calls": {"type": "sql", "url": url},
        }
    else:
        config = {"template": store, "root": str(tmp_path / "store")}
    log = tmp_path / "log"
    command = [sys.executable, "-c", PROGRAM % THREADS, repr(config), str(log), str(seed)]
    processes = [
        subprocess.Popen([*command, str(KEYS)], stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    return processes, log


@pytest.mark.parametrize("store", ["pickle", "sql", "bagofholding_hdf", "postgresql", "mariadb"])
def test_two_hundred_callers_run_one_body(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    processes, log = run(store, tmp_path, 1, request)
    for process in processes:
        assert process.communicate(timeout=120)[0] == "whole\n"
    lines = log.read_text().splitlines()
    assert sorted(line for line in lines if line.startswith("end")) == sorted(
        f"end {x}" for x in range(KEYS)
    )
    assert len(lines) == 2 * KEYS
    assert not [*tmp_path.rglob("*running/*")]


@pytest.mark.parametrize("store", ["pickle", "sql"])
def test_owners_are_killed_at_random(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seed = random.randrange(1000)
    print(f"seed {seed}")
    choose = random.Random(seed)
    processes, log = run(store, tmp_path, seed, request)
    victims = processes[:-2]
    for victim in victims:
        # Until another body has begun, and a moment more.
        seen = log.read_text().count("begin") if log.exists() else 0
        deadline = time.monotonic() + 30
        while (
            victim.poll() is None
            and time.monotonic() < deadline
            and (not log.exists() or log.read_text().count("begin") <= seen)
        ):
            time.sleep(0.001)
        time.sleep(choose.random() * 0.02)
        if victim.poll() is None:
            os.kill(victim.pid, signal.SIGKILL)
        victim.communicate()
    for process in processes[-2:]:
        assert process.communicate(timeout=120)[0] == "whole\n"
    lines = log.read_text().splitlines()
    ends = [line for line in lines if line.startswith("end")]
    begins = [line for line in lines if line.startswith("begin")]
    assert {*ends} == {f"end {x}" for x in range(KEYS)}
    # Who was killed had begun at most one of them, or had ended it and not saved it yet, for each
    # of its threads; all others ran once.
    assert len(begins) - KEYS <= len(victims) * THREADS
    assert all(begins.count(f"begin {x}") <= 1 + len(victims) for x in range(KEYS))
