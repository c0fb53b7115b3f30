"""A result comes back exactly as it was returned, whatever equal values were stored before it or
after it: type, value, order and class, in every nesting, on every storage and at every depth."""

from __future__ import annotations

import collections
import contextlib
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
from hypothesis import given, settings
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
        *(
            decimal.Decimal(0),
            decimal.Decimal("-0"),
            decimal.Decimal("0.00"),
            fractions.Fraction(0),
        ),
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
LEAVES_HERE = [leaf for leaf in NUMBERS + TEXTS if leaf is not None]


# Containers of two children.
WRAPS: list[Callable[[Any, Any], Any]] = [
    lambda a, b: [a, b],
    lambda a, b: [a],
    lambda a, b: (a, b),
    lambda a, b: (a,),
    lambda a, b: {"a": a, "b": b},
    lambda a, b: {"b": b, "a": a},
    lambda a, b: {0: a, Text("a"): b},
    lambda a, b: {0.0: a, "a": b},
    lambda a, b: {nan(0): a, nan(1): b, (2,): 0},
    lambda a, b: {nan(0): a, -nan(0): b, (2.0,): 0},
    lambda a, b: collections.OrderedDict(a=a, b=b),
    lambda a, b: collections.OrderedDict(b=b, a=a),
    lambda a, b: collections.defaultdict(list, a=a, b=b),
    lambda a, b: collections.defaultdict(None, a=a, b=b),
    lambda a, b: collections.Counter({"a": a}),
    lambda a, b: collections.deque([a, b]),
    lambda a, b: collections.deque([a, b], maxlen=2),
    lambda a, b: Items([a, b]),
    lambda a, b: Row((a, b)),
    lambda a, b: Table(a=a, b=b),
    lambda a, b: with_state(a),
    *(Pair, OtherPair, Coordinates),
    *(lambda a, b, kind=kind: kind(a) for kind in (Frozen, Slotted, Defined, Immutable)),
    *(lambda a, b, kind=kind: kind(a) for kind in (Restless, Plain)),
]


@st.composite
def alike(draw: st.DrawFn) -> list[Any]:
    """A few values of one shape, with leaves that are equal but different."""
    leaves = draw(st.sampled_from(LIKE))
    found = draw(st.lists(st.sampled_from(leaves), min_size=2, max_size=4))
    for wrap in draw(st.lists(st.sampled_from(WRAPS), max_size=3)):
        found = [wrap(value, 0) for value in found]
    return found


@st.composite
def any_values(draw: st.DrawFn) -> list[Any]:
    """A few values of any shape."""
    found = draw(st.lists(st.sampled_from(NUMBERS + TEXTS), min_size=6, max_size=9))
    for wrap in draw(st.lists(st.sampled_from(WRAPS), max_size=5)):
        found.append(wrap(found.pop(0), found.pop(0)))
    return [value for value in found if value is not None]


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


@contextlib.contextmanager
def empty_cache(name: str, depth: int) -> Iterator[Cache]:
    with tempfile.TemporaryDirectory() as folder:
        yield STORAGES[name](Path(folder), depth)


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
        # A digest as an argument would be the value that it names.
        arguments = [value for value in values if type(value) is not Digest]
        for number in range(len(values)):
            give(number)
            for argument in arguments[number : number + 2]:
                take(argument)
        for argument in reversed(arguments):
            take(argument)
        for number, what in enumerate(expected):
            if give.contains(number):
                assert described(give(number)) == what
                assert described(give.load(number)) == what


# Local classes are recorded by reference here, whatever their name.
OtherPair.__qualname__ = "OtherPair"

common = settings(deadline=None, max_examples=100)
# Not drawn: then every storage and depth has its share of the examples.
every_case = pytest.mark.parametrize("case", [("memory", 0), ("memory", 1), ("pickle", 0)])


@every_case
@common
@given(values=alike())
def test_values_that_are_alike(case: tuple[str, int], values: list[Any]) -> None:
    with empty_cache(*case) as held:
        check(held, values)


@every_case
@common
@given(values=any_values())
def test_any_values(case: tuple[str, int], values: list[Any]) -> None:
    with empty_cache(*case) as held:
        check(held, values)


@common
@given(case=st.sampled_from(CASES), values=st.one_of(alike(), any_values()))
def test_every_storage_and_depth(case: tuple[str, int], values: list[Any]) -> None:
    with empty_cache(*case) as held:
        check(held, values)


# A leaf within a container is split no deeper, whatever serialises the parts.
SHALLOW = [case for case in CASES if case[1] <= (2 if case[0] in ("memory", "pickle") else 1)]


@pytest.mark.parametrize("case", SHALLOW, ids=lambda case: f"{case[0]}-{case[1]}")
def test_all_leaves_at_once(case: tuple[str, int]) -> None:
    for wrap in (None, list_of, dict_of, Pair, OtherPair, Slotted, Plain, Text):
        values = LEAVES_HERE if wrap is None else [wrap(leaf) for leaf in LEAVES_HERE]
        with empty_cache(*case) as held:
            check(held, values)


def list_of(leaf: Any) -> list[Any]:
    return [leaf]


def dict_of(leaf: Any) -> dict[str, Any]:
    return {"k": leaf}


@pytest.mark.parametrize("name", STORAGES)
def test_every_leaf_is_cached(name: str) -> None:
    @fleche
    def give(number: int) -> Any:
        return LEAVES_HERE[number]

    with empty_cache(name, 0) as held, cache(held):
        for number, leaf in enumerate(LEAVES_HERE):
            give(number)
            assert give.contains(number), repr(leaf)
