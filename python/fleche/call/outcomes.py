"""What a call came to that is no value, stored as a result.

`None`, an exception, or the items of an iterator.
"""

from __future__ import annotations

import pickle
from collections.abc import Generator
from typing import Any

from fleche.digest import Digest, Indigestible, digest

__all__ = ["Items", "OriginalTraceback", "Outcome", "given", "shown", "stored_result"]


class OriginalTraceback(Exception):
    """Where an exception was raised when the call ran: the cause of what is raised again."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class Outcome:
    """`None`, or an exception, as it is stored.

    Args:
        error: the exception; `None` for a call that returned `None`.
        traceback: where it was raised, as text.

    >>> Outcome(ValueError("no convergence"))
    <raised ValueError('no convergence')>
    """

    __slots__ = ("error", "traceback")

    def __init__(self, error: BaseException | None = None, traceback: str = "") -> None:
        self.error = error
        self.traceback = traceback

    def give(self) -> None:
        """Return `None`, or raise the exception."""
        if self.error is not None:
            raise self.error from OriginalTraceback(self.traceback)

    def __digest__(self) -> Digest:
        return _digest_of(self)

    def __reduce__(self) -> tuple[type[Outcome], tuple[BaseException | None, str]]:
        return Outcome, (self.error, self.traceback)

    def __repr__(self) -> str:
        return "<returned None>" if self.error is None else f"<raised {self.error!r}>"


class Items:
    """What an iterator gave, as it is stored.

    Args:
        items: one after the other.
        returned: what a generator returned at its end.

    >>> list(Items([1, 2]).replay())
    [1, 2]
    """

    __slots__ = ("items", "returned")

    def __init__(self, items: list[Any], returned: Any = None) -> None:
        self.items = items
        self.returned = returned

    def replay(self) -> Generator[Any, Any, Any]:
        """A new iterator over the items."""
        yield from self.items
        return self.returned

    def __digest__(self) -> Digest:
        return _digest_of(self)

    def __reduce__(self) -> tuple[type[Items], tuple[list[Any], Any]]:
        return Items, (self.items, self.returned)

    def __repr__(self) -> str:
        return f"<gave {len(self.items)} items>"


def _digest_of(stored: Any) -> Digest:
    """For scheme `sha256`, in which a result needs a digest: what it is told by are its bytes."""
    kind = type(stored)
    try:
        return digest((f"{kind.__module__}.{kind.__qualname__}", pickle.dumps(stored, 5)))
    except Exception as error:
        raise Indigestible(stored) from error


def given(stored: Any) -> Any:
    """What a call gives whose result is stored so.

    Raises:
        BaseException: if it is an exception.
    """
    if type(stored) is Outcome:
        return stored.give()
    return stored.replay() if type(stored) is Items else stored


def shown(stored: Any) -> Any:
    """What people see as the result of a call: the exception that it raised, a list of items."""
    if type(stored) is Items:
        return stored.items
    return None if type(stored) is Outcome and stored.error is None else stored


def stored_result(call: Any) -> Any:
    """The result of a call as it is stored: an `Outcome` stays one.

    Raises:
        KeyError: if it is not there.
    """
    stored = getattr(call, "_stored_result", None)
    return call.result if stored is None else stored()
