"""pandas: frames as their blocks, series and indexes as their arrays, arrays as what is in them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas

__all__ = ["put_together", "take_apart"]

# Much of it is in no stubs.
pd: Any = pandas

_MASKED = {
    "IntegerArray": pd.arrays.IntegerArray,
    "FloatingArray": pd.arrays.FloatingArray,
    "BooleanArray": pd.arrays.BooleanArray,
}
_INDEXES: dict[str, Any] = {
    "DatetimeIndex": pd.DatetimeIndex,
    "TimedeltaIndex": pd.TimedeltaIndex,
    "PeriodIndex": pd.PeriodIndex,
    "IntervalIndex": pd.IntervalIndex,
    "CategoricalIndex": pd.CategoricalIndex,
}


_OF_TIMES = (pd.DatetimeIndex, pd.TimedeltaIndex)


def take_apart(value: Any) -> tuple[str, list[Any]]:
    """The kind and the parts of an object of pandas.

    Raises:
        TypeError: if it is none that is held.
    """
    if value is pd.NA or value is pd.NaT:
        return "pandas." + ("NA" if value is pd.NA else "NaT"), []
    found = _APART.get(type(value))
    if found is not None:
        kind, parts = found
        return kind, parts(value)
    if isinstance(value, pd.tseries.offsets.BaseOffset):
        return "pandas.offset", [_frequency(value)]
    raise TypeError(f"pandas' {type(value).__name__} is not among the data that is held")


def _frame(frame: Any) -> list[Any]:
    blocks = [[block.mgr_locs.as_array, block.values] for block in frame._mgr.blocks]
    return [frame.index, frame.columns, blocks, *_notes(frame)]


def _series(series: Any) -> list[Any]:
    return [series._values, series.index, series.name, *_notes(series)]


def _notes(value: Any) -> list[Any]:
    return [value.attrs, value.flags.allows_duplicate_labels]


def _index(index: Any) -> list[Any]:
    frequency = index.freq if isinstance(index, _OF_TIMES) else None
    told = None if frequency is None else _frequency(frequency)
    return [type(index).__name__, index._data, index.name, told]


def _multi(index: Any) -> list[Any]:
    return [[*index.levels], [*index.codes], [*index.names], index.sortorder]


def _times(array: Any) -> list[Any]:
    return [array._ndarray, getattr(array, "tz", None)]


def _period(freq: Any) -> str:
    return str(pd.PeriodDtype(freq).name).removeprefix("period[").removesuffix("]")


def _frequency(offset: Any) -> str:
    text: str = offset.freqstr
    if pd.tseries.frequencies.to_offset(text) != offset:
        raise TypeError(f"its frequency {offset!r} is told by more than its name")
    return text


def _string_dtype(dtype: Any) -> list[Any]:
    return [dtype.storage, dtype.na_value]


def _sparse(array: Any) -> list[Any]:
    index = array.sp_index.to_int_index()
    kind = type(array.sp_index).__name__
    return [array.sp_values, index.length, index.indices, kind, array.fill_value]


_APART: dict[type, tuple[str, Callable[[Any], list[Any]]]] = {
    pd.DataFrame: ("pandas.DataFrame", _frame),
    pd.Series: ("pandas.Series", _series),
    pd.RangeIndex: (
        "pandas.RangeIndex",
        lambda index: [index.start, index.stop, index.step, index.name],
    ),
    pd.MultiIndex: ("pandas.MultiIndex", _multi),
    pd.Index: ("pandas.Index", _index),
    **dict.fromkeys(_INDEXES.values(), ("pandas.Index", _index)),
    pd.arrays.DatetimeArray: ("pandas.DatetimeArray", _times),
    pd.arrays.TimedeltaArray: ("pandas.TimedeltaArray", _times),
    pd.arrays.PeriodArray: (
        "pandas.PeriodArray",
        lambda array: [array.asi8, _period(array.freq)],
    ),
    pd.arrays.IntervalArray: (
        "pandas.IntervalArray",
        lambda array: [array.left, array.right, array.closed],
    ),
    pd.Categorical: (
        "pandas.Categorical",
        lambda array: [array.codes, array.categories, array.ordered],
    ),
    **{
        kind: ("pandas.masked", lambda array: [type(array).__name__, array._data, array._mask])
        for kind in _MASKED.values()
    },
    pd.arrays.StringArray: (
        "pandas.StringArray",
        lambda array: [*_string_dtype(array.dtype), array._ndarray],
    ),
    pd.arrays.ArrowStringArray: (
        "pandas.StringArray",
        lambda array: [*_string_dtype(array.dtype), array._pa_array],
    ),
    pd.arrays.ArrowExtensionArray: ("pandas.ArrowArray", lambda array: [array._pa_array]),
    pd.arrays.SparseArray: ("pandas.SparseArray", _sparse),
    pd.arrays.NumpyExtensionArray: ("pandas.NumpyArray", lambda array: [array._ndarray]),
    pd.Timestamp: ("pandas.Timestamp", lambda moment: [moment.asm8, moment.tz]),
    pd.Timedelta: ("pandas.Timedelta", lambda span: [span.asm8]),
    pd.Period: ("pandas.Period", lambda span: [span.ordinal, _period(span.freq)]),
    pd.Interval: ("pandas.Interval", lambda span: [span.left, span.right, span.closed]),
    pd.CategoricalDtype: (
        "pandas.CategoricalDtype",
        lambda dtype: [dtype.categories, dtype.ordered],
    ),
}


def put_together(kind: str, parts: list[Any]) -> Any:
    """What was taken apart.

    Raises:
        ValueError: if the parts are not those of the kind.
    """
    try:
        make = _TOGETHER[kind]
    except KeyError:
        raise ValueError(f"{kind} is not known") from None
    return make(*parts)


def _to_frame(index: Any, columns: Any, blocks: Any, attrs: Any, duplicates: bool) -> Any:
    if not (isinstance(index, pd.Index) and isinstance(columns, pd.Index)):
        raise ValueError("a frame without its indexes")
    places = [np.asarray(place, dtype=np.intp) for place, _ in blocks]
    held = np.sort(np.concatenate(places)) if places else np.empty(0, np.intp)
    if not np.array_equal(held, np.arange(len(columns))):
        raise ValueError("a frame with columns that are not there")
    for place, (_, values) in zip(places, blocks, strict=True):
        _check_block(values, len(place), len(index))
    made = [(values, place) for place, (_, values) in zip(places, blocks, strict=True)]
    return _noted(_from_blocks(made, index, columns), attrs, duplicates)


def _check_block(values: Any, columns: int, rows: int) -> None:
    if not isinstance(values, np.ndarray | pd.api.extensions.ExtensionArray):
        raise ValueError("a block that is no array")
    expected = (columns, rows) if values.ndim == 2 else (rows,)
    if values.shape != expected or (values.ndim != 2 and columns != 1):
        raise ValueError("a block of another shape than its frame")


def _from_blocks(blocks: list[Any], index: Any, columns: Any) -> Any:
    try:
        internals: Any = importlib.import_module("pandas.api.internals")
        make = internals.create_dataframe_from_blocks
    except (ImportError, AttributeError):  # before pandas 3
        internals = importlib.import_module("pandas.core.internals")
        made = [internals.make_block(values, placement=place) for values, place in blocks]
        manager = internals.BlockManager(tuple(made), [columns, index])
        return pd.DataFrame._from_mgr(manager, manager.axes)
    return make(blocks, index, columns)


def _noted(made: Any, attrs: Any, duplicates: bool) -> Any:
    if attrs:
        made.attrs = attrs
    if not duplicates:
        made.flags.allows_duplicate_labels = False
    return made


def _to_series(values: Any, index: Any, name: Any, attrs: Any, duplicates: bool) -> Any:
    made = pd.Series(values, index=index, dtype=values.dtype, name=name, copy=False)
    return _noted(made, attrs, duplicates)


def _to_index(kind: str, values: Any, name: Any, frequency: str | None) -> Any:
    if kind == "Index":
        return pd.Index(values, dtype=values.dtype, name=name, copy=False)
    if frequency is not None:
        offset = pd.tseries.frequencies.to_offset(frequency)
        return _INDEXES[kind](values, name=name, freq=offset)
    return _INDEXES[kind](values, name=name)


def _to_times(kind: Any) -> Callable[..., Any]:
    def make(values: Any, zone: Any) -> Any:
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "mM":
            raise ValueError("times that are none")
        dtype: Any = values.dtype
        if zone is not None:
            dtype = pd.DatetimeTZDtype(np.datetime_data(values.dtype)[0], zone)
        return kind._simple_new(values, dtype=dtype)

    return make


def _to_periods(ordinals: Any, frequency: str) -> Any:
    return pd.arrays.PeriodArray(ordinals, dtype=pd.PeriodDtype(frequency))


def _to_categorical(codes: Any, categories: Any, ordered: Any) -> Any:
    dtype = pd.CategoricalDtype(categories, ordered)
    return pd.Categorical.from_codes(codes, dtype=dtype)


def _to_strings(storage: str, missing: Any, held: Any) -> Any:
    dtype = pd.StringDtype(storage, na_value=missing)
    if storage == "pyarrow":
        return pd.arrays.ArrowStringArray(held, dtype=dtype)
    return dtype.construct_array_type()._from_sequence(held, dtype=dtype)


def _to_sparse(values: Any, length: int, indices: Any, kind: str, fill: Any) -> Any:
    index = pd._libs.sparse.IntIndex(length, indices, check_integrity=True)
    if kind == "BlockIndex":
        index = index.to_block_index()
    if values.shape != (index.npoints,):
        raise ValueError("a sparse array of another length than its index")
    return pd.arrays.SparseArray._simple_new(values, index, pd.SparseDtype(values.dtype, fill))


def _to_moment(moment: Any, zone: Any) -> Any:
    made = pd.Timestamp(moment)
    return made if zone is None else made.tz_localize("UTC").tz_convert(zone)


_TOGETHER: dict[str, Callable[..., Any]] = {
    "pandas.NA": lambda: pd.NA,
    "pandas.NaT": lambda: pd.NaT,
    "pandas.offset": lambda text: pd.tseries.frequencies.to_offset(text),
    "pandas.DataFrame": _to_frame,
    "pandas.Series": _to_series,
    "pandas.RangeIndex": lambda start, stop, step, name: pd.RangeIndex(
        start, stop, step, name=name
    ),
    "pandas.MultiIndex": lambda levels, codes, names, sortorder: pd.MultiIndex(
        levels, codes, sortorder=sortorder, names=names
    ),
    "pandas.Index": _to_index,
    "pandas.DatetimeArray": _to_times(pd.arrays.DatetimeArray),
    "pandas.TimedeltaArray": _to_times(pd.arrays.TimedeltaArray),
    "pandas.PeriodArray": _to_periods,
    "pandas.IntervalArray": lambda left, right, closed: pd.arrays.IntervalArray.from_arrays(
        left, right, closed
    ),
    "pandas.Categorical": _to_categorical,
    "pandas.masked": lambda kind, data, mask: _MASKED[kind](data, mask),
    "pandas.StringArray": _to_strings,
    "pandas.ArrowArray": lambda held: pd.arrays.ArrowExtensionArray(held),
    "pandas.SparseArray": _to_sparse,
    "pandas.NumpyArray": lambda held: pd.arrays.NumpyExtensionArray(held),
    "pandas.Timestamp": _to_moment,
    "pandas.Timedelta": lambda span: pd.Timedelta(span),
    "pandas.Period": lambda ordinal, frequency: pd.Period(ordinal=ordinal, freq=frequency),
    "pandas.Interval": lambda left, right, closed: pd.Interval(left, right, closed),
    "pandas.CategoricalDtype": lambda categories, ordered: pd.CategoricalDtype(categories, ordered),
}
