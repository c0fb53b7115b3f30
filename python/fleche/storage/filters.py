"""What a pattern of calls comes to where Python does not look at each record: in databases, and in
the bulk reader of pickled records.
"""

from __future__ import annotations

import contextlib
import json
import math
from typing import TYPE_CHECKING, Any

from fleche.digest import Digest

if TYPE_CHECKING:
    from fleche.call.patterns import Matcher

# A pattern as far as it is decided there: name, module, code digest, the forms that the
# version may have as JSON, the digests that the result may have, arguments with the digests that
# they may have (`None`: any), and metadata with the values that its members have (`None`: any).
Filter = tuple[
    str | None,
    str | None,
    str | None,
    list[str] | None,
    list[str] | None,
    list[tuple[str, list[str] | None]],
    list[tuple[str, list[tuple[str, Any]]]],
]


def filter_of(matcher: Matcher) -> Filter:
    """What a database can decide of a pattern; it lets through whatever else may match."""
    template = matcher.template
    metadata = [
        (
            name,
            [(key, _comparable(value)) for key, value in (members or {}).items() if _sendable(key)],
        )
        for name, members in (template.metadata or {}).items()
        if _sendable(name)
    ]
    return (
        _plain_text(template.name),
        _plain_text(template.module),
        None if template.code_digest is None else str(template.code_digest),
        _versions(template.version),
        None if matcher.result is None else [*matcher.result],
        [
            (name, None if digests is None else [*digests])
            for name, digests in matcher.arguments.items()
            if _sendable(name)
        ],
        metadata,
    )


def _sendable(text: Any) -> bool:
    """Whether databases take a text: not a lone surrogate, and no NUL."""
    return isinstance(text, str) and "\0" not in text and text.isprintable()


def _plain_text(value: Any) -> str | None:
    # A digest may stand for the text: the pattern decides.
    return value if not isinstance(value, Digest) and _sendable(value) else None


def _versions(version: Any) -> list[str] | None:
    """The forms of a version as JSON; equal numbers are equal versions."""
    if version is None or type(version) not in (str, int, float, bool):
        return None
    if type(version) in (str, bool):
        return [json.dumps(version)]
    forms = {json.dumps(version)}
    with contextlib.suppress(OverflowError, ValueError):
        forms |= {json.dumps(float(version)), json.dumps(int(version))}
    return sorted(forms) if version else None


def _comparable(value: Any) -> str | float | bool | None:
    """A value that databases compare as Python does; `None` for any other."""
    kind = type(value)
    if kind is bool or (kind is str and _sendable(value)):
        return value  # type: ignore[no-any-return]
    if kind in (int, float):
        with contextlib.suppress(OverflowError):
            number = float(value)
            return number if math.isfinite(number) else None
    return None
