"""Values that are split over keys: where, what is stored, and that they come back whole."""

from __future__ import annotations

import collections
import pickle
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field
from typing import Any, ClassVar, NamedTuple

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleche import _core
from fleche.digest import Digest, Indigestible, digest
from fleche.storage import ValueMemory, ValuePickleFile, destructuring
from fleche.storage.base import StorageBackend, ValueMixin
from fleche.storage.destructuring import (
    DestructuringMixin,
    DigestedAttrs,
    DigestedDataclass,
    DigestedDict,
    DigestedIterable,
    HasChildDigests,
    register_destructurer,
)


def typed(value: Any) -> Digest:
    return digest(value, typed=True)


def stored(value: Any, depth: int) -> list[Any]:
    """What is stored for a value, in order; the last is stored under its own key."""
    storage = ValueMemory({}, depth)
    key = storage.save(value)
    assert list(storage.storage)[-1] == key == digest(value)
    return list(storage.storage.values())


def D(*values: Any) -> list[Digest]:  # noqa: N802 (as in fleche)
    return [typed(value) for value in values]


#: Long enough for an entry of its own.
LONG = "x" * 256


def split(*values: Any) -> DigestedIterable:
    return DigestedIterable(list(values))


@pytest.mark.parametrize(
    ("depth", "value", "expected"),
    [
        (0, 5, [5]),
        (0, [], [[]]),
        (0, [1, 2], [[1, 2]]),
        (0, [LONG, 2], [LONG, split(*D(LONG), 2)]),
        (0, (LONG, LONG), [LONG, DigestedIterable((typed(LONG), typed(LONG)))]),
        (0, ([1], [1]), [[1], DigestedIterable((typed([1]), typed([1])))]),
        (0, [[], [[]]], [[], split(*D([])), split(*D([], [[]]))]),
        (0, {"a": 1}, [{"a": 1}]),
        (0, {"a": [1]}, [[1], DigestedDict({"a": typed([1])})]),
        (1, [1, 2], [[1, 2]]),
        (1, [1, [2]], [[2], split(1, *D([2]))]),
        (1, [[], [[]]], [[[]], split([], *D([[]]))]),
        (0, [None, True, 1.5, 2j, b"b", "t"], [[None, True, 1.5, 2j, b"b", "t"]]),
        (
            1,
            {"a": {"b": [1]}},
            [
                [1],
                DigestedDict({"b": typed([1])}),
                DigestedDict({"a": typed({"b": [1]})}),
            ],
        ),
        (1, {(1, 2): [3]}, [(1, 2), [3], DigestedDict({typed((1, 2)): typed([3])})]),
        (2, [1, [2, [3, [4]]]], [[3, [4]], split(2, *D([3, [4]])), split(1, *D([2, [3, [4]]]))]),
        (3, [1, [2, [3, [4]]]], [[2, [3, [4]]], split(1, *D([2, [3, [4]]]))]),
        (4, [1, [2, [3, [4]]]], [[1, [2, [3, [4]]]]]),
        (100, [{1, 2}], [{1, 2}, split(_core.result_digest({1, 2}))]),
        (-1, [5], [[5]]),
    ],
)
def test_where_values_are_split(depth: int, value: Any, expected: list[Any]) -> None:
    assert stored(value, depth) == expected


@pytest.mark.parametrize("depth", [-1, 0, 1, 3])
def test_small_parts_are_no_entries(depth: int) -> None:
    """Of numbers, however many, there is one entry, at any depth."""
    for value in ([float(n) for n in range(500)], {str(n): n for n in range(500)}):
        assert stored(value, depth) == [value]
    for part in (LONG, b"b" * 256, 1 << 3000):
        assert len(stored([part, 1], depth)) == (2 if depth <= 0 else 1)
        assert len(stored([part[:-1] if isinstance(part, str | bytes) else 1], depth)) == 1


def test_scheme_sha256_splits_as_the_reference_does() -> None:
    before = _core.scheme()
    _core.set_scheme("sha256")
    try:
        assert stored([1, 2], 0) == [1, 2, split(*D(1, 2))]
        assert stored((1, 1), 0) == [1, DigestedIterable((typed(1), typed(1)))]
        assert stored({"a": 1}, 0) == ["a", 1, DigestedDict({typed("a"): typed(1)})]
        assert stored([None, True], 1) == [None, split(*D(None), True)]
    finally:
        _core.set_scheme(before)


def test_stores_of_before_load(tmp_path: Any) -> None:
    """What was split into numbers before loads, and is the same entry."""
    storage = ValuePickleFile(tmp_path)
    value = [1, 2.5, "text"]
    for part in value:
        storage.save(part, typed(part))
    storage.put(split(*D(*value)), digest(value))
    assert storage.load(digest(value)) == value
    assert storage.child_digests(digest(value)) == set(D(*value))
    storage.save(value)
    assert storage.load(digest(value)) == value
    assert storage.child_digests(digest(value)) == set()


def test_an_array_inside_is_always_split_off() -> None:
    storage = ValueMemory({}, 5)
    key = storage.save([np.arange(3), 1])
    assert storage.storage[key] == split(typed(np.arange(3)), 1)


@dataclass
class Record:
    a: Any
    b: Any = None


@dataclass(slots=True, frozen=True)
class Slotted:
    a: Any
    made: Any = field(init=False, default=7)


@attrs.define
class Defined:
    a: Any


@attrs.frozen(slots=False)
class Immutable:
    a: Any


@dataclass
class Strict:
    a: Any
    factor: InitVar[int]
    kind: ClassVar[str] = "strict"
    twice: Any = field(init=False)
    inits: ClassVar[int] = 0

    def __post_init__(self, factor: int) -> None:
        self.twice = [factor, factor]
        type(self).inits += 1


def test_records_are_split() -> None:
    assert stored(Record([1], {"k": (1,)}), 1) == [
        [1],
        (1,),
        DigestedDict({"k": typed((1,))}),
        DigestedDataclass(Record, {"a": typed([1]), "b": typed({"k": (1,)})}),
    ]
    assert stored(Record([1], {"k": (1,)}), 2) == [
        {"k": (1,)},
        DigestedDataclass(Record, {"a": [1], "b": typed({"k": (1,)})}),
    ]
    assert stored(Defined([1]), 1) == [[1], DigestedAttrs(Defined, {"a": typed([1])})]


def test_records_come_back_without_their_init() -> None:
    strict = Strict([1], factor=3)
    before = Strict.inits
    storage = ValueMemory({})
    for record in (strict, Slotted([1]), Defined([1]), Immutable([1]), Record(strict, [strict])):
        other = storage.load(storage.save(record))
        assert type(other) is type(record)
        assert other == record
        assert other is not record
    assert Strict.inits == before


class Point(NamedTuple):
    x: int
    y: int


class Words(list):  # type: ignore[type-arg]
    pass


@pytest.mark.parametrize(
    "value",
    [
        Point(1, 2),
        Words("ab"),
        collections.OrderedDict(b=[1], a=2),
        collections.defaultdict(list, a=[1]),
        collections.Counter("aab"),
        collections.deque([1, 2], maxlen=3),
        {1, 2},
        frozenset([1]),
        {"nested": [Words("ab"), Point(1, 2)]},
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_exact_types_come_back(value: Any, depth: int) -> None:
    storage = ValueMemory({}, depth)
    other = storage.load(storage.save(value))
    assert type(other) is type(value)
    assert other == value
    assert getattr(other, "default_factory", None) is getattr(value, "default_factory", None)
    assert getattr(other, "maxlen", None) == getattr(value, "maxlen", None)


def test_the_order_of_a_dict_comes_back() -> None:
    storage = ValueMemory({})
    value = {"b": 1, "a": {"d": 2, "c": 3}}
    assert repr(storage.load(storage.save(value, typed(value)))) == repr(value)


def test_keys_that_are_the_same_content_stay_apart() -> None:
    first, second = float("nan"), float("nan")
    storage = ValueMemory({})
    other = storage.load(storage.save({first: 1, second: 2}))
    assert list(other.values()) == [1, 2]


# Records that resist


def missing_attribute() -> Any:
    record = Record([1])
    del record.b
    record.__class__ = WithDigest
    return record


@dataclass
class WithDigest:
    a: Any
    b: Any

    def __digest__(self) -> Digest:
        return digest(("WithDigest", self.a))


@dataclass
class Extra:
    a: Any


@dataclass
class OwnState:
    a: Any

    def __getstate__(self) -> dict[str, Any]:
        return {"a": ("packed", self.a)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.a = state["a"][1]
        type(self).restored += 1

    restored: ClassVar[int] = 0


@dataclass
class OwnReduce:
    a: Any

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.a,)


@dataclass
class Computed:
    a: Any

    @property  # type: ignore[no-redef]
    def a(self) -> Any:
        return self._a

    @a.setter
    def a(self, value: Any) -> None:
        self._a = value


class Base:
    __slots__ = ("hidden",)


@dataclass
class HiddenSlot(Base):
    a: Any


def extra() -> Extra:
    made = Extra([1])
    made.more = [2]  # type: ignore[attr-defined]
    return made


def hidden_slot() -> HiddenSlot:
    made = HiddenSlot([1])
    made.hidden = [2]
    return made


@pytest.mark.parametrize(
    "make",
    [
        missing_attribute,
        extra,
        hidden_slot,
        lambda: OwnState([1]),
        lambda: OwnReduce([1]),
        lambda: Computed([1]),
    ],
    ids=["missing attribute", "attribute", "slot", "getstate", "reduce", "property"],
)
def test_a_record_that_resists_is_stored_whole(make: Callable[[], Any]) -> None:
    value = make()
    storage = ValueMemory({})
    key = storage.save(value)
    assert type(storage.storage[key]) is type(value)
    assert list(storage.storage) == [key], "no child is left behind"
    other = storage.load(key)
    for name in ("a", "more", "hidden"):
        assert getattr(other, name, None) == getattr(value, name, None)


# Children


def test_equal_children_are_stored_once_typed_ones_apart() -> None:
    storage = ValueMemory({})
    storage.save([[1], [1], [1.0], [True]])
    held = list(storage.storage.values())
    assert [[type(part) for part in value] for value in held if isinstance(value, list)] == [
        [int],
        [float],
        [bool],
    ]
    assert len(held) == 3 + 1


def test_children_of_one_value_are_independent() -> None:
    child = [1]
    storage = ValueMemory({})
    one, other = storage.load(storage.save([child, child]))
    one.append(2)
    assert other == [1]


def test_child_digests_and_reuses() -> None:
    storage = ValueMemory({}, 1)
    first, second = storage.save([1, [2]]), storage.save([[2], (3,), [2]])
    assert storage.child_digests(first) == {typed([2])}
    assert storage.child_digests(first[:12]) == {typed([2])}
    assert storage.child_digests(second) == {typed([2]), typed((3,))}
    assert storage.child_digests(typed([2])) == set()
    assert storage.count_reuses() == {first: 0, second: 0, typed([2]): 2, typed((3,)): 1}
    with pytest.raises(KeyError):
        storage.child_digests(digest("nowhere"))
    assert isinstance(storage, HasChildDigests)


def test_a_missing_child_is_a_key_error() -> None:
    storage = ValueMemory({})
    key = storage.save(["a", ["b"]])
    storage.evict(typed(["b"]))
    with pytest.raises(KeyError) as error:
        storage.load(key)
    assert error.value.args == (typed(["b"]),)


def test_containers_that_hold_a_digest_come_back_as_they_are() -> None:
    storage = ValueMemory({})
    key = storage.save("text")
    for value in ([key], (1, key), {key: 1}, {1: key}, Record(key), [[key], "text"], {key}):
        assert storage.load(storage.save(value)) == value


def test_many_children_are_one_batch(tmp_path: Any) -> None:
    puts = []

    class Watched(ValueMemory):
        def put(self, value: Any, key: Digest) -> Digest:
            puts.append(key)
            return super().put(value, key)

    storage = Watched({})
    storage.save([{"n": n % 10} for n in range(1000)])
    assert len(puts) == 10 + 1, "dicts, the list"
    files = ValuePickleFile(tmp_path)
    value = [{"n": n} for n in range(200)]
    assert files.load(files.save(value)) == value


def test_what_contains_itself_is_indigestible() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(Indigestible):
        ValueMemory({}).save(value)
    with pytest.raises(Indigestible):
        ValueMemory({}).save(value, digest("key"))


def test_deep_nests() -> None:
    value: Any = [0]
    for _ in range(300):
        value = [value]
    storage = ValueMemory({})
    assert storage.load(storage.save(value)) == value
    for _ in range(100_000):
        value = [value]
    with pytest.raises(Indigestible):
        storage.save(value)
    while isinstance(value, list):
        value = value[0]


def test_a_key_must_be_whole() -> None:
    with pytest.raises(ValueError, match="a key is a digest of 64 hex characters"):
        ValueMemory({}).save([1], Digest("abcd"))


# The stored objects


@pytest.mark.parametrize(
    ("made", "state", "stands_for"),
    [
        (DigestedIterable([1, typed([2])]), {"items": [1, typed([2])]}, [1, [2]]),
        (DigestedIterable((1, typed([2]))), {"items": (1, typed([2]))}, (1, [2])),
        (DigestedDict({"k": typed(1)}), {"items": {"k": typed(1)}}, {"k": 1}),
        (
            DigestedDataclass(Record, {"a": typed(1), "b": 2}),
            {"cls": Record, "fields": {"a": typed(1), "b": 2}},
            Record(1, 2),
        ),
        (
            DigestedAttrs(Defined, {"a": typed(1)}),
            {"cls": Defined, "fields": {"a": typed(1)}},
            Defined(1),
        ),
    ],
)
def test_stored_objects(made: Any, state: dict[str, Any], stands_for: Any) -> None:
    reduced = made.__reduce_ex__(2)
    assert reduced[0].__name__ == "__newobj__"
    assert reduced[1] == (type(made),)
    assert reduced[2] == state
    assert pickle.loads(pickle.dumps(made)) == made
    assert type(made).__module__ == "fleche.storage.destructuring"
    assert digest(made) == digest(made, typed=True) == typed(stands_for)
    storage = ValueMemory({})
    for part in ([2], 1, stands_for):
        storage.save(part, typed(part))
    assert made.mend(storage) == stands_for
    assert made.underlying() is (made.items if "items" in state else made.fields)


def test_what_the_reference_splits_of_a_subclass_mends() -> None:
    storage = ValueMemory({})
    storage.save(1, typed(1))
    mended = DigestedIterable(Words([typed(1), "k"])).mend(storage)
    assert (type(mended), mended) == (Words, Words([1, "k"]))


# Destructurers of users


class Matrix:
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __digest__(self) -> Digest:
        return digest(("Matrix", self.rows))


class DigestedMatrix(destructuring.Digested):
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def underlying(self) -> list[Any]:
        return self.rows

    def mend(self, storage: Any) -> Matrix:
        return Matrix([storage.load(row) if isinstance(row, Digest) else row for row in self.rows])


def split_matrix(intern: Callable[[Any], tuple[Any, int]], matrix: Matrix) -> tuple[Any, int]:
    held = [intern(row) for row in matrix.rows]
    return DigestedMatrix([row for row, _ in held]), 1 + max(depth for _, depth in held)


@pytest.fixture
def matrices() -> Iterator[None]:
    before = list(destructuring._DESTRUCTURERS)
    register_destructurer(lambda value: isinstance(value, Matrix), split_matrix)
    yield
    destructuring._DESTRUCTURERS[:] = before


@pytest.mark.usefixtures("matrices")
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_destructurer_of_a_user(depth: int) -> None:
    storage = ValueMemory({}, depth)
    key = storage.save([Matrix([[1], [2, 3], [1]]), "other"])
    other = storage.load(key)
    assert other[0].rows == [[1], [2, 3], [1]]
    assert storage.contains(typed([2, 3])) is (depth < 2)


def test_a_storage_of_a_user_splits() -> None:
    class Backend(StorageBackend):
        def __init__(self) -> None:
            self.held: dict[str, bytes] = {}

        def put(self, value: Any, key: Digest) -> Digest:
            self.held[key] = pickle.dumps(value)
            return key

        def get(self, key: Digest) -> Any:
            return pickle.loads(self.held[key])

        def _evict(self, key: Digest) -> None:
            self.held.pop(key, None)

        def list(self) -> Any:
            return map(Digest, self.held)

    class Storage(Backend, DestructuringMixin, ValueMixin):
        remaining_depth = 1

    storage = Storage()
    key = storage.save([1, [2], {"a": Record([3])}])
    assert storage.load(key) == [1, [2], {"a": Record([3])}]
    assert storage.child_digests(key) == set(D([2], {"a": Record([3])}))
    assert storage.count_reuses()[typed([2])] == 1
    assert storage._intern_rec(5) == (5, 0)
    assert storage._intern_rec([1]) == (typed([1]), 1)
    assert storage._intern_rec(None) == (None, float("inf"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(),
    lambda children: st.one_of(
        st.lists(children, max_size=3),
        st.lists(children, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), children, max_size=3),
        st.builds(Record, children, children),
        st.builds(Slotted, children),
        st.builds(Defined, children),
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(value=VALUES, depth=st.integers(-1, 5))
def test_any_value_comes_back(value: Any, depth: int) -> None:
    storage = ValueMemory({}, depth)
    other = storage.load(storage.save(value))
    assert repr(other) == repr(value)
    assert typed(other) == typed(value)
    for key, held in storage.storage.items():
        assert key in (typed(held), digest(value)), "children are stored under typed digests"
    assert _core.child_digests(storage.storage[digest(value)]) <= set(storage.storage)
