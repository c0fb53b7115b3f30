"""Caches: pairs of storages, views of caches, caches of caches."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche import cache, fleche
from fleche.caches import (
    BaseCache,
    Cache,
    CachePool,
    CacheStack,
    CacheWrapper,
    FilteredCache,
    ReadOnlyCache,
    ReadOnlyMixin,
    RefreshingCache,
    Rejected,
    SizeLimitedCache,
    SizeLimitedMixin,
)
from fleche.call import Call, DigestedCall, QueryCall
from fleche.digest import Digest, digest
from fleche.storage import (
    AmbiguousDigestError,
    CallBagOfHoldingH5File,
    CallMemory,
    CallPickleFile,
    SaveError,
    Sql,
    ValueMemory,
    ValuePickleFile,
    ValueVoid,
)

from .calls import Counted, memory_cache


def call(n: int, result: Any = None) -> Call:
    return Call("f", {"x": n}, result=[n] if result is None else result)


def files(folder: Path, **limits: int) -> Cache:
    values, calls = ValuePickleFile(folder / "values"), CallPickleFile(folder / "calls")
    return SizeLimitedCache(values, calls, **limits) if limits else Cache(values, calls)


@pytest.fixture(params=["memory", "files"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Cache]:
    count = iter(range(100))
    if request.param == "memory":
        return memory_cache
    return lambda: files(tmp_path / str(next(count)))


def numbers(held: BaseCache) -> list[int]:
    return sorted(c.arguments["x"] for c in held.query())


# Cache


def test_save_load_evict(make: Callable[[], Cache]) -> None:
    held = make()
    key = held.save(call(1))
    assert key == call(1).to_lookup_key()
    assert held.contains(key)
    assert held.load(key).fetch() == call(1)
    assert held.load(key[:10]).result == [1]
    assert held.load_value(digest([1], typed=True)) == [1]
    held.evict(key)
    assert not held.contains(key)
    assert held.load_value(digest([1], typed=True)) == [1], "values stay"
    held.evict(key)
    with pytest.raises(KeyError):
        held.load(key)
    with pytest.raises(KeyError):
        held.evict(key[:8])


def test_save_takes_records_and_prepared_calls(make: Callable[[], Cache]) -> None:
    held = make()
    record = call(1).stash(held.values)
    assert held.load(held.save(record)).result == [1]
    prepared = held.prepare(Call("f", {"x": 2}))
    prepared._result = 5
    assert held.load(held.save(prepared)).result == 5
    assert held.load(held.save(Call("f", {"x": 3}))).result is None
    with pytest.raises(AttributeError):
        held.save(3)  # type: ignore[arg-type]


def test_saving_again_replaces(make: Callable[[], Cache]) -> None:
    held = make()
    held.save(call(1, result="old"))
    key = held.save(call(1, result="new"))
    assert held.load(key).result == "new"
    assert held.query().count() == 1


def test_a_value_that_cannot_be_stored_is_rejected() -> None:
    class Full(ValueMemory):
        def put(self, value: Any, key: Digest) -> Digest:
            raise SaveError("full")

    held = Cache(Full({}), CallMemory({}))
    with pytest.raises(Rejected) as error:
        held.save(call(1))
    assert isinstance(error.value.args[0], SaveError)
    assert held.query().empty()


def test_prefixes_look_among_calls_and_values() -> None:
    first, second = Digest("abcd1" + "0" * 59), Digest("abcd2" + "0" * 59)
    held = Cache(ValueMemory({first: 1}), CallMemory({second: call(1).digest()}))
    assert held.expand("abcd1") == first
    assert held.expand("abcd2") == second
    with pytest.raises(AmbiguousDigestError):
        held.expand("abcd")
    with pytest.raises(KeyError):
        held.expand("ffff")
    assert held.shrink(first)[:4] == "abcd"
    assert held.shrink(first, second) == (held.shrink(first), held.shrink(second))
    with pytest.raises(KeyError):
        held.shrink("f" * 64)
    with pytest.raises(TypeError):
        held.shrink()


def kinds_of_pairs(folder: Path) -> list[Cache]:
    class OwnKeys(CallMemory):
        """Knows keys that it does not list."""

        def contains(self, key: Digest | str) -> bool:
            return super().contains(key)

    values = ValuePickleFile(folder / "values")
    return [
        memory_cache(),
        files(folder / "files"),
        Cache(values, Sql()),
        Cache(values, Sql(str(folder / "calls.db"))),
        Cache(ValueVoid(), CallBagOfHoldingH5File(folder / "bags")),
        Cache(ValueMemory({}), OwnKeys({})),
    ]


def test_many_keys_are_shortened_as_each_alone(tmp_path: Path) -> None:
    pairs = kinds_of_pairs(tmp_path)
    for held in pairs:
        keys = [held.save(call(number)) for number in range(40)]
        alone = tuple(held.shrink(key) for key in keys)
        assert held.shrink(*keys) == alone
        assert held.shrink(*keys, keys[0]) == (*alone, alone[0])
        assert [type(short) for short in held.shrink(*keys)] == [Digest] * 40
        for unknown in (Digest("f" * 64), "f" * 64, "no digest", keys[0][:8]):
            with pytest.raises(KeyError) as error:
                held.shrink(*keys, unknown)
            assert error.value.args == (unknown,)
    for both in (CacheStack(tuple(pairs)), CachePool(tuple(pairs)), CacheWrapper(pairs[1])):
        assert both.shrink(*keys) == tuple(both.shrink(key) for key in keys)
        with pytest.raises(KeyError):
            both.shrink(*keys, "f" * 64)


def test_shortening_in_a_way_of_its_own_is_honoured() -> None:
    @dataclass(frozen=True)
    class Whole(Cache):
        def _shrink(self, *keys: Digest | str) -> tuple[Digest, ...]:
            return tuple(map(Digest, keys))

    held = Whole(ValueMemory({}), CallMemory({}))
    keys = [held.save(call(number)) for number in range(3)]
    assert CachePool((memory_cache(), held)).shrink(*keys) == tuple(keys)


def test_gc_keeps_what_calls_reach(make: Callable[[], Cache]) -> None:
    held = make()
    keep = held.save(Call("f", {"x": [1, [2]]}, result={"r": [3]}))
    drop = held.save(Call("f", {"x": [1, [9]]}, result={"r": [8]}))
    held.evict(drop)
    gone = held.gc()
    assert digest({"r": [8]}, typed=True) in gone
    assert digest([9], typed=True) in gone
    assert digest([2], typed=True) not in gone
    assert held.load(keep).fetch() == Call("f", {"x": [1, [2]]}, result={"r": [3]})
    assert held.gc() == set()


def test_redigest_files_records_under_todays_keys() -> None:
    held = memory_cache()
    key = held.save(call(1))
    stray = Digest("0" * 64)
    held.calls.storage[stray] = held.calls.storage.pop(key)
    held.redigest()
    assert list(held.calls.list()) == [key]


def equal_parts() -> Iterator[tuple[BaseCache, BaseCache]]:
    def parts() -> Cache:
        return files(Path("/nowhere"))

    def keep(c: Any) -> bool:
        return True

    limited = lambda n: SizeLimitedCache(parts().values, parts().calls, n)  # noqa: E731
    yield parts(), parts()
    yield limited(2), limited(2)
    yield ReadOnlyCache(parts()), ReadOnlyCache(parts())
    yield RefreshingCache(parts()), RefreshingCache(parts())
    yield CacheStack((parts(), parts())), CacheStack((parts(), parts()))
    yield CachePool((parts(),)), CachePool([parts()])  # type: ignore[arg-type]
    yield FilteredCache(parts(), digest), FilteredCache(parts(), digest)


@pytest.mark.parametrize(("one", "other"), list(equal_parts()), ids=lambda c: type(c).__name__)
def test_caches_are_equal_by_their_parts(one: BaseCache, other: BaseCache) -> None:
    assert one == other
    assert hash(one) == hash(other)
    assert one != memory_cache()
    assert repr(one) == repr(other)
    assert repr(one).startswith(f"{type(one).__name__}(")
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        one.cache = 1  # type: ignore[attr-defined]


def test_caches_in_memory_travel_with_their_content() -> None:
    held = memory_cache()
    key = held.save(call(1))
    other = pickle.loads(pickle.dumps(CacheStack((held, memory_cache()))))
    assert other.load(key).result == [1]


# SizeLimitedCache


def test_the_oldest_goes_first(make: Callable[[], Cache]) -> None:
    inner = make()
    held = SizeLimitedCache(inner.values, inner.calls, 3)
    for n in (5, 1, 4, 2):
        held.save(call(n))
    assert numbers(held) == [1, 2, 4]
    held.save(call(1))
    held.save(call(7))
    assert numbers(held) == [1, 2, 7]
    assert held.load_value(digest([5], typed=True)) == [5], "values stay"


def test_the_oldest_goes_first_after_a_restart(tmp_path: Path) -> None:
    for n in (5, 1, 4):
        files(tmp_path, max_size=3).save(call(n))
    files(tmp_path, max_size=3).save(call(2))
    assert numbers(files(tmp_path)) == [1, 2, 4]
    files(tmp_path, max_size=1).save(call(9))
    assert numbers(files(tmp_path)) == [9]


@pytest.mark.parametrize("size", [0, -1])
def test_no_room_at_all(size: int) -> None:
    held = SizeLimitedCache(ValueMemory({}), CallMemory({}), size)
    held.save(call(1))
    assert held.query().empty()
    with cache(held):
        assert fleche(lambda x: x)(1) == 1


def test_another_policy() -> None:
    class NewestFirst(SizeLimitedCache):
        def _pick_eviction_target(self, keys: list[Digest]) -> Digest | str:
            return keys[-2]

    held = NewestFirst(ValueMemory({}), CallMemory({}), 2)
    for n in range(4):
        held.save(call(n))
    assert numbers(held) == [0, 3]


def test_a_policy_that_picks_nothing() -> None:
    class Lost(SizeLimitedCache):
        def _pick_eviction_target(self, keys: list[Digest]) -> Digest | str:
            return "nope"

    held = Lost(ValueMemory({}), CallMemory({}), 1)
    held.save(call(1))
    with pytest.raises(KeyError, match="nope"):
        held.save(call(2))


def test_the_mixin_combines_with_other_caches() -> None:
    @dataclass(frozen=True)
    class Limited(SizeLimitedMixin, CacheWrapper):
        max_size: int = 1

    held = Limited(memory_cache())
    held.save(call(1))
    held.save(call(2))
    assert numbers(held) == [2]
    with cache(held):
        f = fleche(lambda x: [x])
        assert f(1) == f(1) == [1]
        assert held.query().count() == 1


def test_the_limit_holds_with_threads(make: Callable[[], Cache]) -> None:
    inner = make()
    held = SizeLimitedCache(inner.values, inner.calls, 5)
    barrier = threading.Barrier(4)

    def work(start: int) -> None:
        barrier.wait()
        for n in range(10):
            held.save(call(start + n))

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held.query().count() == 5


# Read-only views


def read_only(held: Cache) -> list[BaseCache]:
    return [held.readonly(), CachePool((held,)), held.filter(lambda c: True)]


def test_read_only_caches_refuse() -> None:
    held = memory_cache()
    key = held.save(call(1))
    for view in read_only(held):
        assert isinstance(view, ReadOnlyMixin)
        assert view.load(key).result == [1]
        assert view.contains(key)
        assert view.load_value(digest([1], typed=True)) == [1]
        assert view.expand(key[:12]) == key
        assert key.startswith(view.shrink(key))
        for refused in (
            lambda view=view: view.save(call(2)),
            lambda view=view: view.evict(key),
            lambda view=view: view.prepare(call(2)).commit(1),
            lambda view=view: view.query().evict(),
        ):
            with pytest.raises(Rejected):
                refused()
        assert held.contains(key)
    before = dict(held.values.storage)
    held.readonly().prepare(Call("f", {"x": "new"}))
    assert held.values.storage == before


def test_filtered_views() -> None:
    held = memory_cache()
    keys = [held.save(call(n)) for n in range(4)]
    even = held.filter(lambda c: c.arguments["x"] % 2 == 0)
    assert numbers(even) == [0, 2]
    assert even.contains(keys[2])
    assert not even.contains(keys[1])
    with pytest.raises(KeyError):
        even.load(keys[1])
    assert numbers(even.filter(QueryCall("f", {"x": 2}))) == [2]
    counted = Counted(lambda x: "new")
    with cache(even):
        f = fleche(counted.function)
        f(1)
    assert counted.calls == 1


def test_a_pool_asks_one_after_the_other() -> None:
    first, second = memory_cache(), memory_cache()
    first.save(call(1, result="first"))
    key = second.save(call(1, result="second"))
    other = second.save(call(2))
    pool = CachePool((first, second))
    assert pool.load(key).result == "first"
    assert pool.load(other).result == [2]
    assert not first.contains(other), "nothing is copied"
    assert pool.query().count() == 2
    with pytest.raises(KeyError):
        pool.load(digest("nowhere"))
    with pytest.raises(KeyError):
        pool.load_value(digest("nowhere"))


# RefreshingCache


def test_a_refreshing_cache_always_misses_and_saves_through() -> None:
    held = memory_cache()
    counted = Counted(lambda x: [x])
    f = fleche(counted.function)
    with cache(RefreshingCache(held)):
        assert f(1) == f(1) == [1]
        assert not f.contains(1)
    assert counted.calls == 2
    with cache(held):
        assert f(1) == [1]
    assert counted.calls == 2
    assert RefreshingCache(held).query().count() == 1


# CacheStack


def test_a_hit_in_a_later_cache_is_filed_into_the_first(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fleche.cache")
    base, middle, top = (memory_cache() for _ in range(3))
    key = top.save(call(1))
    stack = CacheStack((base, middle, top))
    assert stack.load(key).result == [1]
    assert stack.load(key).result == [1]
    assert base.contains(key)
    assert not middle.contains(key)
    assert caplog.messages == [f"Transferred hit for {key} from higher cache to base cache"]
    assert base.load(key).fetch() == call(1)
    stack.save(call(2))
    assert numbers(base) == [1, 2]
    assert numbers(stack) == [1, 2]
    stack.evict(key)
    assert not top.contains(key)
    assert not stack.contains(key)
    with pytest.raises(KeyError):
        stack.load(key)


@pytest.mark.parametrize("typed", [False, True])
def test_hits_of_decorated_functions_are_filed_under_their_key(typed: bool) -> None:
    base, top = memory_cache(), memory_cache()
    counted = Counted(lambda x: [x])
    f = fleche(typed=typed)(counted.function)
    with cache(top):
        f(1.0)
    with cache(CacheStack((base, top))):
        assert f(1.0) == [1.0]
    with cache(base):
        assert f(1.0) == [1.0]
        assert f.query(1.0).count() == 1
    assert counted.calls == 1


@pytest.mark.parametrize("typed", [False, True])
def test_transfers_keep_keys_and_exact_results(typed: bool) -> None:
    source, target = memory_cache(), memory_cache()
    counted = Counted(lambda x: digest(x))
    f = fleche(typed=typed)(counted.function)
    with cache(source):
        expected = f([2.0])
    source.transfer(target)
    with cache(target):
        assert f([2.0]) == expected
        assert type(f([2.0])) is Digest
    assert counted.calls == 1


def test_a_back_fill_that_is_refused_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    top = memory_cache()
    key = top.save(call(1))
    stack = CacheStack((ReadOnlyCache(memory_cache()), top))
    assert stack.load(key).result == [1]
    assert "Failed to transfer hit for" in caplog.text


def test_a_cache_out_of_order_does_not_hide_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Cache):
        def load(self, key: Any) -> Any:
            raise OSError("gone")

    top = memory_cache()
    key = top.save(call(1))
    broken = Broken(ValueVoid(), CallMemory({}))
    for stack in (CacheStack((broken, top)), CacheStack((memory_cache(), broken, top))):
        caplog.clear()
        assert stack.load(key).result == [1]
        assert "failed to load" in caplog.text


@given(st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=3))
def test_many_calls_are_looked_up_as_each_of_them_is(held: list[set[int]]) -> None:
    class Odd(Cache):
        def contains(self, key: Any) -> bool:
            return super().contains(key) and str(key) < "8"

    members: list[BaseCache] = []
    for numbers_held in held:
        members.append(memory_cache())
        for number in numbers_held:
            members[-1].save(call(number))
    first = members[0]
    assert isinstance(first, Cache)
    keys = [call(number).to_lookup_key() for number in (3, 1, 0, 3, 2, 5, 4)]
    limited = SizeLimitedCache(first.values, first.calls, 10)
    for one in (
        *(first, limited, first.readonly(), RefreshingCache(first), Odd(first.values, first.calls)),
        *(first.filter(lambda c: c.result[0] > 2), CachePool(tuple(members))),
        CacheStack(tuple(members)),
    ):
        assert one._contains_many(keys) == [one.contains(key) for key in keys]
        assert one._contains_many([]) == []


def test_a_cache_out_of_order_does_not_hide_others_that_hold_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Cache):
        def contains(self, key: Any) -> bool:
            raise OSError("gone")

    top = memory_cache()
    keys = [top.save(call(1)), call(2).to_lookup_key()]
    broken = Broken(ValueVoid(), CallMemory({}))
    assert CacheStack((broken, top))._contains_many(keys) == [True, False]
    assert "failed to look up" in caplog.text


def test_a_lost_value_in_a_later_cache_is_a_miss_for_the_caller() -> None:
    base, top = memory_cache(), memory_cache()
    counted = Counted(lambda x: [x])
    f = fleche(counted.function)
    with cache(top):
        f(1)
    top.values.storage.clear()
    with cache(CacheStack((base, top))):
        assert f(1) == f(1) == [1]
    assert counted.calls == 2


def test_a_hit_whose_value_only_a_later_cache_has() -> None:
    @fleche
    def forty_two(x: int) -> int:
        ran.append(x)
        return 42

    ran: list[int] = []
    first, second = memory_cache(), memory_cache()
    for single in (first, second):
        with cache(single):
            forty_two(1)
    first.values.storage.clear()
    ran.clear()
    stack = CacheStack((first, second))
    (call,) = stack.query()
    assert stack.load(call.to_lookup_key()).result == 42
    with cache(stack):
        assert forty_two(1) == 42
    assert ran == []
    # Filed into the first cache, as a hit that it has no record of.
    assert first.load(call.to_lookup_key()).result == 42


def test_threads_file_a_hit_once() -> None:
    saves = []

    class Watched(Cache):
        def save(self, call: Any) -> Digest:
            saves.append(call)
            return super().save(call)

    base, top = Watched(ValueMemory({}), CallMemory({})), memory_cache()
    key = top.save(call(1))
    stack = CacheStack((base, top))
    barrier = threading.Barrier(6)

    def work() -> None:
        barrier.wait()
        assert stack.load(key).result == [1]

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(saves) == 1


def test_stacks_are_flat() -> None:
    one, other = memory_cache(), memory_cache()
    stack = one.push(other)
    assert stack.stack == (other, one)
    assert stack.push(third := memory_cache()).stack == (third, other, one)
    with pytest.raises(ValueError, match="CacheStack cannot be nested inside another CacheStack"):
        CacheStack((one, stack))
    assert CachePool((stack,)).query().empty()


def test_keys_in_stacks() -> None:
    one, other = memory_cache(), memory_cache()
    key = other.save(call(1))
    stack = CacheStack((one, other))
    assert stack.expand(key[:12]) == key
    assert key.startswith(stack.shrink(key))
    assert stack.shrink(key, key) == (stack.shrink(key),) * 2
    with pytest.raises(KeyError):
        stack.shrink(digest("nowhere"))


def test_an_empty_stack_caches_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with cache(CacheStack(())):
        assert fleche(lambda x: x)(1) == 1
    assert "Cache failed to prepare call" in caplog.text


# Transfer


def test_transfer(caplog: pytest.LogCaptureFixture) -> None:
    source, target = memory_cache(), memory_cache()
    for n in range(3):
        source.save(call(n))
    target.save(call(0, result="kept"))
    source.transfer(target, pop=True)
    assert caplog.messages == [
        f"Not transferring {call(0).to_lookup_key()}: already exists in target and overwrite=False"
    ]
    assert numbers(source) == [0]
    assert target.load(call(0).to_lookup_key()).result == "kept"
    source.transfer(target, overwrite=True)
    assert target.load(call(0).to_lookup_key()).result == [0]
    assert numbers(target) == [0, 1, 2]


# Caches of users


def test_a_transfer_leaves_out_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    source, target = memory_cache(), memory_cache()
    lost, kept = (source.save(call(n)) for n in range(2))
    source.values.evict(source.load(lost)._result)
    source.transfer(target, pop=True)
    assert f"Not transferring {lost}: its result is missing" in caplog.text
    assert numbers(target) == [1]
    # What was not transferred stays, and can be mended.
    assert source.contains(lost)
    assert not source.contains(kept)


def test_base_cache_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseCache()  # type: ignore[abstract]


def test_a_wrapper_of_a_user_is_asked() -> None:
    seen: list[str] = []

    class Watching(CacheWrapper):
        def load(self, key: Digest | str) -> Any:
            seen.append("load")
            return super().load(key)

        def save(self, call: Any) -> Digest:
            seen.append("save")
            return super().save(call)

    with cache(Watching(memory_cache())):
        f = fleche(lambda x: x)
        assert f(1) == f(1) == 1
    assert seen == ["load", "save", "load"]


def test_a_foreign_object_among_the_records_is_a_miss(caplog: pytest.LogCaptureFixture) -> None:
    counted = Counted(lambda x: [x])
    f = fleche(counted.function)
    held = memory_cache()
    for foreign in ("text", 3, {"result": 1}, DigestedCall("f", {}, "no digest")):  # type: ignore[arg-type]
        held.calls.storage[f.digest(1)] = foreign
        with cache(held):
            assert f(1) == [1]
            assert f(1) == [1]
    assert counted.calls == 4
