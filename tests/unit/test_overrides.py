"""What a user's subclass overrides is honoured, by decorated functions and by every operation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import (
    Cache,
    CachePool,
    CacheStack,
    FilteredCache,
    ReadOnlyCache,
    RefreshingCache,
    SizeLimitedCache,
)
from fleche.call import Call
from fleche.storage import (
    CallBagOfHoldingH5File,
    CallMemory,
    CallPickleFile,
    Intent,
    Sql,
    ValueBagOfHoldingH5File,
    ValueMemory,
    ValuePickleFile,
)


@fleche
def lengths(values):
    return [len(value) for value in values]


def watched(base: type, method: str, told: list[str]) -> type:
    """A subclass whose `method` says that it was called."""

    def override(self: Any, *args: Any, **options: Any) -> Any:
        told.append(method)
        return getattr(super(subclass, self), method)(*args, **options)

    subclass = type(f"Watched{base.__name__}", (base,), {method: override})
    return dataclass(frozen=True)(subclass)


def everything(store: Any) -> None:
    """Everything that caches do, once each."""
    with cache(store):
        for _ in range(2):
            assert lengths(["a", "bc"]) == [1, 2]
    for call in store.query(name="lengths"):
        assert call.result == [1, 2]
        key = call.to_lookup_key()
        assert store.expand(store.shrink(key)) == key
        assert store.contains(key)
        store.load(key[:12])
    store.gc()
    store.redigest()
    store.evict(key)


VALUES: dict[type, Callable[[type, Path], Any]] = {
    ValueMemory: lambda kind, folder: kind({}),
    ValuePickleFile: lambda kind, folder: kind(folder / "values"),
    ValueBagOfHoldingH5File: lambda kind, folder: kind(folder / "values"),
}
CALLS: dict[type, Callable[[type, Path], Any]] = {
    CallMemory: lambda kind, folder: kind({}),
    CallPickleFile: lambda kind, folder: kind(folder / "calls"),
    CallBagOfHoldingH5File: lambda kind, folder: kind(folder / "calls"),
    Sql: lambda kind, folder: kind(),
}


@pytest.mark.parametrize(
    "method", ["save", "load", "put", "get", "list", "evict", "child_digests", "_operation_context"]
)
@pytest.mark.parametrize("base", VALUES)
def test_value_storages(base, method, tmp_path):
    told: list[str] = []
    values = VALUES[base](watched(base, method, told), tmp_path)
    store = Cache(values, CallMemory({}))
    with cache(store):
        lengths(["evicted", "soon"])
    store.evict(lengths.digest(["evicted", "soon"]))
    told.clear()
    everything(store)
    assert told


@pytest.mark.parametrize(
    "method", ["save", "load", "list", "contains", "evict", "query", "_operation_context"]
)
@pytest.mark.parametrize("base", CALLS)
def test_call_storages(base, method, tmp_path):
    told: list[str] = []
    calls = CALLS[base](watched(base, method, told), tmp_path)
    everything(Cache(ValueMemory({}), calls))
    assert told


def calls_beside(base: type, folder: Path) -> Any:
    """Where records of values of this kind are: garbage is collected of what others see, too."""
    return CallMemory({}) if base is ValueMemory else CallPickleFile(folder / "calls")


@pytest.mark.parametrize("method", ["_contains", "_evict", "_operation_context"])
@pytest.mark.parametrize("base", [ValueMemory, ValuePickleFile, ValueBagOfHoldingH5File])
def test_what_a_backend_overrides(base, method, tmp_path):
    told: list[str] = []
    values = VALUES[base](watched(base, method, told), tmp_path)
    store = Cache(values, calls_beside(base, tmp_path))
    store.save(Call("g", {}, result=[1]))
    store.evict(Call("g", {}).to_lookup_key())
    store.values.save([1, 2])
    assert store.values.contains(store.values.save([1]))
    store.gc()
    assert told


WRAPPERS: dict[type, Callable[[type, Any], Any]] = {
    Cache: lambda kind, inner: kind(inner.values, inner.calls),
    SizeLimitedCache: lambda kind, inner: kind(inner.values, inner.calls, 10),
    CacheStack: lambda kind, inner: kind((inner,)),
    RefreshingCache: lambda kind, inner: kind(inner),
    ReadOnlyCache: lambda kind, inner: kind(inner),
    FilteredCache: lambda kind, inner: kind(inner, lambda call: True),
    CachePool: lambda kind, inner: kind((inner,)),
}


@pytest.mark.parametrize("method", ["load", "prepare", "save", "_query"])
@pytest.mark.parametrize("base", WRAPPERS)
def test_caches(base, method):
    told: list[str] = []
    inner = Cache(ValueMemory({}), CallMemory({}))
    with cache(inner):
        lengths(["a", "bc"])
    store = WRAPPERS[base](watched(base, method, told), inner)
    with cache(store):
        lengths(["a", "bc"])
        lengths(["new"])
    store.query(name="lengths").count()
    assert told or (method == "save" and isinstance(store, ReadOnlyCache | CachePool))


@pytest.mark.parametrize("base", [Cache, SizeLimitedCache])
def test_a_cache_that_loads_values_from_elsewhere(base):
    @dataclass(frozen=True)
    class Elsewhere(base):
        def load_value(self, key):
            return "from elsewhere"

    inner = Cache(ValueMemory({}), CallMemory({}))
    store = WRAPPERS[base](Elsewhere, inner)
    with cache(store):
        assert lengths(["a"]) == [1]
        assert lengths(["a"]) == "from elsewhere"


# Contexts: entered by each operation on a key

KEY = Call("g", {"x": [1]}).to_lookup_key()

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "save": lambda store: store.save(Call("g", {"x": [1]}, result=[2])),
    "prepare": lambda store: store.prepare(Call("g", {"x": [1]})).commit([2]),
    "load": lambda store: store.load(KEY),
    "load_value": lambda store: store.load_value(store.load(KEY)._result),
    "load values of a call": lambda store: store.load(KEY).fetch(),
    "contains": lambda store: store.contains(KEY),
    "expand": lambda store: store.expand(KEY[:10]),
    "evict": lambda store: store.evict(KEY),
    "query": lambda store: store.query(name="g").only().result,
    "transfer into": lambda store: elsewhere().transfer(store, overwrite=True),
    "transfer from": lambda store: store.transfer(Cache(ValueMemory({}), CallMemory({}))),
    "evict by query": lambda store: store.query(name="g").evict(),
    "gc": lambda store: [store.evict(KEY), store.gc()],
    "redigest": lambda store: store.redigest(),
}
OF_RECORDS = [name for name in OPERATIONS if name not in ("load_value", "gc")]
OF_VALUES = [
    name
    for name in OPERATIONS
    if name not in ("load", "contains", "expand", "evict", "evict by query", "redigest")
]
# A refreshing cache never asks, and a wrapper has nothing to redigest.
NOT_THROUGH = {CacheStack: ["redigest"], RefreshingCache: ["redigest", "load", "contains"]}
THROUGH = [
    (around, operation)
    for around in (None, CacheStack, RefreshingCache)
    for operation in OF_RECORDS
    if not operation.startswith(tuple(NOT_THROUGH.get(around, ())) or "-")
]


def elsewhere() -> Cache:
    store = Cache(ValueMemory({}), CallMemory({}))
    store.save(Call("g", {"x": [1]}, result=[2]))
    return store


def contexts(base: type, entered: list[str]) -> type:
    """A subclass that says which keys its contexts are for, and that they are left."""

    def override(self: Any, key: str, *, intent: Intent = Intent.WRITE) -> Any:
        @contextlib.contextmanager
        def context() -> Iterator[None]:
            entered.append(key)
            with super(subclass, self)._operation_context(key, intent=intent):
                yield

        return context()

    subclass = type(f"Guarded{base.__name__}", (base,), {"_operation_context": override})
    return dataclass(frozen=True)(subclass)


@pytest.mark.parametrize(("around", "operation"), THROUGH)
@pytest.mark.parametrize("base", [Cache, SizeLimitedCache])
def test_contexts_of_caches(base, around, operation):
    entered: list[str] = []
    store = WRAPPERS[base](contexts(base, entered), Cache(ValueMemory({}), CallMemory({})))
    store.save(Call("g", {"x": [1]}, result=[2]))
    entered.clear()
    OPERATIONS[operation](store if around is None else WRAPPERS[around](around, store))
    assert entered


@pytest.mark.parametrize("operation", OF_VALUES)
@pytest.mark.parametrize("base", VALUES)
def test_contexts_of_value_storages(base, operation, tmp_path):
    entered: list[str] = []
    values = VALUES[base](contexts(base, entered), tmp_path)
    store = Cache(values, calls_beside(base, tmp_path))
    store.save(Call("g", {"x": [1]}, result=[2]))
    entered.clear()
    OPERATIONS[operation](store)
    assert entered


@pytest.mark.parametrize("operation", OF_RECORDS)
@pytest.mark.parametrize("base", CALLS)
def test_contexts_of_call_storages(base, operation, tmp_path):
    entered: list[str] = []
    store = Cache(ValueMemory({}), CALLS[base](contexts(base, entered), tmp_path))
    store.save(Call("g", {"x": [1]}, result=[2]))
    entered.clear()
    OPERATIONS[operation](store)
    assert entered


def test_contexts_of_stacks():
    entered: list[str] = []
    upper = elsewhere()
    stack = contexts(CacheStack, entered)((Cache(ValueMemory({}), CallMemory({})), upper))
    stack.load(KEY)
    assert entered == [KEY], "the hit is filed into the first cache"
    entered.clear()
    elsewhere().transfer(stack, overwrite=True)
    assert entered == [KEY]


def test_a_stack_holds_its_members_contexts_while_it_takes_a_call():
    held: list[str] = []
    seen: list[list[str]] = []

    @dataclass(frozen=True)
    class Member(Cache):
        @contextlib.contextmanager
        def _operation_context(self, key, *, intent=Intent.WRITE):
            held.append(str(intent))
            try:
                with super()._operation_context(key, intent=intent):
                    yield
            finally:
                held.remove(str(intent))

        def save(self, call):
            seen.append(list(held))
            return super().save(call)

    stack = CacheStack(tuple(Member(ValueMemory({}), CallMemory({})) for _ in range(2)))
    elsewhere().transfer(stack)
    assert seen == [["write", "read"]]


# Eviction: through the storage's own method, whoever evicts


@pytest.mark.parametrize("base", CALLS)
@pytest.mark.parametrize("how", ["evict", "query", "stack", "limit", "pop", "rerun", "transform"])
def test_records_are_evicted_by_the_storage(base, how, tmp_path):
    told: list[str] = []
    calls = CALLS[base](watched(base, "evict", told), tmp_path)
    store: Any = Cache(ValueMemory({}), calls)
    store.save(Call("g", {"x": [1]}, result=[2]))
    if how == "evict":
        store.evict(KEY)
    elif how == "query":
        store.query().evict()
    elif how == "stack":
        CacheStack((store, elsewhere())).evict(KEY)
    elif how == "limit":
        SizeLimitedCache(store.values, calls, 1).save(Call("h", {}, result=1))
    elif how == "pop":
        store.transfer(Cache(ValueMemory({}), CallMemory({})), pop=True)
    elif how == "rerun":
        returned: list[Any] = [1, None]
        none = fleche(hash_code=False)(lambda: returned.pop(0))
        with cache(store):
            none()
            none.rerun()
    else:
        calls.transform(lambda record: replace(record, name="other"))
    assert told == ["evict"]
    assert not store.contains(KEY) or how == "rerun"
