"""Bags that the reference and we read and write in turn, and those that it left behind."""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import Cache
from fleche.call import DigestedCall
from fleche.digest import Digest, digest
from fleche.storage import (
    CallBagOfHoldingH5File,
    CallMemory,
    SaveError,
    ValueBagOfHoldingH5File,
    ValueMemory,
)
from tests.recorded import unpacked
from tests.unit.schemes import scheme

DATA = Path(__file__).parents[1] / "data"
GOLDEN = [("0.16.1", "bag", 0), ("0.22.2", "bag", 0), ("0.22.2", "bag-prefix2", 2)]

VALUES: list[Any] = [1, "text", [1, [2, {"a": (3, 4)}]], {"k": [None, True]}, b"x" * 10_000]
KEYS = [Digest(f"{number:064x}") for number in range(len(VALUES))]
RECORD = DigestedCall(
    "f", {"a": Digest("a" * 64)}, Digest("b" * 64), {"runtime": {"walltime": 1.0}}, "m", 1, None
)

IN_THE_REFERENCE = f"""
import sys
from pathlib import Path
from fleche.call import DigestedCall
from fleche.digest import Digest
from fleche.storage import CallBagOfHoldingH5File, ValueBagOfHoldingH5File
action, root, depth, length = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
values = ValueBagOfHoldingH5File(Path(root) / "values", None, length, remaining_depth=depth)
calls = CallBagOfHoldingH5File(Path(root) / "calls", None, length)
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

HOLD_A_LOCK = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def stores(
    root: Path, length: int | None, depth: int = 0
) -> tuple[ValueBagOfHoldingH5File, CallBagOfHoldingH5File]:
    values = ValueBagOfHoldingH5File(root / "values", None, length, remaining_depth=depth)
    return values, CallBagOfHoldingH5File(root / "calls", None, length)


@pytest.mark.parametrize(("depth", "length"), [(0, 0), (0, 2), (1, 2), (5, 0)])
def test_each_reads_what_the_other_wrote(
    tmp_path: Path, reference_python: Path, depth: int, length: int
) -> None:
    def reference(action: str, root: Path) -> None:
        arguments = [action, root, str(depth), str(length)]
        command = [reference_python, "-c", IN_THE_REFERENCE, *arguments]
        environment = {"PATH": "/usr/bin", "HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    reference("write", tmp_path / "theirs")
    values, calls = stores(tmp_path / "theirs", None, depth)
    assert values.prefix_length == length
    for key, value in zip(KEYS, VALUES, strict=True):
        assert values.load(key) == value
    assert calls.load("c" * 64) == RECORD

    values, calls = stores(tmp_path / "ours", length, depth)
    for key, value in zip(KEYS, VALUES, strict=True):
        values.save(value, key)
    calls.put(RECORD, Digest("c" * 64))
    reference("read", tmp_path / "ours")
    assert not values.contains(KEYS[0])


def test_a_lock_that_a_process_of_the_reference_holds(
    tmp_path: Path, reference_python: Path
) -> None:
    storage = ValueBagOfHoldingH5File(tmp_path, None, 2, 0.01)
    storage.save(1, KEYS[0])
    lock = tmp_path / "00.h5.lock"
    holder = subprocess.Popen(
        [reference_python, "-c", HOLD_A_LOCK, lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(SaveError):
        storage.save(2, KEYS[0])
    assert storage.load(KEYS[0]) == 1
    holder.communicate()
    storage.save(2, KEYS[0])
    assert storage.load(KEYS[0]) == 2


@pytest.mark.parametrize("ours", ["_reading", "_writing"])
def test_a_process_of_the_reference_waits_for_us(
    tmp_path: Path, reference_python: Path, ours: str
) -> None:
    storage = ValueBagOfHoldingH5File(tmp_path / "values", None, 2)
    storage.save(1, KEYS[0])
    code = (
        "import sys; from filelock import FileLock, Timeout\n"
        "try: FileLock(sys.argv[1]).acquire(timeout=0.01)\n"
        "except Timeout: print('waited')"
    )
    command = [reference_python, "-c", code, storage._lock_path(KEYS[0])]
    with getattr(storage, ours)(KEYS[0]):
        assert subprocess.run(command, capture_output=True, text=True).stdout == "waited\n"
    assert subprocess.run(command, capture_output=True, text=True).stdout == ""


@pytest.mark.parametrize(("version", "name", "length"), GOLDEN)
def test_recorded_bags(tmp_path: Path, version: str, name: str, length: int) -> None:
    folder = unpacked(version, tmp_path)
    recorded = json.loads((folder / "manifest.json").read_text())["stores"][name]
    values, calls = stores(folder / name, None)
    assert (values.prefix_length, calls.prefix_length) == (length, length)
    assert sorted(calls.list()) == sorted(call["key"] for call in recorded["calls"])
    assert sorted(values.list()) == sorted(recorded["value_keys"])
    for call in recorded["calls"]:
        record = calls.load(call["key"])
        assert (record.name, record.module) == (call["name"], call["module"])
        assert record.arguments == call["arguments"]
        assert record.result == call["result_digest"]
        assert sorted(record.metadata) == sorted(call["metadata_names"])
        assert values.load(call["result_digest"]) == ast.literal_eval(call["result"])
    for key in recorded["value_keys"]:
        values.load(key)


# Records whose arguments came back sorted, as the reference's do


def three(z: int, y: int, a: int) -> list[int]:
    return [z, y, a]


def seven(g: int, f: int, e: int, d: int, c: int, b: int, a: int) -> list[int]:
    return [a, g]


def hidden() -> Any:
    def inner(g: int, f: int, e: int, d: int, c: int, b: int, a: int) -> list[int]:
        return [a, g, 0]

    return inner


decorated = {"three": fleche(three), "seven": fleche(seven), "inner": fleche(hidden())}


@pytest.fixture(params=[0, 2])
def sorted_bags(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    """A store of calls as the reference leaves it."""
    with scheme("sha256"):
        source = Cache(ValueMemory({}), CallMemory({}))
        with cache(source):
            decorated["three"](1, 2, 3), decorated["three"](4, 5, 6)
            decorated["seven"](*range(7)), decorated["inner"](*range(7))
        store = Cache(*stores(tmp_path, request.param))
        for call in source.query():
            for argument in call.arguments.values():
                store.values.save(argument)
            store.values.save(call.result)
            record = call.detach()
            arguments = {name: record.arguments[name] for name in sorted(record.arguments)}
            store.calls.put(replace(record, arguments=arguments), call.to_lookup_key())
    with scheme("sha256"):
        yield store


def ran(store: Cache) -> bool:
    """Whether a call of `three` has to be computed."""
    with cache(store):
        return not decorated["three"].contains(1, 2, 3)


def test_such_records_hit(sorted_bags: Cache, caplog: pytest.LogCaptureFixture) -> None:
    with cache(sorted_bags):
        for name, arguments in (("three", (1, 2, 3)), ("seven", range(7)), ("inner", range(7))):
            assert decorated[name].load(*arguments) == decorated[name](*arguments)
            found = decorated[name].query(*arguments).only()
            assert sorted(found.arguments.values()) == sorted(arguments)
    assert not caplog.records


def test_such_records_keep_their_keys(sorted_bags: Cache) -> None:
    # Nobody can tell the order of so many arguments of a function that is not in a module.
    sorted_bags.evict(decorated["inner"].digest(*range(7)))
    keys = {call.to_lookup_key() for call in sorted_bags.query()}
    assert keys == {*sorted_bags.calls.list()}
    target = Cache(ValueMemory({}), CallMemory({}))
    sorted_bags.transfer(target)
    assert not ran(target)
    sorted_bags.query(name="three").evict()
    assert [call.name for call in sorted_bags.query()] == ["seven"]


def test_such_records_of_a_function_that_is_not_here(sorted_bags: Cache) -> None:
    arguments = {"q": digest(1), "p": digest(2), "o": digest(3), "n": digest(4)}
    record = DigestedCall("absent", arguments, digest(5), module="gone")
    key = record.to_lookup_key()
    for _ in range(2):
        sorted_bags.calls.put(replace(record, arguments=dict(sorted(arguments.items()))), key)
        assert sorted_bags.calls.load(key).to_lookup_key() == key
    renamed = Digest("f" * 64)
    sorted_bags.calls.put(record, renamed)
    assert sorted_bags.calls.load(renamed) == record


def test_such_records_move_to_exact_keys(sorted_bags: Cache) -> None:
    sorted_bags.evict(decorated["inner"].digest(*range(7)))
    with scheme("exact"):
        assert not ran(sorted_bags)
        sorted_bags.redigest()
        sorted_bags.gc()
        assert not ran(sorted_bags)
        keys = {call.to_lookup_key() for call in sorted_bags.query()}
        assert keys == {*sorted_bags.calls.list()}


# The layout of a new root


@pytest.mark.parametrize("kind", [ValueBagOfHoldingH5File, CallBagOfHoldingH5File])
def test_a_new_root_has_the_layout_that_both_open(
    tmp_path: Path, kind: type[ValueBagOfHoldingH5File]
) -> None:
    with scheme("sha256"):
        assert kind(tmp_path / "new").prefix_length == 2
        assert kind(tmp_path / "asked", prefix_length=0).prefix_length == 0
        storage = kind(tmp_path / "filled", prefix_length=0)
        storage.put(1, KEYS[0])
        assert kind(tmp_path / "filled").prefix_length == 0
    with scheme("exact"):
        assert kind(tmp_path / "new").prefix_length == 0
