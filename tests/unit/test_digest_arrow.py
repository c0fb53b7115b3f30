"""Digests of pyarrow's and polars' values: names, types and content, however they are cut."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleche import _core
from fleche.digest import Digest, Indigestible


def digest(value: Any, typed: bool = False) -> Digest:
    return _core.digest(value, typed=typed, scheme="exact")


def both(value: Any) -> tuple[Digest, Digest]:
    return digest(value), digest(value, typed=True)


#: Types, each with a strategy of values.
KINDS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(max_size=30)),
    (pa.large_string(), st.text(max_size=30)),
    (pa.string_view(), st.text(max_size=30)),
    (pa.binary(), st.binary(max_size=30)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.date32(), st.dates()),
    (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(dt.UTC))),
    (pa.duration("us"), st.timedeltas(dt.timedelta(-999), dt.timedelta(999))),
    (pa.decimal128(9, 2), st.decimals(-1000, 1000, places=2)),
    (pa.list_(pa.int16()), st.lists(st.none() | st.integers(0, 99), max_size=4)),
    (pa.large_list(pa.string()), st.lists(st.none() | st.text(max_size=3), max_size=4)),
    (pa.list_(pa.int8(), 2), st.lists(st.integers(0, 99), min_size=2, max_size=2)),
    (pa.map_(pa.string(), pa.int8()), st.lists(st.tuples(st.text(max_size=2), st.integers(0, 9)))),
    (
        pa.struct({"x": pa.int8(), "y": pa.list_(pa.string())}),
        st.fixed_dictionaries(
            {"x": st.none() | st.integers(0, 9), "y": st.none() | st.lists(st.text(max_size=2))}
        ),
    ),
    (pa.null(), st.none()),
]


@st.composite
def columns(draw: st.DrawFn) -> tuple[pa.DataType, list[Any]]:
    kind, values = draw(st.sampled_from(KINDS))
    return kind, draw(st.lists(st.none() | values, max_size=12))


@given(columns(), st.integers(0, 12), st.integers(0, 5))
def test_chunks_and_offsets_leave_no_trace(
    column: tuple[pa.DataType, list[Any]], cut: int, before: int
) -> None:
    kind, values = column
    whole = pa.array(values, kind)
    padded = pa.array((values * 5)[:before] + values, kind)
    sliced = padded.slice(len(padded) - len(values))
    assert both(sliced) == both(whole)
    parts = pa.chunked_array([whole.slice(0, cut), whole.slice(cut)], kind)
    assert both(parts) == both(pa.chunked_array([whole], kind))
    assert digest(parts) != digest(whole)
    assert digest(pa.chunked_array([sliced], kind)) == digest(parts)


@given(columns(), columns())
def test_arrays_agree_only_if_they_are_the_same(one: Any, other: Any) -> None:
    left, right = pa.array(one[1], one[0]), pa.array(other[1], other[0])
    if digest(left) == digest(right):
        assert left.type == right.type
        assert repr(left.to_pylist()) == repr(right.to_pylist())


@given(columns(), st.data())
def test_every_value_counts(column: tuple[pa.DataType, list[Any]], data: st.DataObject) -> None:
    kind, values = column
    if not values:
        return
    place = data.draw(st.integers(0, len(values) - 1))
    changed = list(values)
    changed[place] = data.draw(st.none() | dict(KINDS)[kind])
    one, other = pa.array(values, kind), pa.array(changed, kind)
    assert (digest(one) == digest(other)) == (repr(one.to_pylist()) == repr(other.to_pylist()))


@given(st.lists(st.none() | st.sampled_from(["a", "b", "c"]), min_size=1), st.integers(0, 5))
def test_dictionaries_count_by_what_they_say(values: list[Any], cut: int) -> None:
    array = pa.array(values, pa.string())
    whole = array.dictionary_encode()
    parts = pa.chunked_array(
        [array.slice(0, cut).dictionary_encode(), array.slice(cut).dictionary_encode()], whole.type
    )
    assert digest(parts) == digest(pa.chunked_array([whole]))
    assert digest(whole) != digest(array)


@given(st.lists(st.none() | st.integers(0, 2), min_size=1), st.integers(0, 5))
def test_runs_count_by_what_they_say(values: list[Any], cut: int) -> None:
    kind = pa.run_end_encoded(pa.int32(), pa.int64())
    whole = pa.array(values, kind)
    padded = pa.array([7, 7, *values], kind).slice(2)
    assert digest(padded) == digest(whole)
    changed = pa.array([*values[:-1], 9], kind)
    assert digest(changed) != digest(whole)


def test_unions_count_by_type_and_value() -> None:
    codes = pa.array([0, 1, 0, 1], pa.int8())
    children = [pa.array([1, 0, 3, 0]), pa.array(["", "b", "", "d"])]
    sparse = pa.UnionArray.from_sparse(codes, children)
    noise = pa.UnionArray.from_sparse(codes, [pa.array([1, 5, 3, 6]), children[1]])
    assert digest(sparse) == digest(noise) != digest(sparse.slice(1))
    dense = pa.UnionArray.from_dense(
        codes, pa.array([0, 0, 1, 1], pa.int32()), [pa.array([1, 3]), pa.array(["b", "d"])]
    )
    assert digest(dense) == digest(dense.slice(0)) != digest(sparse)
    moved = pa.UnionArray.from_dense(
        codes, pa.array([1, 0, 2, 1], pa.int32()), [pa.array([9, 1, 3]), pa.array(["b", "d"])]
    )
    assert digest(moved) == digest(dense)


def test_tables() -> None:
    table = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})
    parts = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert both(parts) == both(table)
    described = table.replace_schema_metadata({"written": "today"})
    assert digest(described) != digest(table)
    assert both(described.replace_schema_metadata(None)) == both(table)
    others = [
        table.rename_columns(["a", "c"]),
        table.select(["b", "a"]),
        table.slice(1),
        table.set_column(0, "a", pa.array([1, 2, 3], pa.int8())),
        table.to_batches()[0],
        table.schema,
        table["a"],
        table["a"].combine_chunks(),
        table["a"][0],
        table.schema.field(0),
        table.schema.field(0).type,
    ]
    assert len({digest(value) for value in [table, *others]}) == 1 + len(others)


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS], ids=str)
def test_types(kind: pa.DataType) -> None:
    assert digest(kind) == digest(pa.array([], kind).type)
    assert digest(pa.field("a", kind)) != digest(pa.field("b", kind))


def test_types_differ() -> None:
    kinds = [kind for kind, _ in KINDS]
    assert len({digest(kind) for kind in kinds}) == len(kinds)
    assert digest(pa.dictionary(pa.int8(), pa.string())) != digest(
        pa.dictionary(pa.int8(), pa.string(), ordered=True)
    )


def test_extension_types_count() -> None:
    class Unit(pa.ExtensionType):  # type: ignore[misc]
        def __init__(self, unit: str) -> None:
            self.unit = unit
            super().__init__(pa.int64(), "fleche.test.unit")

        def __arrow_ext_serialize__(self) -> bytes:
            return self.unit.encode()

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: Any, data: bytes) -> Unit:
            return cls(data.decode())

    values = pa.array([1, 2])
    arrays = [values, *(pa.ExtensionArray.from_storage(Unit(unit), values) for unit in "ms")]
    assert len({digest(array) for array in arrays}) == 3


# polars


POLARS: dict[str, Any] = {
    "ints": pl.Series([1, None, 3], dtype=pl.Int16),
    "floats": pl.Series([1.5, None, float("nan")]),
    "text": pl.Series(["a", None, "a long text that is no short one"]),
    "bytes": pl.Series([b"a", None, b"c"]),
    "bool": pl.Series([True, None, False]),
    "dates": pl.Series([dt.date(2020, 1, 1), None, dt.date(2021, 1, 1)]),
    "zone": pl.Series([dt.datetime(2020, 1, 1), None, None], dtype=pl.Datetime("us", "UTC")),
    "spans": pl.Series([dt.timedelta(1), None, dt.timedelta(2)]),
    "times": pl.Series([dt.time(1), None, dt.time(2)]),
    "decimal": pl.Series([decimal.Decimal("1.5"), None, decimal.Decimal("2.5")]),
    "lists": pl.Series([[1], None, [2, None]]),
    "arrays": pl.Series([[1, 2], None, [3, 4]], dtype=pl.Array(pl.Int8, 2)),
    "structs": pl.Series([{"x": 1}, None, {"x": None}]),
    "categories": pl.Series(["a", None, "b"], dtype=pl.Categorical),
    "enum": pl.Series(["a", None, "b"], dtype=pl.Enum(["b", "a"])),
    "null": pl.Series([None, None, None]),
    "objects": pl.Series([1, None, "x"], dtype=pl.Object),
}


@pytest.mark.parametrize("series", POLARS.values(), ids=POLARS.keys())
def test_every_kind_of_series(series: pl.Series) -> None:
    expected = both(series)
    assert both(series.clone()) == expected
    if series.dtype != pl.Object:
        parts = series[:1].append(series[1:])
        assert both(parts) == both(parts.rechunk()) == expected
        doubled = pl.concat([series, series])
        assert both(doubled[3:]) == expected
    frame = series.rename("a").to_frame()
    assert both(frame) == both(frame.clone())
    assert digest(frame) != digest(frame.rename({"a": "b"}))
    assert digest(series) != digest(series.rename("other"))
    if series.null_count() < 3:
        assert digest(series) != digest(series.reverse())


def test_kinds_of_series_differ() -> None:
    assert len({digest(series) for series in POLARS.values()}) == len(POLARS)


@given(st.lists(st.none() | st.text(max_size=20), max_size=20), st.integers(0, 20))
@settings(max_examples=50)
def test_polars_chunks_leave_no_trace(values: list[Any], cut: int) -> None:
    whole = pl.DataFrame({"a": values}, schema={"a": pl.String})
    parts = pl.concat([whole[:cut], whole[cut:]], rechunk=False)
    assert both(parts) == both(whole)


def test_what_was_not_computed_is_indigestible() -> None:
    frame = pl.DataFrame({"a": [1]})
    for value in (frame.lazy(), pl.col("a"), [frame.lazy()]):
        with pytest.raises(Indigestible):
            digest(value)


def test_frames_without_columns_or_rows() -> None:
    empty = pl.DataFrame({"a": []}, schema={"a": pl.Int8})
    others = [pl.DataFrame(), empty, empty.cast(pl.Int16), pl.DataFrame({"a": [1]}).clear()]
    assert len({digest(frame) for frame in others}) == len(others)
