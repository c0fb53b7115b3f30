"""Loggers that import `logging` when there is something to say: it takes a sixth of the time of
importing the package."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger


class _Later:
    """A logger of this name: asked for anything, it is the real one that answers."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        import logging

        return getattr(logging.getLogger(self._name), attribute)

    def __repr__(self) -> str:
        return f"<logger {self._name}>"


def logger_of(name: str) -> Logger:
    """The logger of a name, as `logging.getLogger` gives it.

    >>> logger_of("fleche").name
    'fleche'
    """
    return _Later(name)  # type: ignore[return-value]
