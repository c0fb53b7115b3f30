"""Counting, and telling, what becomes of a function's calls that are no hits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fleche import _core
from fleche.statistics.tallies import count

__all__ = ["Counting"]


class Counting:
    """What becomes of the calls of a function.

    Args:
        identify: gives the function's name and module, as they count in keys.
    """

    def __init__(self, identify: Callable[[], tuple[str, str | None]]) -> None:
        self._identify = identify

    def missed(self, cache: Any, key: str) -> None:
        """A call is not in the cache."""
        self._note(cache, "Miss", key, misses=1)

    def computed(self, cache: Any, key: str, seconds: float) -> None:
        """A call was computed."""
        self._note(cache, "Computed", key, (seconds,), computed=1, seconds=seconds)

    def failed(self, cache: Any, key: str, seconds: float, error: BaseException) -> None:
        """A call raised."""
        self._note(cache, "Failed", key, (seconds, error), failed=1)

    def saved(self, cache: Any, key: str, size: int, pickled: int) -> None:
        """A result was stored; `pickled`: how many values had to be pickled for it."""
        self._note(cache, "Saved", key, (size,), bytes=size, pickled=pickled)

    def uncached(self, cache: Any, key: str | None, reason: str) -> None:
        """A call, or its result, is not cached; `cache`: `None` if there is none."""
        self._note(cache, "Uncached", key, (reason,), uncached={reason: 1})

    def hit(self, cache: Any, key: str, seconds: float) -> None:
        """A call was found that did not come to the core."""
        self._note(cache, "Hit", key, (seconds,), hits=1)

    def _note(
        self, cache: Any, kind: str, key: str | None, more: tuple[Any, ...] = (), **numbers: Any
    ) -> None:
        name, module = self._identify()
        if cache is not None:
            count(cache, name, module, **numbers)
        if _core.is_listening():
            from fleche import events

            events.tell(getattr(events, kind)(name, module, key, *more))
