"""What a user's subclass overrides is honoured, by decorated functions and by every operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
from fleche.storage import (
    CallBagOfHoldingH5File,
    CallMemory,
    CallPickleFile,
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


@pytest.mark.parametrize("method", ["save", "load", "put", "get", "list", "child_digests"])
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


@pytest.mark.parametrize("method", ["save", "load", "list", "contains", "evict", "query"])
@pytest.mark.parametrize("base", CALLS)
def test_call_storages(base, method, tmp_path):
    told: list[str] = []
    calls = CALLS[base](watched(base, method, told), tmp_path)
    everything(Cache(ValueMemory({}), calls))
    assert told


@pytest.mark.parametrize("method", ["_contains", "_evict", "_operation_context"])
@pytest.mark.parametrize("base", [ValueMemory, ValuePickleFile, ValueBagOfHoldingH5File])
def test_what_a_backend_overrides(base, method, tmp_path):
    told: list[str] = []
    values = VALUES[base](watched(base, method, told), tmp_path)
    store = Cache(values, CallMemory({}))
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
