"""Programs that use the API, run as users run them: each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Run as programs, in processes of their own.
collect_ignore = ["programs"]

PROGRAMS = Path(__file__).with_name("programs")
Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a program in one folder, each time under another hash seed; gives what it prints."""
    seeds = iter(range(1, 100))

    def program(name: str, *arguments: str) -> Any:
        command = [sys.executable, PROGRAMS / f"{name}.py", *arguments]
        environment = {
            **os.environ,
            "HOME": str(tmp_path),
            "PYTHONHASHSEED": str(next(seeds)),
            "PYTHONPATH": str(PROGRAMS),
        }
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return program
