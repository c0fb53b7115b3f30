"""`@fleche(once=True)`: of all who call at the same time one computes, and the others wait."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import BaseCache, Cache, CacheStack
from fleche.config import cache_from_config, cache_to_config
from fleche.storage import Sql, ValueMemory, ValuePickleFile
from fleche.storage.claims import Holder
from fleche.storage.claims.files import FileClaims
from fleche.storage.claims.memory import MemoryClaims
from fleche.storage.databases import leases
from tests.conftest import DatabaseServer
from tests.forks import in_child

from .calls import memory_cache

CALLERS = 12


@pytest.fixture(params=["memory", "pickle", "sql", "sqlite", "bagofholding_hdf", "stack"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BaseCache:
    if request.param == "memory":
        return memory_cache()
    if request.param == "stack":
        return CacheStack(
            (cache_from_config({"template": "pickle", "root": tmp_path}), memory_cache())
        )
    return cache_from_config({"template": request.param, "root": tmp_path})


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


class Body:
    """A function that is held up until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.runs = threading.Event(), threading.Event(), 0

    def __call__(self, x: Any) -> Any:
        self.runs += 1
        self.begun.set()
        assert self.go_on.wait(60)
        return [x]


def function_of(body: Callable[[Any], Any], **options: Any) -> Any:
    def f(x: int) -> Any:
        return body(x)

    return fleche(hash_code=False, once=True, **options)(f)


def in_threads(store: BaseCache, work: Callable[[], Any], count: int) -> list[Future[Any]]:
    pool = ThreadPoolExecutor(count)

    def go() -> Any:
        with cache(store):
            return work()

    found = [pool.submit(go) for _ in range(count)]
    pool.shutdown(wait=False)
    return found


def until(holds: Callable[[], object]) -> None:
    """Waits for what another thread or process is about to do."""
    pause = threading.Event()
    for _ in range(6000):
        if holds():
            return
        pause.wait(0.01)
    pytest.fail("it did not come to that")


def test_one_thread_computes(store: BaseCache) -> None:
    body = Body()
    f = function_of(body)
    callers = in_threads(store, lambda: f(1), CALLERS)
    assert body.begun.wait(60)
    with cache(store):
        running = f.running(1)
        assert running.holder.process == os.getpid()
        assert running.elapsed >= 0
        assert f.running(2) is None
    body.go_on.set()
    assert [caller.result(60) for caller in callers] == [[1]] * CALLERS
    assert body.runs == 1
    with cache(store):
        assert f.running(1) is None
        assert f.load(1) == [1]


def test_the_cache_may_ask_for_it(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "values": {"type": "pickle", "root": str(tmp_path / "values"), "remaining_depth": 0},
        "calls": {"type": "pickle", "root": str(tmp_path / "calls")},
        "once": True,
    }
    store = cache_from_config(config)
    assert cache_to_config(store)["once"] is True  # type: ignore[call-overload]
    for held in (store, CacheStack((store, memory_cache()))):
        body = Body()

        @fleche(hash_code=False)
        def f(x: int, body: Body = body) -> Any:
            return body(x)

        f = fleche(hash_code=False, version=id(held), ignore="body")(f.__wrapped__)
        callers = in_threads(held, lambda f=f: f(1), CALLERS)
        assert body.begun.wait(60)
        body.go_on.set()
        assert [caller.result(60) for caller in callers] == [[1]] * CALLERS
        assert body.runs == 1


def test_who_raises_wakes_the_others(store: BaseCache) -> None:
    runs: list[int] = []
    lock = threading.Lock()

    @fleche(hash_code=False, once=True)
    def f(x: int) -> int:
        with lock:
            runs.append(x)
            first = len(runs) == 1
        if first:
            raise ZeroDivisionError
        return x

    callers = in_threads(store, lambda: f(1), CALLERS)
    outcomes = [caller.exception(60) for caller in callers]
    assert sum(isinstance(outcome, ZeroDivisionError) for outcome in outcomes) == 1
    assert len(runs) == 2


def test_what_is_not_cached_is_computed_by_each(store: BaseCache) -> None:
    runs: list[int] = []

    @fleche(hash_code=False, once=True)
    def f(x: int) -> None:
        runs.append(x)

    for caller in in_threads(store, lambda: f(1), 3):
        assert caller.result(60) is None
    assert runs == [1, 1, 1]


def test_waits_are_bounded(store: BaseCache, caplog: pytest.LogCaptureFixture) -> None:
    body = Body()
    f = function_of(body, wait=0.05)
    (first,) = in_threads(store, lambda: f(1), 1)
    assert body.begun.wait(60)
    second = in_threads(store, lambda: f(1), 1)[0]
    until(lambda: body.runs == 2)
    body.go_on.set()
    assert first.result(60) == second.result(60) == [1]
    assert "is computed twice: after 0.05" in caplog.text
    with pytest.raises(ValueError, match=r"wait=-1"):
        function_of(body, wait=-1)


def test_nested_calls_do_not_wait_for_themselves(store: BaseCache) -> None:
    depth = 0

    @fleche(hash_code=False, once=True, ignore="left")
    def f(x: int, left: int = 0) -> int:
        nonlocal depth
        depth += 1
        return x if left == 0 else f(x, left=left - 1)

    @fleche(hash_code=False, once=True)
    def fibonacci(n: int) -> int:
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    with cache(store):
        assert f(1, left=3) == 1
        assert depth == 4
        assert fibonacci(12) == 144


@pytest.mark.parametrize("turn", range(3))
def test_two_that_want_each_others_call_both_end(store: BaseCache, turn: int) -> None:
    """One holds `f(0)` and wants `f(1)`, the other the other way round."""
    both = threading.Barrier(2)
    runs: list[tuple[int, int]] = []

    @fleche(hash_code=False, once=True, ignore="depth")
    def f(x: int, depth: int = 0) -> int:
        runs.append((x, depth))
        if depth == 0:
            both.wait(60)
            f(1 - x, depth=1)
        return x

    starts = iter((0, 1))
    callers = in_threads(store, lambda: f(next(starts)), 2)
    assert sorted(caller.result(60) for caller in callers) == [0, 1]
    # One of them computes the other's, which is not there yet.
    assert len(runs) == 3, runs


def test_a_second_call_waits_for_a_future(tmp_path: Path) -> None:
    store = cache_from_config({"template": "pickle", "root": tmp_path})
    pending: Future[int] = Future()

    @fleche(hash_code=False, once=True)
    def f(x: int) -> Future[int]:
        return pending

    with cache(store):
        assert f(1) is pending
        assert f(1) is pending
        assert f.running(1) is not None
        pending.set_result(7)
        assert f.running(1) is None
        assert f(1) == 7


def test_reruns_compute_in_turn(store: BaseCache) -> None:
    runs: list[int] = []

    @fleche(hash_code=False, once=True)
    def f(x: int) -> int:
        runs.append(x)
        return len(runs)

    with cache(store):
        assert f(1) == 1
        assert f.rerun(1) == 2
        assert f(1) == 2


def test_tasks_of_several_loops(store: BaseCache) -> None:
    runs: list[int] = []

    @fleche(hash_code=False, once=True)
    async def f(x: int) -> int:
        runs.append(x)
        await asyncio.sleep(0.05)
        return x

    async def many() -> list[int]:
        return await asyncio.gather(*(f(1) for _ in range(CALLERS)))

    for loop in in_threads(store, lambda: asyncio.run(many()), 3):
        assert loop.result(60) == [1] * CALLERS
    assert runs == [1]


def test_a_cancelled_task_leaves_no_claim(store: BaseCache) -> None:
    @fleche(hash_code=False, once=True)
    async def f(x: int) -> int:
        if len(begun) == 0:
            begun.append(asyncio.current_task())
            started.set()
            await asyncio.sleep(60)
        return x

    begun: list[asyncio.Task[Any] | None] = []
    started: Any = None

    async def cancelled() -> int:
        nonlocal started
        started = asyncio.Event()
        tasks = [asyncio.create_task(f(1)) for _ in range(2)]
        await started.wait()
        (computes,) = begun
        assert computes is not None
        computes.cancel()
        (other,) = (task for task in tasks if task is not computes)
        return await asyncio.wait_for(other, 60)

    with cache(store):
        assert asyncio.run(cancelled()) == 1
        assert f.running(1) is None


PROGRAM = """
import os, signal, sys
from fleche import cache, fleche
from fleche.config import cache_from_config

@fleche(hash_code=False, hash_module=False, once=True)
def f(x):
    print("begun", flush=True)
    sys.stdin.readline()
    return [x]

with cache(cache_from_config(eval(sys.argv[1]))):
    print(f(1), flush=True)
"""


def started(config: dict[str, Any]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, repr(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ended(*processes: subprocess.Popen[str]) -> Iterator[str]:
    for process in processes:
        yield process.communicate("\n", timeout=60)[0].splitlines()[-1]


def body_here(x: int) -> Any:
    return ["here", x]


@pytest.mark.parametrize("template", ["pickle", "sql", "bagofholding_hdf"])
def test_whose_owner_is_killed_is_taken_over(
    template: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"template": template, "root": str(tmp_path)}
    owner = started(config)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "begun\n"
    f = fleche(hash_code=False, hash_module=False, once=True)(_named_f(body_here))
    caplog.set_level(logging.INFO)
    store = cache_from_config(config)
    with cache(store):
        assert f.running(1).holder.process == owner.pid
    (caller,) = in_threads(store, lambda: f(1), 1)
    until(lambda: f"waits: process {owner.pid}" in caplog.text)
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    assert caller.result(60) == ["here", 1]
    assert f"process {owner.pid}" in caplog.text
    assert "has died; it is computed here" in caplog.text
    assert not [*tmp_path.rglob("*running/*")]


def _named_f(body: Callable[[int], Any]) -> Any:
    def f(x: int) -> Any:
        return body(x)

    f.__qualname__ = "f"
    return f


def test_a_forked_child_of_the_owner_holds_nothing(tmp_path: Path) -> None:
    """A claim is the process's that took it, not that of its forked children."""
    claims = FileClaims(tmp_path)
    claim = claims.take("key")
    assert claim is not None

    def look_and_release() -> None:
        assert claims.take("key") is None
        assert claims.holder("key") is not None
        claim.release()
        assert claims.take("key") is None

    in_child(look_and_release)
    claim.release()
    assert claims.holder("key") is None
    again = claims.take("key")
    assert again is not None
    assert again.dead is None
    again.release()


def test_claims_of_memory_are_the_processs_own() -> None:
    claims = MemoryClaims("place")
    claim = claims.take("key")
    assert claim is not None

    def take() -> None:
        assert claims.take("key") is not None
        claim.release()
        assert claims.take("key") is None

    in_child(take)
    assert claims.take("key", 0.01) is None
    claim.release()
    assert claims.take("key") is not None
    MemoryClaims("place").take("other")
    assert claims.holder("other") is not None


def test_where_nothing_can_be_claimed_it_is_computed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = cache_from_config({"template": "pickle", "root": tmp_path})
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / ".fleche-running").write_text("a file in the way")
    f = function_of(lambda x: [x])
    with cache(store):
        assert f(1) == [1]
        assert "is computed whoever else computes it" in caplog.text
        assert f(2) == [2]
        assert caplog.text.count("is computed whoever else computes it") == 1
        caplog.clear()
        assert f(1) == [1]
        assert not caplog.text
    with cache(store.readonly()):
        assert f(3) == [3]


def test_servers_lease(server: DatabaseServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE", 1.0)
    monkeypatch.setattr(leases, "BEAT", 0.2)
    url = server.new_database()
    values = ValueMemory({})
    stores = [Cache(values, Sql(url)), Cache(values, Sql(url))]
    body = Body()
    f = function_of(body)
    callers = [in_threads(store, lambda: f(1), 1)[0] for store in stores * 3]
    assert body.begun.wait(60)
    with cache(stores[0]):
        assert f.running(1).holder.process == os.getpid()
    body.go_on.set()
    assert [caller.result(60) for caller in callers] == [[1]] * 6
    assert body.runs == 1

    # Renewed while the owner lives; without that, it ends.
    first, second = (store.calls._claims() for store in stores)
    claim = first.take("k" * 64)
    assert claim is not None
    assert second.take("k" * 64, 2.0) is None
    assert second.holder("k" * 64) == first.holder("k" * 64)
    first._owned.clear()
    taken = second.take("k" * 64, 30)
    assert taken is not None
    assert isinstance(taken.dead, Holder)
    claim.release()
    assert first.take("k" * 64) is None
    taken.release()
    last = first.take("k" * 64)
    assert last is not None
    last.release()
    for store in stores:
        store.calls._store.close()  # type: ignore[attr-defined]


def test_an_interrupt_ends_the_wait(tmp_path: Path) -> None:
    config = {"template": "pickle", "root": str(tmp_path)}
    owner = started(config)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "begun\n"
    waiter = started(config)
    until(lambda: (tmp_path / "calls" / ".fleche-running").exists())
    with cache(cache_from_config(config)):
        f = fleche(hash_code=False, hash_module=False, once=True)(_named_f(body_here))
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            f(1)
        timer.join()
    assert [*ended(owner, waiter)] == ["[1]", "[1]"]


def test_values_apart_from_records(tmp_path: Path) -> None:
    store = Cache(ValuePickleFile(tmp_path), Sql())
    body = Body()
    f = function_of(body)
    callers = in_threads(store, lambda: f(1), CALLERS)
    assert body.begun.wait(60)
    body.go_on.set()
    assert [caller.result(60) for caller in callers] == [[1]] * CALLERS
    assert body.runs == 1
