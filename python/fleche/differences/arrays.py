"""Elements of numpy's arrays that differ, without going through all of them in Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Elements that are compared at once: memory for both stays small.
_AT_ONCE = 1 << 20


def differing_elements(stored: Any, given: Any, most: int) -> tuple[list[tuple[int, ...]], int]:
    """The first places in C order where two arrays differ, and how many there are.

    Args:
        stored: an array without Python objects or fields.
        given: one of the same dtype and shape.
        most: how many places to give at most.
    """
    import numpy as np

    first: list[int] = []
    count = 0
    for start, one, other in _chunks(stored, given):
        found = np.flatnonzero(_differ(one, other))
        count += len(found)
        first += [start + int(place) for place in found[: most - len(first)]]
    places = [tuple(map(int, np.unravel_index(place, stored.shape))) for place in first]
    return places, count


def _chunks(stored: Any, given: Any) -> Iterator[tuple[int, Any, Any]]:
    for start in range(0, stored.size, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        # Whatever their order of memory, only the part is copied.
        yield start, stored.flat[part], given.flat[part]


def _differ(one: Any, other: Any) -> Any:
    import numpy as np

    size = one.dtype.itemsize
    if one.dtype.char in "gG":
        # What pads them to whole words is no content.
        signs = np.signbit(one.real) != np.signbit(other.real)
        signs |= np.signbit(one.imag) != np.signbit(other.imag)
        unequal: Any = (one != other) & ~(np.isnan(one) & np.isnan(other)) | signs
        return unequal
    if size == 0:
        return np.zeros(len(one), bool)
    # By their bytes, so that NaN and -0.0 are what they are.
    bytes_of_one = np.ascontiguousarray(one).view(np.uint8).reshape(len(one), size)
    bytes_of_other = np.ascontiguousarray(other).view(np.uint8).reshape(len(other), size)
    return (bytes_of_one != bytes_of_other).any(axis=1)
