"""Folders of pickle files that the reference and we read and write in turn."""

from __future__ import annotations

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

IN_THE_REFERENCE = f"""
import sys
from fleche.call import DigestedCall
from fleche.digest import Digest
from fleche.storage import CallPickleFile, ValuePickleFile
action, root, depth, form = sys.argv[1], sys.argv[2], int(sys.argv[3]), eval(sys.argv[4])
values = ValuePickleFile(root + "/values", depth, **form)
calls = CallPickleFile(root + "/calls", **form)
VALUES, KEYS, RECORD = {VALUES!r}, {KEYS!r}, {RECORD!r}
if action == "write":
    for key, value in zip(KEYS, VALUES):
        values.save(value, Digest(key))
    calls.put(RECORD, Digest("c" * 64))
else:
    for key, value in zip(KEYS, VALUES):
        assert values.load(key) == value, (key, values.load(key))
    assert set(KEYS) <= set(values.list())
    assert all(len(key) == 64 for key in values.list())
    assert calls.load("c" * 64) == RECORD
    assert list(calls.list()) == ["c" * 64]
    values.evict(KEYS[0])
"""


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(form) or "plain")
@pytest.mark.parametrize("depth", [0, 1, 5])
def test_each_reads_what_the_other_wrote(
    tmp_path: Path, reference_python: Path, form: dict[str, Any], depth: int
) -> None:
    def reference(action: str, root: Path) -> None:
        command = [reference_python, "-c", IN_THE_REFERENCE, action, root, str(depth), repr(form)]
        environment = {"PATH": "/usr/bin", "HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def stores(root: Path) -> tuple[ValuePickleFile, CallPickleFile]:
        values = ValuePickleFile(root / "values", depth, **form)
        return values, CallPickleFile(root / "calls", **form)

    values, calls = stores(tmp_path / "theirs")
    reference("write", tmp_path / "theirs")
    for key, value in zip(KEYS, VALUES, strict=True):
        assert values.load(key) == value
    assert calls.load("c" * 64) == RECORD

    values, calls = stores(tmp_path / "ours")
    for key, value in zip(KEYS, VALUES, strict=True):
        values.save(value, key)
    calls.put(RECORD, Digest("c" * 64))
    reference("read", tmp_path / "ours")
    assert not values.contains(KEYS[0])
