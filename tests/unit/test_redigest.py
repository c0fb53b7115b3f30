"""`Cache.redigest` moves a store to the digest scheme in force, in both directions."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import Cache, SizeLimitedCache
from fleche.call import Call
from fleche.digest import Digest, digest
from fleche.storage import (
    CallBagOfHoldingH5File,
    CallMemory,
    CallPickleFile,
    SaveError,
    Sql,
    ValueBagOfHoldingH5File,
    ValueMemory,
    ValuePickleFile,
)
from tests.unit.schemes import scheme

KINDS: dict[str, Callable[[Path], Cache]] = {
    "memory": lambda folder: Cache(ValueMemory({}), CallMemory({})),
    "pickle": lambda folder: Cache(
        ValuePickleFile(folder / "values"), CallPickleFile(folder / "calls")
    ),
    "signed": lambda folder: Cache(
        ValuePickleFile(folder / "values", secret_key=b"key", compress=True),
        CallPickleFile(folder / "calls", secret_key=b"key"),
    ),
    "sqlite": lambda folder: Cache(
        ValuePickleFile(folder / "values"), Sql(str(folder / "calls.db"))
    ),
    "bag": lambda folder: Cache(
        ValueBagOfHoldingH5File(folder / "values"), CallBagOfHoldingH5File(folder / "calls")
    ),
    "bags of several": lambda folder: Cache(
        ValueBagOfHoldingH5File(folder / "values", None, 2),
        CallBagOfHoldingH5File(folder / "calls", None, 2),
    ),
}
ARGUMENTS: list[Any] = [1, -1.0, "text", [1, {"k": [2.5, None]}], ({"a": 1, "b": (2, 3)},)]
SCHEMES = [("sha256", "exact"), ("exact", "sha256")]


@pytest.fixture(params=KINDS)
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    return KINDS[request.param](tmp_path)


class Work:
    """A cached function, and how often it ran."""

    def __init__(self, **options: Any) -> None:
        self.ran: list[Any] = []

        def work(x: Any) -> Any:
            self.ran.append(x)
            # Equal, but not the same: scheme `sha256` forgets what is.
            return {"of": x, "rows": [[copy.deepcopy(x), 1], [copy.deepcopy(x), 2]]}

        # By name: the digest of its code cannot be computed anew.
        self.call = fleche(**{"hash_code": False, **options})(work)

    def run(self, held: Cache) -> None:
        with cache(held):
            for x in ARGUMENTS:
                assert self.call(x) == {"of": x, "rows": [[x, 1], [x, 2]]}


def keys(held: Cache) -> set[Digest]:
    return set(held.calls.list())


def marks(held: Cache) -> set[str]:
    return {name for name in ("exact", "sha256") if held.calls._may_hold(name)}


@pytest.mark.parametrize(("before", "after"), SCHEMES, ids="-to-".join)
def test_every_call_hits_afterwards(held: Cache, before: str, after: str) -> None:
    work = Work()
    with scheme(before):
        work.run(held)
    metadata = {call.arguments["x"].__repr__(): call.metadata for call in held.query()}
    old = keys(held)
    with scheme(after):
        held.redigest()
        assert marks(held) == {after}
        assert not keys(held) & old
        with cache(held):
            assert keys(held) == {work.call.digest(x) for x in ARGUMENTS}
        work.run(held)
        assert {call.arguments["x"].__repr__(): call.metadata for call in held.query()} == metadata
        for call in held.query():
            record = call.detach()
            assert record.result == digest(call.result, typed=True)
            assert record.arguments == {"x": digest(call.arguments["x"])}
    assert work.ran == ARGUMENTS


@pytest.mark.parametrize(("before", "after"), SCHEMES, ids="-to-".join)
def test_nothing_of_the_old_scheme_is_left_after_gc(held: Cache, before: str, after: str) -> None:
    work = Work()
    with scheme(before):
        work.run(held)
    with scheme(after):
        held.redigest()
        held.gc()
        new = set(held.values.list())
        work.run(held)
        assert work.ran == ARGUMENTS
        fresh = Cache(ValueMemory({}), CallMemory({}))
        work.run(fresh)
        assert new == set(fresh.values.list())


def test_there_and_back(held: Cache) -> None:
    work = Work()
    work.run(held)
    before = keys(held)
    with scheme("sha256"):
        held.redigest()
    held.redigest()
    assert keys(held) == before
    work.run(held)
    assert work.ran == ARGUMENTS


def test_what_is_of_the_scheme_already_stays(held: Cache) -> None:
    work = Work()
    work.run(held)
    before = keys(held), set(held.values.list())
    held.redigest()
    assert (keys(held), set(held.values.list())) == before


def test_a_call_that_was_filed_anew_already_is_left_alone(held: Cache) -> None:
    work = Work()
    with scheme("sha256"):
        work.run(held)
        (record,) = held.query(arguments={"x": "text"})
        record = record.detach()
    with cache(held):
        work.call("text")
        today = work.call.digest("text")
    # As if it had been stopped before the old record went.
    if isinstance(held.calls, CallMemory | CallPickleFile):
        with scheme("sha256"):
            held.calls.save(record)
        assert len(keys(held)) == len(ARGUMENTS) + 1
    newer = held.load(today).detach()
    held.redigest()
    assert len(keys(held)) == len(ARGUMENTS)
    assert held.load(today).detach() == newer


class Stop(BaseException):
    pass


@pytest.mark.parametrize("step", ["save", "evict"])
def test_one_that_is_stopped_goes_on(
    held: Cache, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    with scheme("sha256"):
        work.run(held)
    for _ in ARGUMENTS:
        calls, original = held.calls, getattr(type(held.calls), step)
        done = []

        def stopping(self: Any, *arguments: Any) -> Any:
            if done:  # noqa: B023
                raise Stop
            done.append(1)  # noqa: B023
            return original(self, *arguments)  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(type(calls), step, stopping)
            try:
                held.redigest()
            except Stop:
                assert marks(held) == {"exact", "sha256"}
        # Whatever was moved or not: every call is found.
        with cache(held):
            assert all(work.call.contains(x) for x in ARGUMENTS)
    held.redigest()
    assert marks(held) == {"exact"}
    assert len(keys(held)) == len(ARGUMENTS)
    work.run(held)
    assert work.ran == ARGUMENTS


def test_readers_find_every_call_at_any_time(held: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    with scheme("sha256"):
        work.run(held)
    looks = []

    def look(name: str) -> None:
        original = getattr(type(held.calls), name)

        def looking(self: Any, *arguments: Any) -> Any:
            with cache(held):
                looks.append(all(work.call.contains(x) for x in ARGUMENTS))
            return original(self, *arguments)

        monkeypatch.setattr(type(held.calls), name, looking)

    for name in ("save", "evict"):
        look(name)
    held.redigest()
    assert len(looks) >= 2 * len(ARGUMENTS)
    assert all(looks)


def test_a_call_of_which_an_argument_is_not_stored_stays(
    held: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work()
    with scheme("sha256"):
        work.run(held)
        lost = digest("text")
        # A part of the result, too: it has a digest of its own then.
        with cache(held):
            key = work.call.digest("text")
    held.values.evict(lost)
    held.redigest()
    assert key in keys(held)
    assert len(keys(held)) == len(ARGUMENTS)
    assert marks(held) == {"exact", "sha256"}
    assert f"{len(ARGUMENTS) - 1} calls moved to scheme exact, 1 stay" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


@pytest.mark.parametrize("other", [-2, 2**60])
def test_of_two_calls_that_would_share_a_key_none_is_lost(held: Cache, other: int) -> None:
    colliding = {-2: -1.0, 2**60: 0.5}[other]
    for x, result in ((colliding, "one"), (other, "two")):
        held.save(Call("f", {"x": x}, result=result))
    for x, result in ((1, colliding), (2, other)):
        held.save(Call("g", {"x": x}, result=result))
    with scheme("sha256"):
        held.redigest()
        assert marks(held) == {"exact", "sha256"}
        assert len(keys(held)) == 4
        assert held.query(name="f").count() == held.query(name="g").count() == 4 - 2
    held.redigest()
    assert marks(held) == {"exact"}
    for x, result in ((colliding, "one"), (other, "two")):
        assert held.load(Call("f", {"x": x}).to_lookup_key()).result == result
    for x, result in ((1, colliding), (2, other)):
        assert held.load(Call("g", {"x": x}).to_lookup_key()).result == result


def test_a_call_whose_code_counts_stays(held: Cache) -> None:
    def counted(x: int) -> int:
        return x + 1

    with scheme("sha256"), cache(held):
        fleche(hash_code=True)(counted)(1)
    before = keys(held)
    held.redigest()
    assert keys(held) == before
    assert marks(held) == {"sha256"}
    with cache(held):
        assert fleche(hash_code=True)(counted).contains(1)


def test_one_that_cannot_be_saved_is_told_and_the_others_are_moved(tmp_path: Path) -> None:
    class Full(ValueMemory):
        def save(self, value: Any, key: Digest | None = None) -> Digest:
            if value == "text":
                raise SaveError("no room")
            return super().save(value, key)

    work = Work()
    held = Cache(ValueMemory({}), CallMemory({}))
    with scheme("sha256"):
        work.run(held)
    full = Cache(Full(held.values.storage), held.calls)  # type: ignore[attr-defined]
    with pytest.raises(SaveError, match="no room"):
        full.redigest()
    with cache(full):
        assert sum(work.call.digest(x) in keys(full) for x in ARGUMENTS) == len(ARGUMENTS) - 1
    held.redigest()
    work.run(held)
    assert work.ran == ARGUMENTS


@pytest.mark.parametrize("kind", ["memory", "pickle", "sqlite"])
def test_the_oldest_stays_the_oldest(kind: str, tmp_path: Path) -> None:
    held = KINDS[kind](tmp_path)
    with scheme("sha256"):
        for x in range(9):
            held.save(Call("f", {"x": x}, result=x))
    held.redigest()
    limited = SizeLimitedCache(held.values, held.calls, 9)
    for x in range(9, 13):
        limited.save(Call("f", {"x": x}, result=x))
    assert sorted(limited.query().results()) == list(range(4, 13))


@pytest.mark.parametrize(("before", "after"), SCHEMES, ids="-to-".join)
def test_a_transfer_files_calls_under_todays_keys(held: Cache, before: str, after: str) -> None:
    work = Work()
    with scheme(before):
        work.run(held)
    with scheme(after):
        new = Cache(ValueMemory({}), CallMemory({}))
        held.transfer(new)
        work.run(new)
        assert marks(new) == {after}
    assert work.ran == ARGUMENTS
