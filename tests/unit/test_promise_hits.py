"""No wrong hit: many small programs, all of whose functions have the same names, share one store.
Each prints what it prints without the cache, in two processes of different hash seeds, and what ran
once is not run again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.repeats import explores

from .programs import Program, changing, combined, special

RUNNER = Path(__file__).with_name("run_programs.py")


def run(mode: str, store: Path, scripts: Path, seed: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(RUNNER), mode, str(store), str(scripts)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer


def wrong(program: Program, plain: Any, first: Any, second: Any) -> str:
    """What is wrong with a program; empty if nothing is."""
    if plain["error"]:
        # Not every value fits every way of getting at it.
        return ""
    if first["error"] or second["error"]:
        return f"fails: {first['error'] or second['error']}"
    if first["printed"] != plain["printed"]:
        return f"prints {first['printed']}, not {plain['printed']}"
    if program.pure and second["printed"] != plain["printed"]:
        return f"prints {second['printed']} the second time, not {plain['printed']}"
    if program.runs is not None and first["ran"] != program.runs:
        return f"runs {first['ran']} calls, not {program.runs}"
    if second["ran"]:
        return f"runs {second['ran']} calls that were run before"
    return ""


def check(folder: Path, programs: Sequence[Program]) -> None:
    scripts = []
    for number, program in enumerate(programs):
        script = folder / str(number) / "script.py"
        script.parent.mkdir()
        script.write_text(program.source)
        scripts.append(str(script))
    listed = folder / "scripts.json"
    listed.write_text(json.dumps(scripts))
    store = folder / "store"
    done = zip(
        programs,
        run("plain", store, listed, "0"),
        run("cached", store, listed, "1"),
        run("cached", store, listed, "2"),
        strict=True,
    )
    found = [(program.name, what) for program, *ran in done if (what := wrong(program, *ran))]
    assert not found


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The same in every run, unless other programs are looked for (`FLECHE_SEED`)."""
    seed = os.environ.get("FLECHE_SEED", "1")
    print("FLECHE_SEED =", seed)
    return random.Random(seed)


def how_many(few: int) -> int:
    """All there are with `--hypothesis-profile=explore`."""
    return 10_000 if explores() else few


def test_what_a_function_gets_at(tmp_path: Path, chance: random.Random) -> None:
    programs = list(combined())
    check(tmp_path, chance.sample(programs, min(how_many(400), len(programs))))


def test_what_changes_between_calls(tmp_path: Path, chance: random.Random) -> None:
    check(tmp_path, list(changing(chance, min(how_many(10), 100))))


def test_kinds_of_programs(tmp_path: Path) -> None:
    check(tmp_path, list(special()))


WORKER = """
import pickle, sys
from fleche import cache
from fleche.caches import Cache
from fleche.storage import CallPickleFile, ValuePickleFile
function = pickle.loads(sys.stdin.buffer.read())
with cache(Cache(ValuePickleFile("store/values"), CallPickleFile("store/calls"))):
    print(function(3))
"""

SCRIPT = """
import cloudpickle, subprocess, sys
from fleche import cache, fleche
from fleche.caches import Cache
from fleche.storage import CallPickleFile, ValuePickleFile

K = int(sys.argv[1])
def helper(x): return x + K
class Helper:
    def go(self, x): return helper(x)
@fleche
def f(x):
    print("ran", flush=True)
    return Helper().go(x)

with cache(Cache(ValuePickleFile("store/values"), CallPickleFile("store/calls"))):
    print(f(3), flush=True)
    subprocess.run(
        [sys.executable, "-c", sys.argv[2]], input=cloudpickle.dumps(f), check=True
    )
"""


def test_functions_that_travel_by_value(tmp_path: Path) -> None:
    """A worker, which has no source, finds what the script stored, and not what another did."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def printed(k: int) -> list[str]:
        command = [sys.executable, str(script), str(k), WORKER]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert printed(1) == ["ran", "4", "4"]
    assert printed(2) == ["ran", "5", "5"]
    assert printed(1) == ["4", "4"]
    assert printed(2) == ["5", "5"]
