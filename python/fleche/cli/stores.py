"""The cache that a command is about, and what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fleche._foundation.errors import AmbiguousDigestError

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.call import LazyCall

__all__ = ["Mistake", "cache_named", "call_of", "runtime_of", "stopped_at"]


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
        raise Mistake(
            f"there is no call {key!r}: give a key, or at least 4 characters of its beginning"
        ) from None


def _runtimes(call: Any) -> Iterator[dict[str, Any]]:
    for held in call.metadata.values():
        if isinstance(held, dict) and "timestop" in held:
            yield held


def runtime_of(call: Any) -> float | None:
    """How long a call took, in seconds, if that was recorded."""
    return next((held.get("walltime") for held in _runtimes(call)), None)


def stopped_at(call: Any) -> float | None:
    """When a call ended, in seconds since 1970, if that was recorded."""
    return next((held.get("timestop") for held in _runtimes(call)), None)
