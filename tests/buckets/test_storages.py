"""Values and records in buckets of every kind: what is saved is found, by whoever looks."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import BaseCache
from fleche.call import Call
from fleche.config import cache_from_config, cache_to_config, storage_from_config
from fleche.storage import AmbiguousDigestError, CallBucket, ValueBucket

RUNS: list[Any] = []


@fleche
def square(x: Any) -> Any:
    RUNS.append(x)
    return x * x


@fleche
def long(size: int) -> bytes:
    RUNS.append(size)
    return b"\x07" * size


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    RUNS.clear()


def _again(settings: dict[str, Any]) -> BaseCache:
    """The same cache as another process has it."""
    return cache_from_config({"template": "bucket", **settings})


def test_a_call_is_computed_once(bucket: BaseCache, settings: dict[str, Any]) -> None:
    with cache(bucket):
        assert square(3) == 9
    with cache(_again(settings)):
        assert square(3) == 9
    assert RUNS == [3]


@pytest.mark.parametrize("size", [0, 10, 100_000, 9_000_000, 20_000_000])
def test_results_of_any_length(settings: dict[str, Any], bucket: BaseCache, size: int) -> None:
    with cache(bucket):
        assert long(size) == b"\x07" * size
    with cache(_again(settings)):
        assert long(size) == b"\x07" * size
    assert [size] == RUNS


def test_what_is_nested_comes_back_whole(bucket: BaseCache, settings: dict[str, Any]) -> None:
    value = {"a": [1, [2.5, "x" * 300], {"b": None}], "c": [[b"y" * 70_000]]}
    key = bucket.save(Call("f", {"x": value}, result=value))
    again = _again(settings).load(key)
    assert again.result == value
    assert again.arguments["x"] == value


def test_a_record_is_replaced(bucket: BaseCache) -> None:
    first = bucket.save(Call("f", {"x": 1}, result="first"))
    second = bucket.save(Call("f", {"x": 1}, result="second"))
    assert first == second
    assert bucket.load(first).result == "second"


def test_evicted_calls_are_gone(bucket: BaseCache, settings: dict[str, Any]) -> None:
    key = bucket.save(Call("f", {"x": 1}, result=2))
    other = bucket.save(Call("f", {"x": 2}, result=3))
    bucket.evict(key)
    for held in (bucket, _again(settings)):
        assert not held.contains(key)
        assert [call.to_lookup_key() for call in held.query(name="f")] == [other]
        assert held._contains_many([key, other]) == [False, True]


def test_keys_are_listed_and_shortened(bucket: BaseCache) -> None:
    keys = {bucket.save(Call("f", {"x": x}, result=x)) for x in range(5)}
    assert set(bucket.calls.list()) == keys  # type: ignore[attr-defined]
    for key in keys:
        assert bucket.expand(bucket.shrink(key)) == key  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        bucket.expand("0123")
    assert AmbiguousDigestError is not None


def test_queries_find_what_others_saved(bucket: BaseCache, settings: dict[str, Any]) -> None:
    for x in range(4):
        bucket.save(Call("f", {"x": x}, result=-x))
    bucket.save(Call("g", {"x": 1}, result=1))
    bucket.calls.flush()  # type: ignore[attr-defined]
    other = _again(settings)
    assert sorted(call.result for call in other.query(name="f")) == [-3, -2, -1, 0]
    assert [call.name for call in other.query(arguments={"x": 1}, result=1)] == ["g"]
    bucket.save(Call("f", {"x": 9}, result=-9))
    bucket.calls.flush()  # type: ignore[attr-defined]
    assert sum(1 for _ in other.query(name="f")) == 5


def test_queries_find_what_a_killed_writer_saved(
    bucket: BaseCache, settings: dict[str, Any]
) -> None:
    bucket.save(Call("f", {"x": 1}, result=1))
    # As one who was killed: what it gathered is never written.
    bucket.calls._index._waiting.clear()  # type: ignore[attr-defined]
    assert [call.result for call in _again(settings).query(name="f")] == [1]


def test_the_local_copy_may_be_removed(
    bucket: BaseCache, settings: dict[str, Any], tmp_path: Any
) -> None:
    bucket.save(Call("f", {"x": 1}, result=1))
    assert bucket.query(name="f").count() == 1
    (folder,) = (tmp_path / "caches" / "fleche" / "buckets").iterdir()
    for file in folder.iterdir():
        file.unlink()
    assert _again(settings).query(name="f").count() == 1


def test_garbage_that_is_young_stays(bucket: BaseCache, monkeypatch: pytest.MonkeyPatch) -> None:
    key = bucket.save(Call("f", {"x": [1.5] * 40}, result=[2.5] * 40))
    bucket.evict(key)
    values = bucket.values  # type: ignore[attr-defined]
    assert bucket.gc() == set()  # type: ignore[attr-defined]
    from fleche.storage import bucket as module

    monkeypatch.setattr(module, "REFRESH", -10.0)
    assert len(bucket.gc()) == 2  # type: ignore[attr-defined]
    assert [*values.list()] == []


def test_garbage_collection_keeps_what_calls_need(
    bucket: BaseCache, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fleche.storage import bucket as module

    key = bucket.save(Call("f", {"x": [1.5] * 40}, result=[[2.5] * 40, ["z" * 300]]))
    bucket.calls._index._waiting.clear()  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "REFRESH", -10.0)
    assert _again(settings).gc() == set()  # type: ignore[attr-defined]
    assert _again(settings).load(key).result == [[2.5] * 40, ["z" * 300]]


def test_a_damaged_entry_costs_itself(
    bucket: BaseCache, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with cache(bucket):
        square(2)
        square(3)
    calls = bucket.calls  # type: ignore[attr-defined]
    damaged, whole = [*calls.list()]
    calls._at.bucket.overwrite(calls._path(damaged), b"FLR1\x00\x00")
    caplog.set_level(logging.WARNING)
    with cache(_again(settings)):
        assert (square(2), square(3)) == (4, 9)
    assert sorted(RUNS[2:]) in ([2], [3])
    assert damaged in caplog.text
    assert whole not in caplog.text


def test_storages_travel(bucket: BaseCache, settings: dict[str, Any]) -> None:
    key = bucket.save(Call("f", {"x": 1}, result=2))
    again = pickle.loads(pickle.dumps(bucket))
    assert again == bucket
    assert again.load(key).result == 2
    assert cache_from_config(cache_to_config(bucket)) == bucket


def test_signed_entries_are_verified(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    signed = {"template": "bucket", **settings, "secret_key": ["00ff"]}
    key = cache_from_config(signed).save(Call("f", {"x": 1}, result=2))
    assert cache_from_config(signed).load(key).result == 2
    other = cache_from_config({**signed, "secret_key": ["aa"]})
    with pytest.raises(KeyError):
        other.load(key)
    assert "ignature" in caplog.text


def test_compressed_entries(settings: dict[str, Any]) -> None:
    packed = {"template": "bucket", **settings, "compress": True}
    held = cache_from_config(packed)
    key = held.save(Call("f", {"x": 1}, result="z" * 100_000))
    assert _again(settings).load(key).result == "z" * 100_000
    assert sum(size for _, size, _ in held.values._listed("v")) < 10_000  # type: ignore[attr-defined]


def test_values_and_calls_may_be_apart(settings: dict[str, Any], tmp_path: Any) -> None:
    values = storage_from_config({"type": "bucket", **settings}, "value")
    assert isinstance(values, ValueBucket)
    assert isinstance(storage_from_config({"type": "bucket", **settings}, "call"), CallBucket)
    mixed = cache_from_config(
        {
            "values": {"type": "bucket", **settings},
            "calls": {"type": "sql", "url": str(tmp_path / "calls.db")},
        }
    )
    key = mixed.save(Call("f", {"x": 1}, result=[1] * 500))
    assert mixed.load(key).result == [1] * 500
