"""A page that needs nothing but itself: no network, no fonts, no scripts to be read.

What is from a store can run nothing in it: all of it is escaped, and the policy that the page
states lets browsers run its own script and style alone, by their digests.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from fleche.look.markup import Markup, tag
from fleche.look.style import SCRIPT, STYLE

__all__ = ["GENERATOR", "Section", "page"]

#: What pages say that they were made by.
GENERATOR = "fleche report"


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Args:
        name: what links to it name.
        title: its heading.
        parts: what is in it.
    """

    name: str
    title: str
    parts: tuple[object, ...]


def page(title: str, top: Sequence[object], sections: Sequence[Section], end: object) -> str:
    """A whole page.

    Args:
        title: what it is about.
        top: what stands below the heading.
        sections: its parts.
        end: its last line.

    >>> text = page("A <cache>", [], [Section("all", "All of it", ("nothing",))], "the end")
    >>> text.splitlines()[0], "<h1>A &lt;cache&gt;</h1>" in text, "<section" in text
    ('<!DOCTYPE html>', True, True)
    """
    policy = (
        f"default-src 'none'; style-src '{_digest(STYLE)}'; script-src '{_digest(SCRIPT)}'; "
        f"base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        _meta("http-equiv", "Content-Security-Policy", policy),
        _meta("name", "viewport", "width=device-width, initial-scale=1"),
        _meta("name", "color-scheme", "light dark"),
        _meta("name", "generator", GENERATOR),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    links = tag(
        "nav",
        tag("ul", *(tag("li", tag("a", each.title, href=f"#{each.name}")) for each in sections)),
        aria_label="On this page",
    )
    body = tag(
        "body",
        tag("header", tag("h1", title), *top, links),
        tag("main", *map(_section, sections)),
        tag("footer", tag("p", end)),
        tag("script", Markup(SCRIPT)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _section(each: Section) -> Markup:
    named = f"{each.name}-heading"
    heading = tag("h2", each.title, id=named)
    return tag("section", heading, *each.parts, id=each.name, aria_labelledby=named)


def _meta(kind: str, name: str, content: str) -> Markup:
    element = tag("meta", **{kind.replace("-", "_"): name}, content=content)
    return Markup(element.removesuffix("</meta>"))


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
