"""Storages in memory."""

from __future__ import annotations

import os
import pickle
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fleche.call import Call, DigestedCall
from fleche.digest import Digest, digest
from fleche.storage import (
    AmbiguousDigestError,
    CallMemory,
    CallStorage,
    SaveError,
    StorageBackend,
    ValueMemory,
    ValueMixin,
    ValueStorage,
)
from fleche.storage.memory import MemoryBackend


def record(n: int = 1, **fields: Any) -> DigestedCall:
    return Call("f", {"x": n}, result=n, **fields).digest()


def test_what_they_are() -> None:
    for storage, kind in ((ValueMemory({}), ValueStorage), (CallMemory({}), CallStorage)):
        assert isinstance(storage, kind)
        assert isinstance(storage, StorageBackend)
    assert repr(ValueMemory({})) == "ValueMemory(storage={}, remaining_depth=0)"
    assert repr(CallMemory({})) == "CallMemory(storage={})"
    assert ValueMemory({}, 2).to_config() == {"type": "memory", "remaining_depth": 2}
    assert CallMemory({}).to_config() == {"type": "memory"}
    assert ValueMemory.from_config(remaining_depth=3) == ValueMemory({}, 3)


def test_equal_by_parts_hashed_by_identity() -> None:
    one, other = ValueMemory({}), ValueMemory({})
    assert one == other
    one.save("text")
    assert one != other
    assert len({one, other, one}) == 2
    assert CallMemory({}) != ValueMemory({})


def test_the_dictionary_is_the_callers() -> None:
    shared: dict[Digest, Any] = {}
    one, other = ValueMemory(shared), ValueMemory(shared)
    key = one.save("text")
    assert shared == {key: "text"}
    assert other.load(key) == "text"
    shared.clear()
    assert not one.contains(key)


@pytest.mark.parametrize("depth", [0, 5])
def test_what_goes_in_and_out_is_independent(depth: int) -> None:
    value = {"a": [1, {"b": {2}}], "array": np.zeros(2)}
    storage = ValueMemory({}, depth)
    key = storage.save(value)
    value["a"][1]["b"].add(3)
    value["array"][0] = 1
    first = storage.load(key)
    assert first["a"] == [1, {"b": {2}}]
    first["a"][1]["b"].add(4)
    first["array"][0] = 5
    second = storage.load(key)
    assert second["a"] == [1, {"b": {2}}]
    assert second["array"].tolist() == [0, 0]


def test_what_cannot_change_is_not_copied() -> None:
    value = ("text", (1, 2.0, b"bytes"))
    storage = ValueMemory({}, 5)
    assert storage.load(storage.save(value)) is value


def test_records_are_independent() -> None:
    held = record(metadata={"tags": {"list": [1], "set": {1}}})
    storage = CallMemory({})
    key = storage.save(held)
    held.metadata["tags"]["list"].append(2)
    held.metadata["tags"]["set"].add(2)
    held.arguments["y"] = held.arguments["x"]
    first = storage.load(key)
    assert first.metadata == {"tags": {"list": [1], "set": {1}}}
    first.metadata["tags"]["list"].append(3)
    first.arguments.clear()
    assert storage.load(key) == record(metadata={"tags": {"list": [1], "set": {1}}})


def test_what_cannot_be_copied_cannot_be_saved() -> None:
    storage = ValueMemory({})
    with pytest.raises(SaveError, match=r"cannot copy a <class 'module'> into memory") as error:
        storage.save(os)
    assert isinstance(error.value.__cause__, TypeError)
    assert storage.storage == {}


def test_keys_and_prefixes() -> None:
    first, second = Digest("abcd1" + "0" * 59), Digest("abcd2" + "0" * 59)
    storage = ValueMemory({first: 1, second: 2})
    assert storage.load("abcd1") == 1
    assert storage.load(first) == 1
    assert storage.expand("abcd2") == second
    assert storage.shrink(first) == "abcd1"
    assert storage.shrink(second, first) == ("abcd2", "abcd1")
    assert not storage.contains("ffff")
    assert not storage.contains("abc")
    assert list(storage.list()) == [first, second]
    for missing in ("ffff", "abc", "f" * 64):
        with pytest.raises(KeyError):
            storage.load(missing)
    for use in (storage.load, storage.contains, storage.evict, storage.expand):
        with pytest.raises(AmbiguousDigestError, match="need at least 5 characters"):
            use("abcd")
    storage.evict("abcd1")
    storage.evict("f" * 64)
    assert list(storage.list()) == [second]


def test_saving_a_call_again_replaces_it_and_makes_it_the_newest() -> None:
    storage = CallMemory({})
    keys = [storage.save(record(n)) for n in range(3)]
    assert storage.save(record(0, metadata={"tags": {"again": True}})) == keys[0]
    assert list(storage.list()) == [keys[1], keys[2], keys[0]]
    assert storage.load(keys[0]).metadata == {"tags": {"again": True}}


def test_they_travel_with_their_content() -> None:
    values, calls = ValueMemory({}, 1), CallMemory({})
    key, call = values.save([1, [2]]), calls.save(record())
    other = pickle.loads(pickle.dumps(values))
    assert other == values
    assert other.load(key) == [1, [2]]
    assert pickle.loads(pickle.dumps(calls)).load(call) == record()


def test_a_subclass_is_asked() -> None:
    class Upper(ValueMemory):
        def get(self, key: Digest) -> Any:
            return super().get(key).upper()

        def put(self, value: Any, key: Digest) -> Digest:
            return super().put(value + "!", key)

    storage = Upper({})
    assert storage.load(storage.save("text")) == "TEXT!"
    assert len({storage, Upper({})}) == 2


def test_the_backend_alone() -> None:
    @dataclass(frozen=True)
    class Whole(MemoryBackend, ValueMixin):
        label: str = ""

    storage = Whole({}, "mine")
    key = storage.save([1, [2]])
    assert storage.storage == {key: [1, [2]]}
    assert hash(storage) != hash(Whole({}, "mine"))
    assert storage == Whole({key: [1, [2]]}, "mine")


def test_threads() -> None:
    storage, calls = ValueMemory({}), CallMemory({})
    barrier = threading.Barrier(6)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            barrier.wait()
            for n in range(40):
                value = [n, {"n": [n % 7]}]
                assert storage.load(storage.save(value)) == value
                assert calls.load(calls.save(record(n))) == record(n)
                list(storage.list()), list(calls.query(record_template(n)))
                if n % 5 == number % 5:
                    calls.evict(digest("nothing"))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(calls.storage) == 40


def record_template(n: int) -> Any:
    from fleche.call import QueryCall

    return QueryCall("f", {"x": n})
