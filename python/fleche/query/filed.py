"""Under which keys a cache may have a call: those of all digest schemes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleche import _core
from fleche.call import DigestedCall, LazyCall
from fleche.digest import Digest

if TYPE_CHECKING:
    from fleche.caches import BaseCache


def other_keys(call: DigestedCall | LazyCall) -> list[Digest]:
    """The keys that a record has in the schemes that are not in force."""
    arguments = call._arguments if isinstance(call, LazyCall) else call.arguments
    return [_core.lookup_key(call, arguments, scheme=other) for other in _others()]


def _others() -> list[str]:
    return [name for name in _core.SCHEMES if name != _core.scheme()]


def filed_keys(call: LazyCall, cache: BaseCache) -> list[Digest]:
    """The keys under which a cache may have a call that it gave: today's comes first."""
    key = call.to_lookup_key()
    if not any(map(cache._may_hold, _others())):
        return [key]
    return [key, *other_keys(call)]


def filed_key(call: LazyCall, cache: BaseCache) -> Digest:
    """The key under which a cache has a call that it gave."""
    keys = filed_keys(call, cache)
    return next((key for key in keys[1:] if cache.contains(key)), keys[0])
