"""`import fleche` is cheap: what it loads, and what waits until it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Each takes longer to import than all that the package needs at first.
HEAVY = ("dataclasses", "inspect", "logging", "numpy", "pandas", "pathlib", "sqlalchemy", "sqlite3")


def loaded_by(code: str) -> set[str]:
    program = f"import sys; known = set(sys.modules)\n{code}\nimport json\n"
    program += "print(json.dumps([*sys.modules.keys() - known]))"
    command = [sys.executable, "-c", program]
    return set(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


@pytest.mark.parametrize("code", ["import fleche", "from fleche import cache, fleche, meta, tags"])
def test_nothing_heavy_is_imported(code: str) -> None:
    loaded = loaded_by(code)
    assert "fleche._core" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_a_decorated_function_imports_no_library() -> None:
    loaded = loaded_by("from fleche import fleche\n@fleche\ndef f(x): return x")
    assert loaded.isdisjoint({"numpy", "pandas", "sqlalchemy", "h5py"})
