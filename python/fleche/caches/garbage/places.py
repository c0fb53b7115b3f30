"""Where caches keep their entries, so that two never keep different things in one place."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleche.digest import DIGEST_LENGTH
from fleche.storage.base import CallStorage, ValueStorage

_HEX = frozenset("0123456789abcdef")


def place_of(storage: Any) -> Any:
    """Where a storage keeps its entries; `None` if that is not known."""
    place = getattr(storage, "_place", None)  # storages of users may derive from anything
    return None if place is None else place()


def pairs_of(cache: Any) -> Iterator[Any]:
    """The pairs of storages that a cache is made of."""
    if hasattr(cache, "values") and hasattr(cache, "calls"):
        yield cache
    for member in (*getattr(cache, "stack", ()), *getattr(cache, "caches", ())):
        yield from pairs_of(member)
    if hasattr(cache, "cache"):
        yield from pairs_of(cache.cache)


def check_pair(values: ValueStorage, calls: CallStorage) -> None:
    """Compare the places of the two storages of a cache.

    Raises:
        ValueError: if one of them would take the other's entries for its own.
    """
    first, second = place_of(values), place_of(calls)
    if first is None or second is None:
        return
    if _is_same(first, second):
        where = repr(str(first)) if isinstance(first, Path) else "one dictionary"
        raise ValueError(
            f"the values and the calls of a cache are both kept in {where}: the garbage collection "
            f"would evict the records. Give each a place of its own"
        )
    for inner, outer in ((first, second), (second, first)):
        if _is_entry_in(inner, outer):
            raise ValueError(
                f"{str(inner)!r}, the place of a cache's {_kind(inner is first)}, has the name of "
                f"an entry in {str(outer)!r}, that of its {_kind(outer is first)}. Give each a "
                f"place of its own"
            )


def mixed_up(cache: Any, other: Any) -> str | None:
    """Why two caches cannot be members of one, if they cannot."""
    for first, second in itertools.product(pairs_of(cache), pairs_of(other)):
        for values, calls in ((first.values, second.calls), (second.values, first.calls)):
            if _is_same(place_of(values), place_of(calls)):
                return f"the one keeps its values in {_named(values)}, the other its calls"
    return None


def _named(storage: Any) -> str:
    place = place_of(storage)
    return repr(str(place)) if isinstance(place, Path) else "one database"


def _kind(values: bool) -> str:
    return "values" if values else "calls"


def _is_same(first: Any, second: Any) -> bool:
    if first is None or first == second:
        return first is not None
    if not (isinstance(first, Path) and isinstance(second, Path)):
        return False
    try:
        # By other ways than symbolic links: mounts, or names that the file system takes for one.
        return os.path.samefile(first, second)
    except OSError:
        return False


def _is_entry_in(inner: Any, outer: Any) -> bool:
    if not (isinstance(inner, Path) and isinstance(outer, Path)) or outer not in inner.parents:
        return False
    name = inner.relative_to(outer).parts[0]
    is_key = len(name) == DIGEST_LENGTH and _HEX.issuperset(name)
    return is_key or name.startswith((".locks", ".fleche-")) or name.endswith((".h5", ".h5.lock"))
