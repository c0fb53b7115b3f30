"""Limits of a cache: from a configuration, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fleche import caches
from fleche.caches.bounds.limits import Limits
from fleche.config import keys

if TYPE_CHECKING:
    from fleche.storage import CallStorage, ValueStorage

__all__ = ["limited", "limits_of"]

# What a limit in number alone needs not.
_OTHERS = ("max_bytes", "max_age", "evict", "keep_records", "functions")


def limited(values: ValueStorage, calls: CallStorage, d: Mapping[str, Any]) -> caches.Cache:
    """A pair of storages, with the limits that its table has.

    Args:
        values: its values.
        calls: its calls.
        d: the table, checked against `keys.CACHE`.

    Raises:
        ValueError: if the limits of a function are none.
    """
    given = {name: d[name] for name in _OTHERS if d.get(name) is not None}
    most = d.get("max_size")
    if not given:
        return (
            caches.Cache(values, calls)
            if most is None
            else (caches.SizeLimitedCache(values, calls, most))
        )
    functions = {}
    for name, limits in given.pop("functions", {}).items():
        with keys.at(f"functions.{name!r}"):
            if not isinstance(limits, Mapping):
                raise ValueError(f"expected a table of limits, not a {type(limits).__name__}")
            keys.check(limits, keys.BOUNDS, "the limits of a function")
        functions[name] = Limits(**limits)
    policy = given.pop("evict", "oldest")
    return caches.BoundedCache(
        values, calls, max_size=most, policy=policy, functions=functions, **given
    )


def limits_of(cache: Any) -> dict[str, Any]:
    """The limits of a cache as its table has them."""
    if isinstance(cache, caches.SizeLimitedCache):
        return {"max_size": cache.max_size}
    if not isinstance(cache, caches.BoundedCache):
        return {}
    found: dict[str, Any] = dict(cache._keeper.rules.limits.given())
    # It says which class it is, too.
    found["evict"] = cache.policy
    if cache.keep_records:
        found["keep_records"] = True
    if cache.functions:
        found["functions"] = {
            name: dict(limits.given()) for name, limits in cache.functions.items()
        }
    return found
