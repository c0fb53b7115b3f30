"""Call records: what a function was called with, by whom, and what it returned.

A `Call` holds live values. Stored, it is a `DigestedCall`, which holds their digests; loaded, a
`LazyCall`, which fetches them when they are looked at. A `QueryCall` is a pattern of calls.

What lives here: `records` (calls, and what is stored of them), `patterns` (queries of calls),
`prepared` (calls between admission and commit), `profile` (functions and their signatures),
`notebook` (what notebooks show of calls). It may
import digests and what is below. A new form of a call is a file, its public name stands here.

>>> def add(x, y=2):
...     return x + y
>>> call = Call.from_call(add, 1)
>>> call.arguments
{'x': 1, 'y': 2}
>>> call.to_lookup_key() == call.digest().to_lookup_key()
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleche._foundation.lazy import names_of

if TYPE_CHECKING:
    from logging import Logger

    from fleche.call.patterns import AnyQueryType, QueryCall, StrQueryType
    from fleche.call.prepared import PreparedCall, store_again
    from fleche.call.profile import FunctionProfile, Ignored, Required, Version, bind
    from fleche.call.records import (
        AnyCall,
        Call,
        DigestedCall,
        LazyArguments,
        LazyCall,
        Metadata,
        warn_of_unsaved_argument,
    )
    from fleche.digest import Digest

    logger: Logger

__all__ = [
    "AnyCall",
    "AnyQueryType",
    "Call",
    "Digest",
    "DigestedCall",
    "FunctionProfile",
    "Ignored",
    "LazyArguments",
    "LazyCall",
    "Metadata",
    "PreparedCall",
    "QueryCall",
    "Required",
    "StrQueryType",
    "Version",
    "bind",
    "logger",
    "store_again",
    "warn_of_unsaved_argument",
]

_RECORDS = "AnyCall", "Call", "DigestedCall", "LazyArguments", "LazyCall", "Metadata"
__getattr__, __dir__ = names_of(
    __name__,
    {
        "Digest": "fleche.digest",
        **dict.fromkeys(("AnyQueryType", "QueryCall", "StrQueryType"), "fleche.call.patterns"),
        **dict.fromkeys(("PreparedCall", "store_again"), "fleche.call.prepared"),
        **dict.fromkeys(
            ("FunctionProfile", "Ignored", "Required", "Version", "bind"), "fleche.call.profile"
        ),
        **dict.fromkeys((*_RECORDS, "warn_of_unsaved_argument"), "fleche.call.records"),
    },
    logger="fleche.call",
)
