"""`Cache.gc` beside calls that run: no record loses a value that it names."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import BaseCache, Cache, CacheStack
from fleche.call import Call, DigestedCall, QueryCall
from fleche.config import cache_from_config
from fleche.digest import Digest, digest
from fleche.storage import CallMemory, ValueMemory


def in_memory(folder: Path) -> Callable[[], Cache]:
    pair = Cache(ValueMemory({}), CallMemory({}))
    return lambda: pair


def of_template(template: str) -> Callable[[Path], Callable[[], Cache]]:
    def at(folder: Path) -> Callable[[], Cache]:
        config = {"template": template, "root": str(folder)}
        return lambda: cache_from_config(config)  # type: ignore[return-value]

    return at


KINDS = {
    "memory": in_memory,
    "pickle": of_template("pickle"),
    "sql": of_template("sql"),
    "sqlite": of_template("sqlite"),
    "bagofholding_hdf": of_template("bagofholding_hdf"),
}


@pytest.fixture(params=KINDS)
def opened(request, tmp_path) -> Callable[[], Cache]:
    """Opens one cache, again and again."""
    return KINDS[request.param](tmp_path)


class Halfway:
    """A decorated function that stops in the middle of its body until it is told to go on."""

    def __init__(self, body: Callable[[Any], Any] = lambda values: len(values)) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

        @fleche(hash_code=False)
        def function(values):
            self.begun.set()
            assert self.go_on.wait(60)
            return body(values)

        self.function = function

    def run_beside(self, active: BaseCache, argument: Any, collect: Callable[[], Any]) -> Any:
        """Call the function, and `collect` while its body runs."""

        def call() -> Any:
            with cache(active):
                return self.function(argument)

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(call)
            assert self.begun.wait(60)
            try:
                collect()
            finally:
                self.go_on.set()
            return running.result()


ARGUMENT = [["a", "list"], ["of", "lists"]]


def the_call_is_whole(store: Cache) -> None:
    (call,) = store.query()
    assert call.arguments["values"] == ARGUMENT
    assert call.result == 2


def test_values_of_a_call_that_runs_are_no_garbage(opened):
    store = opened()
    halfway = Halfway()
    collected = []
    halfway.run_beside(store, ARGUMENT, lambda: collected.append(store.gc()))
    assert collected == [set()]
    the_call_is_whole(store)
    assert store.gc() == set()


def test_a_stack_keeps_the_values_of_its_calls(opened):
    store = opened()
    stack = CacheStack((store, cache_from_config({"template": "memory"})))
    Halfway().run_beside(stack, ARGUMENT, lambda: store.gc())
    the_call_is_whole(store)


@pytest.mark.parametrize("opened", [k for k in KINDS if k != "memory"], indirect=True)
def test_values_of_calls_elsewhere_are_stored_again(opened):
    # Another storage on the same folder knows as little of the call as another process does.
    store, elsewhere = opened(), opened()
    Halfway().run_beside(store, ARGUMENT, elsewhere.gc)
    the_call_is_whole(store)


def test_values_of_prepared_calls_are_stored_again(tmp_path):
    open_store = of_template("pickle")(tmp_path)
    store = open_store()
    prepared = store.prepare(Call("f", {"values": ARGUMENT}))
    assert open_store().gc() != set()
    prepared.commit(2)
    the_call_is_whole(store)


def test_an_argument_that_the_body_changed_is_known_by_its_digest(tmp_path, caplog):
    open_store = of_template("pickle")(tmp_path)
    store = open_store()
    halfway = Halfway(lambda values: values.append(3) or 2)
    with caplog.at_level(logging.WARNING):
        assert halfway.run_beside(store, [1, 2], open_store().gc) == 2
    (call,) = store.query()
    assert call.arguments["values"] == digest([1, 2])
    assert isinstance(call.arguments["values"], Digest)
    assert "'values'" in caplog.text
    with cache(store):
        assert halfway.function([1, 2]) == 2


def test_what_an_abandoned_call_stored_is_garbage(opened):
    store = opened()
    with store.prepare(Call("f", {"values": ARGUMENT})):
        assert store.gc() == set()
    assert digest(ARGUMENT) in store.gc()
    assert store.query().empty()


def test_what_a_call_that_failed_stored_is_garbage(opened):
    @fleche
    def fails(values):
        raise LookupError("no result")

    store = opened()
    with cache(store), pytest.raises(LookupError, match="no result"):
        fails(ARGUMENT)
    # One database stores arguments together with the record, if there is one.
    stored = store.values.contains(digest(ARGUMENT))
    assert (digest(ARGUMENT) in store.gc()) == stored
    assert not store.values.contains(digest(ARGUMENT))


def test_collections_at_once(opened):
    store = opened()
    kept = store.save(Call("f", {"values": ARGUMENT}, result=2))
    for number in range(20):
        store.evict(store.save(Call("f", {"values": [number]}, result=number)))
    with ThreadPoolExecutor(4) as pool:
        collected = [pool.submit(store.gc) for _ in range(4)]
        found = set().union(*(each.result() for each in collected))
    assert digest([7]) in found
    the_call_is_whole(store)
    assert store.contains(kept)


def test_others_wait_only_while_new_values_are_looked_into(monkeypatch):
    store = Cache(ValueMemory({}), CallMemory({}))
    for number in range(5):
        store.save(Call("f", {"values": [[number]]}, result=[number]))
    store.evict(store.save(Call("f", {"values": ["garbage"]}, result=1)))
    looked_into = []
    child_digests = ValueMemory.child_digests
    monkeypatch.setattr(
        ValueMemory,
        "child_digests",
        lambda self, key: looked_into.append(key) or child_digests(self, key),
    )
    assert store.gc()
    assert len(looked_into) == len(set(looked_into))


def test_a_record_that_is_saved_anew_between_two_looks() -> None:
    """It was evicted when it was loaded, and is there again when it is asked for."""

    class Flickering(CallMemory):
        def query(self, template: QueryCall) -> Iterator[DigestedCall]:
            return iter(())

        def load(self, key: Digest | str) -> DigestedCall:
            looks.append(key)
            if len(looks) == 1:
                raise KeyError(key)
            return super().load(key)

    looks: list[Digest | str] = []
    cache = Cache(ValueMemory({}), Flickering({}))
    cache.save(Call("f", {"x": [1, 2]}, {}, "m", 1, result=[3]))
    garbage = cache.values.save("garbage")
    assert cache.gc() == {garbage}
