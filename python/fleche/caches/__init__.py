"""Caches: where calls are looked up, and where they and their values are saved.

>>> from fleche.call import Call
>>> from fleche.storage import CallMemory, ValueMemory
>>> cache = Cache(ValueMemory({}), CallMemory({}))
>>> key = cache.save(Call("square", {"x": 3}, result=9))
>>> cache.load(key).result
9
>>> cache.query(name="square").count()
1
"""

from fleche.caches.base import BaseCache, Rejected
from fleche.caches.pair import Cache
from fleche.caches.size_limited import SizeLimitedCache, SizeLimitedMixin
from fleche.caches.union import CachePool, CacheStack
from fleche.caches.views import (
    CacheWrapper,
    FilteredCache,
    FilteringMixin,
    ReadOnlyCache,
    ReadOnlyMixin,
    RefreshingCache,
)

__all__ = [
    "BaseCache",
    "Cache",
    "CachePool",
    "CacheStack",
    "CacheWrapper",
    "FilteredCache",
    "FilteringMixin",
    "ReadOnlyCache",
    "ReadOnlyMixin",
    "RefreshingCache",
    "Rejected",
    "SizeLimitedCache",
    "SizeLimitedMixin",
]

# They pickle by the name under which users import them, wherever they are defined.
for _name in __all__:
    globals()[_name].__module__ = __name__
