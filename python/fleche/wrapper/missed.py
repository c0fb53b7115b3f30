"""Look-ups of functions whose misses are not computed on the spot: they are awaited or iterated."""

from __future__ import annotations

from typing import Any

__all__ = ["Missed"]


class Missed:
    """What a look-up gives instead of a result.

    Args:
        found: what the core found out about the call, as `Misses.compute` takes it.
        reason: why the call is not cached at all, as `Misses.run_uncached` takes it.
    """

    __slots__ = ("found", "reason")

    def __init__(self, found: tuple[Any, ...] | None, reason: tuple[str, Any, Any] | None) -> None:
        self.found = found
        self.reason = reason

    @classmethod
    def on_miss(cls, *found: Any) -> Missed:
        """In the place of `Misses.compute`: the look-up is over, and nothing runs yet."""
        return cls(found, None)

    @classmethod
    def on_uncached(
        cls, args: tuple[Any, ...], kwargs: dict[str, Any], reason: tuple[str, Any, Any]
    ) -> Missed:
        """In the place of `Misses.run_uncached`."""
        return cls(None, reason)
