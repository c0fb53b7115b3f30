"""Digests of numpy's values: dtype, shape and content, wherever and however it lies in memory."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fleche import _core
from fleche.digest import Digest, Indigestible


def digest(value: Any, typed: bool = False) -> Digest:
    return _core.digest(value, typed=typed, scheme="exact")


def both(value: Any) -> tuple[Digest, Digest]:
    return digest(value), digest(value, typed=True)


plain = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(),
    npst.unsigned_integer_dtypes(),
    npst.floating_dtypes(sizes=(16, 32, 64)),
    npst.complex_number_dtypes(sizes=(64, 128)),
    npst.datetime64_dtypes(),
    npst.timedelta64_dtypes(),
    npst.byte_string_dtypes(),
    npst.unicode_string_dtypes(),
)
dtypes = st.one_of(plain, npst.array_dtypes(plain))
arrays = dtypes.flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0, max_side=5))
)


@given(arrays)
def test_copies_agree(array: Any) -> None:
    for other in (array.copy(), array.copy(order="F"), array.T.copy().T):
        assert both(other) == both(array)
    loaded = pickle.loads(pickle.dumps(array))
    # Unpickling changes foreign byte orders to the computer's own.
    if loaded.dtype == array.dtype:
        assert both(loaded) == both(array)


@given(arrays)
def test_arrays_have_one_digest(array: Any) -> None:
    assert digest(array) == digest(array, True)


@given(arrays, st.data())
def test_views_agree_with_copies(array: Any, data: st.DataObject) -> None:
    index = data.draw(npst.basic_indices(array.shape, allow_newaxis=True, allow_ellipsis=True))
    view = array[index]
    if isinstance(view, np.ndarray):
        assert both(view) == both(view.copy())
    assert both(array.T) == both(array.T.copy())


@given(arrays, arrays)
def test_arrays_agree_only_if_they_are_the_same(one: Any, other: Any) -> None:
    if digest(one) == digest(other):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes() or one.dtype.names


@given(arrays)
def test_shape_dtype_and_order_of_bytes_count(array: Any) -> None:
    assert digest(array) != digest(array[np.newaxis])
    swapped = array.astype(array.dtype.newbyteorder())
    if swapped.dtype != array.dtype:
        assert digest(swapped) != digest(array)


@pytest.mark.parametrize("size", [100, 5_000, 100_000, 3_000_000])
def test_large_arrays_in_any_layout(size: int) -> None:
    array = np.arange(size * 2, dtype="f8").reshape(size, 2)
    expected = digest(array.copy())
    assert digest(np.asfortranarray(array)) == expected
    assert digest(np.repeat(array, 2, axis=0)[::2]) == expected
    assert digest(array[::-1]) != expected
    changed = array.copy()
    changed[-1, -1] += 1
    assert digest(changed) != expected


# Scalars.


@given(st.integers(-(2**63), 2**64 - 1))
def test_whole_scalars_agree_with_equal_numbers(number: int) -> None:
    for kind in (np.int8, np.uint8, np.int32, np.int64, np.uint64, np.longlong):
        info = np.iinfo(kind)
        if info.min <= number <= info.max:
            scalar = kind(number)
            assert digest(scalar) == digest(number)
            assert digest([scalar]) == digest([number])
            assert digest(scalar, True) != digest(number, True)
            assert digest(scalar, True) != digest(number)


@given(st.floats())
def test_float_scalars_agree_with_equal_numbers(number: float) -> None:
    assert digest(np.float64(number)) == digest(number)
    assert digest(np.longdouble(number)) == digest(number)
    with np.errstate(over="ignore"):
        for kind in (np.float16, np.float32):
            scalar = kind(number)
            assert digest(scalar) == digest(float(scalar))


@given(st.complex_numbers())
def test_complex_scalars_agree_with_equal_numbers(number: complex) -> None:
    assert digest(np.complex128(number)) == digest(number)
    assert digest(np.clongdouble(number)) == digest(number)


def test_long_doubles_are_exact() -> None:
    one = np.longdouble(1)
    more = one + np.finfo(np.longdouble).eps
    assert digest(more) != digest(1) or np.finfo(np.longdouble).eps == np.finfo(float).eps
    assert digest(np.finfo(np.longdouble).max) != digest(np.longdouble("inf"))
    # What lies in the padding of a number is not content.
    for value in (np.array([one, more]), np.array([one + more * 1j])):
        noise = np.full(value.nbytes, 0xAB, "u1").view(value.dtype).reshape(value.shape)
        noise[...] = value
        assert both(noise) == both(value) == both(value.copy())


def test_booleans_agree_with_booleans_only() -> None:
    assert digest(np.bool_(True)) == digest(True) == digest(True, True)
    assert digest(np.bool_(True), True) != digest(True, True), "as results they are not the same"
    assert digest(np.bool_(True)) != digest(np.int8(1))


def test_typed_scalars_count_by_dtype() -> None:
    ones = [1, 1.0, np.int8(1), np.int16(1), np.float32(1), np.float64(1), np.complex64(1)]
    assert len({digest(one, True) for one in ones}) == len(ones)
    assert len({digest(one) for one in ones}) == 1
    assert digest(np.float64(0.0), True) != digest(np.float64(-0.0), True)


def test_scalars_of_users_classes_count_by_class() -> None:
    class Metres(np.float64):
        pass

    class Count(np.int64):
        pass

    assert len({digest(x) for x in (1, Metres(1), Count(1), Count(2))}) == 4


def test_records_and_dates() -> None:
    array = np.array([(1, 2.0), (1, 2.0), (3, 2.0)], [("a", "i4"), ("b", "f8")])
    assert digest(array[0]) == digest(array[1]) != digest(array[2])
    assert digest(np.datetime64("2020-01-01")) == digest(np.datetime64("2020-01-01"))
    assert digest(np.datetime64("NaT")) == digest(np.datetime64("NaT"))
    assert digest(np.datetime64("NaT", "s")) != digest(np.datetime64("NaT", "ms"))


# Arrays of other elements.


def test_object_arrays_count_element_by_element() -> None:
    one = np.array([[1, "a"], [None, [1.0]]], object)
    other = np.array([[1.0, "a"], [None, [1]]], object)
    assert digest(one) == digest(other)
    assert digest(one, True) != digest(other, True)
    assert digest(one) == digest(np.asfortranarray(one)) != digest(one.T)
    assert digest(np.array([digest("a"), None], object)) == digest(np.array(["a", None], object))
    assert digest(np.empty(3, object)) == digest(np.array([None] * 3, object))
    with pytest.raises(Indigestible):
        digest(np.array([object()], object))


def test_an_object_array_that_contains_itself_ends_cleanly() -> None:
    array = np.empty(2, object)
    array[:] = [array, array]
    with pytest.raises(Indigestible):
        digest(array)


def test_structured_arrays_count_by_field() -> None:
    dtype = np.dtype([("a", "i1"), ("b", "f8"), ("c", "O"), ("d", "i2", (2,))], align=True)
    array = np.zeros(3, dtype)
    noise = np.full(3 * dtype.itemsize, 0xAB, "u1")
    assert digest(array) == digest(array.copy())
    packed = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    dirty = noise[: 3 * packed.itemsize].view(packed).copy()
    clean = np.zeros(3, packed)
    for name in packed.names or ():
        dirty[name] = clean[name]
    assert digest(dirty) == digest(clean)
    clean["b"][1] = 1
    assert digest(dirty) != digest(clean)


@given(npst.arrays("i4", 6), npst.arrays(bool, 6), npst.arrays("i4", 6))
def test_masked_arrays_count_by_mask_and_what_it_shows(data: Any, mask: Any, under: Any) -> None:
    array = np.ma.array(data, mask=mask)
    other = np.ma.array(np.where(mask, under, data), mask=mask)
    assert both(array) == both(other)
    assert (digest(array) == digest(np.ma.array(data))) == (not mask.any())
    before = digest(array)
    _ = array.fill_value
    assert digest(array) == before
    assert (array.data == data).all()


def test_masked_records() -> None:
    dtype = [("a", "i4"), ("b", "f8")]
    array = np.ma.array([(1, 2.0), (3, 4.0)], dtype=dtype, mask=[(0, 1), (1, 0)])
    other = np.ma.array([(1, 9.0), (9, 4.0)], dtype=dtype, mask=[(0, 1), (1, 0)])
    assert digest(array) == digest(other)
    assert digest(array) != digest(np.ma.array([(1, 2.0), (3, 4.0)], dtype=dtype))
    assert digest(array[0]) == digest(other[0])


@pytest.mark.skipif(
    not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"), reason="numpy 1"
)
def test_strings_of_variable_length() -> None:
    dtype = np.dtypes.StringDType
    one = np.array(["a", "b" * 1000], dtype())
    assert digest(one) == digest(np.array(["x", "a", "b" * 1000], dtype())[1:])
    assert digest(one) != digest(np.array(["a", "b" * 1000]))
    missing = dtype(na_object=None)
    assert digest(np.array(["a", None], missing)) != digest(np.array(["a", "None"], missing))
    assert digest(dtype()) != digest(missing)


# Subclasses.


class Unit(np.ndarray[Any, Any]):
    unit: str

    def __new__(cls, values: Any, unit: str) -> Unit:
        array = np.asarray(values).view(cls)
        array.unit = unit
        return array


def test_subclasses_count_by_class_and_attributes() -> None:
    kinds = [np.ones(2), Unit(np.ones(2), "m"), Unit(np.ones(2), "s"), np.ma.ones(2)]
    assert len({digest(kind) for kind in kinds}) == len(kinds)
    assert digest(Unit([1], "m")) == digest(Unit([1], "m"))
    records = np.array([(1,)], [("a", "i4")])
    assert digest(records) != digest(records.view(np.recarray))


def test_mapped_files_are_arrays(tmp_path: Path) -> None:
    array = np.arange(10_000.0)
    np.save(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert digest(mapped) == digest(array)
    assert digest(mapped, True) != digest(array, True)


# Everything else.


def test_dtypes() -> None:
    assert digest(np.dtype("f8")) == digest(np.dtype(float))
    assert digest(np.dtype(("i4", (2, 3)))) != digest(np.dtype(("i4", (3, 2))))
    assert digest(np.dtype([("a", "i4")])) == digest(np.dtype([("a", "i4")]))


@pytest.mark.parametrize(
    "make",
    [
        np.random.default_rng,
        np.random.RandomState,
        np.random.SeedSequence,
        np.random.PCG64,
        np.random.MT19937,
        np.random.Philox,
        np.random.SFC64,
    ],
)
def test_random_generators_count_by_state(make: Callable[[int], Any]) -> None:
    one = make(1)
    assert both(one) == both(make(1)) == both(copy.deepcopy(one))
    assert digest(one) != digest(make(2))


def test_drawing_changes_a_generator_and_digesting_does_not() -> None:
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    digest(one)
    assert one.random() == other.random()
    assert digest(one) == digest(other) != digest(np.random.default_rng(1))
    other.bit_generator.state = np.random.default_rng(1).bit_generator.state
    assert digest(other) == digest(np.random.default_rng(1))


def test_spawning_changes_a_generator() -> None:
    one = np.random.default_rng(1)
    before = digest(one)
    one.bit_generator.seed_seq.spawn(1)  # type: ignore[attr-defined]
    assert digest(one) != before


def test_functions_count_by_name() -> None:
    functions = [np.sin, np.cos, np.sum, np.linalg.norm, np.add.reduce, np.random.rand]
    made = [np.sin, np.cos, np.sum, np.linalg.norm]
    assert len({digest(function) for function in made}) == len(made)
    assert functions
    with pytest.raises(Indigestible):
        digest(np.frompyfunc(len, 1, 1))


@given(arrays)
@settings(max_examples=20)
def test_arrays_inside_of_containers(array: Any) -> None:
    assert digest([array]) == digest([digest(array)])
    assert digest({"a": array}) == digest({"a": array.copy()})


def test_a_large_array_lets_other_threads_run(others_run_during: Callable[..., bool]) -> None:
    array = np.zeros(32 * 2**20)
    assert others_run_during(lambda: digest(array))
