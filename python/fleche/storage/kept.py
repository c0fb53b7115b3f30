"""Values in memory of which `copy.deepcopy` would not keep all.

It forgets that an array may not be written to, and what a subclass of arrays holds besides. Arrays
themselves are copied with care; a value that has such arrays within is kept pickled.

>>> import copy
>>> import numpy as np
>>> from types import SimpleNamespace
>>> array = np.zeros(2)
>>> array.flags.writeable = False
>>> copy.deepcopy(SimpleNamespace(a=array)).a.flags.writeable
True
>>> copy.deepcopy(kept(SimpleNamespace(a=array))).a.flags.writeable
False
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

__all__ = ["kept"]

# The oldest one that tells whether an array may be written to.
_PROTOCOL = 5


class _Kept:
    """Stands for a value in memory; each copy of it is that value."""

    __slots__ = ("_pickle",)

    def __init__(self, value: Any) -> None:
        self._pickle = pickle.dumps(value, _PROTOCOL)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return pickle.loads(self._pickle)


class _Found(Exception):
    """An array was found that `copy.deepcopy` changes."""


class _Search(pickle.Pickler):
    def persistent_id(self, one: Any) -> str | None:
        if not isinstance(one, np.ndarray):
            return None
        of_arrays = type(one).__deepcopy__ is np.ndarray.__deepcopy__
        if of_arrays and (type(one) is not np.ndarray or not one.flags.writeable):
            raise _Found
        # Its elements are no arrays, unless they are objects.
        return None if one.dtype.hasobject else "array"


def kept(value: Any) -> _Kept | None:
    """What to keep of a value, to be copied by `copy.deepcopy`; `None`: the value's own copy."""
    try:
        _Search(io.BytesIO(), _PROTOCOL).dump(value)
    except _Found:
        try:
            return _Kept(value)
        except Exception:
            return None
    except Exception:
        # What cannot be pickled is copied.
        return None
    return None
