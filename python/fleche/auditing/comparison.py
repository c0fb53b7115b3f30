"""Whether two results are the same: by their typed digests, or within a tolerance."""

from __future__ import annotations

import dataclasses
import math
import pickle
import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from fleche.call.outcomes import Items, Outcome
from fleche.digest import Indigestible, digest

__all__ = ["EXACT", "Tolerance", "agree", "is_same"]


@dataclass(frozen=True)
class Tolerance:
    """How far numbers may be apart that count as the same, as in `numpy.testing.assert_allclose`:
    `abs(new - old) <= atol + rtol * abs(old)`.

    Args:
        rtol: relative to the stored one.
        atol: in any case.

    Raises:
        ValueError: if one of them is negative, or no number.

    >>> agree([1.0, {"a": 2.0}], [1.0, {"a": 2.0000001}], Tolerance(rtol=1e-6))
    True
    """

    rtol: float = 0.0
    atol: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rtol", "atol"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)!r}")

    @property
    def is_exact(self) -> bool:
        """Whether only the same counts."""
        return self.rtol == self.atol == 0


EXACT = Tolerance()


def is_same(stored: Any, new: Any) -> bool:
    """Whether two results are the same, types included.

    Args:
        stored: a result as it is stored.
        new: the other one.

    Raises:
        Indigestible: if that cannot be told: they have neither a digest nor can they be pickled.

    >>> is_same([1, 2], [1, 2]), is_same([1, 2], [1, 2.0])
    (True, False)
    """
    if type(stored) is not type(new):
        return False
    if isinstance(stored, Outcome):
        return _is_same_error(stored.error, new.error)
    if isinstance(stored, Items):
        return is_same([stored.items, stored.returned], [new.items, new.returned])
    try:
        return digest(stored, typed=True) == digest(new, typed=True)
    except Indigestible:
        try:
            return pickle.dumps(stored, 5) == pickle.dumps(new, 5)
        except Exception:
            pass
        raise


def _is_same_error(stored: BaseException | None, new: BaseException | None) -> bool:
    # Where it was raised, and while what was handled, is no part of what it says.
    return type(stored) is type(new) and (stored is None or str(stored) == str(new))


def agree(stored: Any, new: Any, tolerance: Tolerance) -> bool:
    """Whether two results are the same within a tolerance: numbers in containers, records, arrays,
    frames and series; all else must be the same.

    Args:
        stored: a result as it is stored.
        new: the other one.
        tolerance: how far numbers may be apart.
    """
    if stored is new or _is_same_or_unknown(stored, new):
        return True
    if type(stored) is not type(new) or tolerance.is_exact:
        return False
    try:
        return _is_close(stored, new, tolerance)
    except RecursionError:
        return False


def _is_same_or_unknown(stored: Any, new: Any) -> bool:
    try:
        return is_same(stored, new)
    except Indigestible:
        return False


def _is_close(stored: Any, new: Any, tolerance: Tolerance) -> bool:
    if isinstance(stored, Items):
        return agree([stored.items, stored.returned], [new.items, new.returned], tolerance)
    if isinstance(stored, float | complex):
        return _are_close_numbers(stored, new, tolerance)
    if isinstance(stored, Mapping):
        return [*stored] == [*new] and all(agree(stored[k], new[k], tolerance) for k in stored)
    if isinstance(stored, str | bytes | bytearray | Set):
        return False
    if isinstance(stored, Sequence):
        pairs = zip(stored, new, strict=False)
        return len(stored) == len(new) and all(agree(a, b, tolerance) for a, b in pairs)
    if dataclasses.is_dataclass(stored) or hasattr(type(stored), "__attrs_attrs__"):
        return agree(_attributes(stored), _attributes(new), tolerance)
    return _are_close_data(stored, new, tolerance)


def _attributes(record: Any) -> dict[str, Any]:
    fields = getattr(type(record), "__attrs_attrs__", None) or dataclasses.fields(record)
    return {field.name: getattr(record, field.name, None) for field in fields}


def _are_close_numbers(stored: Any, new: Any, tolerance: Tolerance) -> bool:
    if stored == new:
        return True
    if isinstance(stored, complex):
        return bool(abs(new - stored) <= tolerance.atol + tolerance.rtol * abs(stored))
    if math.isnan(stored) or math.isinf(stored):
        return math.isnan(stored) and math.isnan(new)
    return bool(abs(new - stored) <= tolerance.atol + tolerance.rtol * abs(stored))


def _are_close_data(stored: Any, new: Any, tolerance: Tolerance) -> bool:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    if isinstance(stored, numpy.generic):
        return _are_close_arrays(stored, new, tolerance)
    if isinstance(stored, numpy.ndarray):
        return _are_close_arrays(stored, new, tolerance)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(stored, pandas.DataFrame | pandas.Series):
        return _are_close_frames(stored, new, tolerance)
    return False


def _are_close_arrays(stored: Any, new: Any, tolerance: Tolerance) -> bool:
    import numpy as np

    if stored.dtype != new.dtype or stored.shape != new.shape:
        return False
    if stored.dtype.names is not None:
        names = stored.dtype.names
        return all(_are_close_arrays(stored[n], new[n], tolerance) for n in names)
    if stored.dtype.kind == "O":
        return all(agree(a, b, tolerance) for a, b in zip(stored.flat, new.flat, strict=True))
    if isinstance(stored, np.ma.MaskedArray):
        if not np.array_equal(np.ma.getmaskarray(stored), np.ma.getmaskarray(new)):
            return False
        stored, new = stored.filled(0), new.filled(0)
    if stored.dtype.kind not in "fc":
        return bool(np.array_equal(stored, new))
    # As for floats: what is there, and not what is new, counts as the right one.
    close = np.isclose(new, stored, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True)
    return bool(np.all(close))


def _are_close_frames(stored: Any, new: Any, tolerance: Tolerance) -> bool:
    import pandas as pd

    check = pd.testing.assert_series_equal if stored.ndim == 1 else pd.testing.assert_frame_equal
    try:
        check(stored, new, rtol=tolerance.rtol, atol=tolerance.atol, check_exact=False)
    except AssertionError:
        return False
    return True
