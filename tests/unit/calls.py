"""What the tests of calls share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fleche.caches import Cache
from fleche.storage import CallMemory, ValueMemory


def memory_cache(remaining_depth: int = 0) -> Cache:
    """A cache of its own in memory."""
    return Cache(ValueMemory({}, remaining_depth), CallMemory({}))


class Counted:
    """A function that counts how often it ran."""

    def __init__(self, body: Callable[..., Any]) -> None:
        self.calls = 0

        def function(*args: Any) -> Any:
            self.calls += 1
            return body(*args)

        self.function = function
