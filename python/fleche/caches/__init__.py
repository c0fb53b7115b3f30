"""Caches: where calls are looked up, and where they and their values are saved.

What lives here: `base` (what every cache is), `pair` (`Cache`: a storage of values and one of
calls), `size_limited`, `bounded` (with `bounds`), `union` (stacks and pools), `tiered` (a local one
over one that is far away), `views` (read-only, filtered, refreshing), `notebook` (what notebooks
show of them), with `garbage` and `schemes`. It may import queries, storages and what is below. A
new cache is a file here; what `BaseCache` must make of it goes through `fleche._foundation.seam`.

>>> from fleche.call import Call
>>> from fleche.storage import CallMemory, ValueMemory
>>> cache = Cache(ValueMemory({}), CallMemory({}))
>>> key = cache.save(Call("square", {"x": 3}, result=9))
>>> cache.load(key).result
9
>>> cache.query(name="square").count()
1
"""

# Not ours, but programs that are written for the reference import them from here, too.
from fleche import call as call
from fleche import query as query
from fleche import storage as storage
from fleche.caches.base import BaseCache, Rejected
from fleche.caches.base import logger as logger
from fleche.caches.bounded import BoundedCache
from fleche.caches.pair import Cache
from fleche.caches.size_limited import SizeLimitedCache, SizeLimitedMixin
from fleche.caches.tiered import TieredCache
from fleche.caches.union import CachePool, CacheStack
from fleche.caches.views import (
    CacheWrapper,
    FilteredCache,
    FilteringMixin,
    ReadOnlyCache,
    ReadOnlyMixin,
    RefreshingCache,
)
from fleche.call import Call as Call
from fleche.call import LazyCall as LazyCall
from fleche.call import PreparedCall as PreparedCall
from fleche.call import QueryCall as QueryCall
from fleche.digest import Digest as Digest
from fleche.storage.base import Intent as Intent
from fleche.storage.base import OperationContext as OperationContext
from fleche.storage.destructuring import DigestedDict as DigestedDict
from fleche.storage.destructuring import DigestedIterable as DigestedIterable
from fleche.storage.destructuring import HasChildDigests as HasChildDigests
from fleche.storage.thread_safe import PerKeyLockMixin as PerKeyLockMixin

__all__ = [
    "BaseCache",
    "BoundedCache",
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
    "TieredCache",
]

# They pickle by the name under which users import them, wherever they are defined.
for _name in __all__:
    globals()[_name].__module__ = __name__
