"""Files of tests, in the folder that they run in, and programs that read them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

__all__ = ["read", "run", "write"]


def write(path: str | Path, text: str) -> Path:
    """Write a file, with the folders above it; gives its whole path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path.absolute()


def read(path: str | os.PathLike[str]) -> str:
    """What is in it."""
    with open(path) as file:
        return file.read()


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program, with these variables of the environment besides; it must not fail."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
