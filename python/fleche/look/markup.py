"""Tags of HTML and SVG, in which every text is escaped that is no `Markup`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

__all__ = ["Markup", "joined", "readable", "tag"]

# What no page can hold, or what would turn the text around it: control characters, halves of
# characters, and marks of writing direction.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


class Markup(str):
    """Text that is HTML already; nothing that is from a store may be made one."""

    __slots__ = ()


def readable(text: object) -> str:
    r"""A text as a page can hold it.

    >>> readable("a\x00b\ud800")
    'a\\x00b\\ud800'
    """
    return _UNFIT.sub(lambda found: ascii(found[0])[1:-1], str(text))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element.

    Args:
        name: its name.
        children: what is in it: markup as it is, any other text escaped; `None` is nothing.
        attributes: by name, `_` for `-`, with one at the end of names that Python reserves. `None`
            and `False` leave it out, `True` gives it without a value.

    >>> tag("th", "<script>", scope="col", class_="number", hidden=False)
    '<th scope="col" class="number">&lt;script&gt;</th>'
    >>> tag("p", tag("b", "1"), " of 2")
    '<p><b>1</b> of 2</p>'
    """
    opened = name + "".join(_attribute(*each) for each in attributes.items())
    return Markup(f"<{opened}>{joined(children)}</{name}>")


def joined(children: Iterable[object]) -> Markup:
    """What stands one after another: markup as it is, any other text escaped.

    >>> joined([Markup("<b>"), "<b>"])
    '<b>&lt;b&gt;'
    """
    return Markup("".join(map(_child, children)))


def _child(child: object) -> str:
    if child is None:
        return ""
    return child if type(child) is Markup else html.escape(readable(child))


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    return f" {written}" if value is True else f' {written}="{html.escape(readable(value))}"'
