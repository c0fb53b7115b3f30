"""What comes back is what was returned: results of many kinds, equal to others in twos or more and
yet not the same, saved in any order in one store by different functions, on every value storage
and at every depth."""

from __future__ import annotations

import array
import collections
import copy
import datetime
import decimal
import enum
import io
import os
import pickle
import random
import types
import zoneinfo
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
import xarray as xr

from fleche import cache, fleche, wrap_executor
from fleche.caches import Cache, CacheStack
from fleche.storage import CallMemory, ValueMemory, ValuePickleFile
from fleche.storage.bagofholding_file import ValueBagOfHoldingH5File
from tests.repeats import explores

# Classes of results.


@dataclass
class Pair:
    a: Any
    b: Any = 0


@dataclass
class WithHidden:
    a: Any
    hidden: Any = field(default=0, compare=False, repr=False)


@dataclass(slots=True, frozen=True)
class Slotted:
    a: Any


@attrs.define
class Defined:
    a: Any
    b: Any = attrs.field(default=0, eq=False)


class Coordinates(NamedTuple):
    a: Any
    b: Any = 0


class Color(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796
    GREEN = 2


class Level(enum.IntEnum):
    LOW = 1


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Same:
    """All are equal, whatever is in them."""

    def __init__(self, a: Any) -> None:
        self.a = a

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same)

    def __hash__(self) -> int:
        return 1


class Items(list):  # type: ignore[type-arg]
    note: Any


class Labelled(np.ndarray):  # type: ignore[type-arg]
    """An array with an attribute, as the page on subclassing has it."""

    unit: Any = None

    def __reduce__(self) -> Any:
        maker, arguments, state = super().__reduce__()
        return maker, arguments, (state, self.unit)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state[0])
        self.unit = state[1]


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    a: Any
    b: Any = 0
    _hidden: Any = pydantic.PrivateAttr(default=0)


MODELS: list[Any] = [
    Model(a=1),
    Model(a=1.0),
    Model(a=1, b=0),
    Model(a=1, c=1),
    Model(a=[1, 2]),
    Model(a=Pair(1)),
]
MODELS[2]._hidden = 5


# Makers of results.


def with_(value: Any, **attributes: Any) -> Any:
    for name, attribute in attributes.items():
        setattr(value, name, attribute)
    return value


def flagged(value: Any, **flags: bool) -> Any:
    value = value.copy(order="K")
    value.setflags(**flags)
    return value


def labelled(unit: Any) -> Any:
    made = np.arange(3).view(Labelled)
    made.unit = unit
    return made


NUMBERS = np.arange(6.0).reshape(2, 3)
DAYS = pd.date_range("2020", periods=3, freq="D")


def arrays() -> Iterator[Any]:
    for dtype in ("f8", "<f4", ">f8", "i8", ">i4", "u1", "c16", "?", "f2", "m8[s]", "M8[D]", "U3"):
        yield NUMBERS.astype(dtype)
    yield from (NUMBERS.copy("C"), NUMBERS.copy("F"), NUMBERS.T, NUMBERS[:, ::-1], NUMBERS[::2])
    yield flagged(NUMBERS, write=False)
    yield flagged(NUMBERS.T, write=False)
    yield from (np.array(1.0), np.array(1), np.float64(1), np.int64(1), np.array([1.0]))
    yield from (flagged(np.array(1.0), write=False), np.zeros((0, 3)), np.zeros((3, 0)), -NUMBERS)
    yield from (
        np.array([0.0]),
        np.array([-0.0]),
        np.array([np.nan]),
        np.array(["a"]),
        np.array([b"a"]),
    )
    structured = [("a", "i4"), ("b", "f8")]
    yield np.zeros(2, structured)
    yield np.zeros(2, np.dtype(structured, align=True))
    yield np.zeros(2, {"names": ["a", "b"], "formats": ["i4", "f8"], "offsets": [8, 0]})
    yield np.zeros(2, {"names": ["a", "b"], "formats": ["i4", "f8"], "titles": ["x", "y"]})
    yield np.rec.array(np.zeros(2, structured))
    yield np.zeros(2, structured)[0]
    yield np.array([1, "a", None, [2]], dtype=object)
    yield np.array([1.0, "a", None, [2]], dtype=object)
    yield np.array([[1, 2], [3, 4]], dtype=object)
    yield np.asfortranarray(np.array([[1, 2], [3, 4]], dtype=object))
    yield np.zeros(3, np.dtype("f8", metadata={"unit": "m"}))
    yield np.ma.array([1, 2, 3], mask=[0, 1, 0])
    yield np.ma.array([1, 9, 3], mask=[0, 1, 0])
    yield np.ma.array([1, 2, 3], mask=[0, 1, 0], fill_value=7)
    yield np.ma.array([1, 2, 3], mask=[0, 1, 0], hard_mask=True)
    yield np.ma.array([1, 2, 3])
    yield np.ma.array([1, 2, 3], mask=False)
    yield np.ma.array([1, 2, 3], mask=[0, 0, 0])
    yield np.ma.masked
    yield from (labelled("m"), labelled("in"), labelled(None), np.arange(3).view(Labelled))
    yield from (np.dtype("f8"), np.dtype(">f8"), np.dtype("f8", metadata={"a": 1}), np.float64)
    yield np.array(["a", "b"], dtype=np.dtypes.StringDType())
    yield np.array(["a", "b"], dtype=np.dtypes.StringDType(na_object=None))


def indexes() -> Iterator[Any]:
    yield from (pd.RangeIndex(3), pd.Index([0, 1, 2]), pd.Index([0.0, 1.0, 2.0]))
    yield from (pd.RangeIndex(0, 5, 2), pd.RangeIndex(0, 6, 2), pd.Index([0, 2, 4]))
    yield pd.Index([0, 1, 2], dtype="int8")
    yield from (pd.RangeIndex(3, name="n"), pd.RangeIndex(3, name=("n",)), pd.RangeIndex(3, name=1))
    yield from (DAYS, pd.DatetimeIndex(list(DAYS)), DAYS.tz_localize("UTC"), DAYS.as_unit("s"))
    yield from (DAYS.tz_localize("Europe/Berlin"), DAYS.tz_localize(datetime.UTC))
    yield from (pd.date_range("2020", periods=3, freq="24h"), DAYS.astype(object))
    yield from (pd.period_range("2020", periods=3), pd.timedelta_range("1D", periods=3))
    yield from (pd.Index(["a", "b", "a"]), pd.Index(["a", "b", "a"], dtype=object))
    yield from (pd.CategoricalIndex(["a", "b", "a"]), pd.IntervalIndex.from_breaks([0, 1, 2, 3]))
    yield pd.CategoricalIndex(["a", "b", "a"], categories=["b", "a"])
    yield pd.CategoricalIndex(["a", "b", "a"], ordered=True)
    yield pd.IntervalIndex.from_breaks([0, 1, 2, 3], closed="left")
    yield pd.MultiIndex.from_tuples([(0, "a"), (1, "b"), (2, "a")])
    yield pd.MultiIndex.from_tuples([(0, "a"), (1, "b"), (2, "a")], names=["x", "y"])
    yield pd.MultiIndex.from_product([[0, 1, 2], ["a", "b"]])[[0, 3, 4]]


def frames() -> Iterator[Any]:
    data = {"a": [1, 2, 3]}
    for index in indexes():
        yield index
        yield pd.Series([1, 2, 3], index)
        yield pd.DataFrame(data, index)
        yield pd.DataFrame([[1, 2, 3]], columns=index)
    dtypes = "int64 int8 Int64 float64 Float64 object category string bool[pyarrow] int64[pyarrow]"
    for dtype in dtypes.split():
        yield pd.Series([1, 1, 0], dtype=dtype)
    for dtype in ("object", "str", "string[python]", "string[pyarrow]", "category"):
        yield pd.Series(["a", None, "b"], dtype=dtype)
        yield pd.DataFrame({"a": pd.Series(["a", None, "b"], dtype=dtype)})
    for unit in ({"unit": "m"}, {"unit": "in"}, {}, {"unit": ["m"]}):
        yield with_(pd.DataFrame(data), attrs=unit)
        yield with_(pd.Series([1, 2, 3]), attrs=unit)
    yield pd.DataFrame(data).set_flags(allows_duplicate_labels=False)
    yield pd.Series([1, 2, 3]).set_flags(allows_duplicate_labels=False)
    yield from (pd.Series([1, 2, 3], name="a"), pd.Series([1, 2, 3], name=("a",)))
    yield from (pd.Series([np.nan, 1]), pd.Series([None, 1], dtype=object), pd.Series([pd.NA, 1]))
    yield pd.Series(pd.arrays.SparseArray([0, 0, 1]))
    yield pd.Series(pd.arrays.SparseArray([0, 0, 1], fill_value=1))
    yield pd.DataFrame({"a": [1], "b": [2]})
    yield pd.DataFrame({"b": [2], "a": [1]})
    yield pd.DataFrame([[1, 2]], columns=["a", "a"])
    yield from (pd.Timestamp(2020, 1, 1), pd.Timestamp(2020, 1, 1).as_unit("ns"))
    yield from (pd.Timestamp("2020", tz="UTC"), pd.Timestamp("2020-01-01T01", tz="Europe/Berlin"))
    yield from (pd.NaT, pd.NA, pd.Timedelta(1, "D"), pd.Period("2020"), pd.Interval(0, 1))
    yield from (pd.Categorical(["a", "b"]), pd.Categorical(["a", "b"], ["b", "a"]))
    yield pd.array([1, 2], dtype="Int64")


def tables() -> Iterator[Any]:
    plain = pa.table({"a": [1, 2]})
    yield plain
    yield plain.replace_schema_metadata({"unit": "m"})
    yield plain.replace_schema_metadata({"unit": "in"})
    yield pa.table({"a": [1, 2]}, pa.schema([pa.field("a", pa.int64(), nullable=False)]))
    yield pa.table({"a": [1, 2]}, pa.schema([pa.field("a", pa.int64(), metadata={"u": "m"})]))
    yield pa.table({"a": pa.chunked_array([[1], [2]])})
    yield pa.table({"a": pa.array([1, 2], pa.int32())})
    yield from (plain.schema, pa.int64(), pa.array([1, 2]), pa.chunked_array([[1, 2]]))
    yield from (
        pa.chunked_array([[1], [2]]),
        pa.array([1, None]),
        pa.scalar(1),
        pa.array([0, 1, 2])[1:],
    )
    yield pa.array(["a", "b", "a"]).dictionary_encode()
    yield plain.to_batches()[0]
    yield from (pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [1.0, 2.0]}), pl.Series([1, 2]))
    yield from (
        pl.Series("a", [1, 2]),
        pl.Series("a", [1, 2], pl.Int8),
        pl.Series("a", [1, 2]).set_sorted(),
    )
    yield pl.Series("a", ["x", "y"], pl.Categorical)
    yield pl.Series("a", ["x", "y"], pl.Enum(["x", "y"]))
    for unit in ("m", "in", None):
        given = {"unit": unit} if unit else {}
        yield xr.DataArray([1, 2], dims="x", attrs=given)
        yield xr.Dataset({"a": ("x", [1, 2], given)}, attrs=given)
        yield xr.DataArray([1, 2], dims="x", coords={"x": ("x", [0, 1], given)})
        yield xr.Variable("x", [1, 2], attrs=given, encoding=given)
    yield xr.DataArray([1, 2], dims="x", name="a")
    yield xr.DataArray([1, 2], dims="y")
    yield xr.DataArray([1, 2], dims="x", coords={"x": pd.RangeIndex(2)})
    yield xr.Dataset({"a": ("x", [1, 2]), "b": ("x", [1, 2])})
    yield xr.Dataset({"b": ("x", [1, 2]), "a": ("x", [1, 2])})


def objects() -> Iterator[Any]:
    yield from MODELS
    for a in (1, 1.0, True, np.int64(1), decimal.Decimal(1), decimal.Decimal("1.0")):
        yield from (
            a,
            Pair(a),
            WithHidden(a),
            WithHidden(1, a),
            Slotted(a),
            Defined(a),
            Defined(1, a),
        )
        yield from (
            Coordinates(a),
            Plain(a=a),
            Same(a),
            {"a": a},
            {a: "a"},
            {a},
            frozenset([a]),
            (a,),
        )
        yield from ([a], Items([a]), with_(Items([1]), note=a), collections.deque([a], 5))
        yield from (collections.Counter({"a": a}), types.SimpleNamespace(a=a), ValueError(a))
        yield from (slice(a), with_(Pair(1), more=a), with_(ValueError(1), note=a))
    yield from (Pair(Color.RED), Color.RED, Color.GREEN, Level.LOW, 1, Color.CRIMSON)
    yield from ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    ordered = collections.OrderedDict
    yield from (ordered(a=1, b=2), ordered(b=2, a=1), collections.OrderedDict())
    yield from (collections.defaultdict(int, a=1), collections.defaultdict(list, a=1))
    yield from (collections.deque([1]), collections.deque([1], 1), collections.ChainMap({"a": 1}))
    words = ["one", "two", "three", "four", "five"]
    yield from (
        set(words),
        {"five", "four", "three", "two", "one"},
        frozenset(words),
        set(map(int, "0123")),
        {8, 0, 16},
    )
    yield from ({16, 8, 0}, {0, 8, 16}, [{16, 8}], [{8, 16}])
    yield from (
        b"a",
        bytearray(b"a"),
        array.array("b", [97]),
        array.array("B", [97]),
        "a",
        io.BytesIO(b"a"),
    )
    yield from (
        range(0),
        range(1, 1),
        range(0, 5, 2),
        range(0, 6, 2),
        slice(1, 2),
        slice(1, 2, None),
    )
    for text in ("1", "1.0", "1E+0", "0", "-0", "0E+3", "NaN", "sNaN", "NaN1", "-NaN", "Infinity"):
        yield decimal.Decimal(text)
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    turn = datetime.datetime(2024, 10, 27, 2, 30)
    zones = None, berlin, datetime.UTC, datetime.timezone(datetime.timedelta(hours=1))
    for zone in (*zones, datetime.timezone(datetime.timedelta(0), "UTC"), zoneinfo.ZoneInfo("UTC")):
        for fold in (0, 1):
            yield turn.replace(tzinfo=zone, fold=fold)
            yield turn.timetz().replace(tzinfo=zone, fold=fold)
    yield from (
        turn.date(),
        datetime.timedelta(1),
        zones[3],
        berlin,
        zoneinfo.ZoneInfo("Europe/Paris"),
    )
    yield from (int, Pair, len, Path("a"), ..., NotImplemented, complex(0, -0.0), 0j, -0.0, 0.0)


def shared() -> Iterator[Any]:
    """What is in a result twice is so in what comes back."""
    for make in (list, dict, set, bytearray, Plain, lambda: Pair([]), lambda: np.zeros(2)):
        one, other = make(), make()  # type: ignore[no-untyped-call]
        for first, second in ((one, one), (one, other)):
            yield from ([first, second], (first, second), {"a": first, "b": second})
            yield from (Pair(first, second), Plain(a=first, b=second), [[first], [second]])
            yield from ((first, Plain(a=second)), [Plain(a=first), Plain(a=second)])
            yield from ([first, [second]], Defined(first, second), Coordinates(first, second))
    cycle: list[Any] = []
    cycle.append(cycle)
    parent, child = Plain(), Plain()
    parent.child, child.parent = child, parent  # type: ignore[attr-defined]
    pair = Pair(1)
    pair.b = [pair]
    yield from (cycle, parent, [parent, child], [parent.child, child], {"a": parent}, pair)


FAMILIES = {family.__name__: list(family()) for family in (arrays, frames, tables, objects, shared)}


# What can be seen of a value.


def plain_pickle(value: Any) -> bytes:
    """Its pickle, in which it makes no difference which texts in it are one object."""
    target = io.BytesIO()
    pickler = pickle.Pickler(target, 5)
    pickler.fast = True
    pickler.dump(value)
    return target.getvalue()


class View:
    """Describes values, so that two that are described alike cannot be told apart."""

    def __init__(self) -> None:
        self._met: dict[int, int] = {}
        self._kept: list[Any] = []

    def of(self, value: Any) -> Any:
        kind = type(value)
        if kind in (int, float, str, bytes, bool, complex, type(None)):
            return kind, repr(value)
        if (number := self._met.get(id(value))) is not None and not isinstance(value, tuple):
            return "met", number
        self._met[id(value)] = len(self._met)
        self._kept.append(value)
        return kind, self._content(value), self._attributes(value)

    def _content(self, value: Any) -> Any:
        if isinstance(value, (set, frozenset)):
            return sorted(repr(View().of(element)) for element in value)
        if isinstance(value, (list, tuple, collections.deque)):
            return [self.of(element) for element in value]
        if isinstance(value, (dict, types.MappingProxyType)):
            return [(self.of(key), self.of(item)) for key, item in value.items()]
        if is_dataclass(value) and not isinstance(value, type):
            return [(field.name, self.of(getattr(value, field.name))) for field in fields(value)]
        if isinstance(value, (Defined, Slotted)):
            return [self.of(value.a), self.of(getattr(value, "b", None))]
        if isinstance(value, (Plain, Same, types.SimpleNamespace)):
            return None
        if isinstance(value, np.ndarray) and value.dtype.hasobject and not value.dtype.names:
            return [self.of(element) for element in value.ravel("K").tolist()]
        return plain_pickle(value)

    def _attributes(self, value: Any) -> Any:
        found: dict[str, Any] = {}
        if isinstance(value, np.ndarray):
            found = {
                "flags": repr(value.flags).replace("OWNDATA : True", "OWNDATA : False"),
                "dtype": (
                    repr(value.dtype),
                    repr(value.dtype.metadata),
                    value.dtype.isalignedstruct,
                ),
                "strides": value.strides if value.size else None,
            }
        if isinstance(value, np.ma.MaskedArray):
            found["mask"] = repr((value._mask, value._fill_value, value.hardmask, value._data))
        if isinstance(value, (pd.Series, pd.DataFrame)):
            found["attrs"] = repr((value.attrs, value.flags))
        if isinstance(value, (pd.Series, pd.DataFrame)):
            found["axes"] = [self._index(axis) for axis in value.axes]
        if isinstance(value, pd.Index):
            found["index"] = self._index(value)
        if isinstance(value, pa.Table):
            found["schema"] = value.schema.to_string(show_field_metadata=True)
            found["chunks"] = [column.num_chunks for column in value.columns]
        if isinstance(value, (datetime.datetime, datetime.time)):
            found["zone"] = repr(value), type(value.tzinfo)
        held = getattr(value, "__dict__", None)
        if isinstance(held, dict) and isinstance(value, (list, Plain, Same, Pair, ValueError)):
            found["held"] = [(name, self.of(item)) for name, item in held.items()]
        return found

    def _index(self, index: Any) -> Any:
        frequency = getattr(index, "freq", None)
        return type(index), str(index.dtype), repr(index.names), repr(frequency), repr(index)


def seen(value: Any) -> Any:
    return View().of(value)


# Storages.

STORAGES: dict[str, Callable[[Path, int], Any]] = {
    "memory": lambda folder, depth: ValueMemory({}, remaining_depth=depth),
    **{
        name: lambda folder, depth, form=form: ValuePickleFile(
            folder / "values", remaining_depth=depth, **form
        )
        for name, form in {
            "pickle": {},
            "cloudpickle": {"serializer": "cloudpickle"},
            "dill": {"serializer": "dill"},
            "compressed": {"compress": True},
            "signed": {"secret_key": b"key"},
        }.items()
    },
    **{
        f"bags {length}": lambda folder, depth, length=length: ValueBagOfHoldingH5File(
            folder / "values", prefix_length=length, remaining_depth=depth
        )
        for length in (0, 2)
    },
}

#: The depths at which each storage is tried; all of them with `--hypothesis-profile=explore`.
DEPTHS = {"memory": [0, 5], "pickle": [0, 1, 5], "cloudpickle": [5], "dill": [0]}


def cases() -> Iterator[tuple[str, str, int]]:
    for storage in STORAGES:
        for depth in [0, 1, 5] if explores() else DEPTHS.get(storage, [1]):
            for family in FAMILIES:
                yield family, storage, depth


# Importable, as what functions capture counts.
ran: list[int] = []


@fleche
def one(family: str, number: int) -> Any:
    ran.append(number)
    return FAMILIES[family][number]


@fleche
def other(family: str, number: int) -> Any:
    ran.append(number)
    return [FAMILIES[family][number]]


def might_come_back(value: Any, storage: str) -> list[Any]:
    """What may be seen of a value that comes back: what `pickle` gives of it, or, in memory, of
    what `deepcopy` gives."""
    copies = [value, copy.deepcopy(value)] if storage == "memory" else [value]
    return [seen(pickled(one)) for one in copies]


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value, 5))


@pytest.mark.parametrize(("family", "storage", "depth"), list(cases()))
def test_what_comes_back_is_what_was_returned(
    tmp_path: Path, family: str, storage: str, depth: int
) -> None:
    seed = os.environ.get("FLECHE_SEED", "1")
    chance = random.Random(f"{seed} {family} {storage} {depth}")
    order = list(range(len(FAMILIES[family])))
    chance.shuffle(order)
    bags = storage.startswith("bags")
    if not explores():
        # Bags are slow.
        del order[20 if bags else 80 :]
    values = FAMILIES[family]
    ran.clear()
    wrong = []
    with cache(Cache(STORAGES[storage](tmp_path, depth), CallMemory({}))):
        for number in order:
            one(family, number)
            other(family, number)
        assert len(ran) == 2 * len(order)
        for number in order:
            for function, returned in ((one, values[number]), (other, [values[number]])):
                before = len(ran)
                found = function(family, number)
                if len(ran) > before:
                    # Not every bag holds everything.
                    if not bags:
                        wrong.append((number, "not stored", returned))
                elif seen(pickled(found) if storage == "memory" else found) not in might_come_back(
                    returned, storage
                ):
                    wrong.append((number, found, returned))
    assert not wrong


class TestMemory:
    """A memory storage gives copies."""

    @pytest.fixture(autouse=True)
    def in_memory(self) -> Iterator[None]:
        with cache(Cache(ValueMemory({}), CallMemory({}))):
            yield

    def test_an_array_that_may_not_be_written_to(self) -> None:
        @fleche
        def make() -> Any:
            return flagged(NUMBERS, write=False)

        assert not make().flags.writeable
        assert not make().flags.writeable
        assert make() is not make()

    @pytest.mark.parametrize(
        "within", [lambda one: Plain(a=one), lambda one: {"a": Plain(b=[one])}]
    )
    def test_arrays_within_objects(self, within: Callable[[Any], Any]) -> None:
        def array(found: Any) -> Any:
            return found.a if isinstance(found, Plain) else found["a"].b[0]

        @fleche
        def frozen() -> Any:
            return within(flagged(NUMBERS, write=False))

        @fleche
        def named() -> Any:
            return within(labelled("m"))

        for _ in range(2):
            assert not array(frozen()).flags.writeable
            assert array(named()).unit == "m"
        assert array(frozen()) is not array(frozen())
        assert frozen.contains()

    def test_what_a_subclass_of_arrays_holds(self) -> None:
        @fleche
        def make() -> Any:
            return labelled("m")

        make()
        assert make().unit == "m"


class TestShared:
    """What a result holds more than once is one object when it comes back."""

    @pytest.fixture(params=[*STORAGES], autouse=True)
    def storage(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
        with cache(Cache(STORAGES[request.param](tmp_path, 0), CallMemory({}))):
            yield

    @pytest.mark.parametrize("way", ["direct", "stack", "executor", "another store"])
    def test_however_it_was_saved(self, way: str, tmp_path: Path) -> None:
        here = cache()
        calls = []

        @fleche
        def shared() -> Any:
            calls.append("shared")
            row: list[int] = []
            return [row, row, [row]]

        def found() -> Any:
            if way != "executor":
                return shared()
            with wrap_executor(ThreadPoolExecutor(1)) as pool:
                return pool.submit(shared).result()

        stack = CacheStack((here, Cache(ValueMemory({}), CallMemory({}))))
        with cache(stack if way == "stack" else here):
            found()
        if way == "another store":
            there = Cache(ValuePickleFile(tmp_path / "there"), CallMemory({}))
            here.transfer(there)
            here = there
        with cache(here):
            one, other, [third] = found()
        assert one is other
        assert third is one
        assert len(calls) == 1

    def test_a_change_shows_wherever_it_is_held(self) -> None:
        @fleche
        def shared() -> Any:
            row: list[int] = []
            return [row, row]

        @fleche
        def apart() -> Any:
            return [[], []]

        shared(), apart(), shared()
        one, other = shared()
        one.append(1)
        assert other == [1]
        one, other = apart()
        one.append(1)
        assert other == []

    def test_objects_that_refer_to_each_other(self) -> None:
        @fleche
        def build() -> Any:
            tree = Plain(nodes=[])
            tree.nodes.append(Plain(parent=tree))
            return tree, tree.nodes[0]

        build()
        tree, node = build()
        assert node in tree.nodes
        assert node.parent is tree

    def test_equal_parts_of_other_results_are_stored_once(self) -> None:
        values = ValueMemory({})

        @fleche
        def rows(n: int) -> Any:
            return [[1, 2, 3], [n]]

        with cache(Cache(values, CallMemory({}))):
            rows(1)
            before = len(values.storage)
            rows(2)
        assert len(values.storage) <= before + 4
