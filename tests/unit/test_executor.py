"""`fleche.executor`: cached calls on executors."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import pickle
import sys
import threading
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche, meta, tags, wrap_executor
from fleche.caches import BaseCache, Cache
from fleche.config import cache_from_config
from fleche.digest import Indigestible, digest
from fleche.metadata import Tags
from fleche.state import BoundWrapper, get_cache, get_metadata
from fleche.storage import CallMemory, ValueMemory

runs: list[Any] = []


@pytest.fixture(autouse=True)
def memory() -> Any:
    runs.clear()
    with cache(made := Cache(ValueMemory({}), CallMemory({}))):
        yield made


@fleche
def double(x: Any) -> Any:
    runs.append(x)
    return 2 * x


@fleche
def named(x: int, func: int = 0, fn: int = 0, priority: int = 0) -> tuple[int, ...]:
    return x, func, fn, priority


@fleche(require="seed")
def seeded(x: int, seed: int | None = None) -> int:
    runs.append(x)
    return x


@dataclass
class Scale:
    factor: int

    @fleche
    def times(self, x: int) -> int:
        runs.append(x)
        return self.factor * x


def active() -> tuple[BaseCache, Any]:
    return get_cache(), get_metadata()


class Inline(Executor):
    """Runs at once, and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def submit(self, fn: Any, /, *args: Any, priority: int = 1, **kwargs: Any) -> Future[Any]:
        self.given.append((fn, args, kwargs, priority))
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class TestSubmit:
    def test_gives_the_executor_back_and_wraps_once(self) -> None:
        executor = Inline()
        assert wrap_executor(executor) is executor
        submit = executor.submit
        assert wrap_executor(executor).submit is submit
        executor.submit(double, 1)
        assert not isinstance(executor.given[0][0].func, BoundWrapper)

    def test_other_instances_are_untouched(self) -> None:
        wrap_executor(Inline())
        other = Inline()
        other.submit(abs, -1)
        assert other.given == [(abs, (-1,), {}, 1)]

    def test_a_hit_is_a_finished_future_and_sends_nothing(self) -> None:
        executor = wrap_executor(Inline())
        assert executor.submit(double, 4).result() == 8
        future = executor.submit(double, x=4)
        assert future.done()
        assert future.result() == 8
        assert len(executor.given) == 1
        assert runs == [4]

    def test_a_miss_is_bound_and_computed(self) -> None:
        executor = wrap_executor(Inline())
        with meta(Tags({"a": 1})):
            executor.submit(double, 4)
            [(bound, args, kwargs, _)] = executor.given
            assert isinstance(bound, BoundWrapper)
            assert (bound.cache, bound.meta) == (get_cache(), get_metadata())
        assert (args, kwargs) == ((), {})

    def test_a_plain_function_is_bound_with_its_arguments(self) -> None:
        executor = wrap_executor(Inline())
        with meta(Tags({"a": 1})):
            assert executor.submit(max, 1, 2, key=lambda x: -x).result() == 1
            assert executor.submit(active).result() == active()
        assert executor.given[0][1] == (1, 2)

    def test_a_bound_function_is_sent_as_it_is(self) -> None:
        executor = wrap_executor(Inline())
        bound = double.bind(3)  # type: ignore[attr-defined]
        assert executor.submit(bound).result() == 6
        assert executor.given[0][0] is bound

    def test_partials(self) -> None:
        executor = wrap_executor(Inline())
        assert [executor.submit(partial(double, 3)).result() for _ in range(2)] == [6, 6]
        assert runs == [3]

    def test_methods(self) -> None:
        executor = wrap_executor(Inline())
        two = Scale(2)
        assert executor.submit(two.times, 5).result() == 10
        assert executor.submit(two.times, x=5).result() == 10
        assert executor.submit(Scale.times, two, 5).result() == 10
        assert executor.submit(Scale(3).times, 5).result() == 15
        assert len(executor.given) == 2
        assert runs == [5, 5]

    def test_names_of_the_executor_stay_its_own(self) -> None:
        executor = wrap_executor(Inline())
        assert executor.submit(named, 1, func=2, fn=3, priority=4).result() == (1, 2, 3, 0)
        assert executor.submit(dict, priority=5, func=6).result() == {"func": 6}
        assert [given[3] for given in executor.given] == [4, 5]

    def test_a_required_argument_left_out_is_no_hit(self, caplog: pytest.LogCaptureFixture) -> None:
        executor = wrap_executor(Inline())
        for arguments in ({"seed": None}, {"seed": None}, {}, {}):
            assert executor.submit(seeded, 1, **arguments).result() == 1
        assert runs == [1, 1, 1]
        assert "Missing required" in caplog.text

    def test_an_argument_without_digest_runs_uncached(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        @fleche
        def kind(x: Any) -> str:
            return type(x).__name__

        executor = wrap_executor(Inline())
        assert executor.submit(kind, threading.Lock()).result() == "lock"
        assert "No hash for argument" in caplog.text

    def test_wrong_arguments_are_said_at_once(self) -> None:
        executor = wrap_executor(Inline())
        with pytest.raises(TypeError, match="too many positional"):
            executor.submit(double, 1, 2)
        assert executor.given == []

    def test_exceptions_come_with_the_future(self) -> None:
        @fleche
        def fail(x: int) -> None:
            raise KeyError(x)

        with pytest.raises(KeyError, match="3"):
            wrap_executor(Inline()).submit(fail, 3).result()

    def test_a_cache_that_fails_to_load_is_a_miss(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(Cache):
            def load(self, key: Any) -> Any:
                raise OSError("disk gone")

        executor = wrap_executor(Inline())
        with (
            caplog.at_level(logging.DEBUG, "fleche"),
            cache(Broken(ValueMemory({}), CallMemory({}))),
        ):
            assert executor.submit(double, 1).result() == 2
        assert "disk gone" in caplog.text

    def test_what_has_no_submit(self) -> None:
        with pytest.raises(AttributeError, match="submit"):
            wrap_executor(3)


class TestThreads:
    def test_pool(self) -> None:
        with wrap_executor(ThreadPoolExecutor(4)) as pool, tags(a=1):
            here = get_cache()
            assert [f.result() for f in [pool.submit(double, n % 5) for n in range(50)]] == [
                2 * (n % 5) for n in range(50)
            ]
            assert pool.submit(active).result()[0] is here
            assert list(pool.map(double, range(5))) == [0, 2, 4, 6, 8]
        assert sorted(set(runs)) == [0, 1, 2, 3, 4]
        [record] = here.query(name="double", arguments={"x": 3})
        assert record.metadata["tags"] == {"a": 1}


WORK = """
import os
from fleche import fleche
from fleche.state import get_metadata

def tags_of_worker():
    return os.getpid(), get_metadata()[-1].tags

@fleche
def process_of(x):
    return x, os.getpid()
"""


class TestProcesses:
    @pytest.fixture
    def work(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """A module that spawned processes can import, wherever pytest was started."""
        (tmp_path / "fleche_pool_work.py").write_text(WORK)
        monkeypatch.syspath_prepend(tmp_path)
        module = importlib.import_module("fleche_pool_work")
        yield module
        del sys.modules["fleche_pool_work"]

    @pytest.fixture(params=["spawn"] if sys.platform == "win32" else ["spawn", "fork"])
    def pool(self, request: pytest.FixtureRequest, work: Any) -> Any:
        context = multiprocessing.get_context(request.param)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            yield wrap_executor(pool)

    @pytest.fixture
    def on_disk(self, tmp_path: Path) -> Any:
        config = {"template": "pickle", "root": str(tmp_path / "store")}
        with cache(made := cache_from_config(config)):
            yield made

    pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

    def test_results_are_shared_through_the_disk(
        self, pool: Executor, work: Any, on_disk: BaseCache
    ) -> None:
        x, pid = pool.submit(work.process_of, 1).result(60)
        assert (x, pid != os.getpid()) == (1, True)
        future = pool.submit(work.process_of, 1)
        assert future.done()
        assert future.result() == work.process_of(1) == (1, pid)

    def test_metadata_travels(self, pool: Executor, work: Any, on_disk: BaseCache) -> None:
        with tags(a=1):
            pid, worker_tags = pool.submit(work.tags_of_worker).result(60)
            pool.submit(work.process_of, 2).result(60)
        assert (pid != os.getpid(), worker_tags) == (True, {"a": 1})
        [record] = on_disk.query(name="process_of")
        assert record.metadata["tags"] == {"a": 1}

    def test_a_pending_argument(self, pool: Executor, work: Any, on_disk: BaseCache) -> None:
        first = pool.submit(work.process_of, 1)
        second = pool.submit(work.process_of, [first, 2])
        (x, pid), two = second.result(60)[0]
        assert ((x, pid), two) == (first.result(), 2)
        assert pid != os.getpid()
        assert pool.submit(work.process_of, [first, 2]).done()

    def test_map(self, pool: Executor, work: Any, on_disk: BaseCache) -> None:
        assert [x for x, _ in pool.map(work.process_of, range(3))] == [0, 1, 2]
        assert on_disk.query(name="process_of").count() == 3


def finished(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


@fleche
def added(*numbers: Any, **more: Any) -> Any:
    runs.append((numbers, more))
    return sum(numbers) + sum(more.values())


@fleche
def largest(values: Any) -> Any:
    runs.append(values)
    return max(values.values() if isinstance(values, dict) else values)


@fleche(ignore="extra")
def ignoring(x: int, extra: Any = None) -> Any:
    runs.append(extra)
    return [x, extra]


class TestFuturesAmongTheArguments:
    @pytest.mark.parametrize("pending", [False, True], ids=["done", "pending"])
    @pytest.mark.parametrize(
        "submit",
        [
            lambda pool, f: pool.submit(added, f, 4),
            lambda pool, f: pool.submit(added, 4, x=f),
            lambda pool, f: pool.submit(added, f, 2, x=2),
            lambda pool, f: pool.submit(partial(added, f), 4),
            lambda pool, f: pool.submit(partial(added, x=4), f),
            lambda pool, f: pool.submit(added.bind(), f, 4),  # type: ignore[attr-defined]
            lambda pool, f: pool.submit(added.bind(f), 4),  # type: ignore[attr-defined]
            lambda pool, f: pool.submit(Scale(7).times, f),
            lambda pool, f: pool.submit(Scale(7).times, x=f),
            lambda pool, f: pool.submit(largest, [f, 7]),
            lambda pool, f: pool.submit(largest, (7, f)),
            lambda pool, f: pool.submit(largest, {f, finished(7)}),
            lambda pool, f: pool.submit(largest, {"a": 7, "b": f}),
        ],
    )
    def test_stand_for_their_results(self, submit: Any, pending: bool) -> None:
        future: Future[Any] = Future()
        pool = wrap_executor(Inline())
        if not pending:
            future.set_result(1)
        result = submit(pool, future)
        assert result.done() is not pending
        if pending:
            future.set_result(1)
        # 1 + 4, or 1 * 7
        assert result.result(60) in (5, 7)
        assert submit(pool, finished(1)).result() == result.result()
        assert len(runs) == 1

    def test_are_resolved_deep_inside(self) -> None:
        @fleche
        def given_back(x: Any) -> Any:
            return x

        nest = [{"a": (finished(1), [finished(2)])}, 3]
        assert wrap_executor(Inline()).submit(given_back, nest).result() == [{"a": (1, [2])}, 3]

    def test_in_ignored_arguments(self) -> None:
        pool = wrap_executor(Inline())
        assert pool.submit(ignoring, 1, finished(2)).result() == [1, 2]
        assert pool.submit(ignoring, 1, finished(3)).result() == [1, 2]
        assert runs == [2]

    def test_what_is_not_cached_gets_them(self) -> None:
        future = finished(1)
        assert wrap_executor(Inline()).submit(Future.done, future).result() is True

    def test_what_is_known_by_then_is_not_sent(self) -> None:
        double(6)
        pool = wrap_executor(Inline())
        future: Future[Any] = Future()
        result = pool.submit(double, future)
        future.set_result(6)
        assert (result.done(), result.result(), pool.given) == (True, 12, [])

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_long_chain_in_a_small_pool(self, workers: int) -> None:
        with wrap_executor(ThreadPoolExecutor(workers)) as pool:
            first: Future[Any] = Future()
            last: Future[Any] = first
            for _ in range(20):
                last = pool.submit(double, last)
            # It frees no worker to wait for this in one of them.
            pool.submit(first.set_result, 1)
            assert last.result(60) == 2**20
            assert pool.submit(added, last, last).result(60) == 2**21

    def test_one_that_is_done_by_a_task_that_comes_later(self) -> None:
        with wrap_executor(ThreadPoolExecutor(1)) as pool:
            future: Future[Any] = Future()
            results = [pool.submit(added, future, n) for n in range(3)]
            pool.submit(abs, -1).add_done_callback(lambda done: future.set_result(done.result()))
            assert [result.result(60) for result in results] == [1, 2, 3]

    def test_tasks_may_submit_such_calls_themselves(self) -> None:
        with wrap_executor(ThreadPoolExecutor(1)) as pool:

            def task() -> Future[Any]:
                return pool.submit(double, pool.submit(double, 2))

            assert pool.submit(task).result(60).result(60) == 8

    def test_failures_are_handed_on(self) -> None:
        pool = wrap_executor(Inline())
        failed: Future[Any] = Future()
        result = pool.submit(added, finished(1), failed, Future())
        other = pool.submit(double, failed)
        failed.set_exception(ZeroDivisionError("no"))
        with pytest.raises(ZeroDivisionError, match="no"):
            other.result(60)
        assert not result.done(), "the last one is still to come"
        with pytest.raises(ZeroDivisionError, match="no"):
            pool.submit(double, [failed]).result(60)
        assert pool.given == []

    def test_cancelling(self) -> None:
        pool = wrap_executor(Inline())
        future: Future[Any] = Future()
        ours, theirs = pool.submit(double, future), pool.submit(double, future)
        assert ours.cancel()
        future.set_result(1)
        assert (ours.cancelled(), theirs.result(60)) == (True, 2)
        cancelled: Future[Any] = Future()
        result = pool.submit(double, cancelled)
        cancelled.cancel()
        cancelled.set_running_or_notify_cancel()
        with pytest.raises(CancelledError):
            result.result(60)

    def test_cancelling_reaches_what_was_submitted(self) -> None:
        with wrap_executor(ThreadPoolExecutor(1)) as pool:
            block = threading.Event()
            pool.submit(block.wait, 60)
            waiting = pool.submit(double, finished(3))
            assert waiting.cancel()
            block.set()
        assert runs == []

    def test_the_cache_and_metadata_of_the_submission_count(self) -> None:
        pool = wrap_executor(Inline())
        future: Future[Any] = Future()
        here = get_cache()
        with meta(Tags({"a": 1})):
            result = pool.submit(double, future)
        with cache(Cache(ValueMemory({}), CallMemory({}))), meta():
            thread = threading.Thread(target=future.set_result, args=(2,))
            thread.start()
            thread.join()
            assert result.result(60) == 4
            assert not double.contains(2)  # type: ignore[attr-defined]
        assert here.query(name="double").only().metadata == {"tags": {"a": 1}}

    def test_shutting_down_waits_for_them(self) -> None:
        future: Future[Any] = Future()
        begun = threading.Event()
        with wrap_executor(ThreadPoolExecutor(1)) as pool:
            results = [pool.submit(added, future, n) for n in range(3)]
            pool.submit(begun.wait, 60).add_done_callback(lambda _: future.set_result(1))
            threading.Timer(0, begun.set).start()
        assert [result.result(0) for result in results] == [1, 2, 3]

    def test_what_was_submitted_before_the_end_runs(self) -> None:
        future: Future[Any] = Future()
        pool = wrap_executor(ThreadPoolExecutor(1))
        result = pool.submit(double, future)
        pool.shutdown(wait=False)
        future.set_result(3)
        assert result.result(60) == 6
        pool.shutdown()

    def test_shutting_down_may_cancel_them(self) -> None:
        future: Future[Any] = Future()
        pool = wrap_executor(ThreadPoolExecutor(1))
        result = pool.submit(double, future)
        pool.shutdown(cancel_futures=True)
        assert result.cancelled()
        future.set_result(1)
        assert runs == []

    def test_a_hit_travels_as_its_result(self) -> None:
        pool = wrap_executor(Inline())
        pool.submit(double, 4)
        hit = pool.submit(double, 4)
        assert pickle.loads(pickle.dumps([hit])) == [8]
        assert pool.submit(double, hit).result() == 16
        with pytest.raises(Indigestible):
            digest(hit)
