"""Which outcomes are cached: `None`, exceptions, and results that a predicate takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleche import _core, cache, fleche, wrap_executor
from fleche.caches import BaseCache, Cache, CachePool, CacheStack
from fleche.call.outcomes import OriginalTraceback, Outcome
from fleche.config import cache_from_config
from fleche.storage import CallMemory, ValueMemory
from fleche.wrapper import keeping

Log = pytest.LogCaptureFixture

ran: list[Any] = []


class NoConvergence(ValueError):
    """One with more than its message."""

    def __init__(self, steps: int, residual: float) -> None:
        super().__init__(steps, residual)
        self.steps = steps
        self.residual = residual


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    ran.clear()
    found = keeping.none_by_default, keeping.default_exceptions
    for each in found:
        each.cache_clear()
    yield
    for each in found:
        each.cache_clear()


@pytest.fixture(params=["memory", "pickle", "cloudpickle", "sql", "sqlite", "bagofholding_hdf"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    config = {"template": request.param}
    if request.param != "memory":
        config["root"] = str(tmp_path / "store")
    if request.param == "sql":
        config["values"] = "dill"
    with cache(found := cache_from_config(config)):
        yield found


def nothing(x: int) -> None:
    ran.append(x)


def solve(x: int) -> int:
    ran.append(x)
    if x < 0:
        raise NoConvergence(x, 0.5)
    if x == 0:
        raise TypeError("of another kind")
    return x


def test_none_is_cached_where_it_is_asked_for(held: BaseCache, caplog: Log) -> None:
    keep = fleche(nothing, none=True)  # type: ignore[call-overload]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert keep(1) is None
    assert ran == [1]
    assert caplog.text == ""
    assert keep.contains(1)
    assert keep.load(1) is None
    assert keep.query(1).only().result is None
    assert list(held.query().results()) == [None]
    assert keep.rerun(1) is None
    assert ran == [1, 1]
    assert held.table(results=True)["result"].tolist() == [None]


def test_none_goes_from_cache_to_cache(held: BaseCache) -> None:
    keep = fleche(nothing, none=True)  # type: ignore[call-overload]
    keep(1)
    other = Cache(ValueMemory({}), CallMemory({}))
    held.transfer(other)
    with cache(other):
        assert keep(1) is None
        assert keep.load(1) is None
    with cache(CacheStack((Cache(ValueMemory({}), CallMemory({})), other))):
        assert keep(1) is None
    assert ran == [1]


def test_an_exception_is_raised_again(held: BaseCache) -> None:
    careful = fleche(solve, exceptions=ValueError)  # type: ignore[call-overload]
    caught = []
    for _ in range(3):
        with pytest.raises(NoConvergence) as raised:
            careful(-1)
        caught.append(raised.value)
    assert ran == [-1]
    first, *again = caught
    assert first.__cause__ is None
    for error in again:
        assert (error.steps, error.residual) == (-1, 0.5)
        assert isinstance(error.__cause__, OriginalTraceback)
        assert "raise NoConvergence(x, 0.5)" in str(error.__cause__)
    with pytest.raises(NoConvergence):
        careful.load(-1)
    assert careful.contains(-1)
    shown = careful.query(-1).only().result
    assert isinstance(shown, Outcome)
    assert "NoConvergence(-1, 0.5)" in repr(shown)
    # Others are not.
    for _ in range(2):
        with pytest.raises(TypeError):
            careful(0)
    assert ran == [-1, 0, 0]
    assert careful(2) == careful(2) == 2
    assert ran == [-1, 0, 0, 2]


def test_an_exception_that_cannot_be_stored_is_raised_all_the_same(
    held: BaseCache, caplog: Log
) -> None:
    class Local(ValueError):
        def __reduce__(self) -> Any:
            raise TypeError("not to be pickled")

    @fleche(exceptions=(ValueError,))
    def f(x: int) -> int:
        ran.append(x)
        raise Local(x)

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with pytest.raises(Local):
                f(1)
    assert ran == [1, 1]
    assert held.query().empty()


def test_a_predicate_decides(held: BaseCache) -> None:
    @fleche(when=lambda result: result > 10)
    def square(x: int) -> int:
        ran.append(x)
        return x * x

    assert [square(x) for x in (2, 4, 2, 4)] == [4, 16, 4, 16]
    assert ran == [2, 4, 2]
    assert not square.contains(2)
    assert square.contains(4)


def test_a_rerun_whose_result_is_refused_removes_the_old_one(held: BaseCache) -> None:
    @fleche(hash_code=False, when=lambda result: result != [2])
    def count(x: int) -> list[int]:
        ran.append(x)
        return [len(ran)]

    assert count(1) == count(1) == [1]
    assert count.rerun(1) == [2]
    assert not count.contains(1)
    assert count(1) == [3]


def test_coroutine_functions(held: BaseCache) -> None:
    @fleche(none=True, exceptions=(ValueError,))
    async def f(x: int) -> None:
        ran.append(x)
        if x < 0:
            raise ValueError(x)

    async def main() -> None:
        for _ in range(2):
            assert await f(1) is None
            with pytest.raises(ValueError, match="-1"):
                await f(-1)

    asyncio.run(main())
    assert ran == [1, -1]


def test_executors(held: BaseCache) -> None:
    careful = fleche(solve, none=True, exceptions=(TypeError, ValueError))  # type: ignore[call-overload]
    keep = fleche(nothing, none=True)  # type: ignore[call-overload]
    for _ in range(2):
        with wrap_executor(ThreadPoolExecutor(1)) as pool:
            futures = [pool.submit(careful, x) for x in (-1, 0, 3)]
            assert isinstance(futures[0].exception(), NoConvergence)
            assert isinstance(futures[1].exception(), TypeError)
            assert futures[2].result() == 3
            assert pool.submit(keep, 9).result() is None
    assert ran == [-1, 0, 3, 9]


@pytest.mark.parametrize("is_configured", [False, True])
def test_defaults(is_configured: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_configured:
        text = '[default]\nnone = true\nexceptions = ["ValueError", "json.JSONDecodeError"]\n'
        (tmp_path / "fleche.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    with cache(cache_from_config({"template": "memory"})):
        for _ in range(2):
            fleche(nothing)(1)
            with pytest.raises(NoConvergence):
                fleche(solve)(-1)
            # What the function says goes before.
            fleche(nothing, none=False)(2)  # type: ignore[call-overload]
            with pytest.raises(NoConvergence):
                fleche(solve, exceptions=())(-2)  # type: ignore[call-overload]
    assert ran.count(1) == ran.count(-1) == (1 if is_configured else 2)
    assert ran.count(2) == ran.count(-2) == 2


@pytest.mark.parametrize("name", ["nowhere.Error", "NoSuchError", "os.path"])
def test_a_default_that_is_no_exception(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fleche.toml").write_text(f'[default]\nexceptions = ["{name}"]\n')
    monkeypatch.chdir(tmp_path)
    with (
        cache(cache_from_config({"template": "memory"})),
        pytest.raises(ValueError, match=name) as told,
    ):
        fleche(solve)(-1)
    # What the call raised is not lost.
    assert isinstance(told.value.__cause__, NoConvergence)


def test_mistaken_options() -> None:
    with pytest.raises(TypeError, match="exceptions"):
        fleche(exceptions=("ValueError",))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="when"):
        fleche(when=True)  # type: ignore[call-overload]


def test_scheme_sha256(tmp_path: Path) -> None:
    before = _core.scheme()
    _core.set_scheme("sha256")
    runs: list[int] = []

    @fleche(none=True, exceptions=ValueError, hash_code=False)
    def f(x: int) -> None:
        runs.append(x)
        if x:
            raise ValueError(x)

    try:
        for config in ({"template": "memory"}, {"template": "pickle", "root": tmp_path}):
            with cache(cache_from_config(config)):
                for _ in range(2):
                    assert f(0) is None
                    for x in (1, 2):
                        with pytest.raises(ValueError, match=str(x)):
                            f(x)
            assert runs == [0, 1, 2]
            runs.clear()
    finally:
        _core.set_scheme(before)


def test_views_and_pools_give_them(tmp_path: Path) -> None:
    held = Cache(ValueMemory({}), CallMemory({}))

    @fleche(none=True, exceptions=ValueError, hash_code=False)
    def f(x: int) -> None:
        ran.append(x)
        if x:
            raise ValueError(x)

    def check() -> None:
        assert f(0) is None
        with pytest.raises(ValueError, match="1"):
            f(1)

    with cache(held):
        check()
    for view in (CachePool((held,)), held.filter(lambda call: True), held.readonly()):
        before = len(ran)
        with cache(view):
            check()
        assert len(ran) == before
