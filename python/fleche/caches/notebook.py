"""What notebooks show of a cache: where it is, and the functions of its first calls."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from fleche.caches.garbage.places import pairs_of, place_of
from fleche.call.ages import runtime_of, stopped_at
from fleche.look.notebooks import note, notebook, shown_in_notebooks
from fleche.look.numbers import age, count, cut, duration
from fleche.look.tables import Column, table
from fleche.storage.urls import without_password

__all__ = ["html_of"]

# So many records are read, and so many functions and places shown.
_READ, _FUNCTIONS, _PLACES = 1000, 10, 6


@shown_in_notebooks
def html_of(cache: Any) -> str:
    """The table of any cache; at most so many records are read, and only of this machine."""
    places = [*_places(cache)]
    if len(places) > _PLACES:
        places = [*places[:_PLACES], f"and {len(places) - _PLACES:,} more"]
    title = type(cache).__name__
    where = note("; ".join(places)) if places else None
    if not cache._is_looked_at:
        return notebook(title, where, note(repr(cache)) if where is None else None)
    return notebook(title, where, *_functions(cache))


def _places(cache: Any) -> Iterator[str]:
    for pair in pairs_of(cache):
        both = dict.fromkeys(_place(each) for each in (pair.values, pair.calls))
        yield " and ".join(both)


def _place(storage: Any) -> str:
    place = place_of(storage)
    kind = type(storage).__name__
    if place is None or isinstance(place, int | tuple):
        return kind
    return f"{kind} {without_password(str(place))}"


class _Function:
    def __init__(self) -> None:
        self.calls, self.seconds, self.newest = 0, 0.0, 0.0


def _functions(cache: Any) -> Iterator[object]:
    found: dict[tuple[str, str], _Function] = {}
    calls = iter(cache.query())
    for call in islice(calls, _READ):
        each = found.setdefault((call.name, call.module or ""), _Function())
        each.calls += 1
        each.seconds += runtime_of(call) or 0.0
        each.newest = max(each.newest, stopped_at(call) or 0.0)
    if not found:
        yield note("no calls")
        return
    number = sum(each.calls for each in found.values())
    is_cut = next(calls, None) is not None
    order = sorted(found.items(), key=lambda item: (-item[1].seconds, item[0]))
    rows = [
        (
            *(cut(text, 60) for text in names),
            f"{each.calls:,}",
            duration(each.seconds),
            f"{age(each.newest)} ago" if each.newest else "",
        )
        for names, each in order[:_FUNCTIONS]
    ]
    titles = "function", "module", "calls", "computation", "newest"
    yield note(f"the first {number:,} of its calls" if is_cut else count(number, "call"))
    yield table([Column(title, place > 1) for place, title in enumerate(titles)], rows)
    if len(order) > _FUNCTIONS:
        yield note(f"and {count(len(order) - _FUNCTIONS, 'more function')}")
    if is_cut:
        yield note("fleche ls, or fleche report, counts all of them")
