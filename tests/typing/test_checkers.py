"""What type checkers say of programs that use the package: all that is wrong, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
HERE = Path(__file__).parent


def lines_by_mypy(program: Path, cache: Path) -> set[int]:
    command = ("-m", "mypy", "--strict", "--no-pretty", f"--cache-dir={cache}", str(program))
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=HERE)
    assert done.returncode in (0, 1), done.stderr
    return {int(line) for line in re.findall(r"^[^:]+:(\d+): error: ", done.stdout, re.MULTILINE)}


def lines_by_pyright(program: Path, _: Path) -> set[int]:
    command = ("-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(program))
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=HERE)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1
    return {
        error["range"]["start"]["line"] + 1
        for error in found["generalDiagnostics"]
        if error["severity"] == "error"
    }


@pytest.mark.parametrize("find", [lines_by_mypy, lines_by_pyright], ids=["mypy", "pyright"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_errors_are_where_they_are_expected(program: Path, find: object, tmp_path: Path) -> None:
    text = program.read_text().splitlines()
    expected = {number for number, line in enumerate(text, 1) if line.endswith("  # E")}
    assert expected
    assert find(program, tmp_path) == expected  # type: ignore[operator]
