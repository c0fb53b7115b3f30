"""Interrupts that are not lost in libraries.

What a signal's handler raises while Python runs a destructor or a callback of a weak reference is
printed, and forgotten. `h5py` and SQLAlchemy have many of these.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class NotLost:
    """A context that raises at its end what a handler of Ctrl-C raised inside, if nobody else did.

    >>> with NotLost():
    ...     pass
    """

    __slots__ = ("_handler", "_raised")

    def __init__(self) -> None:
        self._handler: Any = None
        self._raised: BaseException | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        try:
            self._handler(number, frame)
        except BaseException as error:
            self._raised = error
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._handler is None:
            return
        if signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._handler)
        raised, self._raised = self._raised, None
        # What a library made of it, an error of its own, does not count.
        if raised is not None and (error is None or isinstance(error, Exception)):
            raise raised
