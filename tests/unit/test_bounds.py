"""Limits of bytes, age and number, against a simple model of each policy."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleche import cache, fleche
from fleche.caches import BoundedCache, Cache, SizeLimitedCache
from fleche.caches.bounds import keeper as keepers
from fleche.caches.bounds import victims as victims_of
from fleche.call import Call
from fleche.config import cache_from_config, cache_to_config
from fleche.digest import Digest

POLICIES = ("oldest", "lru", "lfu", "cheapest")
KINDS = ("memory", "pickle", "sql")


def config(kind: str, folder: Path, **limits: Any) -> dict[str, Any]:
    if kind == "memory":
        return {"template": "memory", **limits}
    more = {"values": "pickle"} if kind == "sql" else {}
    return {"template": kind, "root": str(folder), **more, **limits}


def bounded(kind: str, folder: Path, **limits: Any) -> BoundedCache:
    made = cache_from_config(config(kind, folder, **limits))
    assert isinstance(made, BoundedCache)
    return made


def call_of(function: int, number: int, shared: int, seconds: float) -> Call:
    """A call with an argument of its own, and one that others have, too."""
    return Call(
        f"f{function}",
        {"x": f"argument {function} {number} " * 20, "y": f"shared {shared} " * (20 + 100 * shared)},
        metadata={"runtime": {"walltime": seconds, "timestop": 1e9 + number}},
        module="of_tests",
        result=f"result {function} {number} " * (10 + number),
    )


class Model:
    """What a cache holds, told in the simplest way."""

    def __init__(self, rules: victims_of.Rules, now: Callable[[], float]) -> None:
        self.rules, self.now = rules, now
        self.calls: dict[Digest, dict[str, Any]] = {}
        self.uses: dict[Digest, int] = {}
        self.ticks = itertools.count()
        self.evicted: set[Digest] = set()

    def save(self, key: Digest, call: Call, size: int, needs: dict[Digest, int]) -> None:
        seconds = call.metadata["runtime"]["walltime"]
        self.calls.pop(key, None)
        self.uses.setdefault(key, 0)
        self.calls[key] = {
            "saved": self.now(),
            "used": next(self.ticks),
            "function": f"of_tests.{call.name}",
            "seconds": seconds,
            "size": size,
            "needs": needs,
        }
        for name, limits in self.rules.functions.items():
            self._keep(limits, {name}, key)
        self._keep(self.rules.limits, None, key)

    def hit(self, key: Digest) -> None:
        if key in self.calls:
            self.calls[key]["used"] = next(self.ticks)
            self.uses[key] += 1

    def evict(self, key: Digest) -> None:
        self.calls.pop(key, None)
        self.uses.pop(key, None)

    def _chosen(self, functions: set[str] | None) -> dict[Digest, dict[str, Any]]:
        return {
            key: call
            for key, call in self.calls.items()
            if functions is None or call["function"] in functions
        }

    def bytes(self, functions: set[str] | None = None) -> int:
        calls = self._chosen(functions).values()
        held: dict[Digest, int] = {}
        for call in calls:
            held |= call["needs"]
        return sum(call["size"] for call in calls) + sum(held.values())

    def _keep(self, limits: Any, functions: set[str] | None, saved: Digest) -> None:
        def of() -> dict[Digest, dict[str, Any]]:
            return self._chosen(functions)

        def others() -> list[Digest]:
            return [key for key in of() if key != saved]

        if limits.max_age is not None:
            for key in others():
                if self.calls[key]["saved"] < self.now() - limits.max_age:
                    self.evict(key)
        while others() and (
            (limits.max_size is not None and len(of()) > limits.max_size)
            or (limits.max_bytes is not None and self.bytes(functions) > limits.max_bytes)
        ):
            self.evict(min(others(), key=self._place))

    def _place(self, key: Digest) -> Any:
        call = self.calls[key]
        policy = self.rules.policy
        if policy == "oldest":
            return list(self.calls).index(key)
        if policy == "lru":
            return call["used"]
        if policy == "lfu":
            return self.uses[key], call["used"]
        free = call["size"]
        for value, size in call["needs"].items():
            if not any(value in self.calls[each]["needs"] for each in self.calls if each != key):
                free += size
        return call["seconds"] / free, list(self.calls).index(key)

    def values(self) -> set[Digest]:
        return {value for call in self.calls.values() for value in call["needs"]}


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("save"),
            st.integers(0, 1),
            st.integers(0, 9),
            st.integers(0, 2),
            st.sampled_from([0.5, 1.0, 10.0, 100.0]),
        ),
        st.tuples(st.just("hit"), st.integers(0, 30)),
        st.tuples(st.just("evict"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 50.0])),
        st.tuples(st.just("other"), st.integers(0, 0)),
    ),
    max_size=30,
)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "max_bytes": st.sampled_from([1000, 5000, 12000]),
        "max_age": st.sampled_from([60.0]),
        "max_size": st.integers(1, 6),
    },
)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_cache_holds_what_a_simple_model_holds(kind: str, data: st.DataObject) -> None:
    policy = data.draw(st.sampled_from(POLICIES))
    limits = data.draw(LIMITS)
    functions = data.draw(st.dictionaries(st.sampled_from(["of_tests.f0", "of_tests.f1"]), LIMITS))
    clock = [1e9]
    with pytest.MonkeyPatch.context() as patched, tempfile.TemporaryDirectory() as folder:
        patched.setattr(victims_of.time, "time", lambda: clock[0])

        def opened() -> BoundedCache:
            return bounded(kind, Path(folder), **limits, functions=functions, evict=policy)

        made = opened()
        model = Model(made._keeper.rules, lambda: clock[0])
        for step in data.draw(STEPS):
            keys = sorted(model.uses)
            if step[0] == "save":
                call = call_of(*step[1:])
                sizes: dict[str, Any] = {}
                real = made._keeper._reader.needs.of

                def of(*given: Any, real: Any = real, sizes: Any = sizes) -> Any:
                    entry = real(*given)
                    sizes[given[0]] = entry
                    return entry

                made._keeper._reader.needs.of = of  # type: ignore[method-assign]
                key = made.save(call)
                made._keeper._reader.needs.of = real  # type: ignore[method-assign]
                entry = sizes[key]
                needs = {Digest(each.hex()): size for each, size in entry.needs.items()}
                model.save(key, call, entry.bytes, needs)
                # Values go with the last call that needs them.
                assert {*made.values.list()} == model.values()
            elif step[0] == "hit" and keys:
                key = keys[step[1] % len(keys)]
                if key in model.calls:
                    _ = made.load(key).result
                    if policy in ("lru", "lfu"):
                        model.hit(key)
            elif step[0] == "evict" and keys:
                key = keys[step[1] % len(keys)]
                made.evict(key)
                model.evict(key)
            elif step[0] == "wait":
                clock[0] += step[1]
            elif step[0] == "other" and kind != "memory":
                # Another process, as far as the account is concerned.
                made._keeper.flush()
                made = opened()
            assert {*made.calls.list()} == set(model.calls), step
        for key in made.calls.list():
            call = made.load(key)
            assert call.result.startswith("result")
            assert call.arguments["y"].startswith("shared")
