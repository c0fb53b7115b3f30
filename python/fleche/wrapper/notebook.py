"""What notebooks show of an explanation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fleche.look.markup import Markup
from fleche.look.notebooks import note, notebook, shown_in_notebooks
from fleche.look.numbers import cut
from fleche.look.tables import Column, table

if TYPE_CHECKING:
    from fleche.wrapper.explanation import Reason

__all__ = ["html_of"]

# So many reasons are shown for each call, and so much of one.
_REASONS, _TEXT = 20, 400


@shown_in_notebooks
def html_of(found: Any) -> str:
    """The reasons of an `Explanation`, by the stored calls that they compare with."""
    if found.hit:
        stored = "" if found.found is None else f" as {found.found}"
        return notebook(f"{found.function}: cached{stored}")
    under = "" if found.key is None else f" under {found.key[:8]}"
    return notebook(f"{found.function}: not cached{under}", *_parts(found))


def _parts(found: Any) -> Iterator[Markup]:
    keys = {stored.key for stored in found.nearest}
    yield from _reasons([each for each in found.reasons if each.key not in keys])
    for stored in found.nearest:
        about_it = [each for each in found.reasons if each.key == stored.key]
        yield from _reasons(about_it, f"beside {stored}")


def _reasons(reasons: Sequence[Reason], caption: str | None = None) -> Iterator[Markup]:
    if not reasons:
        return
    rows = [(each.kind, cut(each.text, _TEXT)) for each in reasons[:_REASONS]]
    yield table([Column("about"), Column("why")], rows, caption)
    if len(reasons) > _REASONS:
        yield note(f"and {len(reasons) - _REASONS:,} more")
