"""The README's main job: a second process loads what the first one computed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_second_process_loads_what_the_first_computed(tmp_path: Path) -> None:
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns(".fleche", "__pycache__"))
    command = [sys.executable, str(folder / "quickstart.py")]

    first, second = (
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
        for _ in range(2)
    )

    said = re.compile(r"(\w+) +(computed|loaded) +in +[\d.]+ ms")
    assert said.findall(first.stdout) == [
        ("best_period", "computed"),
        ("period_error", "computed"),
    ]
    assert said.findall(second.stdout) == [("best_period", "loaded"), ("period_error", "loaded")]
    assert first.stdout.splitlines()[-1] == second.stdout.splitlines()[-1]
    assert first.stderr == second.stderr == ""
