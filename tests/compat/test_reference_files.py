"""Folders of pickle files that the reference and we read and write in turn."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fleche.call import DigestedCall
from fleche.digest import Digest
from fleche.storage import CallPickleFile, ValuePickleFile

VALUES: list[Any] = [1, "text", [1, [2, {"a": (3, 4)}]], {"k": [None, True]}, b"x" * 100_000]
KEYS = [Digest(f"{number:064x}") for number in range(len(VALUES))]
RECORD = DigestedCall(
    "f", {"a": Digest("a" * 64)}, Digest("b" * 64), {"runtime": {"walltime": 1.0}}, "m", 1, None
)
FORMS: list[dict[str, Any]] = [
    {},
    {"compress": True},
    {"secret_key": b"key"},
    {"secret_key": "00ff:ab", "compress": True, "serializer": "cloudpickle"},
    {"serializer": "dill"},
]

CASES = [(depth, form) for depth in (0, 1, 5) for form in FORMS]

IN_THE_REFERENCE = f"""
import json, sys, traceback
from fleche.call import DigestedCall
from fleche.digest import Digest
from fleche.storage import CallPickleFile, ValuePickleFile

VALUES, KEYS, RECORD, CASES = {VALUES!r}, {KEYS!r}, {RECORD!r}, {CASES!r}
action, folder = sys.argv[1:]

def write(values, calls):
    for key, value in zip(KEYS, VALUES):
        values.save(value, Digest(key))
    calls.put(RECORD, Digest("c" * 64))

def read(values, calls):
    for key, value in zip(KEYS, VALUES):
        assert values.load(key) == value, (key, values.load(key))
    assert set(KEYS) <= set(values.list())
    assert all(len(key) == 64 for key in values.list())
    assert calls.load("c" * 64) == RECORD
    assert list(calls.list()) == ["c" * 64]
    values.evict(KEYS[0])

errors = []
for number, (depth, form) in enumerate(CASES):
    root = folder + "/" + str(number)
    values = ValuePickleFile(root + "/values", depth, **form)
    calls = CallPickleFile(root + "/calls", **form)
    try:
        (write if action == "write" else read)(values, calls)
        errors.append("")
    except Exception:
        errors.append(traceback.format_exc())
print(json.dumps(errors))
"""


def reference(python: Path, action: str, folder: Path) -> list[str]:
    """What went wrong in each case, nothing if it is empty."""
    command = [python, "-c", IN_THE_REFERENCE, action, folder]
    environment = {"PATH": "/usr/bin", "HOME": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    errors: list[str] = json.loads(done.stdout)
    assert len(errors) == len(CASES)
    return errors


def stores(folder: Path, number: int) -> tuple[ValuePickleFile, CallPickleFile]:
    depth, form = CASES[number]
    root = folder / str(number)
    return ValuePickleFile(root / "values", depth, **form), CallPickleFile(root / "calls", **form)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, reference_python: Path) -> Path:
    """What the reference writes in each case."""
    folder = tmp_path_factory.mktemp("theirs")
    assert [*filter(None, reference(reference_python, "write", folder))] == []
    return folder


@pytest.fixture(scope="module")
def ours(
    tmp_path_factory: pytest.TempPathFactory, reference_python: Path
) -> tuple[Path, list[str]]:
    """What we write in each case, and what was wrong when the reference read it."""
    folder = tmp_path_factory.mktemp("ours")
    for number in range(len(CASES)):
        values, calls = stores(folder, number)
        for key, value in zip(KEYS, VALUES, strict=True):
            values.save(value, key)
        calls.put(RECORD, Digest("c" * 64))
    return folder, reference(reference_python, "read", folder)


every_case = pytest.mark.parametrize(
    "number", range(len(CASES)), ids=["-".join([str(depth), *form]) for depth, form in CASES]
)


@every_case
def test_we_read_what_the_reference_wrote(number: int, theirs: Path) -> None:
    values, calls = stores(theirs, number)
    for key, value in zip(KEYS, VALUES, strict=True):
        assert values.load(key) == value
    assert calls.load("c" * 64) == RECORD


@every_case
def test_the_reference_reads_what_we_wrote(number: int, ours: tuple[Path, list[str]]) -> None:
    folder, errors = ours
    assert errors[number] == ""
    values, _ = stores(folder, number)
    # It removed it.
    assert not values.contains(KEYS[0])
