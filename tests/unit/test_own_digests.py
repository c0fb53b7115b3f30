"""Values whose digest a hook or their own `__digest__` says, whatever it says and whatever they
hold: cached as arguments and as results, in both schemes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attrs
import pytest

from fleche import _core, cache, fleche
from fleche.caches import Cache
from fleche.digest import Digest, Indigestible, add_hook, digest
from fleche.storage import (
    CallBagOfHoldingH5File,
    CallMemory,
    CallPickleFile,
    Sql,
    ValueBagOfHoldingH5File,
    ValueMemory,
    ValuePickleFile,
)
from tests.unit.schemes import scheme

STORES: dict[str, Callable[[Path], Cache]] = {
    "memory": lambda _: Cache(ValueMemory({}), CallMemory({})),
    "pickle": lambda at: Cache(ValuePickleFile(at / "values"), CallPickleFile(at / "calls")),
    "whole": lambda at: Cache(ValuePickleFile(at / "values", 10), CallPickleFile(at / "calls")),
    "cloudpickle": lambda at: Cache(
        ValuePickleFile(at / "values", serializer="cloudpickle"), Sql(at / "calls.db")
    ),
    "bag": lambda at: Cache(
        ValueBagOfHoldingH5File(at / "values"), CallBagOfHoldingH5File(at / "calls")
    ),
}


class Refusing:
    """Can be stored, but has no digest."""

    def __digest__(self) -> Digest:
        raise Indigestible(self)

    def __eq__(self, other: object) -> bool:
        return type(other) is Refusing


@dataclass
class Phase:
    name: str
    rest: Any

    def __digest__(self) -> Digest:
        return digest(("Phase", self.name))


@attrs.define
class AttrsPhase:
    name: str
    rest: Any

    def __digest__(self) -> Digest:
        return digest(("AttrsPhase", self.name))


@dataclass
class Hooked:
    name: str
    rest: Any


class HookedList(list[Any]):
    pass


@dataclass
class Holder:
    held: Any


@pytest.fixture(params=["exact", "sha256"])
def either_scheme(request: pytest.FixtureRequest) -> Iterator[str]:
    with scheme(request.param):
        yield request.param


@pytest.fixture(params=STORES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Cache]:
    """Opens the store, each time as another process would."""
    made = STORES[request.param]
    if request.param != "memory":
        return lambda: made(tmp_path)
    store = made(tmp_path)
    return lambda: store


@pytest.fixture
def hooks() -> Iterator[None]:
    before = _core.manual_hooks()
    add_hook((Hooked, lambda value: digest(("Hooked", value.name))))
    add_hook((HookedList, lambda value: digest(("HookedList", value[0]))))
    yield
    _core.set_manual_hooks(before)


ran: list[str] = []


@fleche
def name_of(value: Any, name: str) -> list[str]:
    ran.append(name)
    return [name]


@fleche
def given_back(make: str) -> Any:
    ran.append(make)
    return INDIGESTIBLE_INSIDE[make]()


INDIGESTIBLE_INSIDE: dict[str, Callable[[], Any]] = {
    "dataclass": lambda: Phase("a", Refusing()),
    "attrs": lambda: AttrsPhase("a", Refusing()),
    "hook": lambda: Hooked("a", Refusing()),
    "deep inside": lambda: Phase("a", {"b": [Refusing()]}),
    "in a list": lambda: [1, Phase("a", Refusing())],
    "in a dict": lambda: {"b": (Phase("a", Refusing()),)},
    "in a record": lambda: Holder(Phase("a", Refusing())),
    "list": lambda: HookedList(["a", Refusing()]),
}


@pytest.mark.usefixtures("hooks", "either_scheme")
@pytest.mark.parametrize("make", INDIGESTIBLE_INSIDE)
def test_what_a_value_with_a_digest_holds_needs_none(
    opened: Callable[[], Cache], make: str, caplog: pytest.LogCaptureFixture
) -> None:
    ran.clear()
    for _ in range(2):
        with cache(opened()):
            assert name_of(INDIGESTIBLE_INSIDE[make](), make) == [make]
            assert given_back(make) == INDIGESTIBLE_INSIDE[make]()
    assert ran == [make, make]
    store = opened()
    assert store.query(name="name_of").only().arguments["value"] == INDIGESTIBLE_INSIDE[make]()
    assert store.gc() == set()
    assert not caplog.records


# Digests that are no digests: any text may stand for a value.


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def __digest__(self) -> Digest:
        return Digest(self.name)

    def __eq__(self, other: object) -> bool:
        return type(other) is Named and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


NAMES = ["7", "17", "a name", "a/../b", "", "ä", "AB" * 32, "ab" * 40, "abcd"]
HOLDING: dict[str, Callable[[Any], Any]] = {
    "itself": lambda named: named,
    "list": lambda named: [named, 1],
    "key": lambda named: {named: [named]},
    "record": lambda named: Holder(named),
    "nest": lambda named: ([{"a": (named,)}],),
}


@fleche
def shown(value: Any) -> list[str]:
    ran.append("shown")
    return [repr(type(value))]


@fleche
def passed_on(name: str, how: str) -> Any:
    ran.append("passed on")
    return HOLDING[how](Named(name))


@pytest.mark.usefixtures("either_scheme")
@pytest.mark.parametrize("how", HOLDING)
def test_a_digest_may_be_any_text(
    opened: Callable[[], Cache], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    ran.clear()
    for _ in range(2):
        for name in NAMES:
            value = HOLDING[how](Named(name))
            with cache(opened()):
                assert shown(value) == [repr(type(value))]
                assert passed_on(name, how) == value
                assert shown.contains(value)
                assert shown.query(value).only().arguments["value"] == value
    assert ran == ["shown", "passed on"] * len(NAMES)
    store = opened()
    assert store.gc() == set()
    held = [call.fetch().arguments["value"] for call in store.query(name="shown")]
    assert all(HOLDING[how](Named(name)) in held for name in NAMES)
    assert all(len(key) == 64 for key in store.values.list())
    assert not caplog.records


def test_a_text_is_no_prefix_of_another_values_key(opened: Callable[[], Cache]) -> None:
    with scheme("sha256"), cache(opened()):
        shown([1, 2])
        prefix = digest([1, 2])[:6]
        shown(Named(prefix))
        store = opened()
        for key in [key for key in store.values.list() if not key.startswith(prefix)]:
            store.values.evict(key)
        assert shown.query(Named(prefix)).only().arguments["value"] == prefix


@pytest.mark.parametrize("how", HOLDING)
def test_calls_with_such_digests_move_between_the_schemes(
    opened: Callable[[], Cache], how: str
) -> None:
    ran.clear()
    value = HOLDING[how](Named("17"))
    with scheme("sha256"), cache(opened()):
        shown(value), passed_on("17", how)
    for name in ("exact", "sha256"):
        with scheme(name), cache(opened()):
            opened().redigest()
            assert shown(value) == [repr(type(value))]
            assert passed_on("17", how) == value
            assert opened().query(name="shown").only().arguments["value"] == value
            opened().gc()
    with scheme("exact"), cache(opened()):
        # Found under its older key, without being moved first.
        assert shown(value) == [repr(type(value))]
    assert ran == ["shown", "passed on"]


@pytest.mark.parametrize("name", NAMES)
def test_a_value_is_saved_without_a_key(name: str) -> None:
    storage = ValueMemory({})
    for active in ("exact", "sha256"):
        with scheme(active):
            key = storage.save(Named(name))
            assert len(key) == 64
            assert storage.load(key) == Named(name)
