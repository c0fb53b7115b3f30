"""Counting: what the core asks for, and what is counted here."""

from __future__ import annotations

import functools
import os
from typing import Any

from fleche import _core
from fleche._foundation import seam
from fleche._foundation.log import logger_of
from fleche.statistics import flushing
from fleche.statistics.counts import Counts
from fleche.statistics.ledgers import ledger_of

__all__ = ["count", "enabled", "evicted", "tally_of"]

logger = logger_of("fleche.statistics")


def tally_of(cache: Any, function: str, module: str | None) -> _core.Tally | None:
    """Where the core counts the calls of a function in a cache; `None`: nowhere."""
    if not enabled():
        return None
    ledger = ledger_of(cache)
    if ledger.writes:
        flushing.begin()
    return ledger.tally(function, module)


def count(cache: Any, function: str, module: str | None, **numbers: Any) -> None:
    """Count something besides hits; what fails disturbs nobody."""
    try:
        tally = tally_of(cache, function, module)
        if tally is None:
            return
        if numbers.keys() & {"uncached", "evicted"}:
            ledger_of(cache).add(function, module, Counts(**numbers))
        else:
            tally.add(**numbers)
        # A result that is about to be stored comes first.
        if not numbers.keys() & {"misses", "computed"} and _core.are_statistics_due():
            flushing.write(cache)
    except Exception as error:
        logger.debug("%s is not counted: %r", function, error)


def evicted(cache: Any, key: str) -> None:
    """Count, and tell, that a call was removed."""
    count(cache, "", None, evicted=1)
    if _core.is_listening():
        from fleche.events import Evicted, tell

        tell(Evicted("", None, key))


@functools.cache
def enabled() -> bool:
    """Whether calls are counted, as `FLECHE_STATISTICS` or the configuration says.

    A mistake there is said once, and stops no call.
    """
    text = os.environ.get("FLECHE_STATISTICS", "")
    if text:
        known = {"0": False, "false": False, "1": True, "true": True}
        if text.lower() not in known:
            logger.warning("FLECHE_STATISTICS=%r: expected 1 or 0; calls are counted", text)
        return known.get(text.lower(), True)
    try:
        return bool(seam.look_up("default_section")().get("statistics", True))
    except Exception as error:
        logger.warning("Calls are counted, whatever the configuration says: %s", error)
        return True
