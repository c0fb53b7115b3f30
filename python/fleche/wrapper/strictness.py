"""Saying why a call is not cached, or raising it."""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import Any

from fleche._foundation.log import logger_of
from fleche.digest import Indigestible

logger = logger_of("fleche")

# Where the error itself does not say what to do about it.
_ADVICE = ". Pass something that has content, or give its class a __digest__ or a hook"
# What was said already, where many calls are one undertaking: one warning a cause.
TOLD: ContextVar[set[str] | None] = ContextVar("fleche.TOLD", default=None)


class Strictness:
    """Whether a function's calls raise what would go on without the cache, with a warning.

    Args:
        name: the function's.
        strict: as it was decorated; `None`: as the environment or the configuration says.
    """

    def __init__(self, name: str, strict: bool | None) -> None:
        self.name = name
        self.strict = strict

    def __call__(self) -> bool:
        return strict_by_default() if self.strict is None else self.strict

    def tell_uncached(self, reason: tuple[str, Any, Any]) -> None:
        """Say why a call is not cached; in strict, raise it.

        Args:
            reason: of what kind, what it is about, and the error or value that it came of.
        """
        error, message, about = uncached(self.name, reason)
        if self():
            error.add_note(message % about)
            raise error
        told, text = TOLD.get(), message % about
        if told is not None and text in told:
            return
        logger.warning(message, *about)
        if told is not None:
            told.add(text)


def uncached(name: str, reason: tuple[str, Any, Any]) -> tuple[Exception, str, tuple[Any, ...]]:
    """Why a call is not cached: what strict raises, a message, and what to fill in there.

    Args:
        name: the function's.
        reason: of what kind, what it is about, and the error or value that it came of.
    """
    kind, subject, detail = reason
    if kind == "cache":
        return (
            detail,
            "The cache cannot be opened (%s); the call of %s runs without it",
            (detail, name),
        )
    if kind == "indigestible":
        return (
            detail,
            "No hash for argument: %r of %s (%s); the call runs without a cache%s",
            (subject, name, culprit(detail, subject), getattr(detail, "advice", _ADVICE)),
        )
    if kind == "captured":
        return (
            detail,
            "No hash for what %s uses (%s); the call runs without a cache. Pass it as an "
            "argument, or give its class a __digest__ or a hook",
            (name, culprit(detail)),
        )
    return (
        TypeError(f"{name} needs {', '.join(subject)} by keyword to be cached"),
        "Missing required keyword arguments for caching: %s (calling %s)",
        (subject, name),
    )


def culprit(error: Indigestible, of: str = "") -> str:
    """What has no digest, and where in the value it is, in words."""
    found = error.args[0] if error.args else error
    what = found if isinstance(found, str) else f"a {_type_name(found)}"
    path = getattr(error, "path", "")
    return f"{of}{path}: {what}".strip() if path else what


def _type_name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


@functools.cache
def strict_by_default() -> bool:
    """What `FLECHE_STRICT`, or `strict` in section `[default]` of the configuration, says.

    Raises:
        ValueError: if that is no truth value.
    """
    import os

    if (text := os.environ.get("FLECHE_STRICT")) is not None:
        known = {"": False, "0": False, "false": False, "1": True, "true": True}
        if text.lower() not in known:
            raise ValueError(f"FLECHE_STRICT={text!r}: expected 1 or 0")
        return known[text.lower()]
    from fleche.config import default_section

    return bool(default_section().get("strict", False))
