"""A call as it is accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Entry"]

# The 32 bytes of a key.
Key: TypeAlias = bytes


@dataclass
class Entry:
    """A call as it is accounted for.

    Args:
        key: its key.
        module: that of its function.
        name: that of its function.
        bytes: those of its record.
        seconds: how long it was computed; 0 where that was not recorded.
        saved: when it ended, or was saved, in seconds since 1970.
        needs: the bytes of the values that it needs, by their keys.
        is_whole: whether its values are there.
        made: the digests of what is in its result and was in no argument.
        taken: of each argument, the digests of what is in it, the outermost first.
    """

    key: Key
    module: str | None
    name: str
    bytes: int
    seconds: float
    saved: float
    needs: Mapping[Key, int]
    is_whole: bool = True
    made: Sequence[Key] = ()
    taken: Sequence[Sequence[Key]] = ()
