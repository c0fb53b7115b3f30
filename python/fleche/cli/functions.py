"""The functions whose calls a cache holds, with what they took and what room they need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from fleche.call.ages import runtime_of, stopped_at
from fleche.cli.selection import name_of
from fleche.cli.stores import pairs
from fleche.cli.survey import plain, room_of, survey_of

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.call import LazyCall
    from fleche.cli.needs import Values
    from fleche.digest import Digest

__all__ = ["Function", "Progress", "functions_of", "walked"]

Progress: TypeAlias = "Callable[[Iterable[Any], str], Iterator[Any]]"


@dataclass
class Function:
    """A function whose calls a cache holds.

    Args:
        name: its name.
        module: its module, if that counts.
        calls: how many calls there are.
        seconds: what they took to compute, as far as that was recorded.
        newest: when the last one ended, in seconds since 1970.
        bytes: of the values that its calls need alone; `None` if that is not known.
        shared: of those that they need with calls of others.
    """

    name: str
    module: str | None
    calls: int = 0
    seconds: float = 0.0
    newest: float | None = None
    bytes: int | None = None
    shared: int | None = None
    keys: set[Digest] = field(default_factory=set, repr=False)

    @property
    def full_name(self) -> str:
        """Its name, with its module."""
        return name_of(self)

    def add(self, call: Any) -> None:
        """Count a call."""
        self.calls += 1
        self.seconds += runtime_of(call) or 0.0
        stopped = stopped_at(call)
        if stopped is not None:
            self.newest = max(stopped, self.newest or stopped)


def functions_of(
    cache: BaseCache,
    progress: Progress,
    with_bytes: bool = True,
    look: Callable[[LazyCall], None] | None = None,
) -> tuple[list[Function], int | None]:
    """The functions of a cache, in no order, and the bytes of all values that their calls need.

    Every record is read once, and no value.

    Args:
        cache: the cache.
        progress: iterates over what is read, and shows it.
        with_bytes: whether to measure values: many files take a while.
        look: called with each call.
    """
    surveyed = None if look is not None else _surveyed(cache, progress, with_bytes)
    return surveyed or walked(cache, progress, with_bytes, look)


def _surveyed(
    cache: BaseCache, progress: Progress, with_bytes: bool
) -> tuple[list[Function], int | None] | None:
    """As the core tells it; `None` if it cannot."""
    pair = plain(cache)
    survey = None if pair is None else survey_of(pair, progress, with_bytes)
    if pair is None or survey is None:
        return None
    found = [Function(*each) for each in survey.functions()]
    if not with_bytes:
        return found, None
    room = room_of(pair, survey)
    for each, (alone, shared) in zip(found, room.functions, strict=True):
        each.bytes, each.shared = alone, shared
    return found, room.bytes - room.orphan_bytes


def walked(
    cache: BaseCache,
    progress: Progress,
    with_bytes: bool,
    look: Callable[[LazyCall], None] | None = None,
) -> tuple[list[Function], int | None]:
    """As `functions_of`, call by call."""
    from fleche.cli.needs import Values, held_by

    stored = [Values(pair.values) for pair in pairs(cache)] if with_bytes else []
    # Of each key there is one object, however many calls need it.
    one = {key: key for values in stored for key in values.keys}
    found: dict[tuple[str, str | None], Function] = {}
    for call in progress(cache.query(), "Reading records"):
        function = found.setdefault((call.name, call.module), Function(call.name, call.module))
        function.add(call)
        if with_bytes:
            function.keys.update(one[key] for key in held_by(call) if key in one)
        if look is not None:
            look(call)
    functions = [*found.values()]
    return functions, _measure(stored, functions) if with_bytes else None


def _measure(stored: list[Values], functions: list[Function]) -> int | None:
    """Note the bytes of values that a function's calls need alone, and with those of others; gives
    those of all."""
    counted: set[Digest] = set()
    total = None
    for values in stored:
        reached = [values.reached(each.keys) - counted for each in functions]
        seen: set[Digest] = set()
        several: set[Digest] = set()
        for keys in reached:
            several |= seen & keys
            seen |= keys
        counted |= seen
        if (size := values.size(seen)) is not None:
            total = (total or 0) + size
        for each, keys in zip(functions, reached, strict=True):
            if (alone := values.size(keys - several)) is not None:
                each.bytes = (each.bytes or 0) + alone
                each.shared = (each.shared or 0) + (values.size(keys & several) or 0)
    return total
