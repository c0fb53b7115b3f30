"""Looking at calls whose results may be lost: said once, and left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fleche._foundation.messages import no_message
from fleche.call import LazyCall

logger = logging.getLogger("fleche.query")


def result_is_lost(call: Any) -> bool:
    """Whether the result of a call cannot be loaded."""
    # Why, was said when it was looked at.
    with no_message():
        try:
            call.result  # noqa: B018
        except KeyError:
            return True
    return False


def readable(
    calls: Iterable[LazyCall], look: Callable[[LazyCall], Any]
) -> Iterator[tuple[LazyCall, Any]]:
    """Calls with what `look` gives for them; those whose result it wants in vain are left out.

    The first of them is said at once, how many there are at the end.
    """
    lost: list[LazyCall] = []
    for call in calls:
        try:
            found = look(call)
        except KeyError as error:
            # An error of `look` itself, about a call that is in order, is the caller's.
            if not result_is_lost(call):
                raise
            say_lost(call, error, lost)
            continue
        yield call, found
    if len(lost) > 1:
        logger.warning("%d calls were left out, as their results cannot be loaded", len(lost))


def say_lost(call: LazyCall, error: KeyError, lost: list[LazyCall]) -> None:
    """Say that a result cannot be loaded, if it is the first; others are counted."""
    level = logging.DEBUG if lost else logging.WARNING
    lost.append(call)
    logger.log(
        level,
        "The result of call %s cannot be loaded (%s). Compute it again, or evict the call to be "
        "rid of it",
        call.to_lookup_key(),
        error,
    )
