"""How commands show numbers, times, keys and calls to people."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["age", "count", "duration", "short", "size", "when"]

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STEPS = ((1, "s"), (60, "min"), (3600, "h"), (86400, "d"), (365.25 * 86400, "y"))


def size(number: float | None) -> str:
    """A number of bytes.

    >>> size(999), size(1500), size(2_340_000_000), size(None)
    ('999 B', '1.5 kB', '2.3 GB', '?')
    """
    if number is None:
        return "?"
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """A time that something took.

    >>> duration(0.0123), duration(75), duration(7200), duration(None)
    ('12 ms', '75 s', '2.0 h', '?')
    """
    if seconds is None:
        return "?"
    if seconds < 1:
        return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.0f} ms"
    # The largest unit of which there is more than one and a half.
    step, unit = [each for each in _STEPS if seconds >= 1.5 * each[0] or each[0] == 1][-1]
    return f"{seconds / step:.0f} {unit}" if step <= 60 else f"{seconds / step:.1f} {unit}"


def age(stamp: float | None) -> str:
    """How long ago a time was that is given in seconds since 1970."""
    return "?" if stamp is None else duration(max(time.time() - stamp, 0.0))


def when(stamp: float | None) -> str:
    """A time that is given in seconds since 1970, as this place's clocks show it.

    >>> when(None)
    '?'
    """
    if stamp is None:
        return "?"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stamp))


def count(number: int, what: str) -> str:
    """A number of things.

    >>> count(1, "call"), count(12000, "call")
    ('1 call', '12,000 calls')
    """
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def short(value: Any, width: int = 60) -> str:
    """A value in one short line.

    >>> short([1, 2, 3]), short("x" * 100, 10)
    ('[1, 2, 3]', "'xxxxxx...")
    """
    try:
        text = " ".join(repr(value).split())
    except Exception as error:
        text = f"<{type(value).__name__}: {type(error).__name__}>"
    return text if len(text) <= width else text[: width - 3] + "..."
