"""What storages say about an entry that cannot be read, said once where it is looked at again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

_LOGGERS = ("fleche.storage", "fleche.storage.bagofholding_file", "fleche.security")


def each_message_once() -> AbstractContextManager[None]:
    """A context in which each message of the storages passes once."""
    seen: set[str] = set()

    def is_new(text: str) -> bool:
        known = text in seen
        seen.add(text)
        return not known

    return _passing(is_new)


def no_message() -> AbstractContextManager[None]:
    """A context in which storages say nothing: what is looked at was looked at just now."""
    return _passing(lambda text: False)


@contextmanager
def _passing(passes: Callable[[str], bool]) -> Iterator[None]:
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        # What other threads have to say is none of this one's business.
        return record.thread != thread or passes(record.getMessage())

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for each in loggers:
        each.addFilter(keep)
    try:
        yield
    finally:
        for each in loggers:
            each.removeFilter(keep)
