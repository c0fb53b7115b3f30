"""How old calls are, and how long they took, by the times that `Runtime` recorded."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeAlias

__all__ = ["Age", "age_of", "runtime_of", "seconds_of", "stopped_at"]

#: Seconds, or a `timedelta`.
Age: TypeAlias = float | timedelta

# A clock may be so far ahead of another one, in seconds.
_AHEAD = 60.0


def seconds_of(age: Age, what: str) -> float:
    """An age in seconds.

    Args:
        age: the age.
        what: the option that it is of, for the error.

    Raises:
        TypeError: if it is neither a number nor a `timedelta`.
        ValueError: if it is negative.

    >>> seconds_of(timedelta(hours=1), "max_age")
    3600.0
    """
    if isinstance(age, timedelta):
        age = age.total_seconds()
    if isinstance(age, bool) or not isinstance(age, int | float):
        raise TypeError(f"{what} takes seconds or a timedelta, not a {type(age).__name__}")
    if not age >= 0:
        raise ValueError(f"{what}={age!r}: an age is 0 seconds or more")
    return float(age)


def age_of(record: Any) -> float:
    """How many seconds ago a call ended, by the clock of this machine.

    Without end where that is not known: no time was recorded, or one that is yet to come. The clock
    of the machine that recorded it was wrong, then, by more than the minute that is overlooked.

    Args:
        record: a call, or its record.

    >>> from fleche.call import Call
    >>> age_of(Call("f", {}))
    inf
    >>> round(age_of(Call("f", {}, metadata={"runtime": {"timestop": time.time() - 5}})))
    5
    """
    times = [
        held["timestop"]
        for held in record.metadata.values()
        if isinstance(held, dict) and isinstance(held.get("timestop"), int | float)
    ]
    if not times:
        return math.inf
    age = time.time() - max(times)
    return max(age, 0.0) if age > -_AHEAD else math.inf


def runtime_of(record: Any) -> float | None:
    """How long a call took, in seconds, if that was recorded.

    Args:
        record: a call, or its record.

    >>> from fleche.call import Call
    >>> runtime_of(Call("f", {}, metadata={"runtime": {"timestop": 12.0, "walltime": 5.0}}))
    5.0
    """
    return next((_number(held.get("walltime")) for held in _runtimes(record)), None)


def stopped_at(record: Any) -> float | None:
    """When a call ended, in seconds since 1970, if that was recorded.

    Args:
        record: a call, or its record.

    >>> from fleche.call import Call
    >>> stopped_at(Call("f", {}, metadata={"runtime": {"timestop": 12.0, "walltime": 5.0}}))
    12.0
    """
    return next((_number(held.get("timestop")) for held in _runtimes(record)), None)


def _runtimes(record: Any) -> Iterator[dict[str, Any]]:
    for held in record.metadata.values():
        if isinstance(held, dict) and "timestop" in held:
            yield held


def _number(held: Any) -> float | None:
    """What is damaged, or too large to count with, is not known."""
    try:
        return held if isinstance(held, int | float) and math.isfinite(held) else None
    except OverflowError:
        return None
