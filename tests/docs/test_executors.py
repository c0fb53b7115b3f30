"""The programs of docs/executors.md run as they stand, but for a worker that is killed.

The function of each gets one line more, which notes that it ran, and kills its process at the first
time of one call. Those of dask and ray are run by `nox -s executors`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

PAGE = (Path(__file__).resolve().parents[2] / "docs/executors.md").read_text()
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

KILLING = """
import os, signal

def note(x):
    if x == 500 and os.environ["MAIN"] != str(os.getpid()):
        try:
            os.close(os.open("{folder}/killed", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    with open("{folder}/runs", "a") as runs:
        runs.write(f"{{x}} {{os.getpid()}}\\n")
"""

FUNCTION = "def simulate(x):\n"
MAIN = 'if __name__ == "__main__":\n'


def program(mark: str) -> str:
    """The program of the page that holds a text."""
    (found,) = (text for kind, text in FENCE.findall(PAGE) if kind == "py" and mark in text)
    return str(found)


def run(text: str, folder: Path) -> tuple[str, list[tuple[int, int]], int]:
    """What a program prints, which calls ran in which process, and which process it was."""
    (folder / "killing.py").write_text(KILLING.format(folder=folder))
    assert FUNCTION in text
    assert MAIN in text
    text = text.replace(FUNCTION, f"{FUNCTION}    import killing\n    killing.note(x)\n")
    text = text.replace(MAIN, f'{MAIN}    import os\n    os.environ["MAIN"] = str(os.getpid())\n')
    (folder / "program.py").write_text(text)
    places = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"PYTHONPATH": os.pathsep.join(places), "HOME": str(folder), "PATH": scripts}
    process = subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, said + errors
    lines = (folder / "runs").read_text().splitlines()
    return said, [(int(x), int(where)) for x, where in map(str.split, lines)], process.pid


@pytest.mark.parametrize("executor", ["joblib", "restart_limit", "parsl"])
def test_a_sweep_goes_on_without_the_worker_that_was_killed(executor: str, tmp_path: Path) -> None:
    check(executor, tmp_path)


def check(mark: str, folder: Path) -> None:
    """Run a program whose worker is killed, and see that all is done, hardly anything twice."""
    said, runs, main = run(program(mark), folder)
    assert said.splitlines()[-1] == f"{sum(x * x for x in range(1000))} 1000"
    assert (folder / "killed").exists()
    assert {x for x, _ in runs} == {*range(1000)}
    # What was known was not sent, what was done was not done again: but for what a worker did
    # whose end nobody heard of.
    assert [where for x, where in runs if x == 0] == [main]
    assert main not in {where for x, where in runs if x}
    again = [x for x, count in Counter(x for x, _ in runs).items() if count > 1]
    assert len(again) <= 4


def test_executorlib_files_under_our_keys(tmp_path: Path) -> None:
    said, runs, _ = run(program("cache_key"), tmp_path)
    assert said == "9\nTrue True\n"
    assert [x for x, _ in runs] == [3]


def test_tasks_of_an_array_share_the_work(tmp_path: Path) -> None:
    said, runs, _ = run(program("SWEEP_SEED"), tmp_path)
    assert said == f"{sum(x * x for x in range(1000))} 1000\n"
    assert sorted(x for x, _ in runs) == [*range(1000)]
    _, again, _ = run(program("SWEEP_SEED"), tmp_path)
    assert again == runs


def test_the_script_of_an_array_is_one() -> None:
    (script,) = (text for kind, text in FENCE.findall(PAGE) if kind == "sh")
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert script.startswith("#!/bin/bash\n#SBATCH --array=")


def test_the_workflow_is_one() -> None:
    (text,) = (text for kind, text in FENCE.findall(PAGE) if kind == "yaml")
    workflow = yaml.safe_load(text)
    assert {"name", "jobs"} <= workflow.keys()
    (job,) = workflow["jobs"].values()
    assert job["permissions"] == {"contents": "read"}
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
    saved, restored = (
        next(step for step in job["steps"] if str(step.get("uses")).startswith(name))
        for name in ("actions/cache/save@", "actions/cache/restore@")
    )
    assert saved["with"]["path"] == restored["with"]["path"] == "results"
    assert saved["with"]["key"] == restored["with"]["key"]
    assert saved["with"]["key"].startswith(restored["with"]["restore-keys"])
    assert "github.event_name == 'push'" in saved["if"]
