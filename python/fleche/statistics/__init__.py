"""Statistics of cached calls that last: hits, misses, bytes and time saved, by function and day.

The core counts hits in what `tallies` gives it; `ledgers` says where the calls of a cache are
counted, `counts` adds up, `files` and `databases` keep it in the store, `flushing` writes it every
few seconds, `summary` is what users get. It may import the caches and what is below; the
configuration is looked up. A new number is a name in `counts`, and a property in `summary`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleche._foundation.lazy import names_of

if TYPE_CHECKING:
    from fleche.statistics.summary import Statistics as Statistics
    from fleche.statistics.summary import stats as stats

__all__ = ["Statistics", "stats"]

# The core asks `tallies` alone at the first call.
__getattr__, __dir__ = names_of(
    __name__, dict.fromkeys(("Statistics", "stats"), "fleche.statistics.summary")
)
