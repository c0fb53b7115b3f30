"""Queries for calls that are filed under the keys of the older digest scheme."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fleche import _core
from fleche.call import LazyCall, QueryCall
from fleche.digest import Digest, Indigestible, digest


def older_pattern(pattern: QueryCall) -> QueryCall | None:
    """The pattern with the older scheme's digests in place of values.

    `None` if there is no other: it has no values, or the older scheme is in force.
    """
    if _core.scheme() == _core.OLDER_SCHEME or not any(map(_is_value, _all_values(pattern))):
        return None
    try:
        return replace(
            pattern,
            arguments={name: _older(value) for name, value in (pattern.arguments or {}).items()},
            result=_older(pattern.result),
        )
    except Indigestible:
        return None


def has_values(call: LazyCall, pattern: QueryCall) -> bool:
    """Whether a call that matches the older pattern has just the values of the pattern."""
    held = call.arguments
    arguments = (pattern.arguments or {}).items()
    if not all(_is_same(held[name], value) for name, value in arguments if _is_value(value)):
        return False
    if not _is_value(pattern.result):
        return True
    try:
        return _is_same(call.result, pattern.result)
    except KeyError:
        return _core.is_unambiguous(pattern.result)


def _all_values(pattern: QueryCall) -> list[Any]:
    return [*(pattern.arguments or {}).values(), pattern.result]


def _is_value(wanted: Any) -> bool:
    return wanted is not None and not isinstance(wanted, Digest)


def _older(wanted: Any) -> Any:
    return _core.digest(wanted, scheme=_core.OLDER_SCHEME) if _is_value(wanted) else wanted


def _is_same(stored: Any, wanted: Any) -> bool:
    """Whether a stored value is the one that is looked for; one that is not stored, by its digest
    alone, if no other value has it."""
    if isinstance(stored, Digest):
        return _core.is_unambiguous(wanted)
    try:
        return digest(stored) == digest(wanted)
    except Indigestible:
        return False
