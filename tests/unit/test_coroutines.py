"""Coroutine functions: cached as others are, without keeping the event loop waiting."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleche import BoundWrapper, cache, fleche, wrap_executor
from fleche.caches import BaseCache, Cache
from fleche.config import cache_from_config
from fleche.digest import Indigestible
from fleche.storage import CallMemory, ValueMemory

Log = pytest.LogCaptureFixture

PLACE: contextvars.ContextVar[str] = contextvars.ContextVar("PLACE", default="nowhere")


class Calls:
    """What ran, and gates that bodies wait at."""

    def __init__(self) -> None:
        self.ran: list[Any] = []
        self.gate: asyncio.Event | None = None
        self.computing: asyncio.Task[Any] | None = None


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture(params=["memory", "pickle", "sql", "sqlite", "bagofholding_hdf"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    config = {"template": request.param}
    if request.param != "memory":
        config["root"] = str(tmp_path / "store")
    if request.param == "sql":
        config["values"] = "pickle"
    with cache(found := cache_from_config(config)):
        yield found


def doubling(calls: Calls, **options: Any) -> Any:
    @fleche(hash_code=False, **options)
    async def double(x: Any, times: int = 2) -> Any:
        """Twice as much."""
        calls.ran.append(x)
        calls.computing = asyncio.current_task()
        if calls.gate is not None:
            await calls.gate.wait()
        return [x] * times

    return double


def test_it_is_a_coroutine_function_with_all_helpers(held: BaseCache, calls: Calls) -> None:
    double = doubling(calls)
    assert inspect.iscoroutinefunction(double)
    assert inspect.iscoroutinefunction(double.rerun)
    assert double.__doc__ == "Twice as much."

    async def main() -> None:
        assert not double.contains(3)
        with pytest.raises(KeyError):
            double.load(3)
        assert await double(3) == [3, 3]
        assert await double(3, times=2) == [3, 3]
        assert calls.ran == [3]
        assert double.contains(3)
        assert double.load(3) == [3, 3]
        assert double.query(3).only().result == [3, 3]
        assert double.call(3).arguments == {"x": 3, "times": 2}
        assert held.load(double.digest(3)).result == [3, 3]
        assert await double.rerun(3) == [3, 3]
        assert calls.ran == [3, 3]
        bound = double.bind(3)
        assert isinstance(bound, BoundWrapper)
        assert await bound() == [3, 3]
        assert calls.ran == [3, 3]

    asyncio.run(main())
    # In another loop, it is there.
    assert asyncio.run(double(3)) == [3, 3]
    assert calls.ran == [3, 3]


def test_one_of_many_computes(held: BaseCache, calls: Calls) -> None:
    double = doubling(calls)

    async def main() -> None:
        calls.gate = asyncio.Event()
        tasks = [asyncio.create_task(double(x)) for x in (1, 2) * 10]
        while len(calls.ran) < 2:
            await asyncio.sleep(0)
        calls.gate.set()
        results = await asyncio.gather(*tasks)
        assert results == [[1, 1], [2, 2]] * 10
        # Each has an object of its own.
        assert len({id(result) for result in results}) == 20

    asyncio.run(main())
    assert sorted(calls.ran) == [1, 2]


@pytest.mark.parametrize("cancels", ["the one that computes", "one that waits"])
def test_a_task_that_is_cancelled_cancels_no_other(
    held: BaseCache, calls: Calls, cancels: str
) -> None:
    double = doubling(calls)

    async def main() -> None:
        calls.gate = asyncio.Event()
        tasks = {asyncio.create_task(double(1)) for _ in range(4)}
        while not calls.ran:
            await asyncio.sleep(0)
        # Look-ups end in any order: the body says in whose task it runs.
        waiting = tasks - {calls.computing}
        cancelled = waiting.pop() if cancels == "one that waits" else calls.computing
        assert cancelled is not None
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        calls.gate.set()
        assert await asyncio.gather(*(tasks - {cancelled})) == [[1, 1]] * 3

    asyncio.run(main())
    # Only where the one that computes is cancelled, another one has to.
    assert calls.ran == ([1] if cancels == "one that waits" else [1, 1])


class Late(CallMemory):
    """A storage of calls whose second look, which finds nothing, ends when a call is saved."""

    def load(self, key: Any) -> Any:
        looks.append(key)
        is_second = len(looks) == 2
        if is_second:
            both_looked.set()
        try:
            return super().load(key)
        except KeyError:
            assert not is_second or saved.wait(60)
            raise

    def save(self, call: Any) -> Any:
        # Not before both have looked.
        assert both_looked.wait(60)
        key = super().save(call)
        saved.set()
        return key


looks: list[Any] = []
both_looked = threading.Event()
saved = threading.Event()


def test_a_look_that_ends_after_the_computation_looks_again(calls: Calls) -> None:
    double = doubling(calls)
    looks.clear()
    both_looked.clear()
    saved.clear()

    async def main() -> None:
        first = asyncio.create_task(double(1))
        second = asyncio.create_task(double(1))
        assert await asyncio.gather(first, second) == [[1, 1]] * 2

    with cache(Cache(ValueMemory({}), Late({}))):
        asyncio.run(main())
    assert calls.ran == [1]


def test_one_that_fails_wakes_the_others_which_compute(held: BaseCache) -> None:
    ran = []

    @fleche(hash_code=False)
    async def picky(x: int) -> list[int]:
        ran.append(x)
        await asyncio.sleep(0)
        if len(ran) == 1:
            raise ValueError(x)
        return [x]

    async def main() -> None:
        results = await asyncio.gather(*(picky(5) for _ in range(4)), return_exceptions=True)
        assert [type(result) for result in results].count(ValueError) == 1
        assert [result for result in results if isinstance(result, list)] == [[5]] * 3

    asyncio.run(main())
    assert ran == [5, 5]


def test_tasks_keep_their_context(held: BaseCache) -> None:
    @fleche(hash_code=False)
    async def move(x: str) -> str:
        found = PLACE.get()
        PLACE.set(x)
        return found

    async def main() -> None:
        PLACE.set("home")
        assert await move("away") == "home"
        assert PLACE.get() == "away"
        await move("away")
        assert PLACE.get() == "away"

    asyncio.run(main())


def test_the_active_cache_is_that_of_the_task(calls: Calls) -> None:
    double = doubling(calls)
    one, two = (Cache(ValueMemory({}), CallMemory({})) for _ in range(2))

    async def within(active: BaseCache) -> None:
        with cache(active):
            await double(1)
            await asyncio.sleep(0)
            assert double.contains(1)

    async def main() -> None:
        await asyncio.gather(within(one), within(two))

    asyncio.run(main())
    assert one.query().count() == two.query().count() == 1


class Slow(ValueMemory):
    """A storage that stands still until it is told to go on."""

    def wait(self) -> None:
        assert threading.current_thread() is not threading.main_thread()
        waiting.set()
        assert may_go_on.wait(60)

    def save(self, value: Any, key: Any = None) -> Any:
        self.wait()
        return super().save(value, key)

    def load(self, key: Any) -> Any:
        self.wait()
        return super().load(key)


waiting = threading.Event()
may_go_on = threading.Event()


def test_a_slow_storage_keeps_only_its_own_task_waiting(calls: Calls) -> None:
    double = doubling(calls)

    async def main() -> None:
        for _ in range(2):
            waiting.clear()
            may_go_on.clear()
            task = asyncio.create_task(double(1))
            # The loop goes on meanwhile, or this would never end.
            while not waiting.is_set():
                await asyncio.sleep(0)
            may_go_on.set()
            assert await task == [1, 1]

    with cache(Cache(Slow({}), CallMemory({}))):
        asyncio.run(main())
    assert calls.ran == [1]


def test_what_cannot_be_cached_runs_each_time(calls: Calls, held: BaseCache, caplog: Log) -> None:
    double = doubling(calls)

    @fleche(hash_code=False)
    async def nothing(x: int) -> None:
        calls.ran.append(x)

    async def main() -> None:
        for _ in range(2):
            assert len(await double(threading.Lock())) == 2
        assert await nothing(1) is None
        await asyncio.gather(nothing(2), nothing(2), nothing(2))

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert len(calls.ran) == 6
    said = [record.getMessage() for record in caplog.records]
    assert sum("No hash for argument: 'x'" in message for message in said) == 2
    assert sum("returned None" in message for message in said) == 4
    assert held.query().empty()


def test_strict_raises_when_it_is_awaited(held: BaseCache, calls: Calls) -> None:
    double = doubling(calls, strict=True)
    awaited = double(threading.Lock())
    with pytest.raises(Indigestible):
        asyncio.run(awaited)
    assert calls.ran == []


class Model:
    @fleche(hash_code=False, ignore="self")
    async def fit(self, x: int) -> list[int]:
        return [x]

    @staticmethod
    @fleche(hash_code=False)
    async def default(x: int) -> list[int]:
        return [x]

    async def __call__(self, x: int) -> list[int]:
        return [x]


def test_methods_partials_and_instances(held: BaseCache) -> None:
    async def add(x: int, y: int) -> list[int]:
        return [x + y]

    model = Model()
    partial = fleche(functools.partial(add, 1), hash_code=False)  # type: ignore[call-overload]
    for function in (model.fit, Model.default, partial, fleche(model)):
        assert inspect.iscoroutinefunction(function)
        first = asyncio.run(function(2))
        assert asyncio.run(function(2)) == first
    assert held.query().count() == 4


def test_an_executor_gives_coroutines(held: BaseCache, calls: Calls) -> None:
    double = doubling(calls)
    assert asyncio.run(double(1)) == [1, 1]
    with wrap_executor(ThreadPoolExecutor(1)) as pool:
        assert asyncio.run(pool.submit(double, 1).result()) == [1, 1]
    assert calls.ran == [1]


def test_a_coroutine_function_cannot_be_isolated() -> None:
    with pytest.raises(TypeError, match="isolated"):

        @fleche(isolate=True)
        async def f(x: int) -> int:
            return x


def test_it_runs_without_asyncio(held: BaseCache) -> None:
    """As under another library's loop."""

    @fleche(hash_code=False)
    async def f(x: int) -> list[int]:
        return [x]

    for _ in range(2):
        with pytest.raises(StopIteration) as ended:
            f(1).send(None)
        assert ended.value.value == [1]
    assert f.contains(1)


def test_nothing_is_left_behind(held: BaseCache, calls: Calls) -> None:
    double = doubling(calls)

    async def main() -> None:
        calls.gate = asyncio.Event()
        task = asyncio.create_task(double(1))
        while not calls.ran:
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())
    gc.collect()
    # No record without a result, and its argument is garbage.
    assert held.query().empty()
    if isinstance(held, Cache):
        held.gc()
        assert list(held.values.list()) == []
