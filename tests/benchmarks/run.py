"""Runs rows: every contestant in a process of its own, taking turns on the same machine."""

from __future__ import annotations

import contextlib
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.rows import Goal, Row
from tests.benchmarks.work import environment_of

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Result:
    """What the contestants of one row took, in the row's unit."""

    row: Row
    samples: dict[str, list[float]]

    def value(self, contestant: str) -> float:
        """The least sample, which nothing else disturbed; of whole processes, the median."""
        summary = statistics.median if self.row.fresh else min
        return summary(self.samples[contestant])

    def ratio(self, contestant: str, against: str) -> float:
        """How many times faster (or smaller) a contestant is than another."""
        return self.value(against) / self.value(contestant)

    def met(self, goal: Goal) -> bool | None:
        """Whether a goal holds; None when one of its contestants did not run."""
        if goal.contestant not in self.samples:
            return None
        if goal.limit is not None:
            return self.value(goal.contestant) <= goal.limit
        if goal.against not in self.samples:
            return None
        return self.ratio(goal.contestant, goal.against) >= goal.factor


class WorkerFailed(Exception):
    """A contestant cannot do a row; its own process has printed why."""


class Worker:
    """A process that takes samples for one contestant."""

    def __init__(self, python: Path, row: str, contestant: str, folder: Path, clock: str) -> None:
        self._what = f"{row}: {contestant}"
        self._process = subprocess.Popen(
            [python, "-m", "tests.benchmarks.worker", row, contestant, folder, clock],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment_of(contestant),
            cwd=ROOT,
            text=True,
        )
        self._answer()

    def sample(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("sample\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(f"{self._what} failed")
        return line


def import_time(python: Path, module: str, folder: Path) -> float:
    """Return the seconds that importing a module adds to a process that does nothing."""

    def process(program: str) -> float:
        start = time.perf_counter()
        subprocess.run([python, "-c", program], check=True, cwd=folder)
        return time.perf_counter() - start

    bare = process("pass")
    return process(f"import {module}") - bare


@dataclass(frozen=True)
class Bench:
    """Where and how rows run.

    Files stay in `scratch` until the end: to create files where many were just deleted is slow
    (ext4). `clock` is a function of `time`: `perf_counter`, or `process_time` to leave out what
    other processes take on a busy machine.
    """

    pythons: dict[str, Path]
    scratch: Path
    rounds: int | None = None
    clock: str = "perf_counter"


def sampler(
    row: Row, contestant: str, bench: Bench, stack: contextlib.ExitStack
) -> Callable[[], float]:
    """Return a function that takes one sample; the process it keeps ends with the stack."""
    python = bench.pythons[contestant]
    folder = Path(tempfile.mkdtemp(dir=bench.scratch))
    if row.name == "import":
        module = "fleche" if contestant == "reference" else contestant
        return functools.partial(import_time, python, module, folder)

    if row.fresh:

        def once() -> float:
            with contextlib.closing(
                Worker(python, row.name, contestant, folder, bench.clock)
            ) as worker:
                return worker.sample()

        return once

    worker = Worker(python, row.name, contestant, folder, bench.clock)
    stack.callback(worker.close)
    return worker.sample


def run(row: Row, bench: Bench) -> Result:
    """Run one row; contestants take turns, in rounds. One that fails is reported and left out."""
    samples: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        take = {}
        for name in row.contestants:
            if name not in bench.pythons:
                continue
            try:
                take[name] = sampler(row, name, bench, stack)
            except WorkerFailed as error:
                print(error, file=sys.stderr)
        for _ in range(bench.rounds or row.rounds):
            for name in tuple(take):
                try:
                    samples.setdefault(name, []).append(take[name]())
                except WorkerFailed as error:
                    print(error, file=sys.stderr)
                    del take[name]
    return Result(row, {name: samples[name] for name in take})


def versions(python: Path) -> dict[str, str]:
    """Return the Python and the packages of an interpreter that bear on the times."""
    program = (
        "import json, platform; from importlib import metadata\n"
        "found = {d.metadata['Name']: d.version for d in metadata.distributions()}\n"
        "names = 'fleche joblib diskcache cachier numpy pandas'.split()\n"
        "print(json.dumps({'python': platform.python_version()} "
        "| {n: found[n] for n in names if n in found}))"
    )
    output = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True)
    return json.loads(output.stdout)
