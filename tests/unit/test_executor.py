"""`fleche.executor`: cached calls on executors."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import sys
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche, meta, tags, wrap_executor
from fleche.caches import BaseCache, Cache
from fleche.config import cache_from_config
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

    def test_map(self, pool: Executor, work: Any, on_disk: BaseCache) -> None:
        assert [x for x, _ in pool.map(work.process_of, range(3))] == [0, 1, 2]
        assert on_disk.query(name="process_of").count() == 3
