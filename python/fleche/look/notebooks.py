"""What notebooks show of an object: small, never an error, and readable on any ground.

Notebooks colour text themselves: nothing here has a colour, so that dark ones stay readable, and
where they drop styles the tables stand as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from fleche.look.markup import Markup, tag

__all__ = ["note", "notebook", "shown_in_notebooks"]

_STYLE = Markup(
    "<style>.fleche th,.fleche td{text-align:left;vertical-align:top;overflow-wrap:anywhere;"
    "padding:.1em .8em .1em 0}"
    ".fleche .number{text-align:right;font-variant-numeric:tabular-nums}"
    ".fleche caption{text-align:left;caption-side:top;color:inherit;"
    "white-space:nowrap}"
    ".fleche tbody th{font-weight:normal}</style>"
)


def notebook(title: object, *parts: object) -> str:
    """What a notebook shows.

    Args:
        title: what it is.
        parts: what stands below it: markup, or texts.

    >>> notebook("Cache", note("empty")).partition("</style>")[2]
    '<div><b>Cache</b></div><div>empty</div></div>'
    """
    return str(tag("div", _STYLE, tag("div", tag("b", title)), *parts, class_="fleche"))


def note(*text: object) -> Markup:
    """A line of text."""
    return tag("div", *text)


_Shown = TypeVar("_Shown", bound=Callable[[Any], str])


def shown_in_notebooks(html_of: _Shown) -> _Shown:
    """A `_repr_html_` that shows what `html_of` gives, and the `repr` where that fails."""

    @functools.wraps(html_of)
    def shown(self: Any) -> str:
        try:
            return html_of(self)
        except Exception as error:
            return _plain(self, error)

    return cast(_Shown, shown)


def _plain(held: Any, error: Exception) -> str:
    """The `repr`: of what is damaged, or of a class of the user's."""
    try:
        text = repr(held)
    except Exception:
        text = f"<{type(held).__name__}>"
    said = note(f"no more can be shown of it ({type(error).__name__})")
    return str(tag("div", tag("pre", text[:2000]), said))
