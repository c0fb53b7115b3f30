"""Queries, and what is done with what they find."""

from __future__ import annotations

import datetime
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fleche import cache, fleche, meta, tags
from fleche.caches import Cache, CachePool, CacheStack, Rejected
from fleche.call import Call, DigestedCall, LazyCall, QueryCall
from fleche.digest import digest
from fleche.query import QueryIterator
from fleche.storage import (
    CallBagOfHoldingH5File,
    CallMemory,
    CallPickleFile,
    Sql,
    ValueMemory,
    ValuePickleFile,
)

from .calls import memory_cache


@pytest.fixture(params=["memory", "files", "stack"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A cache with the squares of 0 to 4, and one other call."""
    match request.param:
        case "memory":
            made: Any = memory_cache()
        case "files":
            made = Cache(ValuePickleFile(tmp_path / "values"), CallPickleFile(tmp_path / "calls"))
        case _:
            made = CacheStack((memory_cache(), memory_cache()))
    for n in range(5):
        runtime = {"timestart": 10.0 - n, "timestop": 20.0 - n}
        fields = {"module": "m", "version": n % 2, "metadata": {"runtime": runtime}}
        made.save(Call("square", {"x": n, "even": n % 2 == 0}, result=n * n, **fields))
    made.save(Call("other", {"y": [1]}, {"tags": {"sample": "A"}}, result="text"))
    return made


def xs(found: QueryIterator) -> list[int]:
    return [call.arguments["x"] for call in found]


def test_a_query_finds_what_matches(held: Any) -> None:
    assert held.query().count() == 6
    assert sorted(xs(held.query(name="square"))) == [0, 1, 2, 3, 4]
    assert sorted(xs(held.query(name="square", version=1))) == [1, 3]
    assert xs(held.query(arguments={"x": 3.0})) == [3]
    assert xs(held.query(arguments={"x": digest(3)})) == [3]
    assert sorted(xs(held.query(arguments={"even": True}))) == [0, 2, 4]
    assert held.query(arguments={"y": None}).count() == 1
    assert held.query(arguments={"y": [1]}).only().result == "text"
    assert xs(held.query(result=16)) == [4]
    assert held.query(result=16.0).count() == 0, "results count by type"
    assert held.query(metadata={"tags": {"sample": "A"}}).count() == 1
    assert held.query(metadata={"tags": {}}).count() == 1
    assert held.query(metadata={"runtime": {"timestop": 18.0}}).only().arguments["x"] == 2
    assert held.query(name="nope").empty()
    assert held.query(QueryCall("other")).count() == 1


def test_wrong_queries(held: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TypeError, match="Cannot pass keyword arguments when a QueryCall template"):
        held.query(QueryCall(), name="f")
    with pytest.raises(TypeError):
        held.query(nope=1)
    assert held.query(arguments={"x": threading.Lock()}).count() == 0
    assert "No hash for query argument" in caplog.text


def test_one_or_none(held: Any) -> None:
    squares = held.query(name="square")
    assert isinstance(squares.any(), LazyCall)
    assert held.query(name="nope").any() is None
    assert held.query(name="other").only().name == "other"
    with pytest.raises(IndexError, match="QueryIterator is empty"):
        held.query(name="nope").only()
    with pytest.raises(ValueError, match="more than one result"):
        squares.only()
    assert not squares.empty()
    assert held.query(name="nope").empty()


def test_lazy_and_iterable_again(held: Any) -> None:
    squares = held.query(name="square").sorted("x")
    assert xs(squares) == xs(squares) == [0, 1, 2, 3, 4]
    held.save(Call("square", {"x": 9}, result=81))
    assert xs(squares) == [0, 1, 2, 3, 4, 9]
    assert xs(squares.take(2)) == [0, 1]
    assert xs(squares.skip(4)) == [4, 9]
    assert xs(squares.take(0)) == []
    assert xs(squares.filter(lambda call: call.result > 10)) == [4, 9]
    assert xs(squares.sorted("x", reverse=True)) == [9, 4, 3, 2, 1, 0]
    assert xs(squares.sorted(lambda call: -call.result)) == [9, 4, 3, 2, 1, 0]
    assert list(squares.take(3).results()) == [0, 1, 4]


def test_groups(held: Any) -> None:
    squares = held.query(name="square").sorted("x")
    assert xs(squares.unique("even")) == [0, 1]
    assert xs(squares.unique(lambda call: call.version)) == [0, 1]
    groups = squares.groupby("even")
    assert list(groups) == [True, False]
    assert xs(groups[False]) == [1, 3]
    assert xs(groups[True].skip(1)) == [2, 4]
    with pytest.raises(KeyError):
        squares.groupby("nope")
    with pytest.raises(KeyError):
        list(squares.sorted("nope"))


def test_latest_and_oldest(held: Any) -> None:
    assert held.query(name="square").latest().arguments["x"] == 0
    assert held.query().oldest().arguments["x"] == 4
    for which in ("latest", "oldest"):
        with pytest.raises(IndexError, match="QueryIterator is empty"):
            getattr(held.query(name="nope"), which)()
        with pytest.raises(ValueError, match=f"Cannot determine the {which} call"):
            getattr(held.query(name="other"), which)()


def test_evict(held: Any) -> None:
    held.query(name="square", version=1).evict()
    assert sorted(xs(held.query(name="square"))) == [0, 2, 4]
    with pytest.raises(Rejected):
        held.readonly().query().evict()
    with pytest.raises(Rejected):
        CachePool((held,)).query().take(1).evict()
    assert held.query().count() == 4


def test_transfer(held: Any) -> None:
    target = memory_cache()
    held.query(name="square").sorted("x").take(2).transfer(target)
    assert sorted(xs(target.query())) == [0, 1]
    assert held.query(name="square").count() == 5
    held.query(name="square").transfer(target, pop=True)
    assert sorted(xs(held.query(name="square"))) == [0, 1], "what was not transferred stays"
    assert target.query(name="square").count() == 5


def test_records_that_cannot_be_read_are_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = Cache(ValuePickleFile(tmp_path / "values"), CallPickleFile(tmp_path / "calls"))
    keys = [held.save(Call("f", {"x": n}, result=n)) for n in range(3)]
    (tmp_path / "calls" / keys[1]).write_bytes(b"torn")
    assert sorted(xs(held.query())) == [0, 2]
    assert keys[1] in caplog.text
    strange = Cache(memory_cache().values, CallMemory({keys[0]: "no record"}))  # type: ignore[dict-item]
    assert strange.query().empty()


# Tables


ERRORS = [KeyError("k"), ValueError("v"), OSError("o"), AttributeError("a"), MemoryError()]


class Unfetched(DigestedCall):
    """A record that a storage of a user's own gives."""

    def fetch(self, cache: Any) -> LazyCall:
        raise self.metadata["error"]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_records_whose_fetch_raises_are_skipped(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Records(CallMemory):
        def query(self, template: QueryCall) -> Iterator[DigestedCall]:
            yield Unfetched("f", {}, metadata={"error": error})  # type: ignore[dict-item]
            yield from super().query(template)

    inner = Cache(ValueMemory({}), Records({}))
    inner.save(Call("g", {"x": 1}, result=2))
    for store in (inner, CacheStack((inner,)), inner.filter(lambda call: True)):
        caplog.clear()
        assert [call.name for call in store.query()] == ["g"]
        assert list(store.query().results()) == [2]
        assert store.table().index.size == 1
        bad = Unfetched("f", {}).to_lookup_key()
        assert f"Cannot load call {bad}, skipped: {error!r}" in caplog.text


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("base", [CallMemory, CallPickleFile, CallBagOfHoldingH5File, Sql])
def test_records_whose_load_raises_are_skipped(
    base: Any, error: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = Call("bad", {}).to_lookup_key()

    class Records(base):  # type: ignore[misc]
        def load(self, key: Any) -> DigestedCall:
            if key == bad:
                raise error
            return super().load(key)  # type: ignore[no-any-return]

    made = {CallMemory: {}, Sql: None}
    store = Cache(ValueMemory({}), Records(made.get(base, tmp_path)))
    for name in ("bad", "good"):
        store.save(Call(name, {}, result=1))
    assert [call.name for call in store.query()] == ["good"]
    assert f"Cannot load call {bad}, skipped" in caplog.text


class Wayward(dict[str, Any]):
    """Metadata that cannot be compared."""

    def __contains__(self, key: object) -> bool:
        raise RuntimeError("no")


def test_records_that_cannot_be_compared_are_skipped(caplog: pytest.LogCaptureFixture) -> None:
    store = memory_cache()
    for name, about in (("bad", Wayward(a=1)), ("good", {"a": 1})):
        store.save(Call(name, {}, {"about": about}, result=1))
    assert [call.name for call in store.query(metadata={"about": {"a": 1}})] == ["good"]
    assert "Cannot compare call" in caplog.text


def test_a_pattern_may_match_in_a_way_of_its_own(held: Any) -> None:
    class Large(QueryCall):
        def matches(self, other: Any) -> bool:
            return other.name == "square" and other.version == 1

    assert sorted(xs(held.query(Large()))) == [1, 3]


def test_table(held: Any) -> None:
    table = held.query(name="square").sorted("x").table(["x", "nope"], results=True)
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == [
        *("name", "module", "result", "timestart", "timestop", "x", "nope")
    ]
    assert list(table["result"]) == [0, 1, 4, 9, 16]
    assert list(table["x"]) == [0, 1, 2, 3, 4]
    assert table["nope"].isna().all()
    assert [held.expand(key) for key in table.index] == [
        call.to_lookup_key() for call in held.query(name="square").sorted("x")
    ]
    assert all(len(key) < 64 for key in table.index)
    whole = held.table(True, shrink_keys=False)
    assert {"x", "even", "y"} <= set(whole.columns)
    assert all(len(key) == 64 for key in whole.index)
    assert list(held.query(name="other").table("y")["y"]) == [[1]]


@pytest.fixture
def west_of_greenwich() -> Iterator[None]:
    """A local time zone that is never that of UTC."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TZ", "America/Phoenix")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("west_of_greenwich")
def test_times_are_local() -> None:
    f = fleche(lambda x: x)
    with cache(held := memory_cache()):
        before = datetime.datetime.now().astimezone()
        f(1)
        table = held.table()
    assert abs(table["timestart"].iloc[0] - before) < datetime.timedelta(minutes=1)
    assert table["timestop"].iloc[0].utcoffset() == datetime.timedelta(hours=-7)
    assert table["timestart"].iloc[0].hour == before.hour


def test_arguments_of_the_same_names() -> None:
    held = memory_cache()
    held.save(Call("f", {"name": 1, "timestart": "abc", "x": 2}, {"m": {"x": 3}}, result=4))
    table = held.table(True)
    assert list(table.iloc[0]) == ["f", None, 3, 1, "abc", 2]
    assert list(table.columns) == ["name", "module", "x", "a_name", "timestart", "a_x"]


def test_an_empty_table() -> None:
    table = memory_cache().table()
    assert len(table) == 0
    assert list(table.columns) == []


def test_a_missing_result_or_argument_in_a_table() -> None:
    held = memory_cache()
    held.save(Call("f", {"x": "gone"}, result=1))
    held.values.evict(digest("gone"))
    assert list(held.table("x")["x"]) == [digest("gone")]
    held.values.storage.clear()
    assert held.table("x", results=True)["result"].tolist() == [None]


def test_queries_need_no_pandas_tables_say_what_to_install() -> None:
    script = """
import sys
sys.modules["pandas"] = None
from fleche.caches import Cache
from fleche.call import Call
from fleche.storage import CallMemory, ValueMemory
held = Cache(ValueMemory({}), CallMemory({}))
held.save(Call("f", {"x": 1}, result=2))
assert held.query().only().result == 2
try:
    held.table()
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "table() needs pandas: pip install 'fleche[pandas]'\n", done.stderr


# Through decorated functions


@pytest.fixture
def active() -> Iterator[Cache]:
    with cache(memory_cache()) as _, meta():
        yield memory_cache()


@pytest.mark.usefixtures("active")
def test_the_query_helper() -> None:
    @fleche(hash_version=False, hash_module=False)
    def f(x: int, *rest: int, k: int = 0, **more: int) -> int:
        return x

    with tags(run=1):
        f(1), f(2), f(1, 5), f(1, k=3), f(1, z=3)
    assert f.query().count() == 5
    assert f.query(1).count() == 4
    assert f.query(1, 5).only().arguments["rest"] == (5,)
    assert f.query(k=3).only().arguments["k"] == 3
    assert f.query(z=3).only().arguments["more"] == {"z": 3}
    assert f.query(metadata={"tags": {"run": 1}}).count() == 5
    with pytest.raises(TypeError):
        f.query(1, x=1)
