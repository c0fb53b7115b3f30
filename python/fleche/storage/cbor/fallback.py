"""What CBOR could not hold, so that it was pickled: counted by type, and told once for each."""

from __future__ import annotations

import threading
from collections import Counter

from fleche._foundation.log import logger_of

logger = logger_of("fleche.storage")

_lock = threading.Lock()
_pickled: Counter[str] = Counter()


def pickled() -> dict[str, int]:
    """How many values this process pickled, by the type that CBOR could not hold.

    >>> isinstance(pickled(), dict)
    True
    """
    with _lock:
        return dict(_pickled)


def note(kind: str, reason: str) -> None:
    """Count a value that was pickled because of a part of this type."""
    with _lock:
        _pickled[kind] += 1
        first = _pickled[kind] == 1
    if first:
        logger.warning(
            "%s; it is pickled, and signed (fallback = 'pickle'). This is said once for the type.",
            reason,
        )
