"""The calls of a sweep that failed."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

# How many of them a message names.
_NAMED = 5


class SweepFailed(ExceptionGroup[Exception]):
    """Calls of a sweep raised, after all others were done and cached.

    `exceptions` are what they raised, in the order of the calls, and `arguments` those of the
    calls, by name.

    >>> from fleche import cache, fleche
    >>> @fleche
    ... def invert(x):
    ...     return 1 / x
    >>> with cache("memory"):
    ...     try:
    ...         invert.map([1, 0, 2]).results()
    ...     except SweepFailed as failed:
    ...         print(failed.arguments, failed.exceptions)
    ...     invert.contains(2)
    [{'x': 0}] (ZeroDivisionError('division by zero'),)
    True
    """

    arguments: list[dict[str, Any]]

    @classmethod
    def of(
        cls, name: str, total: int, failures: Sequence[tuple[dict[str, Any], Exception]]
    ) -> SweepFailed:
        """The failure of a sweep.

        Args:
            name: the function's.
            total: how many calls there were.
            failures: the arguments of those that failed, and what they raised.
        """
        shown = [call_text(name, arguments) for arguments, _ in failures[:_NAMED]]
        more = ", ..." if len(failures) > _NAMED else ""
        one = "call" if total == 1 else "calls"
        message = f"{len(failures)} of {total} {one} failed: {', '.join(shown)}{more}"
        failed = cls(message, [error for _, error in failures])
        failed.arguments = [arguments for arguments, _ in failures]
        return failed

    # What `except*` leaves of it, or takes.
    def derive(self, excs: Sequence[Exception]) -> SweepFailed:  # type: ignore[override]
        derived = SweepFailed(self.message, excs)
        by_error = zip(self.exceptions, self.arguments, strict=True)
        known = {id(error): arguments for error, arguments in by_error}
        derived.arguments = [known.get(id(error), {}) for error in excs]
        return derived


def call_text(name: str, arguments: dict[str, Any]) -> str:
    """A call as messages show it.

    >>> call_text("f", {"x": 1, "names": ["a"]})
    "f(x=1, names=['a'])"
    """
    shown = ", ".join(f"{label}={_shown(value)}" for label, value in arguments.items())
    return f"{name}({shown})"


def _shown(value: Any) -> str:
    try:
        return reprlib.repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
