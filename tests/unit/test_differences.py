"""Where two values differ, as `differences` tells it: what it names has two digests."""

from __future__ import annotations

import array
import collections
import dataclasses
import enum
import functools
import types
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from hypothesis.extra import pandas as pdst

from fleche.differences import MISSING, Difference, differences
from fleche.differences.walk import UNSEEN
from fleche.digest import Digest, Indigestible, digest

from .schemes import scheme

NAN = float("nan")


def shown(stored: Any, given: Any, **options: Any) -> list[str]:
    return [str(each) for each in differences(stored, given, **options)]


def digest_of(value: Any, typed: bool) -> Digest | None:
    try:
        return digest(value, typed=typed)
    except Indigestible:
        return None


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=60)
    | st.binary(max_size=60)
    | st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, NAN, "a", b"a", Path("a")])
)
keys = st.booleans() | st.integers(-2, 2) | st.text(max_size=2) | st.floats(-1, 1)
dtypes = (
    npst.scalar_dtypes()
    | npst.byte_string_dtypes()
    | npst.unicode_string_dtypes()
    | npst.array_dtypes(max_size=2)
)
arrays = npst.arrays(dtypes, npst.array_shapes(max_dims=2, max_side=3, min_dims=0))
frames = pdst.data_frames(
    [
        pdst.column("a", dtype=int),
        pdst.column("b", dtype=float),
        pdst.column("c", elements=st.text(max_size=2), dtype=object),
    ],
    index=pdst.range_indexes(max_size=3),
)
values = st.recursive(
    scalars | arrays | frames,
    lambda inner: (
        st.lists(inner, max_size=12)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
    ),
    max_leaves=8,
)


def check(stored: Any, given: Any, typed: bool) -> None:
    found = differences(stored, given, typed=typed)
    assert bool(found) == (digest(stored, typed=typed) != digest(given, typed=typed))
    for each in found:
        assert str(each)
        assert each.path.count("value") >= 1
        digests = digest_of(each.stored, typed), digest_of(each.given, typed)
        # Of NaN in arrays each bit counts; some elements have no digest of their own.
        if "bits" not in each.note and any(digests):
            assert digests[0] != digests[1]


@given(values, values, st.booleans())
@settings(deadline=None)
def test_what_is_named_differs(stored: Any, given: Any, typed: bool) -> None:
    check(stored, given, typed)
    assert differences(stored, stored, typed=typed) == []


@st.composite
def changed(draw: st.DrawFn) -> tuple[Any, Any]:
    """A value, and the same with one change deep inside."""
    one, other = draw(values), draw(values)
    for _ in range(draw(st.integers(0, 4))):
        around = draw(st.lists(scalars, max_size=30))
        place = draw(st.integers(0, len(around)))
        wrap = draw(st.sampled_from([list, tuple, enumerate]))
        wrapped = []
        for each in (one, other):
            items = [*around[:place], each, *around[place:]]
            wrapped.append(dict(wrap(items)) if wrap is enumerate else wrap(items))
        one, other = wrapped
    return one, other


@given(changed(), st.booleans())
@settings(deadline=None)
def test_a_change_deep_inside_is_named(pair: tuple[Any, Any], typed: bool) -> None:
    check(*pair, typed)


plain = st.recursive(
    st.integers() | st.text("ab", max_size=3) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=12)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text("ab", max_size=3), inner, max_size=4)
        | st.sets(st.integers(), max_size=4)
    ),
    max_leaves=12,
)


@given(plain, plain)
@settings(deadline=None)
def test_paths_lead_there(stored: Any, given: Any) -> None:
    for each in differences(stored, given):
        for value, there in ((stored, each.stored), (given, each.given)):
            if there is MISSING:
                with pytest.raises((LookupError, TypeError)):
                    eval(each.path, {"value": value})
            else:
                found = eval(each.path, {"value": value})
                assert digest(found, typed=True) == digest(there, typed=True)


@given(values, values)
@settings(deadline=None)
def test_in_the_other_scheme(stored: Any, given: Any) -> None:
    with scheme("sha256"):
        if digest_of(stored, False) is not None and digest_of(given, False) is not None:
            check(stored, given, False)


def test_the_first_few() -> None:
    found = differences(list(range(100)), list(range(1, 101)), most=3)
    assert [each.path for each in found] == ["value[0]", "value[1]", "value[2]"]
    assert differences(1, 2, root="cfg") == [Difference("cfg", 1, 2)]


def test_scalars() -> None:
    assert shown(0.1, 0.2) == ["value: was 0.1, is 0.2"]
    assert shown(1, 1.0) == []
    assert shown(1, 1.0, typed=True) == ["value: was 1, is 1.0 (int, float)"]
    assert shown(1, True) == ["value: was 1, is True (int, bool)"]
    assert shown("a", Path("a")) == [f"value: was 'a', is {Path('a')!r}"]
    assert shown(np.float64(1), np.nextafter(1, 2)) == [
        "value: was 1.0, is 1.0000000000000002 (1 ulp)"
    ]
    assert shown(0.0, -0.0, typed=True) == ["value: was 0.0, is -0.0"]


def test_long_texts_are_shown_where_they_differ() -> None:
    one = "x" * 5000
    [said] = shown(one + "abc" + one, one + "abd" + one)
    assert "...'xxxxxxxxxxabcxxxxxxxxxxx'..., is ...'xxxxxxxxxxabdxxxxxxxxxxx'..." in said
    assert said.endswith("(from position 5002 on)")
    [said] = shown(one.encode(), one.encode() + b"y")
    assert "is ...b'xxxxxxxxxxxxy' (from position 5000 on, lengths 5000 and 5001)" in said


def test_containers() -> None:
    assert shown({"lr": 0.1, "z": 1}, {"lr": 0.2, "y": [1]}, root="cfg") == [
        "cfg['lr']: was 0.1, is 0.2",
        "cfg['z']: was 1, is not there",
        "cfg['y']: was not there, is [1]",
    ]
    assert shown([1, 2], [1]) == ["len(value): was 2, is 1", "value[1]: was 2, is not there"]
    assert shown({1, 2}, {2, 3}) == [
        "1 in value: was True, is False",
        "3 in value: was False, is True",
    ]
    assert shown({1: 2}, {True: 2}) == [
        "value[1]: was 2, is not there",
        "value[True]: was not there, is 2",
    ]
    ordered = [collections.OrderedDict.fromkeys(keys) for keys in ("ab", "ba")]
    assert shown(*ordered) == ["list(value): was ['a', 'b'], is ['b', 'a'] (the order of the keys)"]
    assert shown([1], (1,)) == ["value: was [1], is (1,)"]
    point = collections.namedtuple("point", "x y")
    assert shown(point(1, 2), point(1, 3)) == ["value.y: was 2, is 3"]
    deque = collections.deque
    assert shown(deque([1], 2), deque([1], 3)) == ["value.maxlen: was 2, is 3"]
    assert shown(array.array("i", [1]), array.array("l", [1])) == [
        "value.typecode: was 'i', is 'l'"
    ]
    lists = collections.defaultdict(list, a=[1]), collections.defaultdict(set, a=[1])
    assert shown(*lists)[0].startswith("value.default_factory: ")


def test_a_million_elements() -> None:
    numbers = list(range(1_000_000))
    assert shown(numbers, [*numbers[:-1], 5]) == ["value[999999]: was 999999, is 5"]


@dataclasses.dataclass
class Params:
    size: int
    rest: Any = None


@attrs.define
class Slotted:
    size: int


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    @functools.cached_property
    def derived(self) -> int:
        return id(self)


class Chosen(Plain):
    """Of which one attribute counts."""

    def __getstate__(self) -> Any:
        return {"a": self.a}


class Own(Plain):
    def __digest__(self) -> Digest:
        return digest(self.a)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Broken:
    def __init__(self, x: int) -> None:
        self.x = x

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_objects() -> None:
    assert shown(Params(1, [1]), Params(1, [2])) == ["value.rest[0]: was 1, is 2"]
    assert shown(Slotted(1), Slotted(2)) == ["value.size: was 1, is 2"]
    one, other = Plain(a=1, b=2), Plain(a=1, c=3)
    assert one.derived != other.derived
    assert shown(one, other) == ["value.b: was 2, is not there", "value.c: was not there, is 3"]
    assert shown(Chosen(a=1, b=1), Chosen(a=2, b=2)) == ["value.a: was 1, is 2"]
    assert shown(Chosen(a=1, b=1), Chosen(a=1, b=2)) == []
    [said] = shown(Own(a=1, b=1), Own(a=2, b=1))
    assert said.endswith("(by the digest that its class or a hook gives; .a differ)")
    space = types.SimpleNamespace
    assert shown(space(a=1), space(a=2)) == ["value.a: was 1, is 2"]
    assert shown(Colour.RED, Colour.BLUE) == [f"value: was {Colour.RED!r}, is {Colour.BLUE!r}"]
    # Packages that send exceptions elsewhere have them pickled in ways of their own.
    [said] = shown(ValueError(1), ValueError(2))
    assert (said[:10], said[-10:]) == ("value.args", "was 1, is 2"[-10:])
    assert shown(Broken(1), Broken(2)) == ["value.x: was 1, is 2"]
    assert "without a repr" in shown(Broken(1), 3)[0]
    partial = functools.partial
    assert shown(partial(max, 1), partial(max, 2)) == ["value.args[0]: was 1, is 2"]
    assert shown(slice(1), slice(2)) == ["value: was slice(None, 1, None), is slice(None, 2, None)"]


class Number(int):
    pass


def test_subclasses() -> None:
    one, other = Number(1), Number(1)
    assert shown(Number(1), Number(2)) == ["value: was 1, is 2"]
    assert shown(Number(1), 1) == ["value: was 1, is 1 (Number, int)"]
    one.unit, other.unit = "m", "s"
    assert shown(one, other) == ["value.unit: was 'm', is 's'"]


def test_what_looks_alike_is_said_to_differ() -> None:
    def made(result: int) -> Any:
        class Local:
            def method(self) -> int:
                return result

        return Local()

    [said] = shown(made(1), made(2))
    assert said.endswith(UNSEEN) or "two classes that are called" in said
    assert " at 0x" not in said
    assert shown([1].append, [2].append) == ["value.__self__[0]: was 1, is 2"]


def test_functions() -> None:
    def adding(step: int) -> Any:
        return lambda x, y=2: x + step

    assert shown(adding(1), adding(2)) == ["value.__closure__[0].cell_contents: was 1, is 2"]
    [said] = shown(lambda x: x, lambda x: x + 1)
    assert said.startswith("value.__code__: ")
    assert said.endswith("(other code)")


def test_arrays() -> None:
    one = np.ones((20, 5))
    other = one.copy()
    other[17, 3] = np.nextafter(1, 2)
    assert shown(one, other, root="x") == ["x[17, 3]: was 1.0, is 1.0000000000000002 (1 ulp)"]
    assert shown(np.asfortranarray(one), other, root="x")[0].startswith("x[17, 3]")
    assert shown(one, one[:3]) == ["value.shape: was (20, 5), is (3, 5)"]
    assert shown(one, one.astype("f4")) == [
        "value.dtype: was dtype('float64'), is dtype('float32')"
    ]
    other[2] = 0
    assert "the first of 6 that differ, of 100" in shown(one, other)[0]
    assert shown(np.array(1), np.array(2)) == ["value[()]: was 1, is 2"]
    records = [np.array([(1, x)], "i4,f8") for x in (2, 3)]
    assert shown(*records) == ["value['f1'][0]: was 2.0, is 3.0"]
    objects = [np.array([[1, [x]]], object) for x in (2, 3)]
    assert shown(*objects) == ["value[0, 1][0]: was 2, is 3"]
    masked = [np.ma.array([1, x, y], mask=[0, 1, 0]) for x, y in ((2, 3), (4, 5))]
    assert shown(*masked) == ["value.data[2]: was 3, is 5"]
    assert shown(np.longdouble([1]), np.longdouble([2]))[0].startswith("value[0]: was ")
    times = [np.array(["2020", x], "M8[D]") for x in ("2021", "2022")]
    assert shown(*times)[0].startswith("value[1]: was np.datetime64('2021-01-01')")


def test_frames() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [1.0, NAN, 3.0], "c": ["x", "y", None]})

    def said(change: Any) -> list[str]:
        other = frame.copy()
        changed = change(other)
        return shown(frame, other if changed is None else changed, root="df")

    assert said(lambda f: f.__setitem__("b", [1.0, 2.0, 3.0])) == [
        "df['b'].iloc[1]: was nan, is 2.0"
    ]
    assert said(lambda f: f.__setitem__("c", ["x", "z", None])) == [
        "df['c'].iloc[1]: was 'y', is 'z'"
    ]
    assert said(lambda f: f.astype({"a": "f8"})) == [
        "df['a'].dtype: was dtype('int64'), is dtype('float64')"
    ]
    assert said(lambda f: f.set_axis([0, 1, 5])) == ["df.index[2]: was 2, is 5"]
    assert said(lambda f: f.attrs.update(unit="m")) == ["df.attrs['unit']: was not there, is 'm'"]
    assert said(lambda f: f[["b", "a", "c"]])[0].startswith("df.columns[0]: was 'a', is 'b'")
    [gone, *_] = said(lambda f: f.rename(columns={"a": "z"}))
    assert gone == "df['a']: was array([1, 2, 3]), is not there"
    assert said(lambda f: f.iloc[:2])[0] == "len(df['a']): was 3, is 2"
    series = [pd.Series(["a", x], dtype="category") for x in "bc"]
    assert "value.dtype.categories[1]: was 'b', is 'c'" in shown(*series)
    indexes = [pd.MultiIndex.from_tuples([(1, "a"), (2, x)]) for x in "bc"]
    assert shown(*indexes) == ["value.get_level_values(1)[1]: was 'b', is 'c'"]


def test_other_libraries() -> None:
    assert shown(*(pl.DataFrame({"a": [1, x]}) for x in (2, 3))) == ["value['a'][1]: was 2, is 3"]
    assert shown(*(pa.table({"a": [1, x]}) for x in (2, 3)))[0].startswith("value.column(0)[1]")
    data = [xr.DataArray([1.0, x], dims="t", coords={"t": [0, 1]}) for x in (2, 3)]
    assert shown(*data) == ["value.values[1]: was 2.0, is 3.0"]
    sets = [xr.Dataset({"a": each}) for each in data]
    assert shown(*sets) == ["value['a'].variable.values[1]: was 2.0, is 3.0"]
    sparse = [scipy.sparse.csr_array(np.diag([1.0, x])) for x in (2, 3)]
    assert shown(*sparse) == ["value.data[1]: was 2.0, is 3.0"]


def test_what_cannot_be_looked_into_is_shown_as_a_whole() -> None:
    class Shy:
        def __init__(self, x: int) -> None:
            self.x = x

        def __len__(self) -> int:
            raise RuntimeError("not to be asked")

        def __digest__(self) -> Digest:
            return digest(self.x)

        def __repr__(self) -> str:
            return "shy"

    [each] = differences([Shy(1)], [Shy(2)])
    assert each.path == "value[0]"
    blind = type("Blind", (), {"__digest__": lambda self: digest(id(self)), "__slots__": ()})
    assert shown(blind(), blind())[0].startswith("value: ")


def test_the_honest_answer() -> None:
    each = Difference("x", 1, 1, UNSEEN)
    assert str(each) == f"x: 1 {UNSEEN}"


def test_deep_nests_end() -> None:
    one, other = [1], [2]
    for _ in range(300):
        one, other = [one], [other]
    [each] = differences(one, other)
    assert each.path.startswith("value[0][0]")
    assert len(str(each)) < 1000
