"""The cache that a command is about, and what it holds."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from fleche._foundation.errors import AmbiguousDigestError
from fleche._foundation.messages import no_message

if TYPE_CHECKING:
    from fleche.caches import BaseCache, Cache
    from fleche.call import LazyCall
    from fleche.digest import Digest

__all__ = [
    "Mistake",
    "cache_named",
    "call_of",
    "has_default",
    "import_from_here",
    "key_of",
    "pairs",
    "written_to",
]


class Mistake(Exception):
    """Something in what was asked is wrong; its text says what, and what to do."""


def cache_named(name: str | None) -> BaseCache:
    """The cache of a section of the configuration in force; `None`: the default one.

    Raises:
        Mistake: if there is no such section, or no configuration.
    """
    from fleche.config import load_cache_config, sections
    from fleche.config.keys import suggestion

    known = sections()
    if name is not None and name not in {*known, "default"}:
        raise Mistake(f"there is no cache {name!r} in the configuration. {suggestion(name, known)}")
    if name in (None, "default") and not has_default():
        raise Mistake(
            "no fleche.toml names a default cache: `fleche init` writes one, --cache NAME takes "
            "another section"
        )
    return load_cache_config(name)


def import_from_here() -> None:
    """Make modules in the working directory importable, as `python -m` does: values are of classes
    of the user's own."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def has_default() -> bool:
    """Whether the configuration in force says which cache is the default one."""
    from fleche.config import default_section

    return default_section().get("cache") is not None


def call_of(cache: BaseCache, key: str) -> LazyCall:
    """The call of a key, or of a prefix of one.

    Raises:
        Mistake: if there is none, or several begin so.
    """
    try:
        return cache.load(key)
    except AmbiguousDigestError as error:
        raise Mistake(f"{key!r} is the beginning of several keys: {error}") from None
    except KeyError:
        unreadable = _unreadable(cache, key)
        raise Mistake(
            f"there is no call {key!r}: give a key, or at least 4 characters of its beginning"
            if unreadable is None
            else f"the record of {unreadable} cannot be read; `fleche evict` removes it"
        ) from None


def _unreadable(cache: BaseCache, key: str) -> Digest | None:
    """The whole key of a call that is there; its record was looked at just now."""
    with no_message():
        try:
            full = cache.expand(key)
            return full if cache.contains(full) else None
        except (KeyError, AmbiguousDigestError):
            return None


def key_of(cache: BaseCache, key: str) -> Digest:
    """The whole key of a call whose record may be unreadable; `key` may be the beginning of it.

    Raises:
        Mistake: if there is none, or several begin so.
    """
    from fleche.query.filed import filed_key

    try:
        return filed_key(call_of(cache, key), cache)
    except Mistake:
        full = _unreadable(cache, key)
        if full is None:
            raise
        return full


def pairs(cache: BaseCache) -> list[Cache]:
    """The pairs of storages on this machine that a cache is made of."""
    from fleche.caches.garbage.places import pairs_of

    return [*pairs_of(cache)]


def written_to(cache: BaseCache) -> Cache:
    """The pair of storages that a cache saves to.

    Raises:
        Mistake: if it saves nowhere, or on another machine.
    """
    from fleche.caches import Cache, CacheStack, ReadOnlyMixin

    if isinstance(cache, CacheStack):
        return written_to(cache.stack[0])
    if isinstance(cache, ReadOnlyMixin):
        raise Mistake("this cache is read-only: take the section that saves there, by --cache NAME")
    if isinstance(cache, Cache):
        return cache
    raise Mistake(
        f"a {type(cache).__name__} has no storages here; run this on the machine that has them"
    )
