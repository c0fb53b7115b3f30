"""What values of the scientific libraries are made of: columns, elements, labels.

A class is recognised by its package and name, or those of one of its bases; no library is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fleche.differences.parts import Part


@dataclass(frozen=True)
class Elements:
    """Elements in their order, and how one of them is reached.

    Args:
        held: something with a digest.
        step: with the position in the place of `{}`.
        listed: gives the elements.
        kind: the attribute that says of what kind they are.
    """

    held: Any
    step: str
    listed: Callable[[Any], Any] = list
    kind: str = "dtype"


def parts_of(value: Any) -> list[Part] | None:
    """The parts of a value of a known library; `None` for all others."""
    rule = rule_of(type(value))
    return None if rule is None else list(rule(value))


def rule_of(kind: type) -> Callable[[Any], Iterator[Part]] | None:
    """What takes values of a class apart."""
    for base in kind.__mro__:
        if rule := _RULES.get(f"{_package(base)}.{base.__name__}"):
            return rule
    return None


def is_of_library(kind: type) -> bool:
    """Whether instances are of a known library: those that no rule takes apart are scalars."""
    return any(_package(base) in _PACKAGES for base in kind.__mro__)


def family(value: Any) -> Any:
    """The classes whose values may be equal to one of this one."""
    kind = type(value)
    if _package(kind) == "pandas" and rule_of(kind) in (_index, _multi_index):
        return "pandas", rule_of(kind)
    names = kind.__module__, kind.__qualname__
    return ("numpy", "ndarray") if names == ("numpy", "memmap") else names


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _held(column: Any) -> Any:
    """The array of a column, that of numpy without pandas' cover."""
    array = column.array
    return array.to_numpy() if hasattr(array.dtype, "numpy_dtype") else array


def _listed(values: Any) -> Any:
    """Elements as numpy has them if it has them all, else as objects."""
    import numpy as np

    dtype = getattr(values, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "biufcSU":
        return np.asarray(values)
    return list(values)


def _frame(frame: Any) -> Iterator[Part]:
    labels = list(frame.columns)
    is_text = all(isinstance(label, str) for label in labels)
    for place, label in enumerate(labels):
        column = frame.iloc[:, place]
        is_alone = labels.count(label) == 1 if len(labels) < 1000 else frame.columns.is_unique
        step = f"[{label!r}]" if is_alone else f".iloc[:, {place}]"
        yield step, Elements(_held(column), ".iloc[{}]", _listed)
    yield ".index", frame.index
    yield from _with_attrs(frame)
    if is_text:
        # Their dtype depends on the version of pandas, and does not count.
        yield ".columns", labels
        yield ".columns.name", frame.columns.name
    else:
        yield ".columns", frame.columns


def _series(series: Any) -> Iterator[Part]:
    yield ".name", series.name
    yield ".index", series.index
    yield from _with_attrs(series)
    yield "", Elements(_held(series), ".iloc[{}]", _listed)


def _with_attrs(value: Any) -> Iterator[Part]:
    yield ".attrs", value.attrs
    yield ".flags.allows_duplicate_labels", value.flags.allows_duplicate_labels
    for name in value._metadata:
        if hasattr(value, name):
            yield f".{name}", getattr(value, name)


def _index(index: Any) -> Iterator[Part]:
    yield ".name", index.name
    if hasattr(index, "freqstr"):
        yield ".freqstr", index.freqstr
    yield "", Elements(_held(index), "[{}]", _listed)


def _multi_index(index: Any) -> Iterator[Part]:
    for level in range(index.nlevels):
        yield f".get_level_values({level})", index.get_level_values(level)


def _pandas_array(array: Any) -> Iterator[Part]:
    yield ".dtype", array.dtype
    yield "", Elements(list(array), "[{}]", kind="")


def _category(dtype: Any) -> Iterator[Part]:
    yield ".categories", dtype.categories
    yield ".ordered", dtype.ordered


def _polars_frame(frame: Any) -> Iterator[Part]:
    yield ".columns", frame.columns
    for name in frame.columns:
        yield f"[{name!r}]", frame[name]


def _polars_series(series: Any) -> Iterator[Part]:
    yield ".name", series.name
    yield "", Elements(series, "[{}]", lambda held: held.to_list())


def _arrow_table(table: Any) -> Iterator[Part]:
    yield ".schema.names", table.schema.names
    yield ".schema", table.schema
    for place in range(table.num_columns):
        column = table.column(place)
        yield f".column({place})", Elements(column, "[{}]", _python_objects, "type")


def _arrow_array(array: Any) -> Iterator[Part]:
    yield "", Elements(array, "[{}]", _python_objects, "type")


def _python_objects(array: Any) -> list[Any]:
    objects: list[Any] = array.to_pylist()
    return objects


def _xarray_array(array: Any) -> Iterator[Part]:
    yield ".name", array.name
    yield ".dims", array.dims
    yield ".attrs", array.attrs
    for name, coordinate in array.coords.items():
        yield f".coords[{name!r}]", coordinate.variable
    yield ".values", array.values


def _xarray_dataset(dataset: Any) -> Iterator[Part]:
    yield ".attrs", dataset.attrs
    for name, variable in dataset.variables.items():
        yield f"[{name!r}].variable", variable


def _xarray_variable(variable: Any) -> Iterator[Part]:
    yield ".dims", variable.dims
    yield ".attrs", variable.attrs
    yield ".values", variable.values


def _tensor(tensor: Any) -> Iterator[Part]:
    yield ".dtype", tensor.dtype
    yield ".shape", tuple(tensor.shape)
    yield ".requires_grad", tensor.requires_grad
    yield ".detach().cpu().numpy()", tensor.detach().cpu().numpy()


def _jax_array(array: Any) -> Iterator[Part]:
    import numpy as np

    yield ".dtype", array.dtype
    yield ".__array__()", np.asarray(array)


def _sparse(matrix: Any) -> Iterator[Part]:
    yield ".format", matrix.format
    yield ".dtype", matrix.dtype
    yield ".shape", matrix.shape
    names = ("indptr", "indices", "coords", "row", "col", "offsets", "data")
    for name in names:
        if hasattr(matrix, name):
            yield f".{name}", getattr(matrix, name)


_RULES: dict[str, Callable[[Any], Iterator[Part]]] = {
    "pandas.DataFrame": _frame,
    "pandas.Series": _series,
    "pandas.MultiIndex": _multi_index,
    "pandas.Index": _index,
    "pandas.CategoricalDtype": _category,
    "pandas.ExtensionArray": _pandas_array,
    "polars.DataFrame": _polars_frame,
    "polars.Series": _polars_series,
    "pyarrow.Table": _arrow_table,
    "pyarrow.RecordBatch": _arrow_table,
    "pyarrow.Array": _arrow_array,
    "pyarrow.ChunkedArray": _arrow_array,
    "xarray.DataArray": _xarray_array,
    "xarray.Dataset": _xarray_dataset,
    "xarray.Variable": _xarray_variable,
    "torch.Tensor": _tensor,
    "jaxlib.ArrayImpl": _jax_array,
    "jax.ArrayImpl": _jax_array,
    "scipy._spbase": _sparse,
    "scipy.spmatrix": _sparse,
}
_PACKAGES = {name.partition(".")[0] for name in _RULES} - {"scipy"} | {"numpy"}
