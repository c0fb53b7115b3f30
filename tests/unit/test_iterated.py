"""`@fleche(iterate=True)`: the items of generators, asynchronous ones and other iterators."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche import _core, cache, fleche
from fleche.caches import BaseCache
from fleche.config import cache_from_config

from .calls import memory_cache


def counting(**options: Any) -> tuple[Any, list[int]]:
    runs: list[int] = []

    @fleche(hash_code=False, iterate=True, **options)
    def count(n: int) -> Iterator[list[int]]:
        runs.append(n)
        for i in range(n):
            yield [i]

    return count, runs


def test_items_come_from_the_cache(store: BaseCache) -> None:
    count, runs = counting()
    assert inspect.isgeneratorfunction(count)
    assert [*count(3)] == [*count(3)] == [[0], [1], [2]]
    assert [*count(0)] == [*count(0)] == []
    assert runs == [3, 0]
    first, second = count(3), count(3)
    assert next(first) == next(second) == [0]
    assert count.contains(3)
    assert [*count.load(3)] == [[0], [1], [2]]
    assert sorted(len(call.result) for call in count.query()) == [0, 3]
    assert count.query(n=3).only().result == [[0], [1], [2]]
    assert [*count.rerun(3)] == [[0], [1], [2]]


@pytest.mark.parametrize("scheme", ["exact", "sha256"])
def test_both_schemes(scheme: str, tmp_path: Path) -> None:
    before = _core.scheme()
    _core.set_scheme(scheme)
    try:
        with cache(cache_from_config({"template": "pickle", "root": tmp_path})):
            count, runs = counting()
            assert [*count(3)] == [*count(3)]
            assert runs == [3]
    finally:
        _core.set_scheme(before)


def test_what_is_not_iterated_to_its_end_is_not_cached(store: BaseCache) -> None:
    count, runs = counting()
    for item in count(3):
        if item == [1]:
            break
    gc.collect()
    partly = count(3)
    next(partly)
    partly.close()
    unused = count(3)
    del unused
    assert not count.contains(3)
    assert len([*count(3)]) == 3
    assert count.contains(3)
    assert runs == [3, 3, 3]


def test_what_fails_is_not_cached(store: BaseCache) -> None:
    runs: list[int] = []

    @fleche(hash_code=False, iterate=True, exceptions=ValueError)
    def f(n: int) -> Iterator[int]:
        runs.append(n)
        yield 1
        raise ValueError(n)

    for _ in range(2):
        found = f(1)
        assert next(found) == 1
        with pytest.raises(ValueError, match="1"):
            next(found)
    assert runs == [1, 1]
    assert not f.contains(1)


def test_items_are_as_they_were_given(store: BaseCache) -> None:
    """Whoever gets an item may change it."""
    count, _ = counting()
    for _ in range(3):
        seen = []
        for item in count(2):
            seen.append([*item])
            item.append("changed")
        assert seen == [[0], [1]]
    reused: list[int] = []

    @fleche(hash_code=False, iterate=True)
    def growing(n: int) -> Iterator[list[int]]:
        for i in range(n):
            reused.append(i)
            yield reused

    assert [[*item] for item in growing(3)] == [[0], [0, 1], [0, 1, 2]]
    assert [*growing(3)] == [[0], [0, 1], [0, 1, 2]]


def test_what_a_generator_returns_comes_back(store: BaseCache) -> None:
    @fleche(hash_code=False, iterate=True)
    def f(n: int) -> Any:
        yield n
        return n + 1

    def outer(n: int) -> Any:
        returned = yield from f(n)
        yield ("returned", returned)

    assert [*outer(1)] == [*outer(1)] == [1, ("returned", 2)]


def test_what_is_sent_passes_and_is_not_cached(store: BaseCache) -> None:
    @fleche(hash_code=False, iterate=True)
    def echo(n: int) -> Any:
        got: Any = n
        while got != "end":
            try:
                got = yield got
            except KeyError as error:
                got = f"thrown {error}"

    talk = echo(1)
    assert next(talk) == 1
    assert talk.send("a") == "a"
    assert talk.throw(KeyError("b")) == "thrown 'b'"
    with pytest.raises(StopIteration):
        talk.send("end")
    assert not echo.contains(1)


@pytest.mark.parametrize("make", [iter, list, lambda n: map(str, n), enumerate])
def test_functions_that_give_iterators(store: BaseCache, make: Any) -> None:
    runs: list[int] = []

    @fleche(hash_code=False, iterate=True)
    def f(n: int) -> Any:
        runs.append(n)
        return make(range(n))

    expected = [*make(range(4))]
    assert [*f(4)] == [*f(4)] == expected
    assert runs == [4]


def test_methods_and_bound_arguments(store: BaseCache) -> None:
    class Counter:
        @fleche(hash_code=False, iterate=True)
        def to(self, n: int) -> Iterator[int]:
            yield from range(n)

        @classmethod
        @fleche(hash_code=False, iterate=True)
        def up(cls, n: int) -> Iterator[int]:
            yield from range(n)

        def __digest__(self) -> str:
            return "counter"

    for _ in range(2):
        assert [*Counter().to(2)] == [0, 1]
        assert [*Counter.up(3)] == [0, 1, 2]
    import functools

    add = fleche(hash_code=False, iterate=True)(functools.partial(lambda a, b: iter((a, b)), 1))
    assert [*add(2)] == [*add(2)] == [1, 2]


def test_asynchronous_generators(store: BaseCache) -> None:
    runs: list[int] = []

    @fleche(hash_code=False, iterate=True)
    async def f(n: int) -> AsyncIterator[int]:
        runs.append(n)
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    assert inspect.isasyncgenfunction(f)

    async def all_of(n: int) -> list[int]:
        return [item async for item in f(n)]

    async def first_of(n: int) -> int:
        async for item in f(n):
            return item
        return -1

    assert asyncio.run(first_of(3)) == 0
    assert not f.contains(3)
    assert asyncio.run(all_of(3)) == asyncio.run(all_of(3)) == [0, 1, 2]
    assert runs == [3, 3]
    assert [*f.load(3)] == [0, 1, 2]

    async def sent() -> None:
        found = f(3)
        await anext(found)
        with pytest.raises(TypeError, match="nothing that is sent"):
            await found.asend(1)  # type: ignore[attr-defined]

    asyncio.run(sent())


def test_uncached_calls_iterate(store: BaseCache, caplog: pytest.LogCaptureFixture) -> None:
    count, runs = counting(require="n")
    assert [*count(n=2)] == [*count(n=2)] == [[0], [1]]
    assert runs == [2]
    lock = threading.Lock()

    @fleche(hash_code=False, iterate=True)
    def f(held: Any) -> Iterator[Any]:
        yield 1

    @fleche(hash_code=False, iterate=True)
    async def g(held: Any) -> AsyncIterator[Any]:
        yield 1

    async def all_of() -> list[Any]:
        return [item async for item in g(lock)]

    assert [*f(lock)] == [1]
    assert asyncio.run(all_of()) == [1]
    assert caplog.text.count("runs without a cache") == 2

    @fleche(hash_code=False, iterate=True)
    def locks(n: int) -> Iterator[Any]:
        yield lock

    caplog.clear()
    assert [*locks(1)] == [lock]
    assert caplog.text
    assert not locks.contains(1)


def test_once(store: BaseCache) -> None:
    begun, go_on, runs = threading.Event(), threading.Event(), []

    @fleche(hash_code=False, iterate=True, once=True)
    def f(n: int) -> Iterator[int]:
        runs.append(n)
        yield 0
        begun.set()
        assert go_on.wait(60)
        yield 1

    found: list[list[int]] = []

    def work() -> None:
        with cache(store):
            found.append([*f(2)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert found == [[0, 1]] * 4
    assert runs == [2]
    # Given up: the claim is free.
    partly = f(5)
    next(partly)
    assert f.running(5) is not None
    partly.close()
    assert f.running(5) is None


def test_expiry_and_predicates(store: BaseCache) -> None:
    count, runs = counting(max_age=0)
    assert [*count(1)] == [*count(1)] == [[0]]
    assert runs == [1, 1]
    count, runs = counting(when=lambda items: len(items) > 1)
    count.query().evict()
    assert [*count(1)] == [*count(1)] == [[0]]
    assert [*count(2)] == [*count(2)] == [[0], [1]]
    assert runs == [1, 1, 2]


def test_slips() -> None:
    with pytest.raises(TypeError, match="gives no iterator"):

        @fleche(iterate=True)
        async def f(n: int) -> int:
            return n

    with pytest.raises(TypeError, match="cannot be isolated"):
        counting(isolate=True)
    with pytest.raises(ValueError, match="stale_ok"):
        counting(max_age=1, stale_ok=True)
    with cache(memory_cache()), pytest.raises(TypeError, match="not iterable"):
        fleche(iterate=True, hash_code=False)(lambda n: n)(1)


def test_without_it_generators_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    def f(n: int) -> Iterator[int]:
        yield n

    with cache(memory_cache()):
        assert [*fleche(hash_code=False)(f)(1)] == [1]
        assert caplog.text


@given(st.lists(st.one_of(st.none(), st.integers(), st.text(), st.lists(st.floats()))), st.data())
def test_a_hit_gives_what_the_run_gave(items: list[Any], data: st.DataObject) -> None:
    taken = data.draw(st.integers(0, len(items) + 1))
    runs: list[int] = []

    @fleche(hash_code=False, iterate=True)
    def f() -> Iterator[Any]:
        runs.append(1)
        yield from items

    with cache(memory_cache()):
        partly = f()
        seen = [item for _, item in zip(range(taken), partly, strict=False)]
        assert repr(seen) == repr(items[:taken])
        del partly
        was_run_out = taken > len(items)
        # `zip` asks for one more than it takes only of the first; the generator ended by itself.
        assert f.contains() is was_run_out
        assert repr([*f()]) == repr([*f()]) == repr(items)
        assert len(runs) == (taken > 0) + (not was_run_out)
