"""Sweeps: `f.map` gives what a loop of calls gives, and runs only what the cache does not hold."""

from __future__ import annotations

import asyncio
import functools
import itertools
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche import SweepFailed, _core, cache, fleche, meta, tags, wrap_executor
from fleche.caches import BaseCache, CacheStack, RefreshingCache, SizeLimitedCache
from fleche.config import cache_from_config
from fleche.digest import D, digest

from .calls import memory_cache

Log = pytest.LogCaptureFixture

ran: list[Any] = []


@fleche
def power(x: int, n: int = 2) -> list[int]:
    ran.append((x, n))
    return [x**n]


@fleche
def invert(x: float) -> float:
    ran.append(x)
    return 1 / x


class Scale:
    def __init__(self, by: int) -> None:
        self.by = by

    @fleche
    def times(self, x: int, more: int = 0) -> int:
        ran.append(x)
        return self.by * x + more

    @fleche
    @classmethod
    def named(cls, x: int) -> tuple[str, int]:
        ran.append(x)
        return cls.__name__, x

    @fleche
    @staticmethod
    def plain(x: int) -> int:
        ran.append(x)
        return x


class Inline(Executor):
    """Runs calls when they are submitted, and counts them; as another process would, if `away`."""

    def __init__(self, away: bool = False) -> None:
        self.submitted = 0
        self.away = away

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        future: Future[Any] = Future()
        try:
            if self.away:
                fn = pickle.loads(pickle.dumps(fn))
            result = fn(*args, **kwargs)
            future.set_result(pickle.loads(pickle.dumps(result)) if self.away else result)
        except Exception as error:
            future.set_exception(error)
        return future


class Later(Executor):
    """Holds what was submitted until it is told to run it.

    Args:
        now: which one, by number, it runs at once.
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self.held: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.held.append((future, functools.partial(fn, *args, **kwargs)))
        if len(self.held) == self.now + 1:
            self.run(self.now)
        return future

    def run(self, number: int) -> None:
        future, work = self.held[number]
        assert future.set_running_or_notify_cancel()
        future.set_result(work())


@pytest.fixture(params=["memory", "pickle", "sql", "sqlite", "bagofholding_hdf", "stack"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    """A cache of each kind, active."""
    ran.clear()
    kind = request.param
    config = {"template": kind, "root": str(tmp_path / "store")}
    if kind == "sql":
        config["values"] = "pickle"
    made = memory_cache() if kind in ("memory", "stack") else cache_from_config(config)
    if kind == "stack":
        made = CacheStack((made, cache_from_config({**config, "template": "pickle"})))
    with cache(made):
        yield made


@pytest.fixture(autouse=True)
def memory() -> Iterator[BaseCache]:
    ran.clear()
    with cache(made := memory_cache()):
        yield made


# Which calls


def test_iterables_are_taken_together_as_by_map() -> None:
    assert power.map([2, 3]).results() == [[4], [9]]
    assert power.map(range(2, 9), (3, 1, 0)).results() == [[8], [3], [1]]
    assert power.map(itertools.count(2), [3]).results() == [[8]]
    assert power.map(x for x in (1, 2)).results() == [[1], [4]]


def test_lists_by_keyword_give_all_combinations_the_last_one_fastest() -> None:
    assert power.map(x=[2, 3], n=[1, 2]).results() == [[2], [4], [3], [9]]
    assert power.map(n=[1, 2], x=[2, 3]).results() == [[2], [3], [4], [9]]
    assert power.map([2, 3], n=iter([1, 2])).results() == [[2], [4], [3], [9]]
    assert len(power.map([1, 2, 3], n=[1, 2])) == 6


@given(st.lists(st.integers(0, 3), max_size=4), st.lists(st.integers(0, 2), max_size=3))
def test_it_gives_what_a_loop_gives(xs: list[int], ns: list[int]) -> None:
    with cache(memory_cache()):
        ran.clear()
        sweep = power.map(xs, n=ns)
        expected = [[x**n] for x, n in itertools.product(xs, ns)]
        assert sweep.results() == list(sweep) == expected
        assert sorted(ran) == sorted(set(itertools.product(xs, ns)))
        assert power.map(xs, n=ns).results() == expected
        assert len(ran) == len(set(ran))
    with cache(memory_cache()):
        came = power.map(xs, n=ns).as_completed()
        pairs = [(arguments["x"], arguments["n"], result) for arguments, result in came]
        assert sorted(pairs) == sorted((x, n, [x**n]) for x, n in itertools.product(xs, ns))


def test_no_calls_at_all() -> None:
    sweep = power.map([])
    assert (len(sweep), sweep.results(), list(sweep.as_completed())) == (0, [], [])
    assert power.map([1], n=[]).results() == []
    assert len(power.map([], []).table()) == 0
    sweep.run()


def test_any_number_of_arguments() -> None:
    @fleche
    def total(*numbers: int, **more: int) -> int:
        return sum(numbers) + sum(more.values())

    sweep = total.map([1, 2], [3, 4], extra=[10])
    assert sweep.results() == [14, 16]
    [first, _] = sweep.as_completed()
    assert first == ({"numbers[0]": 1, "numbers[1]": 3, "extra": 10}, 14)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: power.map(), "needs the arguments"),
        (lambda: power.map("abc"), "list of values for x, not the str 'abc'"),
        (lambda: power.map([1], n=b"1"), "list of values for n, not the bytes"),
        (lambda: power.map({"x": 1}), "not the dict"),
        (lambda: power.map([1], n=2), "list of values for n, not 2"),
        (lambda: power.map([1], [2], [3]), r"power.map\(\): too many positional"),
        (lambda: power.map([1], steps=[2]), r"power.map\(\): .* 'steps'"),
        (lambda: power.map(n=[1]), r"power.map\(\): missing a required argument: 'x'"),
        (lambda: power.map([1], executor=4), r"map\(executor=...\) takes an executor, not 4"),
        (lambda: power.map([1], progress=3), r"map\(progress=...\) takes True"),
        (lambda: power.map([1], errors="ignore"), r"map\(errors=...\) takes 'raise' or"),
        (lambda: power.map(D("abcd")), "not the Digest"),
    ],
)
def test_slips_are_said_before_anything_runs(use: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        use()
    assert ran == []


def test_parameters_that_are_called_as_options_are() -> None:
    def f(x: int, progress: bool = False) -> tuple[int, bool]:
        ran.append((x, progress))
        return x, progress

    cached = fleche(hash_code=False)(f)
    with pytest.raises(TypeError, match=r"parameter progress of .*f gets its values by position"):
        cached.map([1], progress=[True])
    bound = fleche(hash_code=False)(functools.partial(f, progress=True))
    assert cached.map([1], [True]).results() == [(1, True)]
    assert bound.map([1, 2]).results() == [
        (1, True),
        (2, True),
    ]
    assert ran == [(1, True), (2, True)], "they are calls of the same function"


def test_coroutine_functions_say_what_to_do() -> None:
    @fleche
    async def wait(x: int) -> int:
        return x

    with pytest.raises(TypeError, match=r"await asyncio.gather"):
        wait.map([1])

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*[wait(x) for x in (1, 2)])

    assert asyncio.run(all_of_them()) == [1, 2]


# What runs


def test_only_what_is_missing_runs(held: BaseCache) -> None:
    power(3)
    sweep = power.map([2, 3, 4])
    assert ran == [(3, 2)], "nothing runs before it is asked for"
    assert sweep.results() == [[4], [9], [16]]
    assert ran == [(3, 2), (2, 2), (4, 2)]
    assert power.map([2, 3, 4]).results() == [[4], [9], [16]]
    assert all(power.contains(x) for x in (2, 3, 4))
    assert len(ran) == 3


def test_each_result_comes_as_soon_as_it_is_there() -> None:
    for x, result in zip(range(4), power.map(range(4)), strict=True):
        assert result == [x**2]
        assert len(ran) == x + 1


def test_hits_come_first_as_they_are_completed(held: BaseCache) -> None:
    power(3)
    came = power.map([1, 3, 1, 2]).as_completed()
    assert next(came) == ({"x": 3}, [9])
    assert ran == [(3, 2)]
    assert [arguments["x"] for arguments, _ in came] == [1, 1, 2]


def test_the_same_call_runs_once_and_its_results_are_apart(held: BaseCache) -> None:
    results = iter(power.map([2, 2, 2]))
    next(results).append(0)
    assert list(results) == [[4], [4]]
    assert ran == [(2, 2)]


@pytest.mark.parametrize("executor", [None, Inline()], ids=["here", "there"])
def test_calls_that_are_changed_by_others_are_others(executor: Any) -> None:
    @fleche(hash_code=False)
    def grown(items: list[int]) -> int:
        ran.append(1)
        items.append(1)
        return len(items)

    items: list[int] = []
    sweep = grown.map([items, items], executor=executor)
    assert sweep.results() == sweep.results() == [1, 2]
    items.clear()
    items.append(7)
    came = grown.map([items, items], executor=executor).as_completed()
    assert [result for _, result in came] == [2, 3]

    @fleche
    def counting(x: int) -> int:
        ran.append(x)
        return len(ran)

    ran.clear()
    assert counting.map([5, 5, 5], executor=executor).results() == [1, 2, 3]


def test_ignored_arguments_make_no_other_call() -> None:
    @fleche(ignore="label", hash_code=False)
    def f(x: int, label: str = "") -> int:
        ran.append(label)
        return x

    assert f.map([1], label=["a", "b"]).results() == [1, 1]
    assert ran == ["a"]


def test_results_that_are_not_cached_are_computed_once_and_kept(caplog: Log) -> None:
    @fleche(hash_code=False)
    def nothing(x: int) -> None:
        ran.append(x)

    sweep = nothing.map([*range(200), 5])
    assert sweep.results() == sweep.results() == [None] * 201
    assert list(sweep.table()["status"]) == ["ran"] * 201
    assert ran == [*range(200)]

    @fleche(when=lambda result: False, hash_code=False)
    def refused(x: int) -> list[int]:
        ran.append(x)
        return [x]

    again = refused.map([1, 1])
    first, second = again.results()
    assert first == second == [1]
    assert first is not second
    assert ran == [*range(200), 1]


def test_results_that_cannot_be_copied_are_computed_each(caplog: Log) -> None:
    @fleche(hash_code=False)
    def numbers(x: int) -> Iterator[int]:
        ran.append(x)
        return (number for number in range(x))

    for executor in (None, Inline()):
        sweep = numbers.map([1, 2, 2], executor=executor)
        assert [list(result) for result in sweep] == [[0], [0, 1], [0, 1]]
        came = numbers.map([2, 2], executor=executor).as_completed()
        assert [list(result) for _, result in came] == [[0, 1], [0, 1]]
    assert len(ran) == 10


def test_what_the_caller_does_to_a_result_is_no_part_of_it(held: BaseCache) -> None:
    sweep = power.map(range(100))
    for result in sweep:
        result.clear()
    assert sweep.results() == power.map(range(100)).results() == [[x * x] for x in range(100)]
    assert len(ran) == 100


def test_methods_take_the_receiver_as_their_first_argument(held: BaseCache) -> None:
    two, three = Scale(2), Scale(3)
    assert Scale.times.map([two, three], x=[1, 10]).results() == [2, 20, 3, 30]
    assert two.times(10) == 20
    assert Scale.named.map([Scale], x=[1, 2]).results() == [("Scale", 1), ("Scale", 2)]
    assert Scale.plain.map([1, 2]).results() == [1, 2]
    assert two.times.map([two], [1]).results() == [2]
    assert len(ran) == 8


def test_the_cache_and_metadata_of_the_beginning_count() -> None:
    with cache(first := memory_cache()), tags(sample="A7"):
        sweep = power.map([1, 2])
    with cache(second := memory_cache()), meta():
        assert sweep.results() == [[1], [4]]
    assert first.query().count() == 2
    assert second.query().empty()
    assert {call.metadata["tags"]["sample"] for call in first.query()} == {"A7"}


@pytest.mark.parametrize("executor", [None, Inline()], ids=["here", "there"])
def test_digests_stand_for_values_of_the_cache_of_the_sweep(executor: Any) -> None:
    with cache(memory_cache()):
        power(5)
        stands = digest(5)
        sweep = power.map([stands], n=[2, 3], executor=executor)
    with cache(memory_cache()):
        assert sweep.results() == sweep.results() == [[25], [125]]
    assert ran == [(5, 2), (5, 3)]


@pytest.mark.parametrize("executor", [None, Inline()], ids=["here", "there"])
def test_calls_under_older_keys_are_hits(executor: Any) -> None:
    before = _core.scheme()
    _core.set_scheme(_core.OLDER_SCHEME)
    try:
        power.map([1, 2]).run()
    finally:
        _core.set_scheme(before)
    sweep = power.map([1, 2, 3], executor=executor)
    assert sweep.results() == [[1], [4], [9]]
    assert list(sweep.table()["status"]) == ["hit", "hit", "ran"]
    assert len(ran) == 3


def test_isolated_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    @fleche(isolate=True)
    def written(x: int) -> str:
        path = Path("number.txt")
        assert not path.exists()
        path.write_text(str(x))
        return path.read_text()

    assert written.map([1, 2]).results() == ["1", "2"]
    with ThreadPoolExecutor(2) as pool:
        assert written.map([3, 4], executor=pool).results() == ["3", "4"]


def test_none_and_exceptions_are_hits_where_they_are_cached(held: BaseCache) -> None:
    @fleche(none=True, exceptions=ValueError, hash_code=False)
    def root(x: int) -> float | None:
        ran.append(x)
        if x < 0:
            raise ValueError(f"no root of {x}")
        return x**0.5 if x else None

    for _ in range(2):
        for executor in (None, Inline()):
            sweep = root.map([0, -1, 4], executor=executor, errors="return")
            none, error, two = sweep.results()
            assert (none, type(error), two) == (None, ValueError, 2.0)
            with pytest.raises(SweepFailed, match=r"1 of 3 calls failed: .*root\(x=-1\)"):
                root.map([0, -1, 4], executor=executor).run()
    assert ran == [0, -1, 4]


def test_a_recomputation_computes_all(held: BaseCache) -> None:
    power.map([1, 2]).run()

    @fleche
    def both() -> list[list[int]]:
        return power.map([1, 2]).results()

    assert both.rerun() == [[1], [4]]
    assert ran == [(1, 2), (2, 2)] * 2
    with cache(RefreshingCache(held)):
        power.map([1], executor=Inline()).run()
    assert len(ran) == 5


def test_a_value_that_got_lost_is_computed_again(held: BaseCache) -> None:
    power.map([1, 2]).run()
    for member in held.stack if isinstance(held, CacheStack) else (held,):
        for key in [*member.values.list()]:  # type: ignore[attr-defined]
            member.values.evict(key)  # type: ignore[attr-defined]
    assert power.map([1]).results() == [[1]]
    executor = Inline()
    came = power.map([2, 3], executor=executor).as_completed()
    assert {arguments["x"]: result for arguments, result in came} == {2: [4], 3: [9]}
    assert executor.submitted == 2
    assert sorted(ran) == [(1, 2), (1, 2), (2, 2), (2, 2), (3, 2)]


def test_a_cache_that_evicts_loses_nothing_of_the_sweep() -> None:
    small = memory_cache()
    with cache(SizeLimitedCache(small.values, small.calls, 3)):
        for executor in (None, Inline()):
            sweep = power.map(range(200), executor=executor)
            assert sweep.results() == [[x * x] for x in range(200)]
            assert sweep.results() == [[x * x] for x in range(200)]


def test_a_cache_that_cannot_be_looked_up_is_a_miss(caplog: Log) -> None:
    class Broken(type(memory_cache())):  # type: ignore[misc]
        def load(self, key: Any) -> Any:
            raise OSError("gone")

        def contains(self, key: Any) -> bool:
            raise OSError("gone")

    made = memory_cache()
    with cache(Broken(made.values, made.calls)):
        assert power.map([1, 2, 3]).results() == [[1], [4], [9]]


def test_a_cache_that_cannot_be_opened_is_none(
    project: Path, caplog: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fleche.state

    def refuse() -> Any:
        raise OSError("no disk")

    monkeypatch.setattr(fleche.state, "get_cache", refuse)
    monkeypatch.setattr("fleche.sweeps.sweep.get_cache", refuse)
    sweep = power.map([1, 2, 1])
    assert sweep.results() == [[1], [4], [1]]


# Calls without a key


@pytest.mark.parametrize("executor", [None, Inline()], ids=["here", "there"])
def test_calls_without_a_key_run_each_with_one_warning(executor: Any, caplog: Log) -> None:
    @fleche(hash_code=False)
    def f(lock: Any, x: int = 0) -> int:
        ran.append(x)
        return len(ran)

    lock = threading.Lock()
    assert f.map([lock, lock, lock], executor=executor).results() == [1, 2, 3]
    [message] = caplog.messages
    assert "No hash for argument: 'lock'" in message
    assert len(f.map([lock, 1], x=[1, 2], executor=executor).results()) == 4
    assert f.contains(1, 2)
    assert len(caplog.messages) == 2


def test_calls_without_a_required_argument_run_uncached(caplog: Log) -> None:
    @fleche(require="seed", hash_code=False)
    def draw(x: int, seed: int = 0, **more: int) -> int:
        ran.append(x)
        return x

    assert draw.map([1, 1, 2]).results() == [1, 1, 2]
    assert ran == [1, 1, 2]
    assert len(caplog.messages) == 1
    assert draw.map([1, 1], seed=[4]).results() == [1, 1]
    assert draw.contains(1, seed=4)
    assert len(ran) == 4


def test_strict_functions_raise_what_would_run_uncached() -> None:
    @fleche(strict=True)
    def f(x: Any) -> int:
        return 1

    lock = threading.Lock()
    result, error = f.map([1, lock], errors="return").results()
    assert result == 1
    assert "No hash for argument" in str(error.__notes__)  # type: ignore[attr-defined]


# Failures


@pytest.mark.parametrize(
    "executor", [None, Inline(), Inline(away=True)], ids=["here", "there", "away"]
)
def test_a_call_that_fails_does_not_lose_the_others(executor: Any, held: BaseCache) -> None:
    sweep = invert.map([1, 0, 2, 0.0, 4], executor=executor)
    results = iter(sweep)
    assert next(results) == 1
    with pytest.raises(SweepFailed) as raised:
        next(results)  # no result stands in the place of another one
    failed = raised.value
    assert str(failed).startswith("2 of 5 calls failed: invert(x=0), invert(x=0.0)")
    assert failed.arguments == [{"x": 0}, {"x": 0.0}]
    assert all(isinstance(error, ZeroDivisionError) for error in failed.exceptions)
    assert [invert.contains(x) for x in (1, 2, 4, 0)] == [True, True, True, False]
    with pytest.raises(SweepFailed):
        sweep.results()
    came = sweep.as_completed()
    assert sorted(arguments["x"] for arguments, _ in itertools.islice(came, 3)) == [1, 2, 4]
    with pytest.raises(SweepFailed):
        next(came)


def test_failures_may_be_caught_by_kind_and_travel() -> None:
    @fleche
    def f(x: int) -> int:
        raise (ValueError if x else KeyError)(x)

    with pytest.raises(SweepFailed) as raised:
        f.map([0, 1, 2]).run()
    values, others = raised.value.split(ValueError)
    assert isinstance(values, SweepFailed)
    assert isinstance(others, SweepFailed)
    assert values.arguments == [{"x": 1}, {"x": 2}]
    assert others.arguments == [{"x": 0}]
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.arguments) == (str(raised.value), raised.value.arguments)


def test_many_failures_make_a_short_message() -> None:
    with pytest.raises(SweepFailed) as raised:
        invert.map([0, "a" * 1000, *range(-0, 1), *([object()] * 50)]).run()
    assert len(str(raised.value)) < 400
    assert len(raised.value.exceptions) == 53


def test_errors_may_be_returned(held: BaseCache) -> None:
    sweep = invert.map([1, 0], errors="return")
    for _ in range(2):
        one, error = sweep.results()
        assert (one, type(error)) == (1, ZeroDivisionError)
    assert [type(result) for _, result in sweep.as_completed()] == [float, ZeroDivisionError]
    assert ran == [1, 0]


def test_what_is_no_error_of_a_call_ends_the_sweep_at_once() -> None:
    @fleche(hash_code=False)
    def f(x: int) -> int:
        ran.append(x)
        if ran == [0, 1]:
            raise SystemExit(3)
        return x

    sweep = f.map(range(4))
    with pytest.raises(SystemExit):
        sweep.results()
    assert ran == [0, 1]
    assert f.contains(0)
    assert sweep.results() == [0, 1, 2, 3]
    assert ran == [0, 1, 1, 2, 3]


def test_an_interrupt_here_keeps_what_is_done() -> None:
    @fleche(hash_code=False)
    def f(x: int) -> int:
        ran.append(x)
        if len(ran) == 3:
            signal.raise_signal(signal.SIGINT)
        return x

    sweep = f.map(range(5))
    with pytest.raises(KeyboardInterrupt):
        sweep.results()
    assert [f.contains(x) for x in range(5)] == [True, True, False, False, False]
    assert sweep.results() == [0, 1, 2, 3, 4]
    assert ran == [0, 1, 2, 2, 3, 4]


# Executors


def test_an_interrupt_takes_back_what_has_not_begun() -> None:
    release, running = threading.Event(), threading.Event()

    @fleche(hash_code=False)
    def f(x: int) -> int:
        ran.append(x)
        running.set()
        assert release.wait(60)
        return x

    main = threading.get_ident()

    def interrupt() -> None:
        running.wait(60)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with ThreadPoolExecutor(1) as pool:
        thread.start()
        sweep = f.map(range(50), executor=pool)
        with pytest.raises(KeyboardInterrupt):
            sweep.results()
        thread.join()
        assert ran == [0], "it did not wait for the one that runs"
        release.set()
        # Its one worker has saved that call when it takes the next.
        pool.submit(int).result()
        assert sweep.results() == [*range(50)]
    assert sorted(ran) == [*range(50)]


def test_leaving_a_loop_takes_back_what_has_not_begun() -> None:
    pool = Later(now=2)
    came = power.map(range(100), executor=pool).as_completed()
    assert next(came) == ({"x": 2}, [4])
    came.close()
    assert [future.cancelled() for future, _ in pool.held].count(False) == 1


def test_a_bounded_number_of_calls_is_submitted() -> None:
    pool = Later(now=0)
    came = power.map(range(10_000), executor=pool).as_completed()
    next(came)
    assert len(pool.held) < 200
    came.close()


def test_results_come_as_they_end_or_in_their_order() -> None:
    pool = Later(now=1)
    sweep = power.map([1, 2], executor=pool)
    came = sweep.as_completed()
    assert next(came) == ({"x": 2}, [4])
    pool.run(0)
    assert list(came) == [({"x": 1}, [1])]
    assert sweep.results() == [[1], [4]]


def test_hits_are_not_submitted(held: BaseCache) -> None:
    power.map([1, 2]).run()
    pool = Inline()
    assert power.map([1, 2, 3, 3], executor=pool).results() == [[1], [4], [9], [9]]
    assert pool.submitted == 1


def test_an_executor_that_was_wrapped() -> None:
    pool = wrap_executor(Inline())
    assert power.map([1, 2], executor=pool).results() == [[1], [4]]
    assert power.query().count() == 2


def test_an_executor_that_takes_no_calls_says_what_is_left(memory: BaseCache) -> None:
    with ThreadPoolExecutor(1) as pool:
        sweep = power.map([1, 2], executor=pool)
    with pytest.raises(RuntimeError, match="after shutdown") as raised:
        sweep.results()
    assert "2 calls of power are left to run" in raised.value.__notes__[0]
    with pytest.raises(RuntimeError, match="after shutdown"):
        sweep.run()


def test_a_cache_in_memory_gets_what_other_processes_computed(memory: BaseCache) -> None:
    with tags(sample="A7"):
        assert outer.map([1, 2], executor=Inline(away=True)).results() == [[2], [4]]
    assert outer.contains(1)
    assert power.contains(2, 1), "and the calls below"
    [call] = outer.query(2)
    assert (call.result, call.metadata["tags"]["sample"]) == ([4], "A7")
    assert call.metadata["runtime"]["walltime"] >= 0
    before = len(ran)
    assert outer(1) == [2]
    assert len(ran) == before


@fleche
def outer(x: int) -> list[int]:
    return [2 * power(x, 1)[0]]


@fleche
def failing_below(x: int) -> int:
    power(x, 1)
    raise ValueError(x)


def test_calls_below_one_that_fails_in_another_process_are_kept(memory: BaseCache) -> None:
    [error] = failing_below.map([3], executor=Inline(away=True), errors="return").results()
    assert isinstance(error, ValueError)
    assert "failing_below" in str(error.__cause__), "where it was raised is told"
    assert power.contains(3, 1)


def test_a_stack_over_memory_has_its_other_members_elsewhere(tmp_path: Path) -> None:
    shared = cache_from_config({"template": "pickle", "root": str(tmp_path)})
    with cache(shared):
        power(5, 1)
    ran.clear()
    with cache(CacheStack((top := memory_cache(), shared))):
        assert outer.map([5, 6], executor=Inline(away=True)).results() == [[10], [12]]
        assert ran == [(6, 1)]
        assert top.query(name="outer").count() == 2


def test_a_cache_that_refuses_loses_no_result(memory: BaseCache, caplog: Log) -> None:
    for executor in (None, Inline(), Inline(away=True)):
        with cache(memory.readonly()):
            sweep = power.map(range(70), executor=executor)
            assert sweep.results() == sweep.results() == [[x * x] for x in range(70)]
    assert len(ran) == 3 * 70
