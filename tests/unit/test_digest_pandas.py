"""Digests of pandas' values: labels, dtypes and content, however a frame holds them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import pandas as pdst

from fleche import _core
from fleche.digest import Digest, Indigestible


def digest(value: Any, typed: bool = False) -> Digest:
    return _core.digest(value, typed=typed, scheme="exact")


def both(value: Any) -> tuple[Digest, Digest]:
    return digest(value), digest(value, typed=True)


frames = pdst.data_frames(
    columns=[
        pdst.column("a", dtype=int),
        pdst.column("b", dtype=float),
        pdst.column("c", elements=st.text(max_size=3), dtype=object),
        pdst.column("d", dtype="M8[ns]"),
        pdst.column("e", dtype=bool),
    ],
    index=pdst.range_indexes(max_size=8),
)

#: One column of every kind, as a function: each call makes it anew.
COLUMNS: dict[str, Callable[[], Any]] = {
    "floats": lambda: [1.5, np.nan, -0.0],
    "complex": lambda: [1j, 2, 0],
    "bool": lambda: [True, False, False],
    "objects": lambda: np.array(["a", None, 1.0], object),
    "lists": lambda: np.array([[1], None, "x"], object),
    "str": lambda: pd.array(["a", None, "ccc"], dtype="string"),
    "str python": lambda: pd.array(["a", None, "ccc"], dtype=pd.StringDtype("python")),
    "datetime": lambda: pd.array(["2020", None, "2022"], dtype="M8[ns]"),
    "seconds": lambda: pd.array(["2020", None, "2022"], dtype="M8[s]"),
    "zone": lambda: pd.DatetimeIndex(["2020", None, "2022"], tz="Europe/Berlin").array,
    "offset": lambda: pd.DatetimeIndex(["2020", None, "2022"], tz="UTC+01:00").array,
    "timedelta": lambda: pd.array([1, None, 3], dtype="m8[ns]"),
    "period": lambda: pd.array(["2020", None, "2022"], dtype="period[D]"),
    "interval": lambda: pd.arrays.IntervalArray.from_tuples([(0, 1), None, (2, 3)]),
    "category": lambda: pd.Categorical(["a", None, "b"]),
    "ordered": lambda: pd.Categorical([1, None, 2], ordered=True),
    "Int64": lambda: pd.array([1, None, 3], dtype="Int64"),
    "Float32": lambda: pd.array([1, None, 3], dtype="Float32"),
    "boolean": lambda: pd.array([True, None, False], dtype="boolean"),
    "sparse": lambda: pd.arrays.SparseArray([0.0, np.nan, 2.0]),
    "sparse ints": lambda: pd.arrays.SparseArray([1, 0, 2]),
    "arrow ints": lambda: pd.array([1, None, 3], dtype="int8[pyarrow]"),
    "arrow text": lambda: pd.array(["a", None, "c"], dtype=pd.ArrowDtype(pa.string())),
    "arrow lists": lambda: pd.array([[1], None, []], dtype=pd.ArrowDtype(pa.list_(pa.int8()))),
}
each_column = pytest.mark.parametrize("make", COLUMNS.values(), ids=COLUMNS.keys())


@given(frames)
@settings(max_examples=40)
def test_content_is_all_that_counts(frame: pd.DataFrame) -> None:
    expected = both(frame)
    blocks = pd.DataFrame({name: frame[name] for name in frame}, copy=True)
    others = [
        frame.copy(),
        pickle.loads(pickle.dumps(frame)),
        blocks,
        frame.iloc[::-1].iloc[::-1],
        pd.concat([frame.iloc[:1], frame.iloc[1:]]) if len(frame) > 1 else frame,
        frame[list("edcba")][list("abcde")],
        frame.reset_index(drop=True).set_axis(frame.index),
    ]
    for other in others:
        assert both(other) == expected


@given(frames, st.integers(0, 7), st.integers(0, 4))
@settings(max_examples=40)
def test_every_cell_counts(frame: pd.DataFrame, row: int, column: int) -> None:
    if row >= len(frame):
        return
    before = digest(frame)
    changed = frame.copy()
    new: list[Any] = [frame.iloc[row, 0] ^ 1, 0.12345, "other", pd.Timestamp("2019-07-01"), None]
    new[4] = not frame.iloc[row, 4]
    changed.iloc[row, column] = new[column]
    assert (digest(changed) == before) == changed.equals(frame)


def test_labels_dtypes_and_order_count() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    others = [
        frame.rename(columns={"a": "x"}),
        frame[["b", "a"]],
        frame.set_axis([5, 6]),
        frame.rename_axis("index"),
        frame.rename_axis("columns", axis=1),
        frame.astype({"a": float}),
        frame.astype({"a": "i4"}),
        frame.astype({"a": "Int64"}),
        frame.iloc[::-1],
        frame.iloc[:1],
        frame.T,
        frame["a"],
        frame.to_numpy(),
        frame.set_flags(allows_duplicate_labels=False),
    ]
    assert len({digest(value) for value in [frame, *others]}) == 1 + len(others)


def test_labels_of_text_count_by_their_text() -> None:
    frame = pd.DataFrame({"a": [1], "b": [2]})
    for dtype in (object, "string"):
        other = frame.set_axis(frame.columns.astype(dtype), axis=1)
        assert both(other) == both(frame)
    mixed = frame.set_axis(pd.Index(["a", 1], dtype=object), axis=1)
    assert digest(mixed) == digest(mixed.copy()) != digest(frame)


def test_columns_of_one_name() -> None:
    one = pd.DataFrame([[1, 2.0]], columns=["a", "a"])
    assert both(one) == both(one.copy())
    assert digest(one) != digest(pd.DataFrame([[2.0, 1]], columns=["a", "a"]))


@each_column
def test_every_kind_of_column(make: Callable[[], Any]) -> None:
    series = pd.Series(make(), name="s")
    other = pd.Series(make(), name="s")
    parts = pd.concat([series.iloc[:1], series.iloc[1:]])
    for alike in (other, parts, series.iloc[::-1].iloc[::-1], pickle.loads(pickle.dumps(series))):
        assert both(alike) == both(series)
    assert both(series.to_frame()) == both(other.to_frame())
    assert both(series.array) == both(other.array)
    assert both(pd.Index(series)) == both(pd.Index(other))
    assert digest(series.dtype) == digest(other.dtype)
    assert digest(series) != digest(series.iloc[::-1].reset_index(drop=True))
    assert digest(series) != digest(series.iloc[[0, 0, 2]].reset_index(drop=True))
    assert digest(series) != digest(series.rename("t"))
    for element in series:
        assert len(digest([element])) == 64


def test_kinds_of_columns_differ() -> None:
    digests = {digest(pd.Series(make())) for make in COLUMNS.values()}
    # Text is text, whatever holds it.
    assert len(digests) == len(COLUMNS) - 1


def test_what_lies_under_a_mask_is_no_content() -> None:
    mask = np.array([False, True, False])
    one = pd.arrays.IntegerArray(np.array([1, 2, 3]), mask)
    other = pd.arrays.IntegerArray(np.array([1, 9, 3]), mask.copy())
    assert both(one) == both(other)
    assert one._data[1] == 2


def test_stored_fill_values_are_no_content() -> None:
    stored = pd.arrays.SparseArray([0, 1, 0], fill_value=0)
    stored.sp_values[0] = 0
    assert digest(stored) == digest(pd.arrays.SparseArray([0, 0, 0], fill_value=0))


def test_text_in_chunks() -> None:
    whole = pd.Series(["a", None, "c" * 50] * 50, dtype="string[pyarrow]")
    parts = pd.concat([whole.iloc[:7], whole.iloc[7:20], whole.iloc[20:]])
    assert both(parts) == both(whole) == both(whole.astype("string[python]"))
    assert digest(whole) != digest(whole.fillna("nan"))
    assert digest(pd.Series(["ab", "c"], dtype="string")) != digest(
        pd.Series(["a", "bc"], dtype="string")
    )


def test_a_range_is_three_numbers() -> None:
    assert both(pd.RangeIndex(3)) == both(pd.RangeIndex(0, 3, 1))
    assert both(pd.RangeIndex(3)) == both(pd.Index([0, 1, 2]))
    assert both(pd.RangeIndex(7, -2, -3)) == both(pd.Index([7, 4, 1]))
    assert both(pd.RangeIndex(0)) == both(pd.Index([], dtype="int64"))
    assert both(pd.RangeIndex(5, 6)) == both(pd.Index([5]))
    assert both(pd.DataFrame({"a": [1, 2]})) == both(pd.DataFrame({"a": [1, 2]}, index=[0, 1]))
    others = [pd.RangeIndex(4), pd.RangeIndex(3, name="x"), pd.Index([0, 1, 3]), pd.Index([0, 0])]
    others += [pd.Index([0, 1, 2], dtype="i4"), pd.Index([0, 1, 2], dtype="Int64")]
    assert len({digest(index) for index in [pd.RangeIndex(3), *others]}) == 7
    # No column of that many numbers is made.
    assert digest(pd.RangeIndex(10**15)) != digest(pd.RangeIndex(10**15 + 1))


def test_what_was_written_on_a_frame_counts() -> None:
    frame, other = pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]})
    other.attrs["unit"] = "m"
    assert digest(frame) != digest(other)
    assert digest(frame["a"]) != digest(other["a"])


def test_the_frequency_of_an_index_counts() -> None:
    dates = pd.date_range("2020", periods=3, freq="D")
    loose = pd.DatetimeIndex(list(dates))
    assert loose.freq is None
    assert digest(dates) != digest(loose)
    assert digest(pd.Series([1, 2, 3], dates)) != digest(pd.Series([1, 2, 3], loose))


def test_levels_count_by_their_values() -> None:
    index = pd.MultiIndex.from_product([[1, 2], ["a", "b"]], names=["x", "y"])
    part = index[1:3]
    again = pd.MultiIndex.from_tuples(list(part), names=["x", "y"])
    assert both(part) == both(again)
    assert digest(index) != digest(index.set_names(["x", "z"]))
    assert digest(index) != digest(index.swaplevel())


@pytest.mark.parametrize("fmt", ["parquet", "feather"])
def test_frames_read_again_agree(fmt: str) -> None:
    frame = pd.DataFrame(
        {"a": [1, 2], "b": [1.5, None], "c": pd.Series(["x", None], dtype="string")},
    )
    buffer = BytesIO()
    getattr(frame, f"to_{fmt}")(buffer)
    buffer.seek(0)
    again = getattr(pd, f"read_{fmt}")(buffer)
    assert digest(again) == digest(frame)


def test_equal_numbers_in_object_columns_agree() -> None:
    one = pd.Series([1, "a", None], dtype=object)
    other = pd.Series([1.0, "a", None], dtype=object)
    assert digest(one) == digest(other)
    assert digest(one, True) != digest(other, True)
    with pytest.raises(Indigestible):
        digest(pd.Series([object()]))


def test_scalars() -> None:
    stamp = pd.Timestamp("2020-01-01")
    values: list[Any] = [
        stamp,
        stamp.as_unit("ns"),
        stamp.as_unit("s"),
        stamp.as_unit("ns") + pd.Timedelta(1, "ns"),
        stamp.tz_localize("UTC"),
        stamp.tz_localize("Europe/Berlin"),
        stamp.to_pydatetime(),
        pd.Timedelta(1, "D"),
        pd.Period("2020", "D"),
        pd.Period("2020", "M"),
        pd.Interval(0, 1),
        pd.Interval(0, 1, closed="both"),
        pd.NaT,
        pd.NA,
        None,
        pd.offsets.Day(),
        pd.offsets.MonthEnd(2),
        pd.offsets.BusinessHour(),
        pd.DateOffset(months=2, days=1),
    ]
    digests = [digest(value) for value in values]
    assert len(set(digests)) >= len(values) - 1
    for value, before in zip(values, digests, strict=True):
        again = pickle.loads(pickle.dumps(value))
        assert digest(again) == before


class Sub(pd.DataFrame):
    _metadata = ["unit"]  # noqa: RUF012

    @property
    def _constructor(self) -> type[Sub]:
        return Sub


def test_subclasses_count_by_class_and_metadata() -> None:
    one, other = Sub({"a": [1]}), Sub({"a": [1]})
    assert digest(one) == digest(other) != digest(pd.DataFrame({"a": [1]}))
    one.unit = "m"
    assert digest(one) != digest(other)


def test_a_large_frame_in_any_layout() -> None:
    values = np.random.default_rng(0).random((20_000, 6))
    frame = pd.DataFrame(values, columns=list("abcdef"))
    columns = pd.DataFrame({name: frame[name].to_numpy().copy() for name in frame})
    assert (
        digest(frame)
        == digest(columns)
        == digest(pd.DataFrame(np.asfortranarray(values), columns=list("abcdef")))
    )
    values[19_999, 5] += 1
    assert digest(columns) != digest(pd.DataFrame(values, columns=list("abcdef")))


def test_large_columns_beside_small_and_strided_ones() -> None:
    rows = 20_000
    numbers = np.arange(rows * 4, dtype=np.int64).reshape(rows, 4)
    content: dict[str, Any] = {
        "whole": np.arange(rows) * 0.5,
        "strided": numbers[:, 1],
        "small": np.arange(rows) % 2 == 0,
        "text": [f"row {row}" for row in range(rows)],
        "moments": np.arange(rows).astype("datetime64[s]"),
    }
    frame = pd.DataFrame(content)
    one_by_one = [digest(pd.DataFrame({name: frame[name]}), typed=True) for name in content]
    assert len({*one_by_one}) == len(content)
    expected = digest(frame, typed=True)
    assert digest(pd.concat([frame.iloc[:7], frame.iloc[7:]]), typed=True) == expected
    for name in content:
        changed = frame.copy()
        changed.loc[rows - 1, name] = frame.loc[0, name]
        assert digest(changed, typed=True) != expected
