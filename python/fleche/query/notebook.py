"""What notebooks show of a query: its first calls. Records are read, no values."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from fleche.call.ages import runtime_of, stopped_at
from fleche.look.markup import tag
from fleche.look.notebooks import note, notebook, shown_in_notebooks
from fleche.look.numbers import age, count, cut, duration
from fleche.look.tables import Column, table
from fleche.query.filed import filed_key

if TYPE_CHECKING:
    from fleche.call import LazyCall

__all__ = ["html_of"]

# So many calls are shown, and so many more counted.
_SHOWN, _COUNTED = 10, 990


@shown_in_notebooks
def html_of(query: Any) -> str:
    """The table of a `QueryIterator`; the cache is asked no further than it is shown."""
    calls = iter(query)
    rows = [_row(call, query.cache) for call in islice(calls, _SHOWN)]
    if not rows:
        return notebook("no calls")
    more = sum(1 for _ in islice(calls, _COUNTED + 1))
    number = f"more than {_COUNTED + _SHOWN:,} calls"
    titles = "key", "function", "module", "arguments", "ended", "took"
    return notebook(
        count(len(rows) + more, "call") if more <= _COUNTED else number,
        table([Column(title, title == "took") for title in titles], rows),
        note(f"and {more:,} more" if more <= _COUNTED else "and many more") if more else None,
    )


def _row(call: LazyCall, cache: Any) -> tuple[object, ...]:
    stopped = stopped_at(call)
    return (
        tag("code", filed_key(call, call._cache if cache is None else cache)[:8]),
        cut(call.name, 60),
        cut(call.module or "", 60),
        cut(", ".join(call.arguments), 60),
        "" if stopped is None else f"{age(stopped)} ago",
        "" if stopped is None else duration(runtime_of(call)),
    )
