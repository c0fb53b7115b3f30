"""Calls under the reference's keys are found in scheme `exact`, if they are the same ones.

`fill` writes a store in scheme `sha256`, as the reference would.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest

from fleche import _core, cache, fleche, wrap_executor
from fleche.caches import (
    BaseCache,
    Cache,
    CachePool,
    CacheStack,
    FilteredCache,
    RefreshingCache,
    SizeLimitedCache,
)
from fleche.call import LazyCall, QueryCall
from fleche.digest import Digest, Hook, add_hook, digest
from fleche.storage import (
    CallMemory,
    CallPickleFile,
    SaveError,
    Sql,
    ValueMemory,
    ValuePickleFile,
    ValueVoid,
)
from tests.unit.calls import memory_cache
from tests.unit.schemes import scheme

#: Pairs of different values that have one digest in scheme `sha256`.
COLLIDING: list[tuple[Any, Any]] = [
    (-1.0, -2),
    (0.5, 2**60),
    (float("inf"), 314159),
    (1j, 1000003),
    ([-1.0], [-2.0]),
    ({"a": (0.5,)}, {"a": (2**60,)}),
    (numpy.str_("a"), "_a"),
    (numpy.bytes_(b"a"), b"_a"),
]


class Runs:
    """A cached function that gives back its arguments, or a text, and how often it ran."""

    def __init__(self, text: str = "", **options: Any) -> None:
        self.ran: list[Any] = []

        def f(x: Any, *more: Any) -> Any:
            self.ran.append(x)
            return text or ("result", x, *more)

        # By name, as the reference: with its code it would have no key of an older scheme.
        self.f = fleche(**{"hash_code": False, **options})(f)

    def __call__(self, *args: Any) -> Any:
        return self.f(*args)


def fill(held: BaseCache, runs: Runs, *calls: tuple[Any, ...]) -> list[Digest]:
    """Runs calls in scheme `sha256`; gives their keys."""
    with scheme("sha256"), cache(held):
        for arguments in calls:
            runs(*arguments)
        return [runs.f.digest(*arguments) for arguments in calls]


def forget_values(held: Cache) -> None:
    """Leaves the digests of the arguments alone, as a store does that could not keep them."""
    needed = {record.result for record in held.calls.query(QueryCall())}
    for key in list(held.values.list()):
        if key not in needed:
            held.values.evict(key)


def pair(kind: str, folder: Path) -> Cache:
    if kind == "memory":
        return memory_cache()
    values = ValuePickleFile(folder / "values")
    if kind == "sqlite":
        return Cache(values, Sql(str(folder / "calls.db")))
    return Cache(values, CallPickleFile(folder / "calls"))


@pytest.fixture(params=["memory", "pickle", "sqlite"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    return pair(request.param, tmp_path)


class TestHits:
    def test_a_call_is_found(self, held: Cache) -> None:
        runs = Runs()
        (older,) = fill(held, runs, (1.5, "a"))
        with cache(held):
            assert runs.f.contains(1.5, "a")
            assert runs(1.5, "a") == ("result", 1.5, "a")
            assert runs.f.digest(1.5, "a") != older
        assert runs.ran == [1.5]

    def test_it_is_filed_anew(self, held: Cache, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, logger="fleche.cache")
        runs = Runs()
        (older,) = fill(held, runs, ([1, 2.5],))
        before = held.load(older)
        with cache(held):
            runs([1, 2.5])
            key = runs.f.digest([1, 2.5])
        after = held.load(key)
        assert list(held.calls.list()) == [key]
        assert after.metadata == before.metadata
        assert after.fetch().arguments == {"x": [1, 2.5], "more": ()}
        assert after.detach().arguments["x"] == digest([1, 2.5])
        assert after.detach().result == digest(after.result, typed=True)
        assert f"Call {older} is filed as {key} from now on" in caplog.messages
        # Nothing is looked up under older keys for it.
        held.calls._hold_only_scheme()
        with cache(held):
            runs([1, 2.5])
        assert runs.ran == [[1, 2.5]]
        # And what it was filed with is garbage.
        assert older not in held.gc()
        assert after.fetch().result == ("result", [1, 2.5])

    def test_an_evicted_call_stays_evicted(self, held: Cache) -> None:
        runs = Runs()
        fill(held, runs, (1,))
        with cache(held):
            runs(1)
            held.evict(runs.f.digest(1))
            assert not runs.f.contains(1)
            runs(1)
        assert runs.ran == [1, 1]

    def test_load_finds_it(self, held: Cache) -> None:
        runs = Runs()
        fill(held, runs, (1,))
        with cache(held):
            assert runs.f.load(1) == ("result", 1)
            assert held.contains(runs.f.digest(1))
            with pytest.raises(KeyError):
                runs.f.load(2)

    def test_contains_changes_nothing(self, held: Cache) -> None:
        runs = Runs()
        keys = fill(held, runs, (1,))
        with cache(held):
            assert runs.f.contains(1)
            assert not runs.f.contains(2)
        assert list(held.calls.list()) == keys

    def test_rerun_computes_and_replaces(self, held: Cache) -> None:
        runs = Runs()
        fill(held, runs, (1,), (2,))
        with cache(held):
            runs.f.rerun(1)
            key = runs.f.digest(1)
            assert key in held.calls.list()
            assert held.query().count() == 2
            held.evict(key)
            assert not runs.f.contains(1)
        assert runs.ran == [1, 2, 1]

    def test_rerun_to_none_evicts(self, held: Cache) -> None:
        given = [1, None]

        @fleche
        def f(x: int) -> Any:
            return given[x]

        with scheme("sha256"), cache(held):
            f(0)
        given[0] = None
        with cache(held):
            assert f.rerun(0) is None
            assert not f.contains(0)

    def test_executors_find_it(self, held: Cache) -> None:
        runs = Runs()
        fill(held, runs, (1.5,))
        with cache(held), ThreadPoolExecutor(1) as executor:
            future = wrap_executor(executor).submit(runs.f, 1.5)
            assert future.done()
            assert future.result() == ("result", 1.5)
        assert runs.ran == [1.5]

    def test_an_argument_that_is_a_digest(self, held: Cache) -> None:
        runs = Runs()
        fill(held, runs, (1.5,))
        with cache(held):
            key = held.values.save(1.5)
            assert runs.f.contains(key)
            assert runs.f.load(key) == runs(key) == ("result", 1.5)
        assert runs.ran == [1.5]

    def test_hooks_and_methods_digest_in_the_older_scheme_then(self, held: Cache) -> None:
        class Own:
            def __digest__(self) -> Digest:
                return digest(["content", 1.5])

            def __reduce__(self) -> Any:
                return (str, ("stored as text",))

        runs = Runs()
        older = fill(held, runs, (["a", 3],))
        assert older == fill(held, runs, (["a", 3],))
        with scheme("sha256"):
            expected = digest(["content", 1.5])
            assert digest(Own()) == expected
        assert _core.digest(Own(), scheme="sha256") == expected
        assert digest(Own()) == digest(["content", 1.5]) != expected

    def test_the_code_may_count(self, held: Cache) -> None:
        def counted(x: int) -> int:
            return x + 1

        def changed(x: int) -> int:
            return x + 2

        changed.__qualname__ = counted.__qualname__
        with scheme("sha256"), cache(held):
            assert fleche(hash_code=True)(counted)(1) == 2
        with cache(held):
            assert fleche(hash_code=True)(counted).contains(1)
            assert not fleche(hash_code=True)(changed).contains(1)
            assert fleche(hash_code=True)(counted)(1) == 2
            assert fleche(hash_code=True)(counted).digest(1) in held.calls.list()

    def test_without_arguments(self, held: Cache) -> None:
        ran = []

        @fleche(hash_code=False)
        def f() -> int:
            ran.append(1)
            return 1

        with scheme("sha256"), cache(held):
            f()
        with cache(held):
            assert f() == 1
        assert ran == [1]

    def test_typed_functions_want_the_type(self, held: Cache) -> None:
        runs = Runs(typed=True)
        fill(held, runs, (1,))
        with cache(held):
            assert not runs.f.contains(1.0)
            assert runs.f.contains(1)
            runs(1)
            runs(1.0)
        assert runs.ran == [1, 1.0]
        assert [type(x) for x in runs.ran] == [int, float]


class TestRefusals:
    @pytest.mark.parametrize(("recorded", "passed"), COLLIDING, ids=repr)
    def test_another_value_of_the_same_digest(
        self, held: Cache, recorded: Any, passed: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert _core.digest(recorded, scheme="sha256") == _core.digest(passed, scheme="sha256")
        caplog.set_level(logging.INFO, logger="fleche.cache")
        runs = Runs()
        (older,) = fill(held, runs, (recorded,))
        with cache(held):
            assert not runs.f.contains(passed)
            assert runs(passed) == ("result", passed)
            assert len(runs.ran) == 2
            assert f"Not taking {older} for call" in caplog.text
            assert "argument x is stored with another value" in caplog.text
            # The right one is found.
            runs(recorded)
        assert len(runs.ran) == 2

    @pytest.mark.parametrize(("recorded", "passed"), COLLIDING, ids=repr)
    def test_another_value_of_which_the_digest_is_all_there_is(
        self, held: Cache, recorded: Any, passed: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, logger="fleche.cache")
        runs = Runs("text")
        fill(held, runs, (recorded,))
        forget_values(held)
        with cache(held):
            runs(passed)
            assert "the value of argument x is not stored" in caplog.text
        assert len(runs.ran) == 2

    @pytest.mark.skipif(
        sys.version_info >= (3, 14), reason="code holds 1.0 beside -1.0: the keys are not the same"
    )
    def test_a_constant_of_the_code(self, held: Cache, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, logger="fleche.cache")

        def one(x: int) -> float:
            return x * -1.0

        def two(x: int) -> float:
            return x * -2.0

        two.__qualname__ = one.__qualname__
        with scheme("sha256"), cache(held):
            assert fleche(hash_code=True)(one)(1) == -1.0
            assert fleche(hash_code=True)(two).contains(1)
        with cache(held):
            assert fleche(hash_code=True)(two)(1) == -2.0
        assert "its code may be another one" in caplog.text

    def test_a_lost_result_is_a_miss(self, held: Cache) -> None:
        runs = Runs()
        (older,) = fill(held, runs, (1,))
        held.values.evict(held.load(older).detach().result)
        with cache(held):
            assert runs(1) == ("result", 1)
        assert runs.ran == [1, 1]


@dataclass
class Point:
    x: Any
    label: str


@dataclass
class WithDigest:
    x: int

    def __digest__(self) -> Digest:
        return digest(self.x)


class Hooked:
    pass


SURE: list[Any] = [
    *(0, 1, -1, 499_999, 2**61, -(2**70), True, None, "", "text", b"", b"\0bytes"),
    *([], (1, [2]), {"a": {1, 2}}, frozenset({"a"}), Point(1, "a")),
    *(numpy.arange(3), numpy.array(["a"]), numpy.zeros((2, 2)), numpy.array([True, None, "a"])),
    numpy.zeros(2, [("a", "i4"), ("b", "f8")]),
]
UNSURE: list[Any] = [
    *(-2, 314_159, -314_159, 500_000, 2**60, 1.5, 0.0, 1j, float("nan"), numpy.float64(1)),
    *(numpy.int8(1), "_", b"_", numpy.str_("a"), [1, 2.0], {"a": 1.5}, {1.5: 1}, Point(1.5, "a")),
    *(numpy.array([1.5], dtype=object), range(3), WithDigest(1), digest(1), bytearray(b"a")),
    *(type("Sub", (list,), {})(), numpy.ma.array([1, 2]), int, len),
]


@pytest.mark.parametrize("value", SURE, ids=repr)
def test_values_that_share_their_digest_with_no_other(value: Any) -> None:
    assert _core.is_unambiguous(value)


@pytest.mark.parametrize("value", UNSURE, ids=repr)
def test_values_that_may_share_their_digest_with_others(value: Any) -> None:
    assert not _core.is_unambiguous(value)


def test_a_hook_decides_what_shares_a_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _core.manual_hooks()
    add_hook(Hook(Point, lambda point: digest(point.label)))
    try:
        assert not _core.is_unambiguous(Point(1, "a"))
        assert _core.is_unambiguous(1)
    finally:
        _core.set_manual_hooks(before)


def test_an_argument_of_which_the_digest_says_all(held: Cache) -> None:
    runs = Runs("text")
    arguments = (["a", b"b", None, True, 7], {"k": numpy.arange(2)})
    fill(held, runs, arguments)
    forget_values(held)
    with cache(held):
        runs(*arguments)
    assert len(runs.ran) == 1


class Counting:
    """An argument that counts how often it is digested."""

    def __init__(self) -> None:
        self.digested = 0

    def __digest__(self) -> Digest:
        self.digested += 1
        return digest("content")

    def __reduce__(self) -> Any:
        return (Counting, ())


@pytest.mark.parametrize("kind", ["memory", "pickle", "sqlite"])
class TestCost:
    def test_a_new_store_does_not_pay(self, kind: str, tmp_path: Path) -> None:
        held, runs = pair(kind, tmp_path), Runs("text")
        with cache(held):
            for x in (1, 2, 3):
                value = Counting()
                runs(value, x)
                assert value.digested == 1
                assert not runs.f.contains(value, -x)
                assert value.digested == 2
        assert runs.ran != []

    def test_one_of_the_reference_does_until_it_is_moved(self, kind: str, tmp_path: Path) -> None:
        held, runs = pair(kind, tmp_path), Runs("text")
        fill(held, runs, (1,))
        with cache(held):
            value = Counting()
            runs(value)
            assert value.digested == 2
            held.redigest()
            value = Counting()
            runs(value, "other")
            assert value.digested == 1


class TestCaches:
    """Every kind of cache around a store that the reference filled."""

    def check(self, outer: BaseCache, runs: Runs) -> None:
        with cache(outer):
            for _ in range(2):
                assert runs.f.contains(1.5)
                assert runs(1.5) == ("result", 1.5)
            assert not runs.f.contains(2.5)
        assert runs.ran == [1.5]

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda inner: inner.readonly(),
            lambda inner: CachePool((memory_cache(), inner)),
            lambda inner: FilteredCache(inner, lambda call: True),
            lambda inner: CachePool((inner.readonly(), memory_cache())).readonly(),
        ],
        ids=["read-only", "pool", "filtered", "nested"],
    )
    def test_what_is_only_read_stays(
        self, wrap: Callable[[BaseCache], BaseCache], held: Cache
    ) -> None:
        runs = Runs()
        keys = fill(held, runs, (1.5,))
        values = set(held.values.list())
        self.check(wrap(held), runs)
        assert list(held.calls.list()) == keys
        assert set(held.values.list()) == values

    def test_a_filter_applies(self, held: Cache) -> None:
        runs = Runs()
        fill(held, runs, (1.5,))

        def is_other(call: Any) -> bool:
            return call.name != runs.f.__qualname__

        with cache(FilteredCache(held, is_other)):
            assert not runs.f.contains(1.5)

    def test_a_stack_files_it_into_its_first_cache(self, held: Cache) -> None:
        runs = Runs()
        keys = fill(held, runs, (1.5,))
        base = memory_cache()
        self.check(CacheStack((base, memory_cache(), held)), runs)
        assert list(base.calls.list()) == [runs.f.digest(1.5)]
        assert list(held.calls.list()) == keys

    def test_a_stack_on_an_old_store(self, held: Cache) -> None:
        runs = Runs()
        fill(held, runs, (1.5,))
        self.check(CacheStack((held, memory_cache())), runs)
        assert list(held.calls.list()) == [runs.f.digest(1.5)]

    def test_a_stack_whose_first_cache_refuses(self, held: Cache) -> None:
        runs = Runs()
        fill(held, runs, (1.5,))
        self.check(CacheStack((memory_cache().readonly(), held)), runs)

    def test_a_stack_looks_on_behind_a_wrong_hit(self, held: Cache) -> None:
        runs, other = Runs(), memory_cache()
        fill(other, runs, (-1.0,))
        fill(held, runs, (-2,))
        with cache(CacheStack((memory_cache(), other, held))):
            assert type(runs(-2)[1]) is int
        assert len(runs.ran) == 2

    def test_a_stack_copies_no_older_key(self, held: Cache) -> None:
        runs, base = Runs(), memory_cache()
        (older,) = fill(held, runs, (1.5,))
        stack = CacheStack((base, held))
        assert stack.load(older).result == stack.load(older[:12]).result == ("result", 1.5)
        assert list(base.calls.list()) == []

    def test_a_refreshing_cache_misses(self, held: Cache) -> None:
        runs = Runs()
        fill(held, runs, (1.5,))
        with cache(RefreshingCache(held)):
            assert not runs.f.contains(1.5)
            runs(1.5)
        assert len(runs.ran) == 2

    def test_a_limit_holds_and_costs_no_other_call(self, held: Cache) -> None:
        runs = Runs()
        limited = SizeLimitedCache(held.values, held.calls, 3)
        fill(limited, runs, (1,), (2,), (3,))
        with cache(limited):
            for x in (3, 2, 1, 3, 2, 1):
                runs(x)
        assert runs.ran == [1, 2, 3]
        assert len(list(limited.calls.list())) == 3

    def test_a_cache_of_a_users_own(self, held: Cache) -> None:
        loaded = []

        class Own(Cache):
            def load(self, key: Any) -> LazyCall:
                loaded.append(key)
                return super().load(key)

        runs = Runs()
        (older,) = fill(held, runs, (1.5,))
        self.check(Own(held.values, held.calls), runs)
        assert older in loaded

    def test_one_that_cannot_be_filed_anew_is_a_hit(
        self, held: Cache, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Full(ValueMemory):
            def save(self, value: Any, key: Digest | None = None) -> Digest:
                raise SaveError("no room")

        runs = Runs()
        full = Full({})
        fill(held, runs, (1.5,))
        for key in held.values.list():
            full.storage[key] = held.values.load(key)
        self.check(Cache(full, held.calls), runs)
        assert "Cannot file" in caplog.text

    def test_a_cache_without_values(self) -> None:
        runs = Runs()
        held = Cache(ValueVoid(), CallMemory({}))
        fill(held, runs, (1,))
        with cache(held):
            runs(1)
        assert len(runs.ran) == 2


class TestQueries:
    def test_they_find_the_calls(self, held: Cache) -> None:
        runs = Runs()
        fill(held, runs, (1.5,), (-1.0,), (-2,), ("a",))
        with cache(held):
            assert [call.result for call in runs.f.query(1.5)] == [("result", 1.5)]
            assert runs.f.query().count() == 3  # `-2` found the result of `-1.0`
            assert runs.f.query(-1.0).count() == 1
            assert runs.f.query(-2).empty()
            assert held.query(result=("result", "a")).count() == 1
            runs(1.5)
            assert runs.f.query(1.5).count() == 1
            assert held.query(arguments={"x": 1.5}).count() == 1

    def test_what_they_find_is_evicted(self, held: Cache) -> None:
        runs = Runs()
        fill(held, runs, (1.5,), (2.5,))
        with cache(held):
            runs.f.query(1.5).evict()
            assert not runs.f.contains(1.5)
            assert runs.f.contains(2.5)

    def test_what_they_find_is_transferred(self, held: Cache) -> None:
        runs = Runs()
        fill(held, runs, (1.5,), (2.5,))
        other = memory_cache()
        held.query().transfer(other, pop=True)
        assert list(held.calls.list()) == []
        with cache(other):
            runs(1.5), runs(2.5)
        assert runs.ran == [1.5, 2.5]

    def test_a_transfer_leaves_alone_what_is_there(self, held: Cache) -> None:
        runs, other = Runs(), memory_cache()
        fill(held, runs, (1.5,), (2.5,))
        with cache(other):
            runs(1.5)
            mine = other.load(runs.f.digest(1.5)).detach()
        held.transfer(other)
        assert len(list(other.calls.list())) == 2
        assert other.load(mine.to_lookup_key()).detach() == mine
        held.transfer(other, overwrite=True)
        assert other.load(mine.to_lookup_key()).metadata != mine.metadata

    def test_tables_show_the_keys_they_have(self, held: Cache) -> None:
        runs = Runs()
        keys = fill(held, runs, (1.5,), (2.5,))
        assert sorted(held.table(shrink_keys=False).index) == sorted(keys)
        assert len(held.table(arguments=True, results=True)) == 2
        with cache(held):
            runs(1.5)
            today = runs.f.digest(1.5)
        assert today in held.table(shrink_keys=False).index
        assert len(held.table()) == 2
