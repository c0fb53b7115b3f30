"""The fixtures for users' own tests, in sessions of pytest."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PROGRAM = """
import pytest
from fleche import cache, fleche

runs = []

@fleche(hash_code=False)
def simulate(x):
    runs.append(x)
    return [x]

@fleche(hash_code=False)
def other(x):
    return x
"""


def run(folder: Path, tests: str, *words: str) -> tuple[int, str]:
    (folder / "test_program.py").write_text(PROGRAM + tests)
    if not any(entry.name == "fleche" for entry in entry_points(group="pytest11")):
        # In place, as by `maturin develop`, there are no entry points.
        words = ("-p", "fleche.pytest_plugin", *words)
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    done = subprocess.run(
        # Its folders are in ours: beside ours it would clear away what former sessions left.
        [*command, f"--basetemp={folder / 'temporary'}", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_each_test_has_a_fresh_cache(tmp_path: Path) -> None:
    code, out = run(
        tmp_path,
        """
@pytest.mark.parametrize("turn", range(2))
def test_fresh(fleche_cache, turn):
    assert not simulate.contains(1)
    simulate(1)
    assert simulate.contains(1)
    assert cache() is fleche_cache

@pytest.mark.fleche_cache(template="pickle")
def test_files(fleche_cache, tmp_path):
    simulate(1)
    assert [*(tmp_path / "fleche").iterdir()]

@pytest.mark.fleche_cache(template="sql", values="pickle", root="mine")
def test_settings(fleche_cache, tmp_path):
    assert simulate(1) == simulate(1) == [1]
    assert (tmp_path / "mine" / "calls.db").exists()

def test_gone():
    assert not simulate.contains(1)
""",
        "--strict-markers",
    )
    assert code == 0, out


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("simulate(1)\n    with fleche_hits(simulate):\n        simulate(1)", None),
        ("with fleche_hits(simulate):\n        other(1)", None),
        ("with fleche_hits():\n        pass", None),
        (
            "with fleche_hits(simulate):\n        simulate(1); simulate(1)",
            "1 of the calls should have been in the cache",
        ),
        ("with fleche_hits():\n        other(1)", "test_program.other was computed"),
        (
            "with fleche_hits(simulate):\n        simulate(iter([]))",
            "test_program.simulate ran without a cache: indigestible",
        ),
        ("with fleche_hits(len):\n        pass", "takes functions that @fleche decorates"),
        (
            "simulate(1)\n    with fleche_hits(simulate):\n        simulate.rerun(1)",
            "test_program.simulate was computed",
        ),
    ],
)
def test_hits(tmp_path: Path, body: str, said: str | None) -> None:
    code, out = run(tmp_path, f"\ndef test(fleche_cache, fleche_hits):\n    {body}\n")
    assert code == (0 if said is None else 1), out
    assert said is None or said in out


def test_a_session_without_them_imports_nothing(tmp_path: Path) -> None:
    code, out = run(
        tmp_path,
        "\ndef test():\n    import sys\n    assert 'fleche.events' not in sys.modules\n",
    )
    assert code == 0, out
