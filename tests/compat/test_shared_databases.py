"""SQLite files shared with the reference, both ways and at once."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fleche
from fleche.caches import Cache
from fleche.call import QueryCall
from fleche.storage import Sql, ValuePickleFile
from tests.recorded import unpacked

DATA = Path(__file__).parent.parent / "data"

#: Runs with whichever `fleche` is installed: a sweep of cached calls, then what is in the database.
PROGRAM = """
import json, logging, sys
import fleche
from fleche.caches import Cache
from fleche.storage import Sql, ValuePickleFile

folder, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
cache = Cache(ValuePickleFile.with_pickle(folder + "/values"), Sql(f"sqlite:///{folder}/calls.db"))
runs = []

def work(x, scale=2.0, *rest, **options):
    runs.append(x)
    return {"x": x, "scaled": [x * scale, str(rest), sorted(options)]}

work.__module__ = "shared"
work = fleche.fleche(work)
with fleche.cache(cache), fleche.tags(program=sys.argv[4]):
    results = [work(x, 0.5, "r", option=x) for x in range(first, last)]
    found = sorted(cache.query(name="work").results(), key=lambda result: result["x"])
    tagged = cache.query(metadata={"tags": {"program": sys.argv[4]}}).count()
    table = cache.query(name="work").table(arguments="x")
print(json.dumps({
    "runs": runs, "results": results, "found": found, "tagged": tagged,
    "columns": sorted(table.columns), "x": sorted(table["x"]),
}))
"""


@pytest.fixture
def ours(tmp_path):
    """Runs the program with this package; gives what it printed."""
    return lambda *arguments: run(sys.executable, tmp_path, arguments)


@pytest.fixture
def theirs(tmp_path, reference_python):
    """Runs the program with the reference."""
    return lambda *arguments: run(reference_python, tmp_path, arguments)


def start(python: Path | str, folder: Path, arguments: tuple[object, ...]) -> Any:
    command = [str(python), "-c", PROGRAM, str(folder), *map(str, arguments)]
    env = {**os.environ, "FLECHE_DIGEST": "sha256", "PYTHONPATH": "", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: Any) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer


def run(python: Path | str, folder: Path, arguments: tuple[object, ...]) -> dict[str, Any]:
    return finish(start(python, folder, arguments))


def test_the_reference_hits_what_we_wrote(ours, theirs):
    mine = ours(0, 6, "ours")
    assert mine["runs"] == [*range(6)]
    reference = theirs(0, 8, "theirs")
    assert reference["runs"] == [6, 7]
    assert reference["results"][:6] == mine["results"]
    assert reference["found"] == reference["results"]
    assert reference["tagged"] == 2
    assert set(mine["columns"]) <= set(reference["columns"])


def test_we_hit_what_the_reference_wrote(ours, theirs):
    reference = theirs(0, 6, "theirs")
    mine = ours(0, 8, "ours")
    assert mine["runs"] == [6, 7]
    assert mine["results"][:6] == reference["results"]
    assert mine["found"] == mine["results"]
    assert mine["x"] == [*range(8)]
    assert (mine["tagged"], reference["tagged"]) == (2, 6)


def test_both_write_at_once(ours, theirs, reference_python, tmp_path):
    ours(0, 1, "made")
    processes = [
        start(python, tmp_path, (first, first + 25, name))
        for first, python, name in (
            (0, sys.executable, "a"),
            (15, reference_python, "b"),
            (30, sys.executable, "c"),
            (45, reference_python, "d"),
        )
    ]
    for process in processes:
        finish(process)
    for program in (ours, theirs):
        end = program(0, 70, "end")
        assert end["runs"] == []
        assert end["x"] == [*range(70)]


@pytest.mark.parametrize("version", ["0.16.1", "0.22.2"])
def test_recorded_databases(version, tmp_path):
    folder = unpacked(version, tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())["stores"]["sqlite"]
    calls = Sql(f"sqlite:///{folder}/sqlite/calls.db")
    cache = Cache(ValuePickleFile.with_pickle(folder / "sqlite" / "values"), calls)
    assert sorted(calls.list()) == sorted(call["key"] for call in manifest["calls"])
    with fleche.cache(cache):
        for call in manifest["calls"]:
            record = calls.load(call["key"])
            assert record.name == call["name"]
            assert record.module == call["module"]
            assert dict(record.arguments) == call["arguments"]
            assert [*record.arguments] == [*call["arguments"]]
            assert record.result == call["result_digest"]
            assert sorted(record.metadata) == sorted(call["metadata_names"])
            # Equal, not the same: the reference may give `2.0` for `2`.
            assert cache.load(call["key"]).result == ast.literal_eval(call["result"])
            assert record in calls.query(QueryCall(name=call["name"], result=record.result))
    assert len(list(calls.query(QueryCall(metadata={"runtime": {"walltime": None}})))) == len(
        manifest["calls"]
    )
