"""One entry that cannot be read costs itself alone: all else goes on, and it can be evicted."""

from __future__ import annotations

import dataclasses
import gzip
import logging
import pickle
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import Cache, CacheStack, Rejected
from fleche.call import Call
from fleche.config import cache_from_config
from fleche.digest import Digest, digest

KINDS: dict[str, dict[str, Any]] = {
    "pickle": {"type": "pickle"},
    "compressed": {"type": "pickle", "compress": True},
    "signed": {"type": "pickle", "secret_key": ["aa"]},
    "cloudpickle": {"type": "cloudpickle"},
    "dill": {"type": "dill"},
    "bag": {"type": "bagofholding_hdf"},
    "bags": {"type": "bagofholding_hdf", "prefix_length": 1},
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of classes, as programs have them, which change."""
    module = types.ModuleType("fleche_shapes")
    monkeypatch.setitem(sys.modules, "fleche_shapes", module)
    for name in ("Circle", "Square"):
        fields = [("r", int), ("name", object)]
        shape = dataclasses.make_dataclass(name, fields, namespace={"__module__": "fleche_shapes"})
        shape.__module__ = "fleche_shapes"
        setattr(module, name, shape)
    return module


def made(folder: Path, kind: str, calls: str | None = None) -> Cache:
    settings = {"root": str(folder / "calls"), **KINDS[calls or kind]}
    return cache_from_config(  # type: ignore[return-value]
        {"values": {"root": str(folder / "values"), **KINDS[kind]}, "calls": settings}
    )


@fleche
def f(x: Any) -> Any:
    return [x] * 3


def result_of(store: Cache, x: Any) -> Digest:
    return store.load(f.digest(x))._result  # type: ignore[no-any-return]


def file_of(store: Any, key: str) -> Path:
    return Path(store._bag_file(key) if hasattr(store, "_bag_file") else store.root / key)


# Results


DAMAGE: dict[str, Callable[[Path], object]] = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2]),
    "overwritten": lambda path: path.write_bytes(b"x" * 50),
    "removed": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", ["pickle", "compressed", "signed", "bag"])
def test_a_damaged_result_is_left_out_and_said(
    kind: str, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = made(tmp_path, kind)
    with cache(store):
        for x in range(5):
            f(x)
    key = f.digest(2)
    DAMAGE[damage](file_of(store.values, result_of(store, 2)))
    whole = [[x] * 3 for x in (0, 1, 3, 4)]
    queries: list[tuple[Callable[[], Any], Any]] = [
        (lambda: sorted(store.query().results()), whole),
        (lambda: store.query().filter(lambda call: call.result[0] > 1).count(), 2),
        (lambda: len(list(store.query().sorted(lambda call: call.result))), 4),
        (lambda: len(list(store.query().unique(lambda call: call.result[0]))), 4),
        (lambda: sorted(store.query().groupby(lambda call: call.result[0])), [0, 1, 3, 4]),
        (lambda: store.filter(lambda call: call.result[0] > 1).query().count(), 2),
        (lambda: store.filter(lambda call: call.result[0] > 1).contains(key), False),
    ]
    for query, expected in queries:
        caplog.clear()
        assert query() == expected
        assert len(set(caplog.messages)) == len(caplog.messages)
        [said] = [m for m in caplog.messages if "cannot be loaded" in m]
        assert key in said
        assert "evict" in said
    table = store.table(results=True, arguments=True)
    assert table.shape[0] == 5
    assert table[table["x"] == 2]["result"].tolist() == [None]
    store.evict(key)
    assert sorted(store.query().results()) == whole


def test_many_damaged_results_are_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = made(tmp_path, "pickle")
    with cache(store):
        for x in range(5):
            f(x)
    for x in range(4):
        store.values.evict(result_of(store, x))
    for look in (lambda: list(store.query().results()), lambda: store.table(results=True)):
        caplog.clear()
        look()
        assert len(caplog.messages) == 2
        assert caplog.messages[1].startswith("4 ")


def test_an_error_of_the_predicate_itself_is_raised(tmp_path: Path) -> None:
    store = made(tmp_path, "pickle")
    with cache(store):
        f(1)
    with pytest.raises(KeyError, match="nope"):
        store.query().filter(lambda call: call.metadata["nope"]).count()


def test_a_class_that_changed_is_a_miss(
    tmp_path: Path, shapes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes no longer what is stored of its instances."""
    store = made(tmp_path, "pickle")
    store.save(Call("g", {}, result=shapes.Circle(1, [2])))
    key = store.save(Call("h", {}, result=1))

    class Circle:
        __slots__ = ("other",)
        __module__ = "fleche_shapes"

    shapes.Circle = Circle
    assert list(store.query().results()) == [1]
    assert "Cannot restore value" in caplog.text
    assert store.table(results=True).shape[0] == 2
    assert store.gc() == set()
    assert store.contains(key)


# gc


def test_gc_keeps_what_an_entry_may_need_that_cannot_be_read(
    kind: str, tmp_path: Path, shapes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = made(tmp_path, kind)
    needed = [["children", [1, 2]], ("of", b"all", {"kinds": [3.5, [4]]})]
    with cache(store):
        f(shapes.Circle(1, needed))
        f(shapes.Square(2, [shapes.Circle(2, needed), {"deep": shapes.Circle(3, [b"in"])}]))
        f("whole")
        f("garbage")
    store.evict(f.digest("garbage"))
    before = {"Circle": shapes.Circle}
    del shapes.Circle
    garbage = store.gc()
    assert digest("garbage") in garbage
    said = [m for m in caplog.messages if "gc left" in m]
    # What pickles need is told without the class.
    assert len(said) == kind.startswith("bag")
    for key in re.findall("[0-9a-f]{64}", "".join(said)):
        assert store.values.contains(key)
    with cache(store):
        assert f.load("whole") == ["whole"] * 3
    # The class comes back, and all is there.
    shapes.Circle = before["Circle"]
    with cache(store):
        circle = shapes.Circle(1, needed)
        assert f.load(circle) == [circle] * 3
        assert len(list(store.query().results())) == 3
    assert store.gc() == set()


def test_evict_takes_the_key_of_a_value_that_gc_names(
    kind: str, tmp_path: Path, shapes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = made(tmp_path, kind)
    with cache(store):
        f(circle := shapes.Circle(1, [["only", "here"]]))
        f("whole")
    if kind.startswith("bag"):
        del shapes.Circle
    else:
        for key in (digest(circle), store.load(f.digest(circle)).detach().result):
            path = store.values.root / key
            path.write_bytes(path.read_bytes()[:-10])
    for _ in range(10):
        caplog.clear()
        store.gc()
        named = [m for m in caplog.messages if "gc left" in m]
        if not named:
            break
        for key in re.findall("[0-9a-f]{64}", named[0]):
            # In a stack, and by a prefix, too.
            stack = CacheStack((store, cache_from_config({"template": "memory"})))
            stack.evict(key)
            assert not store.values.contains(key)
    else:
        pytest.fail("gc names values without end")
    assert digest(["only", "here"]) not in store.values.list()
    with cache(store):
        assert f.load("whole") == ["whole"] * 3


def test_evict_of_a_value_by_a_prefix(tmp_path: Path) -> None:
    store = made(tmp_path, "pickle")
    key = store.values.save("a value")
    call = store.save(Call("g", {}, result=1))
    store.evict(key[:10])
    assert not store.values.contains(key)
    with pytest.raises(KeyError):
        store.evict("0123456789")
    store.evict("ab" * 32)
    assert store.contains(call)


@pytest.mark.parametrize("kind", ["pickle", "compressed", "signed", "bag"])
def test_gc_keeps_what_a_record_may_need_that_cannot_be_read(
    kind: str, tmp_path: Path, shapes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = made(tmp_path, kind)
    with cache(store):
        f([1, [2]])
        f("whole")
    key = f.digest([1, [2]])
    stored = set(store.values.list())
    path = file_of(store.calls, key)
    content = path.read_bytes()
    if kind == "pickle":
        # A record of another version, whose class is not known here.
        path.write_bytes(content.replace(b"DigestedCall", b"DigestedCalm"))
    elif kind == "bag":
        path.write_bytes(content.replace(b"DigestedCall", b"DigestedCalm"))
    elif kind == "compressed":
        changed = gzip.decompress(content).replace(b"DigestedCall", b"DigestedCalm")
        path.write_bytes(gzip.compress(changed))
    else:
        path.write_bytes(content[:-64] + b"0" * 64)
    assert store.gc() == set()
    assert set(store.values.list()) == stored
    assert key in caplog.text
    path.write_bytes(content)
    with cache(store):
        assert f.load([1, [2]]) == [[1, [2]]] * 3
    path.write_bytes(b"")
    assert digest([1, [2]]) in store.gc()
    store.evict(key)
    caplog.clear()
    assert store.gc() == set()
    assert caplog.text == ""


def test_gc_goes_on_in_memory_and_databases_with_a_class_that_is_gone(
    tmp_path: Path, shapes: Any
) -> None:
    store = cache_from_config(
        {
            "values": {"type": "pickle", "root": str(tmp_path / "values")},
            "calls": {"type": "sql", "url": str(tmp_path / "calls.db")},
        }
    )
    with cache(store):
        f(shapes.Circle(1, [["only", "here"]]))
        f("garbage")
    store.evict(f.digest("garbage"))
    kept = shapes.Circle
    del shapes.Circle
    assert digest("garbage") in store.gc()  # type: ignore[attr-defined]
    shapes.Circle = kept
    with cache(store):
        assert f.load(kept(1, [["only", "here"]]))


def test_a_serialiser_of_a_users_own_stops_gc(tmp_path: Path, shapes: Any) -> None:
    """Nobody knows what it makes of the keys in an entry."""
    from fleche.storage import CallPickleFile, ValuePickleFile
    from fleche.storage.pickle_file import register_serializer

    def upside_down() -> Any:
        return (
            lambda value: pickle.dumps(value)[::-1],
            lambda content: pickle.loads(content[::-1]),
        )

    register_serializer("upside down", upside_down)
    values = ValuePickleFile.with_serializer("upside down", tmp_path / "values")
    store = Cache(values, CallPickleFile(tmp_path / "calls"))
    with cache(store):
        f(shapes.Circle(1, [["only", "here"]]))
    store.values.save("garbage")
    before = set(store.values.list())
    del shapes.Circle
    with pytest.raises(Rejected, match=r"gc evicts nothing: .*Cache\.evict"):
        store.gc()
    assert set(store.values.list()) == before


# redigest


def test_redigest_goes_on(tmp_path: Path, shapes: Any, caplog: pytest.LogCaptureFixture) -> None:
    from fleche import _core

    before = _core.scheme()
    _core.set_scheme("sha256")
    try:
        store = made(tmp_path, "pickle")
        with cache(store):
            f(shapes.Circle(1, [2]))
            f("whole")
            f("torn")
            torn = f.digest("torn")
        path = file_of(store.calls, torn)
        path.write_bytes(path.read_bytes()[:20])
    finally:
        _core.set_scheme(before)
    circle = shapes.Circle
    del shapes.Circle
    with caplog.at_level(logging.INFO):
        made(tmp_path, "pickle").redigest()
    assert f"Call {torn} stays" in caplog.text
    shapes.Circle = circle
    with cache(made(tmp_path, "pickle")):
        assert f.load("whole") == ["whole"] * 3
        assert f.load(circle(1, [2])) == [circle(1, [2])] * 3


def test_gc_goes_on_past_a_bag_whose_parts_are_damaged(tmp_path: Path) -> None:
    """Of which HDF5 tells by an error of its own."""
    store = made(tmp_path, "bags")
    with cache(store):
        f([1, ["needed"]])
    path = file_of(store.values, result_of(store, [1, ["needed"]]))
    whole = path.read_bytes()
    for place in range(96, len(whole), 61):
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        try:
            store.gc()
        except Rejected:
            continue
    path.write_bytes(whole)
    assert store.contains(f.digest([1, ["needed"]]))
