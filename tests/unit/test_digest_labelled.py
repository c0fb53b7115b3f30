"""Digests of xarray's labelled arrays and scipy's sparse ones."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from fleche import _core
from fleche.digest import Digest


def digest(value: Any, typed: bool = False) -> Digest:
    return _core.digest(value, typed=typed, scheme="exact")


def both(value: Any) -> tuple[Digest, Digest]:
    return digest(value), digest(value, typed=True)


def labelled() -> xr.DataArray:
    return xr.DataArray(
        np.arange(6.0).reshape(2, 3),
        dims=["x", "y"],
        coords={"x": [10, 20], "label": ("y", ["a", "b", "c"])},
        name="heat",
        attrs={"unit": "K"},
    )


def test_every_part_of_a_labelled_array_counts() -> None:
    array = labelled()
    others = [
        array.rename("cold"),
        array.rename(x="z"),
        array.rename(label="other"),
        array.assign_coords(x=[10, 30]),
        array.drop_vars("label"),
        array.assign_attrs(unit="C"),
        array.T,
        array + 1,
        array.astype("f4"),
        array.variable,
        array.to_dataset(),
        array.values,
    ]
    assert len({digest(value) for value in [array, *others]}) == 1 + len(others)
    assert both(array) == both(array.copy()) == both(pickle.loads(pickle.dumps(array)))
    assert digest(array) == digest(xr.concat([array[:1], array[1:]], "x"))


def test_every_part_of_a_dataset_counts() -> None:
    data = xr.Dataset({"a": labelled(), "b": ("t", [1, 2])}, attrs={"title": "one"})
    others = [
        data.rename(a="c"),
        data.drop_vars("b"),
        data.assign_attrs(title="two"),
        data.assign(b=("t", [1, 3])),
        data.set_coords("b"),
        data["a"],
        xr.DataTree(data),
    ]
    assert len({digest(value) for value in [data, *others]}) == 1 + len(others)
    assert both(data) == both(data.copy(deep=True))
    assert digest(data) == digest(data[["b", "a"]])


def test_trees() -> None:
    data = labelled().to_dataset()
    tree = xr.DataTree.from_dict({"/": data, "/child": data})
    assert both(tree) == both(tree.copy())
    assert digest(tree) != digest(xr.DataTree.from_dict({"/": data, "/other": data}))


FORMATS = ["csr", "csc", "coo", "dok", "lil", "dia", "bsr"]


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_format_of_sparse_arrays(fmt: str) -> None:
    dense = np.array([[0, 1, 0, 2], [3, 0, 0, 4]])
    one, other = (sp.csr_array(dense).asformat(fmt) for _ in range(2))
    assert both(one) == both(other) == both(one.copy())
    assert digest(one) != digest(sp.csr_array(dense + 1).asformat(fmt))
    assert digest(one) != digest(one.astype(float))
    assert digest(one) != digest(sp.csr_matrix(dense).asformat(fmt))


def test_formats_differ() -> None:
    array = sp.csr_array(np.eye(4))
    assert len({digest(array.asformat(fmt)) for fmt in FORMATS}) == len(FORMATS)


@given(st.randoms(), st.integers(1, 20))
@settings(max_examples=40)
def test_order_and_duplicates_of_entries_leave_no_trace(random: Any, count: int) -> None:
    entries = [
        (random.randrange(5), random.randrange(5), random.randrange(9)) for _ in range(count)
    ]

    def build(entries: list[tuple[int, int, int]]) -> Any:
        rows, columns, values = (np.array(part) for part in zip(*entries, strict=True))
        return sp.coo_array((values, (rows, columns)), shape=(5, 5))

    expected = digest(build(entries))
    random.shuffle(entries)
    other = build(entries)
    assert digest(other) == expected
    assert other.nnz == count, "digesting must not change the array"
    wide = build(entries)
    wide.coords = tuple(place.astype("i8") for place in wide.coords)
    assert digest(wide) == expected


def test_stored_zeros_count() -> None:
    one = sp.csr_array(np.array([[0, 1]]))
    other = sp.coo_array(([0, 1], ([0, 0], [0, 1])), shape=(1, 2)).tocsr()
    assert (one != other).nnz == 0
    assert digest(one) != digest(other)
