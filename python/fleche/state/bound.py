"""Callables that carry what is active with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from fleche.state import _CACHE, _DEFAULTS, _METADATA, _sticky_set, get_cache, get_metadata

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.metadata import MetaData

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


@dataclass(frozen=True)
class BoundWrapper(Generic[_T_co]):
    """A callable that carries a cache and metadata with it, into threads, processes and clusters.

    Calling it calls `func` with `cache` and `meta` active. It pickles if its parts do.

    >>> from fleche import cache
    >>> from fleche.state import BoundWrapper
    >>> with cache("memory"):
    ...     bound = BoundWrapper.bind(cache)
    >>> bound() is bound.cache
    True
    """

    func: Callable[..., _T_co]
    cache: BaseCache
    meta: tuple[MetaData, ...]

    @classmethod
    def bind(cls, func: Callable[..., _T]) -> BoundWrapper[_T]:
        """Bind a callable to the active cache and metadata."""
        return cast("type[BoundWrapper[_T]]", cls)(func, get_cache(), get_metadata())

    def _is_active(self) -> bool:
        """Whether its cache and metadata are active already; nothing is loaded to find out."""
        cache, meta = _CACHE.get(None), _METADATA.get(None)
        if self.cache is not (_DEFAULTS.get("cache") if cache is None else cache):
            return False
        return self.meta is (_DEFAULTS.get("metadata") if meta is None else meta)

    def __call__(self, /, *args: Any, **kwargs: Any) -> _T_co:
        with _sticky_set(_CACHE, self.cache), _sticky_set(_METADATA, self.meta):
            return self.func(*args, **kwargs)


# Pickled by its public name.
BoundWrapper.__module__ = "fleche.state"
__test__ = {"BoundWrapper": BoundWrapper}
