"""A result comes back exactly as it was returned, whatever equal values were stored before it or
after it: type, value, order and class, in every nesting, on every storage and at every depth."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import math
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleche import cache, fleche
from fleche.caches import Cache
from fleche.digest import Digest, digest
from fleche.storage import CallMemory, CallPickleFile, ValueMemory, ValuePickleFile

# Values that are equal in twos or more, or share a name, but are not the same.


@dataclass
class Pair:
    a: Any
    b: Any = 0


@dataclass
class OtherPair:
    a: Any
    b: Any = 0


OtherPair.__name__ = "Pair"


@dataclass(frozen=True)
class Frozen:
    a: Any


@dataclass(slots=True)
class Slotted:
    a: Any
    hidden: Any = field(default=0, init=False, compare=False, repr=False)


@attrs.define
class Defined:
    a: Any


@attrs.frozen(slots=False)
class Immutable:
    a: Any


class Coordinates(NamedTuple):
    a: Any
    b: Any = 0


class Text(str):
    pass


class Whole(int):
    pass


class Items(list):  # type: ignore[type-arg]
    pass


class Row(tuple):  # type: ignore[type-arg]
    pass


class Table(dict):  # type: ignore[type-arg]
    pass


@dataclass
class Restless:
    """Its digest is that of its only field, which is how users write it."""

    a: Any

    def __digest__(self) -> Digest:
        return digest(self.a)


class Plain:
    def __init__(self, a: Any) -> None:
        self.a = a

    def __digest__(self) -> Digest:
        return digest(self.a)


def with_state(value: Any) -> Any:
    made = Pair(value)
    made.__dict__["note"] = value
    return made


def nan(payload: int) -> float:
    return struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0000 | payload))[0]


LIKE: list[list[Any]] = [
    [
        *(0, 0.0, -0.0, False, 0j, complex(0.0, -0.0), complex(-0.0, 0.0), Whole(0)),
        *(decimal.Decimal(0), decimal.Decimal("-0"), decimal.Decimal("0.00"), fractions.Fraction(0)),
        *(np.int8(0), np.int64(0), np.uint8(0), np.float64(0), np.float32(0), np.bool_(False)),
    ],
    [
        *(2, 2.0, 2 + 0j, Whole(2), decimal.Decimal(2), decimal.Decimal("2.0")),
        *(fractions.Fraction(2), np.int8(2), np.int64(2), np.float64(2), np.float32(2)),
        np.complex128(2),
    ],
    [True, 1, 1.0, np.bool_(True), np.uint8(1)],
    [2**70, float(2**70)],
    [math.inf, np.float64("inf"), decimal.Decimal("inf")],
    [nan(0), nan(1), -nan(0), decimal.Decimal("nan"), decimal.Decimal("-nan"), np.float64("nan")],
]
NUMBERS = [number for alike in LIKE for number in alike]
TEXTS: list[Any] = [
    *("", "a", Text("a"), np.str_("a"), b"a", bytearray(b"a"), np.bytes_(b"a"), Text(""), b""),
    *(digest("a"), digest(2), digest(2, typed=True), str(digest("a"))),
    *(None, ..., NotImplemented),
    *(Path("a"), datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1)),
    *(datetime.datetime(2024, 1, 1, fold=1), datetime.time(0), datetime.time(0, fold=1)),
]
LEAVES = st.sampled_from(NUMBERS + TEXTS)
KEYS = st.sampled_from([0, 0.0, -0.0, False, "a", Text("a"), 2, 2.0, (2,), (2.0,), None, nan(0)])


def containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(children, max_size=3)
    few = st.lists(st.tuples(KEYS, children), max_size=3)
    wrappers: list[Callable[[Any], Any]] = [
        *(Pair, OtherPair, Frozen, Slotted, Defined, Immutable, Coordinates, Restless, Plain),
        with_state,
    ]
    return st.one_of(
        lists,
        *(lists.map(kind) for kind in (tuple, Items, Row, collections.deque)),
        *(few.map(kind) for kind in (dict, Table, collections.OrderedDict, collections.Counter)),
        few.map(lambda items: collections.defaultdict(list, items)),
        few.map(lambda items: dict(reversed(items))),
        *(children.map(kind) for kind in wrappers),
        st.sets(KEYS, max_size=3),
        st.sets(KEYS, max_size=3).map(frozenset),
    )


VALUES = st.recursive(LEAVES, containers, max_leaves=6).filter(lambda value: value is not None)


# Variations: the same value with one part replaced by one that is equal, or looks so.

@st.composite
def alike(draw: st.DrawFn) -> list[Any]:
    """A few values, most of them of one shape with leaves that are equal but different."""
    shape = draw(st.recursive(st.none(), containers, max_leaves=4))
    leaves = draw(st.sampled_from(LIKE))
    picks = draw(st.lists(st.sampled_from(leaves), min_size=2, max_size=4))
    found = [replaced(shape, pick) for pick in picks]
    return [value for value in found if value is not None]


def replaced(shape: Any, leaf: Any) -> Any:
    """`shape` with every `None` in it replaced."""
    if shape is None:
        return leaf
    if isinstance(shape, dict):
        made = shape.copy()
        made.update({key: replaced(value, leaf) for key, value in shape.items()})
        return made
    if isinstance(shape, Coordinates):
        return Coordinates(replaced(shape.a, leaf), shape.b)
    if isinstance(shape, list | tuple | collections.deque):
        return type(shape)(replaced(value, leaf) for value in shape)
    if isinstance(shape, Frozen | Immutable):
        return type(shape)(replaced(shape.a, leaf))
    if hasattr(shape, "a"):
        shape = type(shape)(replaced(shape.a, leaf))
    return shape


def described(value: Any) -> Any:
    """What a value is, all of it: compared to tell whether two are the same."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, float):
        return name, struct.pack("<d", value), attributes(value)
    if isinstance(value, complex):
        return name, struct.pack("<dd", value.real, value.imag)
    if isinstance(value, np.generic):
        return name, value.dtype.str, value.tobytes()
    if isinstance(value, dict):
        items = [(described(k), described(v)) for k, v in value.items()]
        return name, items, getattr(value, "default_factory", None), attributes(value)
    if isinstance(value, set | frozenset):
        return name, sorted(map(repr, map(described, value)))
    if isinstance(value, list | tuple | collections.deque):
        return name, [described(v) for v in value], attributes(value)
    if is_dataclass(value):
        held = [(f.name, described(getattr(value, f.name))) for f in fields(value)]
        return name, held, attributes(value)
    if attrs.has(kind):
        return name, [(f.name, described(getattr(value, f.name))) for f in attrs.fields(kind)]
    return name, repr(value) if not isinstance(value, Plain) else None, attributes(value)


def attributes(value: Any) -> Any:
    held = getattr(value, "__dict__", None)
    return held and sorted((name, described(v)) for name, v in held.items())


# Storages


def memory(folder: Path, depth: int) -> Cache:
    return Cache(ValueMemory({}, depth), CallMemory({}))


def pickled(serializer: str) -> Callable[[Path, int], Cache]:
    def make(folder: Path, depth: int) -> Cache:
        return Cache(
            ValuePickleFile(folder / "values", serializer=serializer, remaining_depth=depth),
            CallPickleFile(folder / "calls"),
        )

    return make


STORAGES = {
    "memory": memory,
    "pickle": pickled("pickle"),
    "cloudpickle": pickled("cloudpickle"),
    "dill": pickled("dill"),
}
CASES = [(name, depth) for name in STORAGES for depth in range(4)]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def fresh(request: pytest.FixtureRequest) -> Iterator[Callable[[], Cache]]:
    """Makes caches that hold nothing."""
    name, depth = request.param
    with tempfile.TemporaryDirectory() as folder:
        count = iter(range(10**9))
        yield lambda: STORAGES[name](Path(folder) / str(next(count)), depth)


def check(held: Cache, values: list[Any]) -> None:
    """Each value as a result and as an argument, each looked at after all of them were stored."""

    @fleche
    def give(number: int) -> Any:
        return values[number]

    @fleche
    def take(value: Any) -> int:
        return 1

    with cache(held):
        expected = [described(value) for value in values]
        for number, value in enumerate(values):
            take(value)
            give(number)
        for value in reversed(values):
            take(value)
        for number, what in enumerate(expected):
            if give.contains(number):
                assert described(give(number)) == what
                assert described(give.load(number)) == what


# Local classes are recorded by reference here, whatever their name.
OtherPair.__qualname__ = "OtherPair"

common = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@common
@given(values=alike())
def test_values_that_are_alike(fresh: Callable[[], Cache], values: list[Any]) -> None:
    check(fresh(), values)


@common
@given(values=st.lists(VALUES, min_size=1, max_size=5))
def test_any_values(fresh: Callable[[], Cache], values: list[Any]) -> None:
    check(fresh(), values)


def test_all_leaves_at_once(fresh: Callable[[], Cache]) -> None:
    leaves = [leaf for leaf in NUMBERS + TEXTS if leaf is not None]
    check(fresh(), [*leaves, *([leaf] for leaf in leaves), *({"k": leaf} for leaf in leaves)])
    check(fresh(), [kind(leaf) for leaf in leaves for kind in (Pair, OtherPair, Slotted, Plain)])


def test_every_leaf_is_cached(fresh: Callable[[], Cache]) -> None:
    leaves = [leaf for leaf in NUMBERS + TEXTS if leaf is not None]

    @fleche
    def give(number: int) -> Any:
        return leaves[number]

    with cache(fresh()):
        for number in range(len(leaves)):
            give(number)
            assert give.contains(number), repr(leaves[number])
