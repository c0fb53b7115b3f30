"""How thoroughly tests go through what they repeat: `nox -s explore` leaves nothing out."""

from __future__ import annotations

from hypothesis import settings


def explores() -> bool:
    """Whether all cases are wanted, however long they take: `--hypothesis-profile=explore`."""
    return settings.default is not None and settings.default.max_examples > 100
