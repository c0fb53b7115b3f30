"""What every value storage does, whatever it keeps its values in."""

from __future__ import annotations

import array
import pickle
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleche.digest import Digest, digest
from fleche.storage import (
    AmbiguousDigestError,
    ValueBucket,
    ValueMemory,
    ValuePickleFile,
    ValueSqlite,
    ValueStorage,
)


@dataclass
class Point:
    x: Any
    y: Any


#: How each kind is made in a folder, with a depth from which on children are stored by themselves.
KINDS: dict[str, Callable[[Path, int], ValueStorage]] = {
    "memory": lambda folder, depth: ValueMemory({}, remaining_depth=depth),
    **{
        name: lambda folder, depth, name=name, form=form: ValuePickleFile(
            folder / name, remaining_depth=depth, **form
        )
        for name, form in {
            "pickle": {},
            "cloudpickle": {"serializer": "cloudpickle"},
            "dill": {"serializer": "dill"},
            "compressed": {"compress": True},
            "signed": {"secret_key": b"key"},
        }.items()
    },
    "bucket": lambda folder, depth: ValueBucket(
        (folder / "bucket").as_uri(), remaining_depth=depth
    ),
    "sqlite": lambda folder, depth: ValueSqlite(folder / "cache.db", depth, secret_key=b"key"),
}

VALUES = [
    *(0, 1.5, True, 2**80, -0.0, "", "text", "ü\n", b"", b"bytes", 1 + 2j, None, ...),
    *([], (), {}, set(), frozenset({1, 2}), [1, [2, [3, [4]]]], {"a": {"b": {"c": [1]}}}),
    *((1, "a", [2.0]), [[], [[]]], {1: "int", "1": "text", (1, 2): [3]}),
    *(Point(1, [2, 3]), [Point(Point(1, 2), {"deep": Point([], ())})], range(5), slice(1, 2)),
    *(OrderedDict(a=[1]), array.array("d", [1.0, 2.0]), int, len),
]

leaves = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats()
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=12,
)


@pytest.fixture(params=KINDS)
def new(request, tmp_path):
    """Makes a storage of each kind."""
    return lambda depth=0: KINDS[request.param](tmp_path, depth)


@pytest.fixture
def storage(new):
    return new()


def same(one: Any, other: Any) -> bool:
    """Equal, of one type, all the way down; NaN is NaN."""
    return type(one) is type(other) and digest(one, typed=True) == digest(other, typed=True)


class TestValues:
    @pytest.mark.parametrize("value", VALUES, ids=repr)
    @pytest.mark.parametrize("depth", [0, 1, 3])
    def test_a_value_comes_back(self, new, value, depth):
        storage = new(depth)
        key = storage.save(value)
        assert type(key) is Digest
        assert key == digest(value)
        assert same(storage.load(key), value)
        if not isinstance(storage, ValueMemory):
            # Whatever the depth, what is stored is read.
            assert same(new(0).load(key), value)

    def test_arrays_and_frames(self, storage):
        numbers = np.arange(12.0).reshape(3, 4)
        frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
        key = storage.save({"numbers": numbers, "frame": [frame]})
        again = storage.load(key)
        np.testing.assert_array_equal(again["numbers"], numbers)
        pd.testing.assert_frame_equal(again["frame"][0], frame)

    @settings(
        max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(values, st.integers(0, 4))
    def test_round_trip(self, new, value, depth):
        storage = new(depth)
        assert same(storage.load(storage.save(value)), value)

    def test_under_a_key_of_its_own(self, storage):
        key = Digest("ab" * 32)
        assert storage.save([1], key) == key
        assert storage.load(key) == [1]
        storage.save([1, 2], key)
        assert storage.load(key) == [1, 2]

    def test_independent_of_the_callers_object(self, storage):
        value = {"list": [1, 2], "point": Point([3], 4)}
        key = storage.save(value)
        value["list"].append(3)
        value["point"].x.append(4)
        first = storage.load(key)
        first["list"].clear()
        assert storage.load(key) == {"list": [1, 2], "point": Point([3], 4)}

    def test_a_result_keeps_the_types_of_its_parts(self, storage):
        one, other = [1, (2, 3)], [1.0, (2.0, 3)]
        keys = [storage.save(value, digest(value, typed=True)) for value in (one, other)]
        assert keys[0] != keys[1]
        assert [same(storage.load(key), v) for key, v in zip(keys, (one, other), strict=True)]
        assert same(storage.load(keys[0]), one)
        assert same(storage.load(keys[1]), other)


class TestChildren:
    def test_equal_children_are_stored_once(self, storage):
        child = {"a": [1, 2, 3]}
        storage.save([child, child, {"other": child}])
        before = len(list(storage.list()))
        storage.save((child, "more"))
        assert len(list(storage.list())) <= before + 2

    def test_a_deep_enough_storage_keeps_values_whole(self, new):
        storage = new(100)
        storage.save([[1], {"a": Point(1, [2])}])
        assert len(list(storage.list())) == 1

    def test_a_missing_child_is_a_miss(self, storage):
        inner = [10, 20, 30]
        key = storage.save([inner, "x"])
        children = set(storage.list()) - {key}
        assert children
        for child in children:
            storage.evict(child)
        with pytest.raises(KeyError):
            storage.load(key)


class TestKeys:
    def test_listing_containing_and_evicting(self, storage):
        keys = [storage.save(number) for number in range(10)]
        assert sorted(storage.list()) == sorted(keys)
        assert all(map(storage.contains, keys))
        storage.evict(keys[0])
        storage.evict(keys[0])
        assert not storage.contains(keys[0])
        with pytest.raises(KeyError):
            storage.load(keys[0])
        assert sorted(storage.list()) == sorted(keys[1:])

    def test_prefixes(self, storage):
        keys = [storage.save(number) for number in range(50)]
        for number, short in enumerate(storage.shrink(*keys)):
            assert storage.expand(short) == keys[number]
            assert storage.load(short) == number
        for prefix in ("", "abc", keys[0][:3], "zzzz"):
            with pytest.raises(KeyError):
                storage.load(prefix)

    def test_an_ambiguous_prefix(self, storage):
        for end in "ab":
            storage.save(1, Digest("abcd" + end * 60))
        with pytest.raises(AmbiguousDigestError):
            storage.load("abcd")

    def test_pickling(self, storage):
        key = storage.save([1, [2]])
        again = pickle.loads(pickle.dumps(storage))
        assert again == storage
        assert again.load(key) == [1, [2]]
        assert "b'key'" not in repr(storage)

    def test_threads(self, storage):
        def work(thread: int) -> None:
            for number in range(20):
                key = storage.save([[number], {"shared": [number % 3]}])
                assert storage.load(key) == [[number], {"shared": [number % 3]}]
                own = storage.save((thread, number))
                assert storage.load(own) == (thread, number)
                storage.evict(own)

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(work, thread) for thread in range(8)]:
                done.result()
        for number in range(20):
            assert storage.contains(digest([[number], {"shared": [number % 3]}]))
