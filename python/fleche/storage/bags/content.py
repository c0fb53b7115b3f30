"""What goes into a bag: an object for `bagofholding` to make a tree of, or one that is pickled.

A tree of HDF5 groups has the content of an object, and not all of it: what the object holds twice
is two objects when it comes back, and arrays lose their order, flags and classes. What would come
back as something else is pickled, in scheme `exact`; so are records, whose trees nobody wants.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fleche import _core
from fleche.call import DigestedCall
from fleche.digest import Digest
from fleche.storage.destructuring import DigestedDict, DigestedFields, DigestedIterable

__all__ = ["Pickled", "packed"]

# That of records: every supported reader of bags has it.
_PROTOCOL = 4
# The oldest one that tells whether an array may be written to.
_EXACT_PROTOCOL = 5

# A branch takes a millisecond and more than a kilobyte.
_MOST_BRANCHES = 64

_PLAIN = frozenset({Digest, bool, bytes, complex, float, int, str, type(None)})
# `bagofholding` and HDF5 keep the content of what these have, and it may be large.
_DATA_PACKAGES = frozenset({"pandas", "polars", "pyarrow", "scipy", "torch", "xarray"})


class Pickled:
    """Stands for an object in a bag, and comes out of it as that object."""

    def __init__(self, value: Any, protocol: int = _PROTOCOL) -> None:
        self.pickle = pickle.dumps(value, protocol)

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return pickle.loads, (self.pickle,)


# Of a class from elsewhere a bag records the version, and refuses to be loaded by another one.
Pickled.__module__ = "builtins"


def packed(value: Any) -> Any:
    """What goes into the bag of a value: the value, or something that comes out as it.

    Raises:
        Exception: whatever `pickle` raises for what it cannot hold.
    """
    match value:
        case DigestedCall():
            return Pickled(value)
        case DigestedIterable(items=items) if type(items) in (list, tuple) and _are_plain(items):
            return Pickled(value)
        case DigestedDict(items=items) if _are_plain(items) and _are_plain(items.values()):
            return Pickled(value)
        case DigestedFields(fields=fields) if _are_plain(fields.values()):
            # Its class stays outside: a bag records the version of the class's package.
            held: Any = object.__new__(type(value))
            held.cls, held.fields = value.cls, Pickled(fields)
            return held
        case list() | tuple() | dict() if _is_long(value) and _core.scheme() == "exact":
            return Pickled(value, _EXACT_PROTOCOL)
        case _ if _core.scheme() == "exact" and _loses_in_a_tree(value):
            return Pickled(value, _EXACT_PROTOCOL)
        case _:
            return value


def _is_long(value: Any) -> bool:
    """Whether nobody wants a tree of a container: it has a branch for every number."""
    if type(value) not in (list, tuple, dict) or len(value) <= _MOST_BRANCHES:
        return False
    return _are_plain(value) and (type(value) is not dict or _are_plain(value.values()))


def _are_plain(items: Iterable[Any]) -> bool:
    return all(type(item) in _PLAIN for item in items)


def _loses_in_a_tree(value: Any) -> bool:
    """Whether a value holds something twice, or an array of which HDF5 does not keep all."""
    if type(value) in _PLAIN:
        return False
    search = _Search(io.BytesIO(), _EXACT_PROTOCOL)
    try:
        search.dump(value)
    except _Found:
        return True
    except Exception:
        # What cannot be pickled `bagofholding` refuses, too, and says of what.
        return False
    return False


class _Found(Exception):
    """Something was found of which a tree does not keep all."""


class _Search(pickle.Pickler):
    """Meets all that a value holds, each as often as it is held."""

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        # Kept alive, so that no other takes an address.
        self._met: dict[int, Any] = {}

    def persistent_id(self, one: Any) -> str | None:
        if isinstance(one, np.ndarray):
            if not _is_plain_array(one):
                raise _Found
        elif type(one) in _PLAIN:
            return None
        if _core.has_identity(one):
            if id(one) in self._met:
                raise _Found
            self._met[id(one)] = one
        # What has a name in this stream is not looked into.
        return "data" if _is_data(one) else None


def _is_data(one: Any) -> bool:
    if isinstance(one, np.ndarray):
        return not one.dtype.hasobject
    return (getattr(type(one), "__module__", None) or "").partition(".")[0] in _DATA_PACKAGES


def _is_plain_array(array: np.ndarray[Any, Any]) -> bool:
    """Whether dtype, shape and elements, which HDF5 keeps, are all that there is to an array."""
    flags = array.flags
    return (
        type(array) is np.ndarray
        and array.dtype.metadata is None
        and bool(flags.c_contiguous and flags.writeable)
    )
