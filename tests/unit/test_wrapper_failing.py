"""Caches that fail at every step, and futures: the caller always gets the result."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import BaseCache, Cache, ReadOnlyCache, Rejected
from fleche.call import Call, DigestedCall, LazyCall, PreparedCall, QueryCall
from fleche.digest import Digest, digest
from fleche.storage import CallMemory, SaveError, ValueMemory

from .calls import Counted, memory_cache

ERRORS = [KeyError("k"), OSError("o"), Rejected("r"), SaveError("s"), RuntimeError("b")]


@pytest.fixture(autouse=True)
def active() -> Iterable[Cache]:
    held = memory_cache()
    with cache(held):
        yield held


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


# A cache that fails


class Failure(Cache):
    """Fails at one step. Not a dataclass of its own: equality does not matter here."""

    step = ""
    error: BaseException = Exception()

    def _fail(self, step: str) -> None:
        if self.step == step:
            raise self.error

    def load(self, key: Any) -> LazyCall:
        self._fail("load")
        return super().load(key)

    def load_value(self, key: Any) -> Any:
        self._fail("load_value")
        return super().load_value(key)

    def prepare(self, call: Call) -> PreparedCall:
        self._fail("prepare")
        return super().prepare(call)

    def save(self, call: Any) -> Digest:
        self._fail("save")
        return super().save(call)


def failing(step: str, error: BaseException) -> Failure:
    held = Failure(ValueMemory({}), CallMemory({}))
    held.__dict__.update(step=step, error=error)
    return held


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["load", "load_value", "prepare", "save"])
def test_the_caller_gets_the_result_whatever_the_cache_does(
    step: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    counted = Counted(lambda x: [x])
    f = fleche(counted.function)
    held = failing(step, error)
    with cache(held):
        assert f(1) == [1]
        assert f(1) == [1]
        with pytest.raises(ZeroDivisionError):
            fleche(lambda: 1 / 0)()
    assert counted.calls == 2
    silent = isinstance(error, KeyError) and step in ("load", "load_value")
    assert bool(warnings_of(caplog)) is not silent
    # What a broken load hides is replaced, and found once the cache works again.
    held.__dict__["step"] = ""
    with cache(held):
        assert f(1) == [1]
    assert counted.calls == (3 if step in ("prepare", "save") else 2)


@pytest.mark.parametrize("step", ["load", "prepare", "save"])
def test_an_interrupt_of_the_cache_propagates(step: str) -> None:
    with cache(failing(step, KeyboardInterrupt())), pytest.raises(KeyboardInterrupt):
        fleche(lambda: 1)()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", ["save", "load", "put", "get"])
@pytest.mark.parametrize("kind", ["values", "calls"])
def test_the_caller_gets_the_result_whatever_a_storage_does(
    kind: str, method: str, error: Exception
) -> None:
    def fail(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise error

    base = ValueMemory if kind == "values" else CallMemory
    broken = type("BrokenStorage", (base,), {method: fail})({})
    working: dict[str, Any] = {"values": ValueMemory({}), "calls": CallMemory({})}
    counted = Counted(lambda x: [x])
    f = fleche(counted.function)
    with cache(Cache(**(working | {kind: broken}))):
        assert f(1) == f(1) == [1]
    assert counted.calls == 2


class Minimal(BaseCache):
    """As a user writes one: only what is abstract."""

    def __init__(self) -> None:
        self.calls: dict[str, DigestedCall] = {}
        self.values: dict[str, Any] = {}

    def save(self, call: Any) -> Digest:
        values = ValueMemory(self.values, 1000)
        record = call.resolve(values) if isinstance(call, PreparedCall) else call.stash(values)
        self.calls[record.to_lookup_key()] = record
        return record.to_lookup_key()

    def load(self, key: Any) -> LazyCall:
        return self.calls[key].fetch(self)

    def load_value(self, key: Any) -> Any:
        return self.values[key]

    def evict(self, key: Any) -> None:
        self.calls.pop(key, None)

    def expand(self, key: Any) -> Digest:
        return Digest(key)

    def _shrink(self, *keys: Any) -> tuple[Digest, ...]:
        return tuple(map(Digest, keys))

    def _query(self, call: QueryCall) -> Iterable[LazyCall]:
        return (c.fetch(self) for c in self.calls.values() if call.matches(c))


def test_a_cache_that_a_user_wrote() -> None:
    counted = Counted(lambda x: [x])
    f = fleche(counted.function)
    with cache(Minimal()) as _:
        assert f(1) == f(1) == [1]
        assert counted.calls == 1
        assert f.query(1).only().result == [1]
        assert f.rerun(1) == [1]
        assert counted.calls == 2


def test_a_read_only_cache_serves_and_warns(
    active: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    counted = Counted(lambda x: x)
    f = fleche(counted.function)
    f(1)
    with cache(ReadOnlyCache(active)):
        assert f(1) == 1
        assert not warnings_of(caplog)
        assert f(2) == 2
    [warning] = warnings_of(caplog)
    assert warning.startswith("Cache rejected save: ")
    assert not f.contains(2)


class Odd(PreparedCall):
    def abandon(self) -> None:
        raise OSError("abandon")


def test_a_call_that_cannot_be_abandoned_does_not_hide_the_error() -> None:
    class OddCache(Cache):
        def prepare(self, call: Call) -> PreparedCall:
            return Odd(super().prepare(call).digested, self)

    with cache(OddCache(ValueMemory({}), CallMemory({}))):
        with pytest.raises(ZeroDivisionError):
            fleche(lambda: 1 / 0)()
        assert fleche(lambda: None)() is None


# Futures


def test_a_future_is_returned_and_its_result_cached() -> None:
    with ThreadPoolExecutor(1) as pool:
        f = fleche(hash_code=False)(lambda x: pool.submit(lambda: x * 2))
        future = f(3)
        assert isinstance(future, Future)
        assert future.result() == 6
    assert f(3) == 6
    assert f.query(3).only().result == 6
    assert "walltime" in f.query(3).only().metadata["runtime"]


def test_a_finished_future_is_cached_at_once() -> None:
    done: Future[int] = Future()
    done.set_result(5)
    f = fleche(hash_code=False)(lambda: done)
    assert f() is done
    assert f() == 5


def test_a_second_caller_gets_the_future_that_runs() -> None:
    futures: list[Future[int]] = []

    @fleche(hash_code=False)
    def f(x: int) -> Any:
        futures.append(Future())
        return futures[-1]

    first = f(1)
    assert f(1) is first
    assert f(2) is not first
    first.set_result(7)
    assert f(1) == 7
    assert len(futures) == 2


def test_a_second_caller_with_another_cache_runs_its_own() -> None:
    futures: list[Future[int]] = []

    @fleche(hash_code=False)
    def f(x: int) -> Any:
        futures.append(Future())
        return futures[-1]

    first = f(1)
    with cache(memory_cache()):
        second = f(1)
        assert second is not first
        second.set_result(2)
        assert f(1) == 2
    assert f.rerun(1) is not first
    assert len(futures) == 3
    for future in futures:
        if not future.done():
            future.set_result(3)
    assert f(1) == 3


@pytest.mark.parametrize("end", ["error", "cancel", "none"])
def test_futures_that_bring_nothing_are_not_cached(
    end: str, caplog: pytest.LogCaptureFixture
) -> None:
    futures: list[Future[Any]] = []

    @fleche(hash_code=False)
    def f() -> Any:
        futures.append(Future())
        return futures[-1]

    f()
    match end:
        case "error":
            futures[0].set_exception(ValueError("no"))
        case "cancel":
            futures[0].cancel()
        case _:
            futures[0].set_result(None)
            assert "Function returned None, not caching" in caplog.text
    assert f.query().empty()
    assert f() is futures[1]
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


class InterruptedOnce:
    """Something that is being stored when the user interrupts."""

    def __init__(self) -> None:
        self.interrupted = False

    def __digest__(self) -> Digest:
        return digest("interrupted")

    def __reduce__(self) -> Any:
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        return InterruptedOnce, ()


def test_an_interrupt_while_arguments_are_stored_passes() -> None:
    ran = []

    @fleche
    def body(x: Any) -> int:
        ran.append(x)
        return 1

    with cache(memory_cache()), pytest.raises(KeyboardInterrupt):
        body(InterruptedOnce())
    assert ran == []
