"""What many threads and processes do to one store at once, and how it must look afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from fleche import cache, fleche
from fleche.caches import (
    BaseCache,
    Cache,
    CachePool,
    CacheStack,
    RefreshingCache,
    SizeLimitedCache,
)
from fleche.call import QueryCall
from fleche.config import cache_from_config
from fleche.digest import Digest

# Calls with numbers below `KEPT` are never evicted, the others are.
KEPT, NUMBERS = 12, 24


def argument(number: int) -> list[Any]:
    """An argument that shares values with those of other calls."""
    return [number, ["shared", number % 3], {"parity": [number % 2]}]


def expected(number: int) -> dict[str, Any]:
    return {"number": number, "list": [[number % 5, "child"], "x" * number, ["shared", number % 3]]}


@fleche
def compute(value):
    return expected(value[0])


def key_of(number: int) -> Digest:
    return compute.digest(argument(number))


class Worker:
    """Does one thing after the other to a store, each through a cache of some kind around it."""

    def __init__(self, store: BaseCache, number: int) -> None:
        self.store = store
        self.choose = random.Random(number)
        self.beside = cache_from_config({"template": "memory"})
        self.over: list[Callable[[], BaseCache]] = [
            lambda: store,
            lambda: CacheStack((cache_from_config({"template": "memory"}), store)),
            lambda: CacheStack((self.beside, store)),
            lambda: CacheStack((store, self.beside)),
            lambda: RefreshingCache(store),
            lambda: store.readonly(),
            lambda: CachePool((self.beside, store)),
            lambda: store.filter(lambda call: call.name == "compute"),
        ]

    def run(self, steps: int) -> set[int]:
        """Gives the numbers of the calls that were saved and never evicted."""
        saved = set()
        common = [self.call, self.call, self.call, self.evict, self.look, self.find]
        rare = [self.transfer_from, self.transfer_to]
        if isinstance(self.store, Cache):
            rare += [self.collect, self.redigest]
        for step in range(steps):
            if step % 10 == 9:
                rare[step // 10 % len(rare)]()
            number = self.choose.choice(common)()
            if number is not None and number < KEPT:
                saved.add(number)
        return saved

    def call(self) -> int | None:
        number = self.choose.randrange(NUMBERS)
        position = self.choose.randrange(len(self.over))
        with cache(self.over[position]()):
            assert compute(argument(number)) == expected(number)
        # Only the first ones save to the store, whether it was a hit or not.
        return number if position in (0, 3, 4) else None

    def evict(self) -> None:
        over = self.choose.choice(self.over[:5])()
        over.evict(key_of(self.choose.randrange(KEPT, NUMBERS)))

    def look(self) -> None:
        number = self.choose.randrange(NUMBERS)
        over = self.choose.choice(self.over)()
        key = key_of(number)
        assert over.expand(key) == key
        over.contains(key)
        try:
            call = over.load(key)
            self.check(call, number)
        except KeyError:
            # Evicted, or not there yet; or it is the one that always misses.
            pass

    def find(self) -> None:
        for call in self.store.query(QueryCall(name="compute")):
            try:
                number = call.result["number"]
                self.check(call, number)
            except KeyError:
                # Evicted, and its values collected, since it was found.
                assert not self.is_kept(call)

    def check(self, call: Any, number: int) -> None:
        assert call.result == expected(number)
        value = call.arguments["value"]
        if value != argument(number):
            assert number >= KEPT, "the argument of a call that is never evicted is gone"

    def is_kept(self, call: Any) -> bool:
        return call.to_lookup_key() in {key_of(number) for number in range(KEPT)}

    def collect(self) -> None:
        assert isinstance(self.store, Cache)
        self.store.gc()

    def redigest(self) -> None:
        assert isinstance(self.store, Cache)
        self.store.redigest()

    def transfer_from(self) -> None:
        self.store.query(QueryCall(name="compute")).transfer(self.beside)

    def transfer_to(self) -> None:
        other = cache_from_config({"template": "memory"})
        with cache(other):
            for number in range(0, NUMBERS, 5):
                compute(argument(number))
        other.transfer(self.store, overwrite=self.choose.random() < 0.5)


def check_record_by_record(store: Cache, saved: set[int]) -> None:
    """Every record is whole, every call that was saved is there, and nothing but garbage goes."""
    for _ in range(2):
        found = {}
        for call in store.query():
            number = call.result["number"]
            assert call.to_lookup_key() == key_of(number)
            assert call.result == expected(number)
            assert call.arguments["value"] == argument(number)
            found[number] = call
        assert saved <= set(found)
        assert len(found) == len(list(store.calls.list()))
        store.gc()
    assert store.gc() == set()


def limited(store: Cache, size: int) -> SizeLimitedCache:
    return SizeLimitedCache(store.values, store.calls, size)


def in_process(config: dict[str, Any], number: int, steps: int) -> set[int]:
    """A process's work; it opens the store itself."""
    store = cache_from_config(config)
    assert isinstance(store, Cache)
    return Worker(store, number).run(steps)


def in_process_limited(config: dict[str, Any], size: int, begin: int, count: int) -> None:
    """Save calls into a store that holds a limited number of them."""
    store = cache_from_config(config)
    assert isinstance(store, Cache)
    fill(limited(store, size), begin, count)


def fill(store: BaseCache, begin: int, count: int) -> None:
    with cache(store):
        for number in range(begin, begin + count):
            assert compute(argument(number)) == expected(number)


@fleche
def square(number):
    return number * number
