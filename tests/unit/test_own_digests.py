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
