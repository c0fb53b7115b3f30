"""How values are shown beside each other: short, and with what tells them apart."""

from __future__ import annotations

import math
import re
import reprlib
import struct
import sys
import types
from numbers import Number
from typing import Any

# What is longer is shortened.
_LONGEST = 80
_AROUND = 12


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 6
        self.maxstring = self.maxlong = self.maxother = _LONGEST
        self.maxlevel = 4

    def repr_instance(self, x: Any, level: int) -> str:
        kind = type(x)
        name = f"{kind.__module__}.{kind.__qualname__}"
        shape = getattr(x, "shape", None) if _is_large(x) else None
        if shape is not None:
            # Its own text would take as long as it is.
            return f"<{name} of shape {shape}>"
        try:
            text = " ".join(repr(x).split())
        except Exception as error:
            return f"<{name} without a repr: {type(error).__name__}>"
        return shortened(text)


def _is_large(value: Any) -> bool:
    try:
        return isinstance(value.shape, tuple) and math.prod(value.shape) > _LONGEST
    except Exception:
        return False


def short(value: Any) -> str:
    """The `repr` of a value on one line, shortened in the middle; never an error."""
    try:
        if isinstance(value, types.CodeType):
            return f"<code, {value.co_filename}:{value.co_firstlineno}>"
        # Where an object is says nothing of it.
        return shortened(re.sub(r" at 0x[0-9a-fA-F]+", "", _Short().repr(_plain(value))))
    except Exception as error:
        return f"<{type(value).__qualname__} without a repr: {type(error).__name__}>"


def _plain(value: Any) -> Any:
    """A number of numpy's as the number that it is."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic) or value.dtype.kind not in "biufcSU":
        return value
    # Those of extended precision stay as they are.
    return value.item()


def shortened(text: str) -> str:
    """A text without its middle, if it is long."""
    if len(text) <= _LONGEST:
        return text
    half = (_LONGEST - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def pair(stored: Any, given: Any) -> tuple[str, str]:
    """Two values, shown so that what differs is seen."""
    both = short(stored), short(given)
    if type(stored) is not type(given) and both[0] == both[1] and _plain(stored) is not stored:
        return repr(stored), repr(given)
    if type(stored) is not type(given) or not isinstance(stored, str | bytes):
        return both
    if max(len(stored), len(given)) <= _LONGEST // 2:
        return both
    place = first_difference(stored, given)
    return _excerpt(stored, place), _excerpt(given, place)


def _excerpt(text: str | bytes, place: int) -> str:
    start, end = max(place - _AROUND, 0), place + _AROUND
    before = "..." if start else ""
    after = "..." if end < len(text) else ""
    return f"{before}{text[start:end]!r}{after}"


def first_difference(stored: str | bytes, given: str | bytes) -> int:
    """The position from which on two texts differ."""
    same, end = 0, min(len(stored), len(given))
    # All before `same` is the same; the difference is at `end` at the latest.
    while same < end:
        middle = (same + end + 1) // 2
        if stored[same:middle] == given[same:middle]:
            same = middle
        else:
            end = middle - 1
    return same


def note(stored: Any, given: Any) -> str:
    """What the two texts do not show by themselves; may be empty."""
    one, other = type(stored), type(given)
    if isinstance(stored, str | bytes) and one is other:
        if max(len(stored), len(given)) <= _LONGEST // 2:
            return ""
        lengths = "" if len(stored) == len(given) else f", lengths {len(stored)} and {len(given)}"
        return f"from position {first_difference(stored, given)} on{lengths}"
    if one is not other:
        are_numbers = isinstance(stored, Number) and isinstance(given, Number)
        if short(stored) == short(given) or (are_numbers and stored == given):
            return _types(one, other)
        return ""
    if isinstance(stored, types.CodeType):
        return "other code"
    if isinstance(stored, float):
        return _float_note(float(stored), float(given))
    return ""


def _types(one: type, other: type) -> str:
    names = one.__qualname__, other.__qualname__
    if names[0] == names[1]:
        names = f"{one.__module__}.{names[0]}", f"{other.__module__}.{names[1]}"
    if names[0] == names[1]:
        return f"two classes that are called {names[0]}"
    return f"{names[0]}, {names[1]}"


def _float_note(stored: float, given: float) -> str:
    if math.isnan(stored) and math.isnan(given):
        return f"bits {_bits(stored):016x}, {_bits(given):016x}"
    if not (math.isfinite(stored) and math.isfinite(given)):
        return ""
    steps = abs(_place(stored) - _place(given))
    return f"{steps} ulp" if 0 < steps < 1000 else ""


def _bits(number: float) -> int:
    bits: int = struct.unpack("<Q", struct.pack("<d", number))[0]
    return bits


def _place(number: float) -> int:
    """Which one it is of all floats in their order."""
    bits = _bits(number)
    return bits if bits < 1 << 63 else (1 << 63) - bits
