"""Sweeps in the executors that people use: processes of several kinds, and a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = """
import os
from fleche import fleche

@fleche
def below(x):
    return x + 1

@fleche
def work(x):
    if x == 3:
        raise ValueError("three")
    return below(x) * 2, os.getpid()

class Named:
    @fleche
    @classmethod
    def name(cls, x):
        return f"{cls.__name__} {x}"
"""

PROGRAM = """
import json, os, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context

from fleche import SweepFailed, cache, wrap_executor
from fleche.config import cache_from_config
from steps import Named, below, work


def executor(kind, stack):
    if kind == "threads":
        return stack.enter_context(ThreadPoolExecutor(2))
    if kind in ("processes", "wrapped"):
        pool = stack.enter_context(ProcessPoolExecutor(2, mp_context=get_context("spawn")))
        return wrap_executor(pool) if kind == "wrapped" else pool
    if kind == "loky":
        from loky import get_reusable_executor

        return stack.enter_context(get_reusable_executor(2))
    if kind == "executorlib":
        from executorlib import SingleNodeExecutor

        return stack.enter_context(SingleNodeExecutor(max_workers=2, block_allocation=True))
    from distributed import Client, LocalCluster

    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    cluster = stack.enter_context(LocalCluster(processes=kind == "dask", **options))
    return stack.enter_context(Client(cluster))


def shown(pool):
    work(1)
    with_errors = work.map(range(6), executor=pool, errors="return").results()
    yield [str(each) if isinstance(each, Exception) else each[0] for each in with_errors]
    processes = {each[1] for each in with_errors if not isinstance(each, Exception)}
    yield len(processes - {os.getpid()}) > 0
    yield [work.contains(x) for x in range(6)], below.contains(5)
    again = work.map(range(6), executor=pool)
    try:
        again.run()
    except SweepFailed as failed:
        yield failed.arguments
    came = work.map(range(10, 30), executor=pool).as_completed()
    yield sorted((arguments["x"], result[0]) for arguments, result in came)
    yield Named.name.map([Named], x=[1, 2], executor=pool).results()


def main(kind):
    with ExitStack() as stack:
        pool = executor(kind, stack)
        for config in ({"template": "memory"}, {"template": "pickle", "root": "store"}):
            with cache(cache_from_config(config)):
                print(json.dumps([*shown(pool)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
"""

KINDS = ["threads", "processes", "wrapped", "loky", "executorlib", "dask", "dask threads"]


@pytest.mark.parametrize("kind", KINDS)
def test_sweeps_in_executors(kind: str, tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(STEPS)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, program, kind],
        env={**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines()[-2:]:
        results, elsewhere, contained, failed, came, named = json.loads(line)
        assert results == [2, 4, 6, "three", 10, 12]
        assert elsewhere == ("threads" not in kind)
        assert contained == [[True, True, True, False, True, True], True]
        assert failed == [{"x": 3}]
        assert came == [[x, 2 * (x + 1)] for x in range(10, 30)]
        assert named == ["Named 1", "Named 2"]


def test_a_worker_that_dies_costs_its_calls(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(
        "import os\nfrom fleche import fleche\n@fleche\ndef deadly(x):\n"
        "    if x == 3:\n        os._exit(1)\n    return x\n"
    )
    program = tmp_path / "program.py"
    program.write_text(
        "from concurrent.futures import BrokenExecutor, ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "from fleche import cache\nfrom fleche.config import cache_from_config\n"
        "from steps import deadly\n"
        "if __name__ == '__main__':\n"
        "    with cache(cache_from_config({'template': 'pickle', 'root': 'store'})):\n"
        "        with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:\n"
        "            sweep = deadly.map(range(200), executor=pool)\n"
        "            try:\n"
        "                sweep.run()\n"
        "            except BrokenExecutor as broken:\n"
        "                print(broken.__notes__[-1])\n"
        "        print([deadly.contains(x) for x in range(4)], sweep)\n"
    )
    done = subprocess.run(
        [sys.executable, program],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    note, state = done.stdout.splitlines()
    assert "calls of deadly are left to run" in note
    assert state.startswith("[True, True, True, False] <Sweep of deadly: 200 calls")
    assert ", 0 failed," in state
