"""The laws of scheme `exact` on values of the language and its standard library."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import enum
import functools
import itertools
import math
import pickle
import subprocess
import sys
import threading
import types
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Any

import attrs
import pytest
from dateutil import tz
from hypothesis import given, settings
from hypothesis import strategies as st

from fleche import _core
from fleche.digest import Digest, Indigestible


def digest(value: Any, typed: bool = False) -> Digest:
    return _core.digest(value, typed=typed, scheme="exact")


def both(value: Any) -> tuple[Digest, Digest]:
    return digest(value), digest(value, typed=True)


numbers = st.one_of(
    st.integers(),
    st.integers(min_value=-(2**2000), max_value=2**2000),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.fractions(),
    st.decimals(allow_nan=False),
)
texts = st.one_of(st.text(), st.text(alphabet=st.characters()), st.binary())
leaves = st.one_of(
    st.none(), st.booleans(), numbers, texts, st.dates(), st.datetimes(), st.timedeltas()
)
hashable = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary())
values = st.recursive(
    leaves,
    lambda children: st.one_of(
        st.lists(children, max_size=5),
        st.lists(children, max_size=5).map(tuple),
        st.dictionaries(hashable, children, max_size=5),
        st.sets(hashable, max_size=5),
        st.frozensets(hashable, max_size=5),
    ),
    max_leaves=12,
)


# Laws of all digests.


@given(values)
def test_copies_agree(value: Any) -> None:
    assert both(copy.deepcopy(value)) == both(value)
    assert both(pickle.loads(pickle.dumps(value))) == both(value)


@given(values)
def test_a_digest_is_its_own_digest(value: Any) -> None:
    assert digest(digest(value)) == digest(value)


@given(st.lists(values, max_size=4))
def test_containers_of_digests_digest_like_containers_of_values(children: list[Any]) -> None:
    for typed in (False, True):
        digests = [digest(child, typed) for child in children]
        assert digest(digests, typed) == digest(children, typed)
        assert digest(tuple(digests), typed) == digest(tuple(children), typed)
        named = dict(enumerate(children))
        assert digest(dict(enumerate(digests)), typed) == digest(named, typed)


def test_a_prefix_of_a_digest_is_no_value() -> None:
    with pytest.raises(Indigestible, match="expand"):
        digest([Digest("abcd")])


@given(values, values)
def test_typed_digests_agree_only_where_untyped_ones_do(one: Any, other: Any) -> None:
    if digest(one, True) == digest(other, True):
        assert digest(one) == digest(other)


@given(values, values)
def test_typed_and_untyped_digests_meet_only_for_one_value(one: Any, other: Any) -> None:
    if digest(one) == digest(other, True):
        assert digest(one, True) == digest(other, True)


@given(leaves.filter(lambda leaf: isinstance(leaf, str | bytes | bool | None | dt.date)))
def test_what_has_one_type_only_has_one_digest(value: Any) -> None:
    for whole in (value, [value], (value, [value]), frozenset([value])):
        assert digest(whole) == digest(whole, True)


@given(numbers)
def test_numbers_have_two_digests(number: Any) -> None:
    for whole in (number, [number], {"a": number}, (1, [number])):
        assert digest(whole) != digest(whole, True)


# Numbers.


def shapes(number: int) -> Iterator[Any]:
    yield from (number, Fraction(number), Decimal(number))
    if float(number) == number:
        yield from (float(number), complex(number))


@given(st.one_of(st.integers(), st.integers(-(2**53), 2**53)))
def test_equal_whole_numbers_agree(number: int) -> None:
    try:
        alike = list(shapes(number))
    except OverflowError:
        alike = [number, Fraction(number)]
    for wrap in (lambda x: x, lambda x: [x], lambda x: {x: x}, lambda x: ({x},)):
        assert len({digest(wrap(one)) for one in alike}) == 1
    assert len({digest(one, True) for one in alike}) == len(alike)


@given(st.floats(allow_nan=False))
def test_equal_floats_agree(number: float) -> None:
    alike = [number, complex(number), Decimal(number)]
    if math.isfinite(number):
        alike.append(Fraction(number))
    assert len({digest(one) for one in alike}) == 1


@given(numbers, numbers)
def test_numbers_agree_only_if_they_are_equal(one: Any, other: Any) -> None:
    try:
        equal = one == other
    except (TypeError, OverflowError):
        return
    assert (digest(one) == digest(other)) == equal


@given(st.floats(), st.floats())
def test_typed_floats_agree_only_if_they_are_the_same(one: float, other: float) -> None:
    if digest(one, True) == digest(other, True):
        assert repr(one) == repr(other)


def test_special_numbers() -> None:
    assert digest(0.0) == digest(-0.0) == digest(0)
    assert digest(0.0, True) != digest(-0.0, True)
    assert digest(math.nan) == digest(float("nan")) == digest(Decimal("NaN"))
    assert digest(Decimal("1.0")) == digest(Decimal("1.00"))
    assert digest(Decimal("1.0"), True) != digest(Decimal("1.00"), True)
    assert digest(Decimal("Infinity")) == digest(math.inf) == digest(complex(math.inf, 0))
    assert digest(True) != digest(1)
    assert digest([True]) != digest([1])
    assert digest(Decimal("1e1000000000")) != digest(Decimal("1e1000000001"))
    assert len(digest(Fraction(10**5000, 3), True)) == 64


def test_numbers_of_other_classes_count_by_class() -> None:
    class Count(int):
        pass

    class Metres(float):
        pass

    assert len({digest(x) for x in (1, Count(1), Metres(1))}) == 3
    assert digest(Count(1)) != digest(Count(2))


# Text.


@given(st.text(alphabet=st.characters(categories=("Cs", "Ll")), max_size=8))
def test_text_with_lone_surrogates_has_a_digest(text: str) -> None:
    assert digest(text) == digest("".join(list(text)))
    assert digest([text]) != digest(text)


@given(st.binary(max_size=200_000))
@settings(max_examples=20)
def test_kinds_of_bytes_differ(content: bytes) -> None:
    kinds = (content, bytearray(content), memoryview(content))
    assert len({digest(kind) for kind in kinds}) == 3


def test_views_of_memory_count_by_content() -> None:
    whole = memoryview(bytes(range(100)))
    assert digest(whole[::2]) == digest(memoryview(bytes(range(0, 100, 2))))
    assert digest(whole[::2]) != digest(whole[1::2])


# Containers.


@given(st.dictionaries(hashable, leaves), st.randoms())
def test_mappings_have_no_order(mapping: dict[Any, Any], random: Any) -> None:
    items = list(mapping.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(mapping)
    if [key for key, _ in items] != list(mapping):
        assert digest(dict(items), True) != digest(mapping, True)


@given(st.sets(hashable), st.randoms())
def test_sets_have_no_order(elements: set[Any], random: Any) -> None:
    shuffled = list(elements)
    random.shuffle(shuffled)
    # Another history: the table was larger once.
    other = set(range(1000, 2000)) | set(shuffled)
    other -= set(range(1000, 2000)) - elements
    assert both(other) == both(elements)


def test_sets_agree_in_other_processes() -> None:
    program = (
        "from fleche import _core\n"
        "value = [{str(i) for i in range(100)}, frozenset(map(bytes, range(9))),\n"
        "         {'a': {'x', 'y', 'z'}}, {(str(i), None) for i in range(30)}]\n"
        "for typed in (False, True):\n"
        "    print(_core.digest(value, typed=typed, scheme='exact'))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2", "random")
    }
    assert len(printed) == 1


def test_containers_of_other_types_differ() -> None:
    class List(list[int]):
        pass

    named = collections.namedtuple("named", "a b")
    kinds = (
        [1, 2],
        (1, 2),
        {1, 2},
        frozenset((1, 2)),
        collections.deque((1, 2)),
        List((1, 2)),
        named(1, 2),
        {1: 2}.keys(),
        {1: 2}.items(),
        collections.UserList((1, 2)),
    )
    for typed in (False, True):
        assert len({digest(kind, typed) for kind in kinds}) == len(kinds)


def test_views_of_dictionaries_count_by_content() -> None:
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert digest(one.keys()) == digest(other.keys())
    assert digest(one.items()) == digest(other.items())
    assert digest(one.values()) != digest({"a": 2, "b": 3}.values())


def test_a_class_that_declares_itself_a_container_counts_by_content() -> None:
    class Squares(Sequence[int]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: Any) -> Any:
            return [0, 1, 4][index]

    class Constant(Mapping[str, int]):
        def __init__(self, value: int) -> None:
            self.value = value

        def __getitem__(self, key: str) -> int:
            return {"x": self.value}[key]

        def __iter__(self) -> Iterator[str]:
            return iter("x")

        def __len__(self) -> int:
            return 1

    assert digest(Squares()) == digest(Squares()) != digest([0, 1, 4])
    assert digest(Constant(1)) == digest(Constant(1)) != digest(Constant(2))


def test_attributes_and_slots_of_subclasses_count() -> None:
    class Tagged(list[int]):
        tag = ""

    class Slotted(dict[str, int]):
        __slots__ = ("tag",)

    for class_ in (Tagged, Slotted):
        one, other, none = class_(), class_(), class_()
        one.tag, other.tag = "a", "b"  # type: ignore[attr-defined]
        assert len({digest(value) for value in (one, other, none)}) == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: iter([1, 2, 3]),
        lambda: (x for x in [1, 2, 3]),
        lambda: map(str, [1, 2, 3]),
        lambda: zip([1, 2, 3], "abc", strict=True),
        lambda: itertools.chain([1], [2, 3]),
        lambda: reversed([1, 2, 3]),
        lambda: iter({1: 2, 3: 4, 5: 6}.values()),
    ],
)
def test_iterators_stay_untouched(make: Callable[[], Iterator[Any]]) -> None:
    for wrap in (lambda x: x, lambda x: [1, x], lambda x: {"a": (x,)}):
        iterator = make()
        with pytest.raises(Indigestible):
            digest(wrap(iterator))
        assert len(list(iterator)) == 3


def test_files_stay_untouched(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one\ntwo\n")
    with path.open() as file:
        with pytest.raises(Indigestible):
            digest(file)
        assert file.read() == "one\ntwo\n"


# Depth and cycles.


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: (x,), lambda x: {"a": x}])
def test_a_million_levels_end_cleanly(wrap: Callable[[Any], Any]) -> None:
    value: Any = 1
    for _ in range(1_000_000):
        value = wrap(value)
    with pytest.raises(Indigestible, match="nested"):
        digest(value)
    # Freed level by level: the interpreter frees tuples by recursion.
    while not isinstance(value, int):
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]


def test_five_hundred_levels_have_a_digest_on_a_small_stack() -> None:
    value: Any = 1
    for _ in range(500):
        value = [value]
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(digest(value))
        except Indigestible as error:
            found.append(error)

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert len(found) == 1


def test_values_that_contain_themselves_end_cleanly() -> None:
    one: list[Any] = []
    one.append(one)
    many: list[Any] = []
    many.extend([many] * 5)
    mapping: dict[str, Any] = {}
    mapping["a"] = [mapping, mapping]
    space = types.SimpleNamespace()
    space.me = space
    for value in (one, many, mapping, space):
        with pytest.raises(Indigestible, match="contains itself"):
            digest(value)


def test_shared_parts_are_walked_once() -> None:
    value: Any = [1]
    for _ in range(200):
        value = [value, value]
    other: Any = [1]
    for _ in range(200):
        other = [list(other), list(other)]
    assert both(value) == both(other)


# Records.


@dataclass
class Pair:
    x: Any
    y: Any


@attrs.define
class AttrsPair:
    x: Any
    y: Any


def test_records_count_by_class_and_fields() -> None:
    assert digest(Pair(1, 2)) == digest(Pair(1.0, 2))
    assert digest(AttrsPair(1, 2)) == digest(AttrsPair(1, 2))
    assert len({digest(p) for p in (Pair(1, 2), Pair(2, 1), AttrsPair(1, 2))}) == 3
    assert digest(Pair(1, 2), True) != digest(Pair(1.0, 2), True)


def test_a_record_without_a_value_for_a_field_is_indigestible() -> None:
    @dataclass
    class Late:
        x: int

    late = Late(1)
    del late.x
    with pytest.raises(Indigestible, match="field x"):
        digest(late)


def test_a_record_that_is_a_container_counts_by_both() -> None:
    @dataclass
    class Named(dict[str, int]):
        name: str = ""

    one, other = Named("a"), Named("a")
    other["k"] = 1
    assert digest(one) != digest(other)


def test_other_attributes_of_a_record_count() -> None:
    one, other = Pair(1, 2), Pair(1, 2)
    other.more = 5  # type: ignore[attr-defined]
    assert digest(one) != digest(other)
    other.more = threading.Lock()  # type: ignore[attr-defined]
    assert digest(one) == digest(other)
    # What a class keeps to itself, such as a hash that depends on the process.
    other._hash = hash("salted")  # type: ignore[attr-defined]
    assert digest(one) == digest(other)


@given(st.integers())
def test_flags_of_any_value(bits: int) -> None:
    class Bits(enum.Flag, boundary=enum.KEEP):
        A = 1
        B = 2

    class Whole(enum.IntFlag):
        A = 1

    for kind in (Bits, Whole):
        assert both(kind(bits)) == both(kind(bits))
        assert digest(kind(bits)) != digest(kind(bits ^ 1))


def test_enum_members_count_by_class_and_name() -> None:
    class Colour(enum.Enum):
        RED = 1
        SCARLET = 1  # noqa: PIE796
        GREEN = object()

    assert digest(Colour.RED) == digest(Colour.SCARLET) != digest(Colour.GREEN)
    assert digest(Colour["GREEN"]) == digest(Colour.GREEN)


def test_what_has_no_content_is_indigestible() -> None:
    for value in (object(), threading.Lock(), [threading.Lock()], threading.RLock()):
        with pytest.raises(Indigestible):
            digest(value)


# Functions.


def multiply(x: int, by: int = 2, *, plus: int = 0) -> int:
    return x * by + plus


def test_equal_bodies_agree_wherever_they_are_defined() -> None:
    def inner(x: int, by: int = 2, *, plus: int = 0) -> int:
        return x * by + plus

    def other(x: int, by: int = 3, *, plus: int = 0) -> int:
        return x * by + plus

    def keyword(x: int, by: int = 2, *, plus: int = 1) -> int:
        return x * by + plus

    assert digest(inner) == digest(multiply)
    assert len({digest(f) for f in (multiply, other, keyword)}) == 3


def test_constants_of_a_body_count_by_type() -> None:
    assert digest(lambda: 1) != digest(lambda: 1.0)
    assert digest(lambda: 0.0) != digest(lambda: -0.0)
    assert digest(lambda: (1, 2)) != digest(lambda: (1, 2.0))


def test_captured_values_count_with_their_names() -> None:
    def capture(a: Any, b: Any) -> Callable[[], Any]:
        return lambda: (a, b)

    assert digest(capture(1, 2)) == digest(capture(1, 2.0))
    assert digest(capture(1, 2)) != digest(capture(2, 1))
    with pytest.raises(Indigestible):
        digest(capture(1, object()))


def cycle(step: int) -> tuple[Callable[[int], bool], Callable[[int], bool]]:
    def even(n: int) -> bool:
        return n == 0 or odd(n - step)

    def odd(n: int) -> bool:
        return n != 0 and even(n - step)

    return even, odd


def test_recursive_functions_agree_wherever_the_walk_enters() -> None:
    even, odd = cycle(1)
    even_again, odd_again = cycle(1)
    assert digest(even) == digest(even_again) != digest(odd) == digest(odd_again)
    assert digest([odd, even]) == digest([digest(odd), digest(even)])
    assert digest(even) != digest(cycle(2)[0])
    holder = [even]
    assert digest(holder) == digest([even_again])


def test_functions_in_a_cycle_with_containers() -> None:
    def make(step: int) -> Callable[[], Any]:
        table: dict[str, Any] = {}

        def look() -> Any:
            return table, step

        table["look"] = look
        return look

    assert digest(make(1)) == digest(make(1)) != digest(make(2))


def test_the_class_cell_counts_by_name() -> None:
    class Base:
        def speak(self) -> str:
            return "base"

    class Child(Base):
        def speak(self) -> str:
            return super().speak()

    assert len(digest(Child.speak)) == 64


def test_bound_methods_count_by_receiver() -> None:
    @dataclass(frozen=True)
    class Scale:
        by: int

        def times(self, x: int) -> int:
            return x * self.by

        @classmethod
        def unit(cls) -> Scale:
            return cls(1)

    assert digest(Scale(1).times) == digest(Scale(1).times) != digest(Scale(2).times)
    assert digest(Scale.unit) == digest(Scale.unit)


def test_a_function_with_a_digest_of_its_own() -> None:
    def wrapper(*args: Any) -> Any:
        return multiply(*args)

    wrapper.__digest__ = lambda: digest(multiply)  # type: ignore[attr-defined]
    assert digest(wrapper) == digest(multiply)
    assert digest([wrapper]) == digest([multiply])


def test_a_metaclass_says_the_digest_of_its_classes() -> None:
    class Meta(type):
        def __digest__(cls) -> Digest:
            return digest(("meta", cls.__name__))

    class Made(metaclass=Meta):
        pass

    assert digest(Made) == digest(("meta", "Made"))


def test_partials() -> None:
    partial = functools.partial
    assert digest(partial(multiply, 1)) == digest(partial(multiply, 1.0))
    assert digest(partial(multiply, 1)) != digest(partial(multiply, 2))
    assert digest(partial(multiply, by=1)) != digest(partial(multiply, plus=1))


def test_a_broken_digest_method_is_indigestible_with_its_cause() -> None:
    class Broken:
        def __digest__(self) -> str:
            raise ValueError("no")

    class Wrong:
        def __digest__(self) -> int:
            return 3

    with pytest.raises(Indigestible) as caught:
        digest([Broken()])
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(Indigestible, match="must return a digest"):
        digest(Wrong())


# Times and paths.


@given(st.datetimes(timezones=st.timezones()))
def test_times_count_with_zone_and_fold(time: dt.datetime) -> None:
    assert both(time) == both(pickle.loads(pickle.dumps(time)))
    assert digest(time) != digest(time.replace(fold=1 - time.fold))
    assert digest(time) != digest(time.replace(tzinfo=None))


@given(st.times(), st.timedeltas(), st.dates())
def test_times_of_subclasses_are_not_times(time: dt.time, span: dt.timedelta, day: dt.date) -> None:
    class Span(dt.timedelta):
        pass

    class Day(dt.date):
        pass

    assert digest(Span(span.days, span.seconds, span.microseconds)) != digest(span)
    assert digest(Day(day.year, day.month, day.day)) != digest(day)
    assert digest(time) == digest(time.replace())


def test_zones_of_other_packages_count_by_key() -> None:
    zones = [
        zoneinfo.ZoneInfo("Europe/Berlin"),
        tz.gettz("Europe/Berlin"),
        tz.gettz("Europe/Paris"),
        tz.tzoffset("X", 3600),
        tz.tzoffset("X", 7200),
        tz.tzutc(),
        dt.UTC,
        dt.timezone(dt.timedelta(hours=1)),
    ]
    assert len({digest(zone) for zone in zones}) == len(zones)
    assert digest(tz.tzoffset("X", 3600)) == digest(tz.tzoffset("X", 3600))


def test_paths_count_by_text() -> None:
    assert digest(Path("a") / "b") == digest(Path("a/b")) == digest(PurePath("a/b"))
    assert digest(Path("a"), True) != digest(PurePath("a"), True)
    path = Path("a/b")
    before = digest(path), digest(path, True)
    _ = path.parts, hash(path), path.suffix
    assert (digest(path), digest(path, True)) == before


@given(st.integers(-20, 20), st.integers(-20, 20), st.integers(-5, 5).filter(bool))
def test_ranges_count_by_elements(start: int, stop: int, step: int) -> None:
    one = range(start, stop, step)
    for other in (range(start, stop, step), range(start, stop + 1, step), one[:-1], one[::-1]):
        assert (digest(one) == digest(other)) == (one == other)
    assert digest(range(0, 3, 2)) == digest(range(0, 4, 2))
    assert digest(range(0, 3, 2), True) != digest(range(0, 4, 2), True)


# Threads.


def test_threads_digest_at_once() -> None:
    expected = digest(list(range(20_000)))
    found: list[Digest] = []

    def work() -> None:
        for _ in range(3):
            found.append(digest(list(range(20_000))))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 24


def test_a_large_value_lets_other_threads_run(others_run_during: Callable[..., bool]) -> None:
    content = bytes(64 * 2**20)
    assert others_run_during(lambda: digest(content))
