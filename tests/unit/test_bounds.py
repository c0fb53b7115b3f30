"""Limits of bytes, age and number, against a simple model of each policy."""

from __future__ import annotations

import itertools
import math
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleche import cache, fleche
from fleche.auditing import verify
from fleche.caches import BoundedCache, Cache, SizeLimitedCache
from fleche.caches.bounds import keeper as keepers
from fleche.caches.bounds import victims as victims_of
from fleche.call import Call
from fleche.config import cache_from_config, cache_to_config
from fleche.digest import Digest

POLICIES = ("oldest", "lru", "lfu", "cheapest")
KINDS = ("memory", "pickle", "sql", "sqlite")


@pytest.fixture(autouse=True, scope="module")
def _enough_time() -> Iterator[None]:
    """A step is as long as it takes, on a machine that does other things, too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(keepers, "_BUDGET", math.inf)
        patched.setattr(keepers, "_PATIENCE", 60.0)
        yield


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
        {
            "x": f"argument {function} {number} " * 20,
            "y": f"shared {shared} " * (20 + 100 * shared),
        },
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
            "saved": min(call.metadata["runtime"]["timestop"], self.now()),
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
@settings(max_examples=25, deadline=None)
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


LOWERED = st.sampled_from([{"max_bytes": 9000}, {"max_size": 3}, {"max_bytes": 1}, {"max_age": 5}])


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_a_plan_tells_what_goes(kind: str, data: st.DataObject) -> None:
    policy = data.draw(st.sampled_from(POLICIES))
    lowered = data.draw(LOWERED)
    with tempfile.TemporaryDirectory() as folder:
        made = bounded(kind, Path(folder), evict=policy)
        for function, number, shared in data.draw(
            st.lists(st.tuples(*map(st.integers, (0, 0, 0), (1, 9, 2))), max_size=12)
        ):
            made.save(call_of(function, number, shared, number + 1.0))
        before, values = {*made.calls.list()}, {*made.values.list()}
        plan = made.plan(**lowered)
        assert {*made.calls.list()} == before
        # A pair without an account tells the same.
        assert Cache(made.values, made.calls).plan(**lowered, evict=policy).bytes == plan.bytes
        lower = BoundedCache(made.values, made.calls, policy=policy, **lowered)
        lower.enforce()
        assert before - {*lower.calls.list()} == {each.key for each in plan.calls}
        assert plan.stays == len([*lower.calls.list()])
        assert lower.plan(max_bytes=0).bytes == plan.stays_bytes
        assert sum(each.bytes for each in plan.calls) == plan.bytes
        if plan.stays:
            assert {*lower.values.list()} < values or not plan.calls
        assert lower.gc() == set()


def test_the_call_that_was_just_saved_stays(tmp_path: Path) -> None:
    for policy in POLICIES:
        made = bounded("pickle", tmp_path / policy, max_bytes=10, evict=policy)
        for number in range(3):
            key = made.save(call_of(0, number, 0, 0.0))
            assert [*made.calls.list()] == [key]
            assert made.load(key).result


@pytest.mark.parametrize("kind", KINDS)
def test_the_arguments_of_a_call_that_runs_stay(kind: str, tmp_path: Path) -> None:
    made = bounded(kind, tmp_path, max_size=1, evict="oldest")

    @fleche
    def outer(x: list[str]) -> str:
        return "".join(inner([each, each]) for each in x)

    @fleche
    def inner(x: list[str]) -> str:
        return x[0] * 10

    with cache(made):
        given = ["one" * 100, "two" * 100, "three" * 100]
        expected = outer(given)
        [call] = made.query()
        assert (call.name.rpartition(".")[2], call.result) == ("outer", expected)
        assert call.arguments["x"] == given


@pytest.mark.parametrize("kind", KINDS)
def test_records_can_stay_when_their_values_go(kind: str, tmp_path: Path) -> None:
    made = bounded(kind, tmp_path, max_size=2, keep_records=True)
    runs = []

    @fleche
    def double(x: str) -> str:
        runs.append(x)
        return x * 2

    with cache(made):
        for letter in "abc":
            double(letter * 500)
        assert made.query().count() == 3
        assert len(made.table()) == 3
        assert sorted(made.query().results()) == ["b" * 1000, "c" * 1000]
        gone = made.load(double.digest("a" * 500))
        assert gone.metadata["runtime"]["walltime"] >= 0
        with pytest.raises(KeyError):
            _ = gone.result
        explained = double.explain("a" * 500)
        assert [reason.kind for reason in explained.reasons] == ["limit"]
        assert "max_size = 2" in str(explained)
        assert "record is kept" in str(explained)
        # It was meant so.
        assert not verify(made).problems
        # Asked for, it is computed again, and stored again.
        assert double("a" * 500) == "a" * 1000
        assert double("a" * 500) == "a" * 1000
        assert runs == [letter * 500 for letter in "abca"]
        assert sorted(made.query().results()) == ["a" * 1000, "c" * 1000]
        assert made.query().count() == 3


def test_explain_tells_of_a_limit(tmp_path: Path) -> None:
    @fleche
    def double(x: str) -> str:
        return x * 2

    with cache(bounded("pickle", tmp_path, max_bytes="2kB")):
        double("a" * 500)
        double("b" * 500)
        assert double.explain("b" * 500).hit
        [first, *_] = double.explain("a" * 500).reasons
        assert first.kind == "limit"
        assert "a limit evicted it" in first.text
        assert "max_bytes = 2000" in first.text
        assert [each.kind for each in double.explain("c" * 500).reasons] != ["limit"]


def test_what_it_costs_counts_what_is_gone_below(tmp_path: Path) -> None:
    made = bounded("pickle", tmp_path, evict="cheapest", max_size=9)

    def call(name: str, given: Any, result: Any, seconds: float) -> Digest:
        runtime = {"runtime": {"walltime": seconds, "timestop": 1e9}}
        return made.save(Call(name, {"x": given}, metadata=runtime, result=result))

    raw, clean = "raw data " * 100, "clean data " * 10
    load = call("load", "measurements.csv", raw, 50.0)
    tidy = call("tidy", raw, clean, 2.0)
    call("other", "something else", "another result " * 10, 5.0)
    assert [each.function for each in made.plan(max_bytes=0).calls] == ["tidy", "other", "load"]
    assert made.plan(max_bytes=0).seconds == 57.0
    made.evict(load)
    # Now it takes more, as what it was given has to be computed again, too.
    plan = made.plan(max_bytes=0)
    assert [each.function for each in plan.calls] == ["other", "tidy"]
    assert [each.seconds for each in plan.calls] == [5.0, 52.0]
    assert plan.seconds == 57.0
    call("load", "measurements.csv", raw, 50.0)
    assert [each.function for each in made.plan(max_bytes=0).calls] == ["tidy", "other", "load"]
    assert [each.seconds for each in made.plan(max_size=2).calls] == [2.0]
    assert tidy == made.plan(max_size=2).calls[0].key


# Stores that others use, too


def whole(made: Cache) -> None:
    """Every call of a cache can be read, and nothing else is there."""
    for call in made.query():
        fetched = call.fetch()
        assert fetched.result is not None
        assert not any(type(value) is Digest for value in fetched.arguments.values())


@pytest.mark.parametrize("kind", ["pickle", "sql"])
def test_what_others_saved_is_accounted_for(kind: str, tmp_path: Path) -> None:
    made = bounded(kind, tmp_path, max_size=4, evict="oldest")
    plain = cache_from_config(config(kind, tmp_path))
    for number in range(3):
        made.save(call_of(0, number, 0, 1.0))
    theirs = [plain.save(call_of(1, number, 0, 1.0)) for number in range(6)]
    kept = made.save(call_of(0, 9, 0, 1.0))
    assert {*made.calls.list()} == {*theirs[-3:], kept}
    whole(made)
    assert made.gc() == set()
    plain.evict(theirs[-1])
    if kind == "sql":
        # Rows that are gone are found when a process begins.
        made = bounded(kind, tmp_path, max_size=4, evict="oldest")
    made.save(call_of(0, 10, 0, 1.0))
    assert len([*made.calls.list()]) == 4


@pytest.mark.parametrize("kind", ["pickle", "sql"])
def test_an_account_that_is_gone_or_damaged_is_made_again(kind: str, tmp_path: Path) -> None:
    def opened() -> BoundedCache:
        return bounded(kind, tmp_path, max_size=5, evict="oldest")

    keys = [opened().save(call_of(0, number, number % 2, 1.0)) for number in range(5)]
    path = opened()._keeper.path
    assert path is not None
    for damage in (
        path.unlink,
        lambda: path.write_bytes(b"no database at all"),
        lambda: path.write_bytes(path.read_bytes()[:5000]),
    ):
        damage()
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        made = opened()
        keys = [*keys[1:], made.save(call_of(0, len(keys) + int(keys[-1], 16) % 1000, 0, 1.0))]
        assert {*made.calls.list()} == set(keys)
        whole(made)
        assert made.gc() == set()


def test_an_account_knows_what_other_programs_did_to_a_folder(tmp_path: Path) -> None:
    made = bounded("pickle", tmp_path / "one", max_size=3, evict="oldest")
    first = [made.save(call_of(0, number, 0, 1.0)) for number in range(2)]
    other = cache_from_config(config("pickle", tmp_path / "two"))
    copied = other.save(call_of(1, 0, 0, 1.0))
    for part in ("calls", "values"):
        for file in (tmp_path / "two" / part).iterdir():
            if not file.name.startswith("."):
                shutil.copy(file, tmp_path / "one" / part)
    (tmp_path / "one" / "calls" / first[0]).unlink()
    made = bounded("pickle", tmp_path / "one", max_size=2, evict="oldest")
    last = made.save(call_of(0, 5, 0, 1.0))
    assert {*made.calls.list()} <= {first[1], copied, last}
    assert len([*made.calls.list()]) == 2
    whole(made)


def test_values_that_other_caches_need_stay(tmp_path: Path) -> None:
    values = {"type": "pickle", "root": str(tmp_path / "values")}
    calls = [{"type": "pickle", "root": str(tmp_path / f"calls{number}")} for number in range(2)]
    made = cache_from_config({"values": values, "calls": calls[0], "max_size": 1, "evict": "lru"})
    made.save(call_of(0, 0, 0, 1.0))
    made.save(call_of(0, 1, 0, 1.0))
    assert len(made.values.list()) == 3
    other = cache_from_config({"values": values, "calls": calls[1]})
    key = other.save(call_of(0, 1, 0, 1.0))
    made.save(call_of(0, 2, 1, 1.0))
    assert made.query().count() == 1
    # They belong to both, and go by `gc`.
    assert other.load(key).fetch().arguments["y"].startswith("shared")
    assert made.gc() == set()
    other.evict(key)
    assert len(made.gc()) == 3


_WRITER = """
import contextlib
import sys
from tests.unit.test_bounds import bounded, call_of
kind, folder, policy, start = sys.argv[1:]
made = bounded(kind, folder, max_size=8, evict=policy)
for number in range(int(start), int(start) + 40):
    key = made.save(call_of(0, number % 60, number % 3, number % 7))
    print(number, flush=True)
    with contextlib.suppress(KeyError):  # Evicted by the other one.
        made.load(key).result
"""


@pytest.mark.parametrize(("kind", "policy"), [("pickle", "lru"), ("sql", "cheapest")])
def test_several_processes_keep_one_cache_in_bounds(kind: str, policy: str, tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, kind, tmp_path, policy, str(start)])
        for start in (0, 20)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    made = bounded(kind, tmp_path, max_size=8, evict=policy)
    made.save(call_of(0, 99, 0, 1.0))
    assert made.query().count() == 8
    whole(made)
    assert made.gc() == set()


def test_a_process_that_is_killed_loses_no_result(tmp_path: Path) -> None:
    for saves in (3, 12, 20):
        command = [sys.executable, "-c", _WRITER, "pickle", tmp_path, "oldest", str(saves)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(saves):
                assert writer.stdout.readline()
            writer.kill()
    made = bounded("pickle", tmp_path, max_size=8, evict="oldest")
    for number in range(9):
        made.save(call_of(1, number, number % 3, 1.0))
    assert made.query().count() == 8
    whole(made)


# How it is written


def test_limits_are_read_from_a_configuration_and_written_to_one(tmp_path: Path) -> None:
    functions = {"lab.relax": {"max_bytes": "50GB", "max_age": "1y"}, "lab.scan": {"max_size": 3}}
    given = config("pickle", tmp_path, max_bytes="200 GB", max_age="90d", functions=functions)
    made = cache_from_config({**given, "evict": "cheapest", "keep_records": True})
    assert isinstance(made, BoundedCache)
    assert (made.max_bytes, made.max_age, made.policy) == (200 * 10**9, 90 * 86400.0, "cheapest")
    written = cache_to_config(made)
    assert isinstance(written, dict)
    assert cache_from_config(written) == made
    assert cache_to_config(cache_from_config(written)) == written
    assert pickle.loads(pickle.dumps(made)) == made
    assert type(cache_from_config(config("pickle", tmp_path, max_size=3))) is SizeLimitedCache


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_bytes": "lots"}, "key 'max_bytes' of a cache must be a number of bytes"),
        ({"max_bytes": -1}, "key 'max_bytes'"),
        ({"max_bytes": True}, "key 'max_bytes'"),
        ({"max_age": "soon"}, "key 'max_age' of a cache must be a time"),
        ({"max_size": 0}, "key 'max_size' of a cache must be an integer of at least 1"),
        ({"evict": "newest"}, "key 'evict' of a cache must be one of 'oldest'"),
        ({"keep_records": 1}, "key 'keep_records'"),
        ({"functions": {"f": {"max_byte": 1}}}, "functions.'f': unknown key 'max_byte'"),
        ({"functions": {"f": 3}}, "functions.'f': expected a table"),
        ({"functions": {"f": {"max_size": "3"}}}, "functions.'f': key 'max_size'"),
    ],
)
def test_mistakes_in_limits_are_told(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        cache_from_config({"template": "memory", **wrong})


STORED = [
    {"type": "pickle"},
    {"type": "pickle", "compress": "gzip"},
    {"type": "pickle", "compress": "zstd"},
    {"type": "dill"},
    {"type": "cbor"},
    {"type": "cbor", "compress": "zstd"},
    {"type": "bagofholding_hdf"},
    {"type": "bucket"},
]


@pytest.mark.parametrize("stored", STORED, ids=lambda given: " ".join(given.values()))
def test_parts_that_others_need_stay(stored: dict[str, str], tmp_path: Path) -> None:
    """Also those of values whose list of parts is itself long."""
    place = "url" if stored["type"] == "bucket" else "root"
    root = (tmp_path / "values").as_uri() if place == "url" else str(tmp_path / "values")
    number = 100 if stored["type"] == "bagofholding_hdf" else 1100
    shared = [f"{n:05d}" * 60 for n in range(number)]
    held = cache_from_config(
        {
            "values": {**stored, place: root},
            "calls": {"type": "pickle", "root": str(tmp_path / "calls")},
            "max_size": 1,
            "max_bytes": "1GB",
        }
    )
    for x in (1, 2):
        held.save(Call("f", {"x": x}, result=[*shared, f"{x}" * 300]))
    held.enforce()
    (key,) = held.calls.list()
    assert held.gc() == set()
    assert held.load(key).result == [*shared, "2" * 300]
    # All parts of the one that stays, and none of the one that went.
    assert len(list(held.values.list())) == len(shared) + 3
