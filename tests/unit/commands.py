"""Runs commands of `fleche` for tests, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run_fleche(folder: Path, *words: str, answers: str | None = None) -> tuple[int, str, str]:
    """The exit status of a command that runs in a folder, and what it printed and said."""
    done = subprocess.run(
        [sys.executable, "-m", "fleche", *words],
        capture_output=True,
        text=True,
        input=answers,
        stdin=subprocess.DEVNULL if answers is None else None,
        cwd=folder,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr
