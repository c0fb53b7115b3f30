"""What to do with the calls that match a query."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from fleche.call import LazyCall
from fleche.call.ages import Age, age_of, seconds_of
from fleche.query.filed import filed_keys
from fleche.query.reading import readable

if TYPE_CHECKING:
    import pandas

    from fleche.caches import BaseCache

logger = logging.getLogger("fleche.query")

Key = str | Callable[[LazyCall], Any]


def _by(key: Key) -> Callable[[LazyCall], Any]:
    """A key function; a string means the argument of that name."""
    if isinstance(key, str):
        return lambda call: call.arguments[key]
    return key


@dataclass(frozen=True)
class QueryIterator(Iterable[LazyCall]):
    """The calls that match a query. Lazy, and iterable again: each pass asks the cache anew.

    Args:
        calls: gives the calls of one pass.
        cache: the cache that was asked.

    >>> from fleche.call import Call
    >>> from fleche.config import cache_from_config
    >>> cache = cache_from_config({"template": "memory"})
    >>> for x in range(5):
    ...     _ = cache.save(Call("parity", {"x": x}, result=x % 2))
    >>> calls = cache.query(name="parity")
    >>> [call.arguments["x"] for call in calls.sorted("x", reverse=True).take(2)]
    [4, 3]
    >>> {parity: found.count() for parity, found in calls.groupby(lambda c: c.result).items()}
    {0: 3, 1: 2}
    >>> calls.filter(lambda call: call.result == 7).empty()
    True
    """

    calls: Callable[[], Iterable[LazyCall]]
    cache: BaseCache | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[LazyCall]:
        return iter(self.calls())

    def _repr_html_(self) -> str:
        """The first calls, in notebooks."""
        from fleche.query.notebook import html_of

        return html_of(self)

    def _derived(self, calls: Callable[[], Iterable[LazyCall]]) -> QueryIterator:
        return QueryIterator(calls, self.cache)

    def only(self) -> LazyCall:
        """The one call that matches.

        Raises:
            IndexError: if none does.
            ValueError: if several do.
        """
        first = list(islice(self, 2))
        if not first:
            raise IndexError("QueryIterator is empty")
        if len(first) > 1:
            raise ValueError("QueryIterator has more than one result")
        return first[0]

    def count(self) -> int:
        """How many calls match."""
        return sum(1 for _ in self)

    def any(self) -> LazyCall | None:
        """One call that matches, or `None`."""
        return next(iter(self), None)

    def empty(self) -> bool:
        """Whether no call matches."""
        return self.any() is None

    def take(self, n: int) -> QueryIterator:
        """The first `n` calls.

        Args:
            n: how many at most.
        """
        return self._derived(lambda: islice(self, n))

    def skip(self, n: int) -> QueryIterator:
        """All calls but the first `n`.

        Args:
            n: how many to leave out.
        """
        return self._derived(lambda: islice(self, n, None))

    def filter(self, predicate: Callable[[LazyCall], bool]) -> QueryIterator:
        """The calls for which `predicate` holds.

        Args:
            predicate: called with each call.
        """
        return self._derived(lambda: (call for call, holds in readable(self, predicate) if holds))

    def fresh(self, max_age: Age) -> QueryIterator:
        """The calls that ended no longer ago; not those of which no time was recorded.

        Args:
            max_age: seconds, or a `timedelta`.
        """
        seconds = seconds_of(max_age, "max_age")
        return self._derived(lambda: (call for call in self if age_of(call) < seconds))

    def sorted(self, key: Key | None = None, reverse: bool = False) -> QueryIterator:
        """The calls in the order of `key`.

        Args:
            key: a function of a call, or an argument's name.
            reverse: whether the largest comes first.
        """
        if key is None:
            return self._derived(lambda: sorted(self, reverse=reverse))  # type: ignore[type-var]
        by = _by(key)

        def calls() -> list[LazyCall]:
            pairs = sorted(readable(self, by), key=lambda pair: pair[1], reverse=reverse)
            return [call for call, _ in pairs]

        return self._derived(calls)

    def unique(self, key: Key) -> QueryIterator:
        """The first call for each value of `key`.

        Args:
            key: a function of a call, or an argument's name; it gives hashable values.
        """
        by = _by(key)

        def calls() -> Iterator[LazyCall]:
            seen = set()
            for call, value in readable(self, by):
                if value not in seen:
                    seen.add(value)
                    yield call

        return self._derived(calls)

    def groupby(self, key: Key) -> dict[Any, QueryIterator]:
        """The calls for each value of `key`, each group as a query of its own.

        Args:
            key: a function of a call, or an argument's name; it gives hashable values.
        """
        by = _by(key)
        groups: dict[Any, list[LazyCall]] = {}
        for call, value in readable(self, by):
            groups.setdefault(value, []).append(call)
        return {value: self._derived(lambda c=calls: c) for value, calls in groups.items()}  # type: ignore[misc]

    def latest(self) -> LazyCall:
        """The call that finished last.

        Raises:
            IndexError: if no call matches.
            ValueError: if none of them carries `Runtime` metadata.
        """
        return self._extreme("latest", max)

    def oldest(self) -> LazyCall:
        """The call that finished first.

        Raises:
            IndexError: if no call matches.
            ValueError: if none of them carries `Runtime` metadata.
        """
        return self._extreme("oldest", min)

    def _extreme(self, which: str, pick: Callable[..., LazyCall]) -> LazyCall:
        calls = list(self)
        if not calls:
            raise IndexError("QueryIterator is empty")
        timed = [call for call in calls if "timestop" in call.metadata.get("runtime", {})]
        if not timed:
            raise ValueError(
                f"Cannot determine the {which} call: none of the matching calls carry Runtime "
                f"metadata (timestop). Record it with fleche.meta(Runtime()), the default."
            )
        return pick(timed, key=lambda call: call.metadata["runtime"]["timestop"])

    def evict(self) -> None:
        """Evict the calls from the cache that was asked.

        Raises:
            Rejected: if that cache is read-only.
        """
        for call in list(self):
            self._evict_one(call)

    def _evict_one(self, call: LazyCall) -> None:
        cache = self.cache if self.cache is not None else call._cache
        for key in filed_keys(call, cache):
            cache.evict(key)

    def transfer(self, target: BaseCache, pop: bool = False, overwrite: bool = False) -> None:
        """Copy the calls, with their values, to another cache.

        Args:
            target: where to.
            pop: evict each call that was transferred from its own cache.
            overwrite: replace calls that `target` holds already; else they are left alone.

        A call whose result is lost, or was evicted since it was found, is logged and left out.
        """
        for call in list(self):
            key = call.to_lookup_key()
            try:
                taken = target._transfer_one(call, overwrite=overwrite)
            except KeyError as error:
                logger.warning("Not transferring %s: its result is missing (%s)", key, error)
                continue
            if not taken:
                logger.warning(
                    "Not transferring %s: already exists in target and overwrite=False", key
                )
            elif pop:
                self._evict_one(call)

    def results(self) -> Iterator[Any]:
        """The result of each call, loaded one by one; one that cannot be is logged and left out."""
        for _, result in readable(self, lambda call: call.result):
            yield result

    def table(
        self,
        arguments: Iterable[str] | str | Literal[True] = (),
        results: bool = False,
        shrink_keys: bool = True,
    ) -> pandas.DataFrame:
        """The calls as a table, a row each.

        Args:
            arguments: the names of the arguments to show, one of them, or `True` for all.
            results: whether to show the results; one that cannot be loaded is logged, and `None`.
            shrink_keys: whether the index holds the shortest unambiguous keys.

        Raises:
            ImportError: if pandas is not installed.
        """
        from fleche.query.table import table

        return table(self, arguments, results, shrink_keys)
