"""What of a call's outcomes is cached: results, `None`, exceptions."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from fleche.call.outcomes import Outcome

__all__ = ["Keeping", "default_exceptions", "none_by_default"]


class Keeping:
    """What a function was told to keep.

    Args:
        none: whether `None`; `None`: as the configuration says.
        exceptions: which exceptions; `None`: as the configuration says.
        when: which results.
    """

    def __init__(
        self,
        none: bool | None,
        exceptions: tuple[type[BaseException], ...] | None,
        when: Callable[[Any], bool] | None,
    ) -> None:
        self._none = none
        self._exceptions = exceptions
        self._when = when

    def refuses(self, result: Any) -> bool:
        """Whether a result is not to be cached."""
        return self._when is not None and not self._when(result)

    def none(self) -> bool:
        """Whether `None` is cached."""
        return none_by_default() if self._none is None else self._none

    def keeps_exceptions(self) -> bool:
        """Whether there are exceptions that are cached."""
        return bool(default_exceptions() if self._exceptions is None else self._exceptions)

    def outcome_of(self, error: BaseException) -> Outcome | None:
        """What is cached of an exception; `None` if nothing is."""
        kept = default_exceptions() if self._exceptions is None else self._exceptions
        if not isinstance(error, kept):
            return None
        # Without the frames of ours that stand above the function.
        text = "".join(traceback.format_exception(error))
        return Outcome(error, text)


@functools.cache
def none_by_default() -> bool:
    """What `none` in section `[default]` of the configuration says."""
    from fleche.config import default_section

    return bool(default_section().get("none", False))


@functools.cache
def default_exceptions() -> tuple[type[BaseException], ...]:
    """What `exceptions` in section `[default]` of the configuration names.

    Raises:
        ValueError: if one is not there, or no exception.
    """
    import importlib

    from fleche.config import default_section

    found = []
    for name in default_section().get("exceptions", ()):
        module, _, attribute = name.rpartition(".")
        try:
            error = getattr(importlib.import_module(module or "builtins"), attribute)
        except (ImportError, AttributeError) as reason:
            raise ValueError(f"[default] exceptions: there is no {name!r} ({reason})") from None
        if not (isinstance(error, type) and issubclass(error, BaseException)):
            raise ValueError(f"[default] exceptions: {name!r} is no exception")
        found.append(error)
    return tuple(found)
