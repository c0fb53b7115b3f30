"""What metadata knows of a call: before its body runs, and after."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from fleche._foundation.log import logger_of
from fleche.call import Call

if TYPE_CHECKING:
    from fleche.metadata import MetaData

logger = logger_of("fleche")

Recorded: TypeAlias = dict[str, dict[str, Any]]
# Metadata, its name, and what it knew before the body ran.
Begun: TypeAlias = tuple["MetaData", str, dict[str, Any]]


def before(metadata: Iterable[MetaData], call: Call) -> list[Begun]:
    """What each knows before the body runs, as far as it did not fail."""
    begun: list[Begun] = []
    for item in metadata:
        try:
            begun.append((item, item.name, dict(item.pre(call))))
        except Exception:
            _warn(item, call)
    return begun


def after(begun: Iterable[Begun], call: Call) -> Recorded:
    """What is recorded of a call after the body; several of one name add to each other."""
    recorded: Recorded = defaultdict(dict)
    for item, name, held in begun:
        try:
            held = {**held, **item.post(dict(held), call)}
            recorded[name].update(held)
        except Exception:
            _warn(item, call)
    return recorded


def begun_by_core(recorded: Recorded) -> list[Begun]:
    """What the core began: `Runtime` is the only metadata that it knows."""
    from fleche.metadata import Runtime

    begun: list[Begun] = []
    for name, held in recorded.items():
        runtime = Runtime()
        runtime.name = name
        begun.append((runtime, name, held))
    return begun


def _warn(item: Any, call: Call) -> None:
    logger.warning(
        "Metadata %s of %s failed; the call is recorded without it",
        type(item).__name__,
        call.name,
        exc_info=True,
    )
