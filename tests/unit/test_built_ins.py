"""Everything built in is equal by its configuration, hashable, picklable and readable."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
from fleche.remote import SshCache
from fleche.storage import (
    CallBagOfHoldingH5File,
    CallMemory,
    CallPickleFile,
    CallVoid,
    Sql,
    ValueBagOfHoldingH5File,
    ValueMemory,
    ValuePickleFile,
    ValueVoid,
)

SECRET = "5e" * 32


def pair(folder: Path) -> Cache:
    return Cache(ValuePickleFile(folder / "values"), CallPickleFile(folder / "calls"))


def is_f(call: Any) -> bool:
    return bool(call.name == "f")


BUILT_IN: dict[str, Callable[[Path], Any]] = {
    "ValuePickleFile": lambda folder: ValuePickleFile(folder),
    "ValuePickleFile, all fields": lambda folder: ValuePickleFile(
        folder,
        lock_timeout=2.0,
        secret_key=SECRET,
        serializer="dill",
        compress=True,
        remaining_depth=2,
    ),
    "CallPickleFile": lambda folder: CallPickleFile(folder, secret_key=SECRET),
    "ValueBagOfHoldingH5File": lambda folder: ValueBagOfHoldingH5File(folder),
    "CallBagOfHoldingH5File": lambda folder: CallBagOfHoldingH5File(folder, prefix_length=2),
    "Sql": lambda folder: Sql(str(folder / "calls.db")),
    "Sql on a server": lambda folder: Sql(f"postgresql://me:{SECRET}@127.0.0.1:1/calls"),
    "ValueVoid": lambda folder: ValueVoid(),
    "CallVoid": lambda folder: CallVoid(),
    "Cache": pair,
    "SizeLimitedCache": lambda folder: SizeLimitedCache(pair(folder).values, CallVoid(), 5),
    "ReadOnlyCache": lambda folder: ReadOnlyCache(pair(folder)),
    "RefreshingCache": lambda folder: RefreshingCache(pair(folder)),
    "FilteredCache": lambda folder: FilteredCache(pair(folder), is_f),
    "CacheStack": lambda folder: CacheStack((pair(folder), pair(folder / "b"))),
    "CachePool": lambda folder: CachePool((pair(folder), pair(folder / "b"))),
    "SshCache": lambda folder: SshCache("me@host", "shared", workdir=str(folder)),
}


@pytest.fixture(params=BUILT_IN)
def make(request) -> Callable[[Path], Any]:
    return BUILT_IN[request.param]


def test_equal_and_hashable_by_configuration(make, tmp_path):
    one, same, other = make(tmp_path), make(tmp_path), make(tmp_path / "other")
    assert one == same
    assert hash(one) == hash(same)
    if "folder" in str(make(Path("/folder"))):
        assert one != other
    assert one != object()


def test_travels(make, tmp_path):
    made = make(tmp_path)
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made), copy.copy(made)):
        assert again == made
        assert type(again) is type(made)
        assert repr(again) == repr(made)


def test_readable_and_without_secrets(make, tmp_path):
    made = make(tmp_path)
    assert type(made).__name__ in repr(made)
    assert SECRET not in repr(made) + str(made)
    assert repr(bytes.fromhex(SECRET)) not in repr(made)


@pytest.mark.parametrize(
    "used",
    ["ValuePickleFile", "CallPickleFile", "ValueBagOfHoldingH5File", "CallBagOfHoldingH5File"],
)
def test_travels_after_use_and_goes_on(used, tmp_path):
    store = BUILT_IN[used](tmp_path)
    is_value = used.startswith("Value")
    key = store.save([1, [2]] if is_value else Call("f", {"x": 1}, result=2).digest())
    again = pickle.loads(pickle.dumps(store))
    assert again == store
    loaded = again.load(key)
    assert loaded == ([1, [2]] if is_value else store.load(key))


@pytest.mark.parametrize("kind", [ValueMemory, CallMemory])
def test_memory_travels_with_its_content(kind):
    store = kind({})
    key = store.save([1, [2]] if kind is ValueMemory else Call("f", {"x": 1}, result=2).digest())
    again = pickle.loads(pickle.dumps(store))
    assert again.load(key) == store.load(key)
    again.evict(key)
    assert store.contains(key)
    # Itself: what it holds changes, and with it what it would be equal to.
    assert hash(store) == hash(store)
    assert hash(store) != hash(again)
