"""How commands show numbers, times, keys and calls to people."""

from __future__ import annotations

from typing import Any

__all__ = ["short"]


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
