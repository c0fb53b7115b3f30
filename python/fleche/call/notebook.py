"""What notebooks show of a call: its record; values are never loaded for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from fleche.call.ages import runtime_of, stopped_at
from fleche.differences.texts import short
from fleche.digest import Digest
from fleche.look.markup import tag
from fleche.look.notebooks import note, notebook, shown_in_notebooks
from fleche.look.numbers import cut, duration, when
from fleche.look.tables import Column, table

__all__ = ["html_of"]

# So many arguments, and so much metadata, are shown, and so much of a text.
_ROWS, _TEXT = 20, 120


@shown_in_notebooks
def html_of(call: Any) -> str:
    """The table of a `Call`, a `LazyCall` or a `DigestedCall`."""
    is_lazy = hasattr(call, "_arguments")
    module = f" of {cut(str(call.module), _TEXT)}" if call.module else ""
    arguments = call._arguments if is_lazy else call.arguments
    result = call._result if is_lazy else call.result
    rows = [*_about(call), *_some("argument", arguments)]
    rows += [("result", "none yet" if result is None else _value(result)), *_metadata(call)]
    return notebook(
        f"{cut(str(call.name), _TEXT)}{module}",
        table([Column("what"), Column("value")], rows),
        note("Values are loaded by .arguments[name] and .result") if is_lazy else None,
    )


def _about(call: Any) -> Iterator[tuple[str, object]]:
    # That of a call with live values would take digests of all of them.
    if hasattr(call, "fetch"):
        yield "key", tag("code", call.to_lookup_key()[:16])
    if call.version is not None:
        yield "version", short(call.version)
    stopped = stopped_at(call)
    if stopped is not None:
        yield "ended", when(stopped)
        yield "took", duration(runtime_of(call))


def _some(what: str, held: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in islice(held.items(), _ROWS):
        yield f"{what} {cut(str(name), _TEXT)}", _value(value)
    if len(held) > _ROWS:
        yield f"and {len(held) - _ROWS:,} more {what}s", ""


def _metadata(call: Any) -> Iterator[tuple[str, object]]:
    told = {"timestart", "timestop", "walltime"}
    held = {
        f"{kind}.{name}": value
        for kind, some in call.metadata.items()
        for name, value in (some.items() if isinstance(some, dict) else [("", some)])
        if name not in told
    }
    for name, value in islice(held.items(), _ROWS):
        yield cut(name, _TEXT), short(value)
    if len(held) > _ROWS:
        yield f"and {len(held) - _ROWS:,} more of the metadata", ""


def _value(value: Any) -> object:
    if isinstance(value, Digest):
        return tag("code", f"{value[:16]}…")
    return short(value)
