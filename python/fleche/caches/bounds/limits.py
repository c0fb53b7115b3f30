"""What is limited, and how people write it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

__all__ = ["POLICIES", "Limits", "bytes_of", "seconds_of", "size_of"]

POLICIES = ("oldest", "lru", "lfu", "cheapest")
"""Which calls go first: `evict`."""

_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*")

_BYTES = {"": 1, "b": 1}
for _power, _prefix in enumerate("kmgtp", 1):
    _BYTES |= {_prefix: 1000**_power, f"{_prefix}b": 1000**_power, f"{_prefix}ib": 1024**_power}

_DAY = 86400.0
_SECONDS = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}
_SECONDS |= {"d": _DAY, "w": 7 * _DAY, "y": 365.25 * _DAY}


def bytes_of(value: Any, what: str = "max_bytes") -> int:
    """A number of bytes.

    Args:
        value: the number, or text: `"200GB"`, `"1.5TiB"`.
        what: what it limits, for the error.

    Raises:
        ValueError: if it is none.

    >>> bytes_of("200GB"), bytes_of("1 KiB"), bytes_of(5)
    (200000000000, 1024, 5)
    """
    number = _of(value, _BYTES)
    if number is None:
        raise ValueError(f"{what}={value!r} is no number of bytes: write 2000, '200MB' or '1.5TiB'")
    return int(number)


def seconds_of(value: Any, what: str = "max_age") -> float:
    """A time in seconds.

    Args:
        value: the number, a `timedelta`, or text: `"90d"`, `"2h"`.
        what: what it limits, for the error.

    Raises:
        ValueError: if it is none.

    >>> seconds_of("90d"), seconds_of(timedelta(hours=1)), seconds_of(5)
    (7776000.0, 3600.0, 5.0)
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    number = _of(value, _SECONDS)
    if number is None:
        raise ValueError(f"{what}={value!r} is no time: write 3600, '2h', '90d' or '1y'")
    return float(number)


def size_of(value: Any, what: str = "max_size") -> int:
    """A number of calls.

    Raises:
        ValueError: if it is none, or less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{what}={value!r} is no number of calls, an integer of at least 1")
    return value


def _of(value: Any, units: dict[str, Any]) -> float | None:
    if isinstance(value, str):
        found = _NUMBER.fullmatch(value)
        unit = None if found is None else units.get(found[2].lower())
        return None if found is None or unit is None else float(found[1]) * unit
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if value >= 0 and math.isfinite(value) else None


@dataclass(frozen=True)
class Limits:
    """What a cache, or what it holds of a function, is limited to.

    Args:
        max_bytes: the bytes of records and of the values that these need; text as `"200GB"`.
        max_age: how old a call may get, in seconds; a `timedelta`, or text as `"90d"`.
        max_size: the number of calls.

    Raises:
        ValueError: if one of them is no such number.

    >>> Limits("1MB", "1h")
    Limits(max_bytes=1000000, max_age=3600.0, max_size=None)
    """

    max_bytes: Any = None
    max_age: Any = None
    max_size: Any = None

    def __post_init__(self) -> None:
        for name, read in (("max_bytes", bytes_of), ("max_age", seconds_of), ("max_size", size_of)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, read(value, name))

    def given(self) -> Iterator[tuple[str, Any]]:
        """The limits that there are, by name."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                yield field.name, value

    def __bool__(self) -> bool:
        return any(True for _ in self.given())
