"""How values are shown to people: what they are, how large, and a little of what is in them."""

from __future__ import annotations

import pprint
import reprlib
from typing import Any

__all__ = ["described"]

# How much of a value is shown.
_LINES, _WIDTH, _NUMBERS = 12, 88, 6


def described(value: Any, full: bool = False) -> list[str]:
    """A value in lines: the first says what it is, or is all of it.

    Args:
        value: any value.
        full: whether to show all of it.

    >>> described({"a": 1})
    ["{'a': 1}"]
    >>> described("x" * 500)[0][-13:]
    '... 500 chars'
    """
    try:
        return _described(value, full)
    except Exception as error:
        return [f"<{type(value).__name__}, which cannot be shown: {type(error).__name__}: {error}>"]


def _described(value: Any, full: bool) -> list[str]:
    module = type(value).__module__.partition(".")[0]
    if module == "numpy" and hasattr(value, "dtype") and bool(value.ndim):
        return _array(value, full)
    if module in ("pandas", "polars") and hasattr(value, "head"):
        return _frame(value, full)
    if isinstance(value, str):
        return _text(repr(value), len(value), full)
    if isinstance(value, bytes):
        is_long = len(value) > 48 and not full
        return [f"{value[:48]!r}... {len(value)} bytes" if is_long else repr(value)]
    if isinstance(value, BaseException):
        return [f"raised {type(value).__name__}: {value}"]
    text = pprint.pformat(value, width=_WIDTH, sort_dicts=False) if full else _brief(value)
    lines = text.splitlines()
    if not full and len(lines) > _LINES:
        lines = [*lines[:_LINES], f"... {len(lines)} lines; --full shows all"]
    return lines or [""]


def _text(shown: str, length: int, full: bool) -> list[str]:
    if full or len(shown) <= 4 * _WIDTH:
        return [shown]
    return [f"{shown[: 4 * _WIDTH]}... {length} chars"]


def _brief(value: Any) -> str:
    cut = reprlib.Repr()
    cut.maxlist = cut.maxtuple = cut.maxset = cut.maxfrozenset = cut.maxdict = 12
    cut.maxstring = cut.maxother = 4 * _WIDTH
    cut.maxlevel = 4
    shown = cut.repr(value)
    size = getattr(type(value), "__len__", None)
    if "..." in shown and isinstance(value, list | tuple | dict | set | frozenset) and size:
        shown += f"  ({type(value).__name__} of {len(value):,})"
    return shown


def _array(value: Any, full: bool) -> list[str]:
    import numpy as np

    shape = "x".join(map(str, value.shape))
    first = f"array {shape} {value.dtype}"
    if full:
        with np.printoptions(threshold=value.size + 1, linewidth=_WIDTH):
            return [first, *str(value).splitlines()]
    if value.size and value.dtype.kind in "iufb" and value.dtype.kind != "b":
        first += f", {value.min():.6g} to {value.max():.6g}"
    few = [str(each) for each in value.ravel()[:_NUMBERS]]
    more = ", ..." if value.size > _NUMBERS else ""
    return [f"{first}: {', '.join(few)}{more}"]


def _frame(value: Any, full: bool) -> list[str]:
    shape = " x ".join(f"{each:,}" for each in value.shape)
    first = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__} {shape}"
    text = value.to_string() if full and hasattr(value, "to_string") else str(value.head(5))
    return [first, *text.splitlines()]
