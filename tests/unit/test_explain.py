"""`f.explain`: whether a call is cached, and if not, why."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fleche as package
from fleche import D, Explanation, cache, fleche, meta
from fleche.caches import BaseCache, Cache, CachePool, CacheStack, RefreshingCache
from fleche.call import Call
from fleche.config import cache_from_config
from fleche.digest import digest
from fleche.wrapper import explained
from fleche.wrapper.explanation import Reason

from .calls import memory_cache
from .schemes import scheme
from .test_differences import values

Log = pytest.LogCaptureFixture


@pytest.fixture(
    params=["memory", "pickle", "cloudpickle", "dill", "sql", "sqlite", "bagofholding_hdf"]
)
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    config = {"template": request.param}
    if request.param != "memory":
        config["root"] = str(tmp_path / "store")
    if request.param == "sql":
        config["values"] = "pickle"
    with cache(found := cache_from_config(config)):
        assert isinstance(found, Cache)
        yield found


@pytest.fixture
def memory() -> Iterator[Cache]:
    with cache(found := memory_cache()):
        yield found


@fleche(version=1, hash_code=False)
def fit(data: Any, lr: float = 0.1, **more: Any) -> Any:
    return [data]


def texts(explanation: Explanation) -> list[str]:
    assert not explanation.hit
    assert repr(explanation)
    return [each.text for each in explanation.reasons]


def kinds(explanation: Explanation) -> list[str]:
    return [each.kind for each in explanation.reasons]


def test_a_hit(held: Cache) -> None:
    fit([1, 2])
    told = fit.explain([1, 2])
    assert isinstance(told, Explanation)
    assert told.hit
    assert told.key == fit.digest([1, 2])
    assert told.reasons == told.nearest == ()
    assert told.found is not None
    assert told.found.key == told.key
    assert told.found.recorded is not None
    assert told.found.seconds is not None
    assert repr(told).startswith(f"fit: cached as {told.key[:8]}, recorded ")
    assert fit.fleche.explain([1.0, 2]).hit


def test_other_arguments(held: Cache) -> None:
    assert texts(fit.explain({"a": [1]})) == ["nothing is stored of fit"]
    fit({"a": [1, 2], "b": 0.1})
    told = fit.explain({"a": [1, 3], "b": 0.1}, lr=0.2, k=1)
    assert texts(told) == [
        "data['a'][1]: was 2, is 3",
        "lr: was 0.1, is 0.2",
        "more['k']: was not there, is 1",
    ]
    assert [(each.path, each.stored, each.given) for each in told.reasons[:2]] == [
        ("data['a'][1]", 2, 3),
        ("lr", 0.1, 0.2),
    ]
    [nearest] = told.nearest
    assert {each.key for each in told.reasons} == {nearest.key}
    assert nearest.key == fit.digest({"a": [1, 2], "b": 0.1})
    assert nearest.call.arguments["data"] == {"a": [1, 2], "b": 0.1}
    assert held.query().count() == 1
    fit({"a": [1, 2], "b": 0.1}, lr=0.3)
    assert "lr: was 0.3, is 0.1 (its default)" in texts(fit.explain({"a": [1, 2], "b": 0.2}))


def test_the_nearest_calls_come_first(held: Cache) -> None:
    for number in range(6):
        fit(number, lr=number)
    told = fit.explain(2, lr=7)
    assert len(told.nearest) == 3
    assert texts(told)[0] == "lr: was 2, is 7"
    # Of those that have nothing in common, the last ones.
    assert texts(told)[1:] == [
        "data: was 5, is 2",
        "lr: was 5, is 7",
        "data: was 4, is 2",
        "lr: was 4, is 7",
    ]
    fit(list(range(100)))
    assert len(texts(fit.explain(list(range(1, 101))))) <= 15


def test_what_counts_besides_arguments(held: Cache) -> None:
    fit(1)

    def another(data: Any, lr: float = 0.1, **more: Any) -> Any:
        raise AssertionError("it is not to run")

    def named(name: str, module: str = fit.__module__, body: Any = another, **options: Any) -> Any:
        made = types.FunctionType(body.__code__, body.__globals__, name, body.__defaults__)
        made.__kwdefaults__ = body.__kwdefaults__
        made.__qualname__, made.__module__ = name, module
        return fleche(made, **{"version": 1, "hash_code": False, **options})

    assert named("fit").explain(1).hit
    assert texts(named("fit", version=2).explain(1)) == ["version: was 1, is 2"]
    assert texts(named("fit", "elsewhere").explain(1)) == [
        f"module: was {fit.__module__}, is elsewhere"
    ]
    assert kinds(named("fit", hash_code=True).explain(1)) == ["code"]
    assert kinds(named("fit", typed=True).explain(1))[0] == "typed"
    assert texts(named("other").explain(1)) == ["nothing is stored of other"]

    def renamed(data: Any, rate: float = 0.1, *, seed: int = 0, **more: Any) -> Any:
        raise AssertionError("it is not to run")

    assert texts(named("fit", body=renamed).explain(1)) == [
        "parameter lr is called rate now",
        "parameter seed is new",
    ]
    assert texts(named("fit", ignore="lr").explain(1)) == ["parameter lr is ignored"]

    def turned(lr: float = 0.1, data: Any = None, **more: Any) -> Any:
        raise AssertionError("it is not to run")

    assert texts(named("fit", body=turned).explain(data=1)) == [
        "parameters: their order was data, lr, more, is lr, data, more"
    ]


def test_the_code_of_a_function_of_its_own(held: Cache) -> None:
    def made(step: int) -> Any:
        @fleche
        def advance(x: int) -> int:
            return x + step

        return advance

    made(1)(10)
    told = made(2).explain(10)
    assert kinds(told) == ["code"]
    assert "code_digest was " in texts(told)[0]

    @fleche
    def advance(x: int) -> int:
        return x + 1

    advance(1)
    same = advance.__wrapped__
    same.__qualname__ = "renamed"
    assert texts(fleche(same).explain(1)) == [
        f"a function of the same code is stored as {advance.__qualname__}, this one is renamed"
    ]


def test_calls_that_run_without_a_cache(memory: Cache, caplog: Log) -> None:
    @fleche(require="seed")
    def draw(source: Any, seed: int = 0) -> int:
        return seed

    told = draw.explain({"numbers": iter([1])}, seed=1)
    [reason] = told.reasons
    assert (reason.kind, reason.path) == ("indigestible", "source['numbers']")
    assert told.key is None
    assert caplog.text == ""
    draw({"numbers": iter([1])}, seed=1)
    assert caplog.messages == [reason.text]
    caplog.clear()
    told = draw.explain([1])
    assert kinds(told) == ["required"]
    draw([1])
    assert caplog.messages == texts(told)
    lock = iter([1])

    @fleche
    def captures(x: int) -> Any:
        return lock, x

    caplog.clear()
    told = captures.explain(1)
    assert kinds(told) == ["captured"]
    captures(1)
    assert caplog.messages == texts(told)
    told = fit.explain(D("ab" * 32))
    assert "names a value that the active cache does not give" in texts(told)[0]
    with pytest.raises(TypeError, match="missing a required argument: 'data'"):
        fit.explain()


def test_a_cache_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch, caplog: Log) -> None:
    def refuse() -> Any:
        raise PermissionError("no way in")

    monkeypatch.setattr(explained, "get_cache", refuse)
    assert texts(fit.explain(1)) == [
        "The cache cannot be opened (no way in); the call of fit runs without it"
    ]


class Fails(type(memory_cache().calls)):  # type: ignore[misc]
    def load(self, key: Any) -> Any:
        raise RuntimeError("out of order")

    query = contains = load


class FailsAlways(Fails):
    def _may_hold(self, scheme: str) -> bool:
        raise RuntimeError("out of order")


def test_a_cache_that_fails(caplog: Log) -> None:
    broken = Cache(memory_cache().values, Fails({}))
    with cache(broken):
        assert texts(fit.explain(1)) == ["the cache failed to load it (RuntimeError: out of order)"]
    whole = memory_cache()
    with cache(whole):
        fit(1)
    with cache(CacheStack((Cache(memory_cache().values, FailsAlways({})), whole))):
        assert fit.explain(1).hit
        assert kinds(fit.explain(2)) == ["cache"]
    with cache(CacheStack((broken, whole))):
        assert fit.explain(1).hit
        assert "data: was 1, is 2" in texts(fit.explain(2))


def test_lost_results(held: Cache) -> None:
    fit([1, 2])
    key = fit.digest([1, 2])
    held.values.evict(held.load(key)._result)
    told = fit.explain([1, 2])
    assert kinds(told) == ["result"]
    assert texts(told)[0].startswith("its record is there")
    assert texts(told)[0].endswith(", but its result is gone")


def test_lost_arguments(held: Cache) -> None:
    fit(list(range(50)))
    held.values.evict(digest(list(range(50))))
    assert texts(fit.explain([7])) == ["data: is another value; the one of then is not stored"]
    assert fit.explain(list(range(50))).hit


@pytest.mark.parametrize("kind", ["pickle", "cloudpickle", "dill", "bagofholding_hdf"])
def test_unreadable_entries(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("fleche_explained")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("class Shape:\n    def __init__(self, x): self.x = x", vars(module))
    shape = module.Shape
    store = cache_from_config({"template": kind, "root": str(tmp_path)})
    with cache(store):
        apply = fleche(version=1)(returned)
        apply(shape(1), "a")
        given = shape(2)
        assert texts(apply.explain(given, "a")) == ["x.x: was 1, is 2"]
        key = apply.digest(shape(1), "a")
        shaped = fleche(version=1)(made_with_shape)
        shaped("b")
        key_of_shape = shaped.digest("b")
        del module.Shape
        [said] = texts(apply.explain("b", "a"))
        assert "x: is another value; the one of then cannot be read" in said
        told = shaped.explain("b")
        assert kinds(told) == ["result"]
        assert "cannot be read" in texts(told)[0]
        assert "Shape" in texts(told)[0]
        module.Shape = shape
        assert shaped.explain("b").hit
        record = store.calls.root / key
        if kind != "bagofholding_hdf":
            record.write_bytes(b"no pickle")
            told = apply.explain(shape(1), "a")
            assert kinds(told) == ["record"]
            assert f"evict {key}" in texts(told)[0]
            (store.calls.root / key).write_bytes((store.calls.root / key_of_shape).read_bytes())
            told = apply.explain(shape(1), "a")
            assert kinds(told) == ["record"]
            assert "the record of another call" in texts(told)[0]


def made_with_shape(x: Any) -> Any:
    return sys.modules["fleche_explained"].Shape(x)  # type: ignore[attr-defined]


def returned(x: Any, y: Any) -> Any:
    return [y, "result"]


def test_another_signature_key(tmp_path: Path) -> None:
    def signed(secret: str) -> BaseCache:
        storage = {"type": "pickle", "secret_key": [secret]}
        roots = {name: {"root": str(tmp_path / name), **storage} for name in ("values", "calls")}
        return cache_from_config(roots)

    with cache(signed("aa")):
        fit(1)
    with cache(signed("bb")):
        told = fit.explain(1)
        assert kinds(told) == ["record"]
        assert "signature" in texts(told)[0]


def test_stacks_and_pools(memory: Cache) -> None:
    first = memory_cache()
    fit(1)
    fit(2)
    memory.values.evict(memory.load(fit.digest(2))._result)
    for both in (CacheStack((first, memory)), CachePool((first, memory))):
        with cache(both):
            told = fit.explain(1)
            assert told.hit
            assert told.found is not None
            assert told.found.place == "cache 2 of 2"
            # Explaining copies nothing.
            assert first.query().empty()
            assert "its record is there in cache 2 of 2" in texts(fit.explain(2))[0]
            assert texts(fit.explain(3))[0] in ("data: was 1, is 3", "data: was 2, is 3")
            assert len(fit.explain(3).nearest) == 2
    with cache(CacheStack((first, memory))):
        fit(1)
        told = fit.explain(1)
        assert told.found is not None
        assert told.found.place == "cache 1 of 2"
        assert len(fit.explain(3).nearest) == 2


def test_views(memory: Cache) -> None:
    fit(1)
    with cache(memory.readonly()):
        assert fit.explain(1).hit
    with cache(memory.filter(lambda call: call.name != "fit")):
        assert kinds(fit.explain(1)) == ["hidden"]
    with cache(RefreshingCache(memory)):
        assert kinds(fit.explain(1)) == ["rerun"]
    with cache("void"):
        assert kinds(fit.explain(1)) == ["nothing"]


def test_older_calls(tmp_path: Path) -> None:
    store = cache_from_config({"template": "pickle", "root": str(tmp_path)})
    with cache(store):
        with scheme("sha256"):
            fit([0.5, "a"])
            key = fit.digest([0.5, "a"])
            fit("lost")
            store.values.evict(store.load(fit.digest("lost"))._result)
        told = fit.explain([0.5, "a"])
        assert told.hit
        assert told.found is not None
        assert (told.found.key, told.found.is_older) == (key, True)
        assert "another digest scheme" in repr(told)
        # It stays where it is.
        assert store.contains(key)
        assert not store.contains(told.key)
        told = fit.explain("lost")
        assert kinds(told) == ["older"]
        assert texts(told)[0].endswith("is not taken for it: its result is gone")
        # Another value of the same digest there.
        assert kinds(fit.explain([0.5, "b"]))[0] == "argument"
        with scheme("sha256"):
            fit(-1)
        told = fit.explain(-1.0)
        assert told.hit == fit.contains(-1.0)
        fit("new")
        with scheme("sha256"):
            assert "scheme" in kinds(fit.explain("new"))


def test_a_class_of_another_definition(held: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    values_held = held.values
    key = fit.call("a", lr=1.0)
    # As if "a" had been recorded when its class said something else.
    call = Call(key.name, {**key.arguments, "data": "a"}, {}, key.module, 1, None, result=[1])
    record = call.digest()
    record.arguments["data"] = digest("what it was then")
    values_held.save("a", record.arguments["data"])
    values_held.save([1], record.result)
    held.calls.save(record)
    assert kinds(fit.explain("a", lr=1.0)) == ["rule"]
    assert kinds(fit.explain("b", lr=1.0)) == ["argument", "rule"]


def test_a_default_without_a_digest_is_left_alone(memory: Cache) -> None:
    numbers = iter([1, 2])

    @fleche(hash_code=False)
    def f(x: int, source: Any = numbers) -> int:
        return x

    with scheme("sha256"):
        fit(1)
    f(1)
    assert "x: was 1, is 2" in texts(f.explain(2))
    assert f.explain(1).hit


def test_outcomes(held: Cache) -> None:
    @fleche(none=True, exceptions=ValueError)
    def solve(x: int) -> None:
        if x < 0:
            raise ValueError(x)

    solve(1)
    with pytest.raises(ValueError, match="-1"):
        solve(-1)
    assert solve.explain(1).hit
    assert solve.explain(-1).hit
    assert "x: was 1, is 2" in texts(solve.explain(2))


def test_methods_partials_and_coroutines(memory: Cache) -> None:
    import functools

    class Model:
        def __init__(self, size: int) -> None:
            self.size = size

        @fleche
        def fit(self, steps: int) -> int:
            return self.size * steps

        @fleche
        @classmethod
        def make(cls, size: int) -> int:
            return size

        @staticmethod
        @fleche
        def default(size: int) -> int:
            return size

    model = Model(1)
    model.fit(3)
    assert model.fit.explain(model, 3).hit
    assert texts(model.fit.explain(Model(2), 3)) == ["self.size: was 1, is 2"]
    Model.make(1)
    assert Model.make.explain(Model, 1).hit
    assert texts(Model.make.explain(Model, 2)) == ["size: was 1, is 2"]
    Model.default(1)
    assert model.default.explain(1).hit
    added = fleche(functools.partial(returned, 1))
    added(2)
    assert added.explain(2).hit
    assert texts(added.explain(3)) == ["y: was 2, is 3"]

    @fleche
    async def fetch(url: str) -> str:
        return url

    asyncio.run(fetch("a"))
    assert fetch.explain("a").hit
    assert texts(fetch.explain("b")) == ["url: was 'a', is 'b'"]


def test_a_function_with_a_parameter_of_that_name(memory: Cache) -> None:
    @fleche
    def f(explain: int = 0, calls: int = 0, **more: Any) -> int:
        return explain

    f(explain=1)
    assert f.explain(explain=1).hit
    assert texts(f.explain(explain=2)) == ["explain: was 1, is 2"]


def test_without_metadata(memory: Cache) -> None:
    with meta():
        fit(1)
    told = fit.explain(1)
    assert told.found is not None
    assert told.found.recorded is told.found.seconds is None
    assert repr(told) == f"fit: cached as {told.key[:8]}"
    assert texts(fit.explain(2)) == ["data: was 1, is 2"]


def test_nothing_runs_and_nothing_changes(held: Cache, caplog: Log) -> None:
    @fleche
    def f(x: Any) -> Any:
        ran.append(x)
        return x

    ran: list[Any] = []
    f([1])
    before = sorted(held.calls.list()), sorted(held.values.list())
    given = [2]
    with caplog.at_level(logging.INFO):
        f.explain([1])
        f.explain(given)
    assert ran == [[1]]
    assert given == [2]
    assert caplog.messages == []
    assert (sorted(held.calls.list()), sorted(held.values.list())) == before


def test_a_finder_of_somebody_else(memory: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def expired(lookup: explained.Lookup) -> Iterator[Reason]:
        yield Reason("unseen", f"{lookup.calls.name} expired")

    monkeypatch.setattr(explained, "FINDERS", [expired, *explained.FINDERS])
    assert texts(fit.explain(1)) == ["fit expired"]


def test_what_is_told_is_an_object_like_others(memory: Cache) -> None:
    fit([1.5])
    told = fit.explain([2.5])
    assert copy.copy(told) == told
    assert str(told.reasons[0]) == "data[0]: was 1.5, is 2.5"
    assert repr(told).splitlines()[0] == f"fit: not cached under {told.key[:8]}"
    assert repr(told).splitlines()[2] == "    data[0]: was 1.5, is 2.5"
    assert package.Explanation is type(told)
    assert pickle.loads(pickle.dumps(package.Explanation)) is type(told)


@given(values, values, st.booleans())
@settings(deadline=None)
def test_what_it_names_differs(stored: Any, given: Any, typed: bool) -> None:
    @fleche(hash_code=False, typed=typed)
    def f(x: Any) -> int:
        return 1

    with cache(memory_cache()):
        f(stored)
        told = f.explain(given)
        assert f.explain(stored).hit
        assert told.hit == f.contains(given)
        assert told.hit == (digest(stored, typed=typed) == digest(given, typed=typed))
        if not told.hit:
            assert told.reasons
            for each in told.reasons:
                assert (each.kind, "x" in each.path) == ("argument", True)
                # What looks alike has a note that says what differs.
                assert repr(each.stored) != repr(each.given) or "(" in each.text


CHANGES: dict[str, tuple[Any, Callable[[Any], Any], str]] = {
    "array": (np.ones((20, 5)), lambda x: x + np.eye(20, 5) * 1e-9, "data[0, 0]"),
    "frame": (
        pd.DataFrame({"a": [1, 2]}),
        lambda x: x.assign(a=[1, 3]),
        "data['a'].iloc[1]",
    ),
    "dtype": (np.ones(2), lambda x: x.astype("f4"), "data.dtype"),
    "index": (pd.Series([1, 2]), lambda x: x.set_axis([5, 6]), "data.index[0]"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_large_values(held: Cache, kind: str) -> None:
    value, change, path = CHANGES[kind]
    fit(value)
    assert fit.explain(value).hit
    assert fit.explain(change(value)).reasons[0].path == path
