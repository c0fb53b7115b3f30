"""Queries: patterns matched against call records, and what to do with the matches.

What lives here: `iterator` (`QueryIterator`), `table` (calls as a `pandas.DataFrame`), `reading`
(results that may be lost), `filed` (the keys of a call), `notebook` (what notebooks show of a
query). It may import calls and what is below; the patterns themselves are `fleche.call.patterns`. A
new way to look at calls is a file here.

>>> from fleche.caches import Cache
>>> from fleche.call import Call
>>> from fleche.storage import CallMemory, ValueMemory
>>> cache = Cache(ValueMemory({}), CallMemory({}))
>>> for x in range(3):
...     _ = cache.save(Call("square", {"x": x}, result=x * x))
>>> sorted(cache.query(name="square").results())
[0, 1, 4]
>>> cache.query(arguments={"x": 2}).only().result
4
"""

from __future__ import annotations

import logging

from fleche._foundation.lazy import names_of
from fleche.call import Call as Call
from fleche.call import DigestedCall as DigestedCall
from fleche.call import LazyCall as LazyCall
from fleche.call import QueryCall as QueryCall
from fleche.call.patterns import Matcher, finder, is_plain, name_of
from fleche.digest import Digest as Digest
from fleche.digest import digest as digest
from fleche.query.iterator import Key, QueryIterator
from fleche.query.reading import readable

__all__ = ["Key", "Matcher", "QueryIterator", "finder", "is_plain", "name_of", "readable"]

__getattr__, __dir__ = names_of(__name__, {"call": "fleche.call"})

logger = logging.getLogger("fleche.query")

QueryIterator.__module__ = __name__
