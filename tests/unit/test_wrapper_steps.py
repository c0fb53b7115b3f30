"""The ten steps of a cached call, each with its failure: the caller always gets the result."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from fleche import cache, fleche, meta
from fleche.caches import Cache, Rejected
from fleche.call import Call
from fleche.digest import Digest, digest
from fleche.metadata import MetaData, Runtime, Tags
from fleche.storage import SaveError

from .calls import Counted, memory_cache

ERRORS = [KeyError("k"), OSError("o"), Rejected("r"), SaveError("s"), RuntimeError("b")]


@pytest.fixture(autouse=True)
def active() -> Iterable[Cache]:
    held = memory_cache()
    with cache(held):
        yield held


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


# 1. Digest arguments


def test_a_digest_stands_for_its_value(active: Cache) -> None:
    runs = []

    @fleche
    def f(numbers: list[int]) -> int:
        runs.append(numbers)
        return sum(numbers)

    assert f([1, 2]) == 3
    key = digest([1, 2])
    assert f(key) == f(Digest(key[:8])) == 3
    assert runs == [[1, 2]]


def test_the_result_of_one_call_is_passed_on_by_its_digest(active: Cache) -> None:
    @fleche
    def make(n: int) -> list[int]:
        return list(range(n))

    counted = Counted(sum)
    total = fleche(counted.function)
    make(4)
    result = make.query(4).only().detach().result
    assert total(result) == total(make(4)) == 6
    assert counted.calls == 1
    assert total.contains(result)
    assert total.load(result) == 6
    assert total.digest(result) == total.digest([0, 1, 2, 3])


def test_a_digest_as_keyword_and_among_variable_arguments(active: Cache) -> None:
    @fleche
    def f(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    key = active.values.save("text")
    assert f(key, a=key) == f("text", a="text") == (("text",), {"a": "text"})
    assert f.query().count() == 1


def test_a_digest_without_value_is_a_clear_error() -> None:
    f = fleche(Counted(sum).function)
    missing = digest("nowhere")
    with pytest.raises(KeyError) as error:
        f(missing)
    assert error.value.args == (missing,)
    assert "names a value that the active cache does not give" in error.value.__notes__[0]


def test_only_digests_on_top_are_replaced() -> None:
    f = fleche(lambda x: x)
    key = digest("text")
    assert f([key]) == [key]


# 2. The key


def test_an_indigestible_argument_is_named(caplog: pytest.LogCaptureFixture) -> None:
    counted = Counted(lambda x, y: x)

    def f(x: int, y: Any) -> int:
        return counted.function(x, y)

    g = fleche(f)
    assert g(1, object()) == g(1, object()) == 1
    assert counted.calls == 2
    [first, _] = warnings_of(caplog)
    assert first.startswith("No hash for argument: 'y' of ")
    assert "(a builtins.object)" in first


class Broken:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __digest__(self) -> Digest:
        raise self.error


def test_an_error_in_a_digest_method_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    f = fleche(lambda x: 1)
    for error in (ValueError("v"), AttributeError("a"), RecursionError(), MemoryError()):
        assert f(Broken(error)) == 1
    assert len(warnings_of(caplog)) == 4
    with pytest.raises(KeyboardInterrupt):
        f(Broken(KeyboardInterrupt()))


def test_a_generator_argument_still_yields_everything() -> None:
    f = fleche(lambda numbers: list(numbers))
    assert f(n for n in range(3)) == [0, 1, 2]


# 4. The hit


def test_a_hit_does_not_run_the_function() -> None:
    counted = Counted(lambda x: [x])
    f = fleche(counted.function)
    assert f(1) == f(1) == [1]
    assert counted.calls == 1


def test_what_is_handed_out_is_independent() -> None:
    f = fleche(lambda x: {"a": [x]})
    first = f(1)
    first["a"].append(2)
    second = f(1)
    assert second == {"a": [1]}
    second["a"].append(2)
    assert f(1) == {"a": [1]}


def test_a_record_without_its_value_is_a_miss(active: Cache) -> None:
    counted = Counted(lambda x: [x])
    f = fleche(counted.function)
    f(1)
    active.values.evict(f.query(1).only().detach().result)
    assert f(1) == f(1) == [1]
    assert counted.calls == 2


def test_a_record_without_one_child_is_a_miss(active: Cache) -> None:
    counted = Counted(lambda x: [["child"]])
    f = fleche(counted.function)
    f(1)
    active.values.evict(digest(["child"], typed=True))
    assert f(1) == f(1) == [["child"]]
    assert counted.calls == 2


def test_a_pending_record_is_a_miss(active: Cache) -> None:
    f = fleche(lambda x: x)
    active.save(f.call(1))
    assert f.query(1).only().result is None
    assert f(1) == 1
    assert f.query(1).only().result == 1


# 6. Preparing


def test_an_argument_that_the_body_mutates_is_recorded_as_passed() -> None:
    @fleche
    def f(held: list[int]) -> int:
        held.append(2)
        return len(held)

    assert f([1]) == f([1]) == 2
    assert f.query().only().arguments["held"] == [1]
    assert f.contains([1])
    assert not f.contains([1, 2])


def test_an_argument_that_cannot_be_stored_is_recorded_by_its_digest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    f = fleche(lambda module: module.__name__)
    assert f(os) == f(os) == "os"
    assert warnings_of(caplog) == [
        "Failed to save argument 'module': falling back to digest-only reference"
    ]
    assert f.query().only().arguments["module"] == digest(os)


# 7. Running


def test_an_exception_propagates_and_nothing_is_recorded(active: Cache) -> None:
    counted = Counted(lambda x: 1 / x)
    f = fleche(counted.function)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            f(0)
    assert counted.calls == 2
    assert active.query().empty()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_propagates(error: type[BaseException], active: Cache) -> None:
    def f() -> None:
        raise error

    with pytest.raises(error):
        fleche(f)()
    assert active.query().empty()


def test_a_key_error_of_the_function_is_its_own() -> None:
    def f() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fleche(f)()


def test_deep_recursion_ends_as_it_would() -> None:
    @fleche
    def down(n: int) -> int:
        return 0 if n == 0 else 1 + down(n - 1)

    assert down(100) == 100
    with pytest.raises(RecursionError):
        down(100_000)
    assert down(100) == 100


def test_none_is_not_cached(caplog: pytest.LogCaptureFixture) -> None:
    counted = Counted(lambda: None)
    f = fleche(counted.function)
    assert f() is f() is None
    assert counted.calls == 2
    assert warnings_of(caplog) == ["Function returned None, not caching"] * 2


def test_none_after_a_rerun_evicts_the_stale_record(caplog: pytest.LogCaptureFixture) -> None:
    results = [1, None, 3]
    f = fleche(hash_code=False)(lambda: results.pop(0))
    assert f() == f() == 1
    assert f.rerun() is None
    assert warnings_of(caplog) == ["Function returned None during rerun, evicted stale cache entry"]
    assert f() == 3


def test_coroutines_and_generators_are_returned_uncached(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @fleche
    async def wait() -> int:
        return 5

    @fleche
    def count() -> Iterator[int]:
        yield from range(3)

    coroutine = wait()
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    assert end.value.value == 5
    assert list(count()) == list(count()) == [0, 1, 2]
    assert "coroutine" in warnings_of(caplog)[0]
    assert count.query().empty()


# 9. Metadata


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


class Failing(MetaData):
    name = "failing"

    def __init__(self, step: str) -> None:
        self.step = step

    def pre(self, call: Call) -> dict[str, Any]:
        if self.step == "pre":
            raise ValueError("pre")
        return {"begun": 1}

    def post(self, pre: dict[str, Any], call: Call) -> dict[str, Any]:
        if self.step == "post":
            raise ValueError("post")
        return {"ended": call.result, **pre}


@pytest.mark.parametrize("step", ["pre", "post"])
def test_metadata_that_fails_is_left_out(step: str, caplog: pytest.LogCaptureFixture) -> None:
    f = fleche(meta=(Failing(step), Tags({"a": 1})))(lambda x: x)
    assert f(1) == 1
    assert f.query().only().metadata.keys() == {"runtime", "tags"}
    [warning] = warnings_of(caplog)
    assert "Metadata Failing" in warning


def test_metadata_is_recorded_in_order_later_wins() -> None:
    f = fleche(meta=[Tags({"a": 2}), Failing("never")])(lambda x: x)
    with meta(Runtime(), Tags({"a": 1, "b": 1})):
        f(7)
    metadata = f.query().only().metadata
    assert list(metadata) == ["runtime", "tags", "failing"]
    assert metadata["tags"] == {"a": 2, "b": 1}
    assert metadata["failing"] == {"begun": 1, "ended": 7}


class Steps(MetaData):
    name = "steps"

    def pre(self, call: Call) -> dict[str, Any]:
        return {"step": 1}

    def post(self, pre: dict[str, Any], call: Call) -> dict[str, Any]:
        return {"step": pre["step"] + 1}


@pytest.mark.parametrize("active", [(), (Steps(),), (Steps(), Failing("post"), Steps())])
def test_metadata_gets_what_it_gave_itself(active: tuple[MetaData, ...]) -> None:
    f = fleche(meta=(Steps(),))(lambda x: x)
    with meta(*active):
        f(7)
    assert f.query().only().metadata == {"steps": {"step": 2}}


@pytest.mark.parametrize("active", [(), (Runtime(),), (Runtime(), Runtime())])
@pytest.mark.parametrize("returned", [lambda x: x, done], ids=["value", "future"])
def test_each_runtime_says_what_the_call_took(
    active: tuple[MetaData, ...], returned: Callable[[Any], Any]
) -> None:
    f = fleche(meta=(Runtime(),))(returned)
    begin = sum(os.times()[:4])
    with meta(*active):
        f(7)
    took = f.query().only().metadata["runtime"]
    # The clock of `os.times` ticks a hundred times a second.
    assert took["cputime"] + took["systime"] <= sum(os.times()[:4]) - begin + 0.03
    assert took["walltime"] == took["timestop"] - took["timestart"]


def test_metadata_that_the_body_sets_counts_from_the_next_call_on() -> None:
    def body(x: int) -> Any:
        meta(Steps())
        return done(x)

    f = fleche(body)
    with meta(Runtime()):
        f(1)
        f(2)
    assert f.query(1).only().metadata.keys() == {"runtime"}
    assert f.query(2).only().metadata.keys() == {"steps"}


# Threads


def test_threads_are_independent_of_each_other() -> None:
    f = fleche(lambda x: x)
    caches = [memory_cache() for _ in range(8)]
    barrier = threading.Barrier(len(caches))

    def work(held: Cache) -> int:
        with cache(held):
            barrier.wait()
            return sum(f(n) for n in range(20)) + held.query().count()

    with ThreadPoolExecutor(len(caches)) as pool:
        assert set(pool.map(work, caches)) == {190 + 20}


def test_threads_share_a_cache(active: Cache) -> None:
    identified = []

    def body(x: int) -> list[int]:
        return [x, x]

    f = fleche(hash_code=True)(body)
    barrier = threading.Barrier(8)
    work: Callable[[int], Any] = f.bind().__call__

    def run(start: int) -> list[Any]:
        barrier.wait()
        identified.append(f.digest(start % 3))
        return [work(n) for n in range(30)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, range(8)))
    assert all(result == [[n, n] for n in range(30)] for result in results)
    assert active.query().count() == 30
    assert len(set(identified)) == 3
