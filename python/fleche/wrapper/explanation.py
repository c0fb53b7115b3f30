"""What an explanation says: whether a call is cached, and if not, why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from fleche.call import LazyCall
from fleche.digest import Digest

__all__ = ["Explanation", "Kind", "Reason", "StoredCall"]

#: What a reason is about.
Kind: TypeAlias = Literal[
    "cache",  # it cannot be opened, or it failed
    "indigestible",  # an argument has no digest
    "captured",  # what the function uses has no digest
    "required",  # a required argument is left to its default
    "rerun",  # every call is computed again
    "record",  # it is there, and cannot be read
    "expired",  # it is older than `max_age`, or `valid` refuses it
    "running",  # it is computed at this moment
    "result",  # the record is there, its result is gone or cannot be read
    "hidden",  # a filtered view does not show the call
    "older",  # a call of another digest scheme was not taken for this one
    "argument",  # it is another one
    "parameter",  # the function has others
    "version",
    "module",
    "name",
    "code",
    "typed",  # arguments were recorded with, or without, `typed=True`
    "scheme",  # they were recorded in another digest scheme
    "rule",  # an equal argument had another digest when it was recorded
    "limit",  # the cache holds as many calls as it may
    "nothing",  # nothing is stored of the function
    "unseen",  # nothing of the above was found
]


@dataclass(frozen=True)
class Reason:
    """One reason why a call is not cached.

    Args:
        kind: what it is about.
        text: what it says, in a line.
        path: the place within the arguments, as Python would write it: `cfg['lr']`.
        stored: what the stored call has there.
        given: what this call has there.
        key: the stored call.
    """

    kind: Kind
    text: str
    path: str = ""
    stored: Any = field(default=None, repr=False)
    given: Any = field(default=None, repr=False)
    key: Digest | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class StoredCall:
    """A call that is stored.

    Args:
        key: where.
        call: its record.
        place: the cache that has it, in words.
        is_older: whether its key is of another digest scheme.
    """

    key: Digest
    call: LazyCall
    place: str = ""
    is_older: bool = False

    @property
    def recorded(self) -> datetime | None:
        """When it finished, in local time, as far as `Runtime` was recorded."""
        stopped = self._runtime("timestop")
        try:
            return None if stopped is None else datetime.fromtimestamp(stopped).astimezone()
        except (OverflowError, OSError, ValueError):
            return None

    @property
    def seconds(self) -> float | None:
        """How long its computation took, as far as `Runtime` was recorded."""
        return self._runtime("walltime")

    def _runtime(self, name: str) -> float | None:
        held = self.call.metadata.get("runtime")
        found = held.get(name) if isinstance(held, dict) else None
        return found if isinstance(found, int | float) else None

    def __str__(self) -> str:
        said = [self.key[:8]]
        if (recorded := self.recorded) is not None:
            said.append(f"recorded {recorded:%Y-%m-%d %H:%M:%S}")
        if (seconds := self.seconds) is not None:
            said.append(f"took {_duration(seconds)}")
        if self.place:
            said.append(f"in {self.place}")
        if self.is_older:
            said.append("under the key of another digest scheme")
        return ", ".join(said)


@dataclass(frozen=True, repr=False)
class Explanation:
    """Whether a call is cached, and if not, why; its `repr` says all of it.

    Args:
        function: the function's name.
        hit: whether the call would be loaded, not computed.
        key: the call's key, if it has one.
        reasons: why it is no hit.
        found: the stored call that a hit loads.
        nearest: the stored calls that the reasons compare it with, the nearest first.

    >>> from fleche import cache, fleche
    >>> @fleche
    ... def square(x):
    ...     return x * x
    >>> with cache("memory"):
    ...     square(3)
    ...     square.explain(3).hit
    ...     square.explain(4).reasons[0].text
    9
    True
    'x: was 3, is 4'
    """

    function: str
    hit: bool
    key: Digest | None = None
    reasons: tuple[Reason, ...] = ()
    found: StoredCall | None = None
    nearest: tuple[StoredCall, ...] = ()

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        """The same as a table, in notebooks."""
        from fleche.wrapper.notebook import html_of

        return html_of(self)

    def _lines(self) -> Iterator[str]:
        if self.hit:
            yield f"{self.function}: cached" + ("" if self.found is None else f" as {self.found}")
            return
        key = "" if self.key is None else f" under {self.key[:8]}"
        yield f"{self.function}: not cached{key}"
        keys = {stored.key for stored in self.nearest}
        yield from (f"  {reason}" for reason in self.reasons if reason.key not in keys)
        for stored in self.nearest:
            yield f"  beside {stored}:"
            yield from (f"    {reason}" for reason in self.reasons if reason.key == stored.key)


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 60:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


# Users find it there.
Explanation.__module__ = "fleche"
__test__ = {"Explanation": Explanation}
