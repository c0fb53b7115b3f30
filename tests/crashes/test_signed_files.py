"""Signed files that were changed, renamed, or that changed places: never a value, never a hit."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleche import cache, fleche, meta
from fleche.caches import Cache
from fleche.digest import Digest
from fleche.storage import CallPickleFile, ValuePickleFile
from fleche.storage.pickle_file import register_serializer

from .stores import KEY, KINDS

UNPICKLED: list[bytes] = []


def _loads(data: bytes) -> Any:
    UNPICKLED.append(data)
    return pickle.loads(data)


register_serializer("watched pickle", lambda: (pickle.dumps, _loads))


@pytest.fixture(autouse=True)
def no_metadata() -> Iterator[None]:
    with meta():
        yield


def signed(root: Path, compress: bool) -> Cache:
    options: Any = {"secret_key": KEY, "serializer": "watched pickle", "compress": compress}
    return Cache(
        ValuePickleFile(root / "values", **options), CallPickleFile(root / "calls", **options)
    )


@fleche
def squared(number: int) -> int:
    return number**2


@fleche
def cubed(number: int) -> int:
    return number**3


@fleche(version=1)
def of_version(number: int) -> int:
    return number


@given(
    compress=st.booleans(),
    value=st.one_of(st.integers(), st.text(), st.binary(max_size=300), st.lists(st.floats())),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4),
    data=st.data(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_flipped_bytes_are_never_unpickled(
    folder: Path, compress: bool, value: Any, flips: list[tuple[int, int]], data: st.DataObject
) -> None:
    shutil.rmtree(folder / "values", ignore_errors=True)
    storage = signed(folder, compress).values
    key = storage.save(value)
    file = folder / "values" / key
    whole = file.read_bytes()
    damaged = bytearray(whole)
    for place, change in flips:
        damaged[place % len(damaged)] ^= change
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    file.write_bytes(damaged)
    UNPICKLED.clear()
    try:
        storage.load(key)
    except KeyError:
        assert UNPICKLED == []
    else:
        # Gzip has bytes that mean nothing, as the time in its head: the content is the same.
        assert bytes(damaged) == whole or compress
        file.write_bytes(whole)
        payloads = UNPICKLED.copy()
        UNPICKLED.clear()
        storage.load(key)
        assert payloads == UNPICKLED


@pytest.mark.parametrize("kind", ["pickle", "signed", "bags"])
def test_records_that_changed_places_do_not_hit(
    kind: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = KINDS[kind](folder)
    calls = ((squared, 2), (squared, 3), (cubed, 2), (of_version, 3))
    with cache(store):
        keys = [function.digest(number) for function, number in calls]
        for function, number in calls:
            function(number)
        for one, other in permutations(range(len(calls)), 2):
            (folder / "swap").unlink(missing_ok=True)
            one_file, other_file = (folder / "calls" / keys[place] for place in (one, other))
            before = one_file.read_bytes(), other_file.read_bytes()
            os.rename(one_file, folder / "swap")
            os.rename(other_file, one_file)
            os.rename(folder / "swap", other_file)
            caplog.clear()
            for place in (one, other):
                function, number = calls[place]
                assert function(number) == function.__wrapped__(number)
            messages = [record.getMessage() for record in caplog.records]
            assert [("is that of another call" in message) for message in messages] == [True] * 2
            # Each was computed, and took its place again.
            if kind != "bags":
                assert (one_file.read_bytes(), other_file.read_bytes()) == before


def test_a_later_cache_of_a_stack_does_not_hit_either(folder: Path) -> None:
    later = KINDS["signed"](folder / "later")
    with cache(later):
        keys = [squared.digest(2), squared.digest(3)]
        squared(2)
        os.rename(folder / "later" / "calls" / keys[0], folder / "later" / "calls" / keys[1])
    with cache(later.push(KINDS["signed"](folder / "first"))):
        assert squared(3) == 9


def test_equal_versions_of_other_types_hit(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    def number(x: int) -> int:
        ran.append(x)
        return x

    ran: list[int] = []
    for version in (1, 1.0):
        with cache(KINDS["signed"](folder)):
            assert fleche(version=version)(number)(5) == 5
    assert ran == [5]
    assert caplog.records == []


def test_values_are_found_by_their_name(folder: Path) -> None:
    """What is not promised: a value's signature does not cover the file's name."""
    store = KINDS["signed"](folder)
    one, other = store.values.save("one"), store.values.save("other")
    os.replace(folder / "values" / one, folder / "values" / other)
    assert store.values.load(Digest(other)) == "one"
