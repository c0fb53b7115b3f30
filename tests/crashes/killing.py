"""Processes that are killed, for tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve()


class Ended(NamedTuple):
    """How a process ended: what it said that was done, and whether it was killed."""

    done: list[int]
    killed: bool


class Kills:
    """Asks one warm process to fork others and to kill them."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crashes.killed"],
            cwd=HERE.parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Kills:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.communicate()

    def ask(self, **order: Any) -> Ended:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        assert not answer["failed"], order
        return Ended(answer["done"], answer["killed"])
