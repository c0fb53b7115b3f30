"""How numbers, times and texts are written for people."""

from __future__ import annotations

import time

__all__ = ["age", "count", "cut", "duration", "size", "when"]

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

    >>> when(None), when(1e30)
    ('?', '?')
    """
    try:
        return "?" if stamp is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stamp))
    except (OverflowError, OSError, ValueError):
        return "?"


def count(number: int, what: str) -> str:
    """A number of things.

    >>> count(1, "call"), count(12000, "call")
    ('1 call', '12,000 calls')
    """
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def cut(text: str, width: int) -> str:
    """A text without its middle, if it is longer.

    >>> cut("equilibrate", 7), cut("relax", 7)
    ('equ…ate', 'relax')
    """
    if len(text) <= width:
        return text
    half = (width - 1) // 2
    return f"{text[: width - 1 - half]}…{text[len(text) - half :]}"
