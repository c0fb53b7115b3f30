"""Whole programs, written for the reference, that run unchanged on either package.

Each program of `programs` prints all that can be seen of what it does as one JSON document.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).with_name("programs")
NAMES = ("sweep", "stack", "signed")
#: Of these the stores differ: in keys that the reference makes of short texts, in the split values.
ALL_NAMES = (*NAMES, "named", "templates")

#: A package and the scheme of its digests. The reference has but one.
REFERENCE, OURS, EXACT = ("reference", "sha256"), ("ours", "sha256"), ("ours", "exact")
Package = tuple[str, str]


class Runs:
    """Runs programs, each package's first run of each program once."""

    def __init__(self, folder: Path, reference_python: Path) -> None:
        self._folder = folder
        self._pythons = {"reference": reference_python, "ours": Path(sys.executable)}
        self._first: dict[tuple[str, Package], tuple[Any, Path]] = {}

    def run(self, name: str, package: Package, folder: Path) -> Any:
        """The document of a program that runs in `folder`, where its store is."""
        python, (_, scheme) = self._pythons[package[0]], package
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        environment = {
            **kept,
            "HOME": str(folder),
            "TZ": "Europe/Berlin",
            "FLECHE_DIGEST": scheme,
            "FLECHE_STATISTICS": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [python, PROGRAMS / f"{name}.py"]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def first(self, name: str, package: Package) -> tuple[Any, Path]:
        """What the first run shows, and the folder that it leaves."""
        if (name, package) not in self._first:
            folder = self._folder / "-".join((name, *package))
            folder.mkdir()
            self._first[name, package] = self.run(name, package, folder), folder
        return self._first[name, package]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, reference_python: Path) -> Runs:
    return Runs(tmp_path_factory.mktemp("programs"), reference_python)


def entries(folder: Path) -> set[str]:
    """The entries of all stores below `folder`, by their names."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and len(path.name) == 64
    }


def rows(database: Path) -> dict[str, list[Any]]:
    """What the tables hold, but for the times."""
    connection = sqlite3.connect(database)
    try:
        found = {
            "calls": "SELECT key, name, module, version, code_digest, result FROM calls",
            "arguments": "SELECT call_key, position, name, value FROM arguments",
            "metadata": "SELECT call_key, name, data FROM metadata",
        }
        held = {name: sorted(connection.execute(query), key=repr) for name, query in found.items()}
    finally:
        connection.close()
    held["metadata"] = [
        (key, name, list(json.loads(data)) if name == "runtime" else json.loads(data))
        for key, name, data in held["metadata"]
    ]
    return held


@pytest.mark.parametrize("package", [OURS, EXACT], ids="-".join)
@pytest.mark.parametrize("name", ALL_NAMES)
def test_a_program_shows_the_same(runs: Runs, name: str, package: Package) -> None:
    expected, _ = runs.first(name, REFERENCE)
    assert expected["computed"]
    assert runs.first(name, package)[0] == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_program_leaves_the_same_store(runs: Runs, name: str) -> None:
    _, theirs = runs.first(name, REFERENCE)
    _, ours = runs.first(name, OURS)
    assert entries(ours) == entries(theirs)


def test_a_program_leaves_the_same_tables(runs: Runs) -> None:
    _, theirs = runs.first("sweep", REFERENCE)
    _, ours = runs.first("sweep", OURS)
    assert rows(ours / "store/calls.db") == rows(theirs / "store/calls.db")


@pytest.mark.parametrize(
    ("before", "package"),
    [(REFERENCE, OURS), (OURS, REFERENCE), (EXACT, EXACT)],
    ids=lambda package: "-".join(package),
)
@pytest.mark.parametrize("name", ALL_NAMES)
def test_a_second_run_hits_whoever_filled_the_store(
    runs: Runs, name: str, before: Package, package: Package, tmp_path: Path
) -> None:
    shown, left = runs.first(name, before)
    folder = tmp_path / "copy"
    shutil.copytree(left, folder)
    assert runs.run(name, package, folder) == {**shown, "computed": []}
