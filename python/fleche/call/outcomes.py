"""What a call came to that is no value: `None`, or an exception, stored as a result."""

from __future__ import annotations

from typing import Any

__all__ = ["OriginalTraceback", "Outcome", "given", "stored_result"]


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

    def __reduce__(self) -> tuple[type[Outcome], tuple[BaseException | None, str]]:
        return Outcome, (self.error, self.traceback)

    def __repr__(self) -> str:
        return "<returned None>" if self.error is None else f"<raised {self.error!r}>"


def given(stored: Any) -> Any:
    """What a call gives whose result is stored so.

    Raises:
        BaseException: if it is an exception.
    """
    return stored.give() if type(stored) is Outcome else stored


def stored_result(call: Any) -> Any:
    """The result of a call as it is stored: an `Outcome` stays one.

    Raises:
        KeyError: if it is not there.
    """
    stored = getattr(call, "_stored_result", None)
    return call.result if stored is None else stored()
