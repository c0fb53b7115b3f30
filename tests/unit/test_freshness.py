"""Results that expire: `max_age=`, `stale_ok=`, `valid=` and `f.fresh`."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche import cache, fleche, meta
from fleche.caches import BaseCache, CacheStack
from fleche.call import Call
from fleche.call.ages import age_of
from fleche.config import cache_from_config
from fleche.metadata import Runtime

from .calls import memory_cache


class Clock:
    """The clock by which ages are told, which a test sets."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() - self.begun + self.ahead + 1e9

    begun = time.monotonic()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("fleche.metadata.time", clock)
    monkeypatch.setattr("fleche.call.ages.time", type("time", (), {"time": clock}))
    return clock


def _in_python(result: Any) -> bool:
    """A predicate that has a miss recorded by Python, with the test's clock."""
    return True


def counting(**options: Any) -> tuple[Any, list[int]]:
    runs: list[int] = []

    @fleche(hash_code=False, **options)
    def f(x: int) -> int:
        runs.append(x)
        return len(runs)

    return f, runs


def until(holds: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(6000):
        if holds():
            return
        pause.wait(0.01)
    pytest.fail("it did not come to that")


@pytest.mark.parametrize("max_age", [100, timedelta(seconds=100)])
def test_a_result_expires(store: BaseCache, clock: Clock, max_age: Any) -> None:
    f, runs = counting(max_age=max_age)
    assert f(1) == f(1) == f.load(1) == 1
    clock.ahead = 90
    assert f(1) == 1
    clock.ahead = 110
    assert not f.contains(1)
    with pytest.raises(KeyError):
        f.load(1)
    assert f(1) == 2
    assert f.contains(1)
    clock.ahead = 200
    assert f(1) == f.load(1) == 2
    assert len(runs) == 2
    # One record, the newest.
    assert [call.result for call in f.query()] == [2]


def test_without_runtime_the_time_is_recorded_all_the_same(store: BaseCache, clock: Clock) -> None:
    f, _ = counting(max_age=100)
    with meta():
        assert f(1) == f(1) == 1
        clock.ahead = 110
        assert f(1) == 2
    # What others recorded without a time is of no known age.
    store.save(Call(f.__qualname__, {"x": 2}, module=__name__, result=9))
    assert f(2) == 3


def test_explanations(store: BaseCache, clock: Clock) -> None:
    f, runs = counting(max_age=100, stale_ok=10)
    f(1)
    assert f.explain(1).hit
    clock.ahead = 105
    # To look is not to compute.
    assert f.explain(1).hit
    clock.ahead = 120
    (reason,) = f.explain(1).reasons
    assert (reason.kind, reason.key) == ("expired", f.digest(1))
    assert "it is 120 s old, max_age is 100 s" in str(reason)
    g, _ = counting(valid=lambda call: False)
    assert [each.kind for each in g.explain(1).reasons] == ["expired"]
    assert runs == [1]


def test_a_view_of_other_freshness(store: BaseCache, clock: Clock) -> None:
    f, _ = counting(when=_in_python)
    assert f(1) == 1
    clock.ahead = 50
    assert f.fresh(max_age=60)(1) == 1
    assert f.fresh(max_age=60) is f.fresh(max_age=60)
    assert not f.fresh(max_age=40).contains(1)
    assert f.fresh(max_age=40)(1) == 2
    assert f(1) == f.fresh(max_age=40)(1) == 2
    assert f.fresh(max_age=0)(1) == 3
    assert f.fresh(max_age=0)(1) == 4
    assert f.fresh()(1) == 4
    with pytest.raises(TypeError):
        f.fresh(60)


def test_queries(store: BaseCache, clock: Clock) -> None:
    f, _ = counting(when=_in_python)
    f(1)
    clock.ahead = 100
    f(2)
    assert {call.arguments["x"] for call in f.query()} == {1, 2}
    assert [call.arguments["x"] for call in f.query(max_age=50)] == [2]
    assert [call.arguments["x"] for call in store.query().fresh(timedelta(seconds=50))] == [2]
    assert f.query(max_age=150).count() == 2

    @fleche(hash_code=False)
    def g(max_age: int) -> int:
        return max_age

    g(7)
    assert g.query(max_age=7).only().result == 7


def test_a_stale_result_is_given_and_computed_again(store: BaseCache, clock: Clock) -> None:
    go_on = threading.Event()
    runs: list[int] = []

    @fleche(hash_code=False, max_age=100, stale_ok=50)
    def f(x: int) -> int:
        runs.append(x)
        if len(runs) > 1:
            assert go_on.wait(60)
        return len(runs)

    assert f(1) == 1
    clock.ahead = 110
    # At once, and one computation however many ask.
    assert [f(1) for _ in range(5)] == [1] * 5
    until(lambda: len(runs) == 2)
    assert f(1) == 1
    go_on.set()
    until(lambda: f.load(1) == 2)
    assert f(1) == 2
    assert len(runs) == 2
    # Too stale.
    clock.ahead = 300
    assert f(1) == 3


def test_a_stale_result_stays_where_computing_again_fails(
    store: BaseCache, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[int] = []

    @fleche(hash_code=False, max_age=100, stale_ok=True)
    def f(x: int) -> int:
        runs.append(x)
        if len(runs) == 2:
            raise ZeroDivisionError
        return len(runs)

    assert f(1) == 1
    clock.ahead = 1e6
    assert f(1) == 1
    until(lambda: "the old result stays" in caplog.text)
    assert f(1) == 1
    until(lambda: f.load(1) == 3)


def test_stale_results_of_coroutines(store: BaseCache, clock: Clock) -> None:
    runs: list[int] = []

    @fleche(hash_code=False, max_age=100, stale_ok=True)
    async def f(x: int) -> int:
        runs.append(x)
        await asyncio.sleep(0)
        return len(runs)

    async def main() -> None:
        assert await f(1) == 1
        clock.ahead = 110
        assert await f(1) == 1
        for _ in range(6000):
            if await asyncio.to_thread(f.load, 1) == 2:
                break
            await asyncio.sleep(0.01)
        assert await f(1) == 2

    asyncio.run(main())
    assert runs == [1, 1]


def test_expired_coroutines_compute(store: BaseCache, clock: Clock) -> None:
    runs: list[int] = []

    @fleche(hash_code=False, max_age=100)
    async def f(x: int) -> int:
        runs.append(x)
        return len(runs)

    assert asyncio.run(f(1)) == asyncio.run(f(1)) == 1
    clock.ahead = 110
    assert asyncio.run(f(1)) == 2


def test_a_callback_decides(store: BaseCache, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []
    good = True

    def valid(call: Any) -> bool:
        seen.append((call.arguments["x"], call.result, "runtime" in call.metadata))
        return good

    f, _ = counting(valid=valid)
    assert f(1) == f(1) == 1
    assert seen == [(1, 1, True)]
    good = False
    assert not f.contains(1)
    assert f(1) == 2
    good = True
    assert f(1) == 2
    # One that fails never makes a hit.
    broken, _ = counting(valid=lambda call: 1 // 0)
    assert broken(5) == 1
    assert broken(5) == 2
    assert "it is computed" in caplog.text


def test_once_and_expiry(store: BaseCache, clock: Clock) -> None:
    f, _ = counting(max_age=100, once=True)
    assert f(1) == f(1) == 1
    clock.ahead = 110
    assert f(1) == f(1) == 2


def test_a_later_member_of_a_stack_may_be_fresher(tmp_path: Path, clock: Clock) -> None:
    shared = cache_from_config({"template": "pickle", "root": tmp_path})
    own = memory_cache()
    f, _ = counting(max_age=100)
    with cache(own):
        assert f(1) == 1
    clock.ahead = 110
    with cache(shared):
        assert f(1) == 2
    with cache(CacheStack((own, shared))):
        assert f(1) == f.load(1) == 2


def test_none_and_exceptions_expire(store: BaseCache, clock: Clock) -> None:
    runs: list[int] = []

    @fleche(hash_code=False, max_age=100, none=True, exceptions=ValueError)
    def f(x: int) -> None:
        runs.append(x)
        if x < 0:
            raise ValueError(x)

    assert f(1) is f(1) is None
    for _ in range(2):
        with pytest.raises(ValueError, match="-1"):
            f(-1)
    assert runs == [1, -1]
    clock.ahead = 110
    assert f(1) is None
    with pytest.raises(ValueError, match="-1"):
        f(-1)
    assert runs == [1, -1, 1, -1]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"max_age": -1}, ValueError, "max_age=-1"),
        ({"max_age": math.nan}, ValueError, "max_age=nan"),
        ({"max_age": "1 h"}, TypeError, "seconds or a timedelta"),
        ({"max_age": True}, TypeError, "seconds or a timedelta"),
        ({"stale_ok": True}, ValueError, "without a max_age"),
        ({"max_age": 1, "stale_ok": -1}, ValueError, "stale_ok=-1"),
        ({"valid": 3}, TypeError, "a function of a stored call"),
    ],
)
def test_slips(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        counting(**options)


@given(st.floats(-1e6, 1e6))
def test_ages(age: float) -> None:
    """A time ahead of the clock by more than a minute is none."""
    told = age_of(Call("f", {}, metadata={"runtime": {"timestop": time.time() - age}}))
    if age < -61:
        assert told == math.inf
    elif age > -59:
        assert told == pytest.approx(max(age, 0), abs=1)


def test_any_name_of_the_metadata(clock: Clock) -> None:
    runtime = Runtime()
    runtime.name = "times"
    f, _ = counting(max_age=100, meta=(runtime,))
    with cache(memory_cache()), meta():
        assert f(1) == f(1) == 1
        clock.ahead = 110
        assert f(1) == 2
