"""Queries: patterns matched against call records, and what to do with the matches.

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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from fleche import _core
from fleche._lazy import names_of
from fleche._messages import no_message
from fleche.call import Call, DigestedCall, LazyCall, QueryCall
from fleche.digest import Digest, digest

if TYPE_CHECKING:
    import pandas

    from fleche.caches import BaseCache

__getattr__, __dir__ = names_of(__name__, {"call": "fleche.call"})

logger = logging.getLogger("fleche.query")

Key = str | Callable[[LazyCall], Any]


class Matcher:
    """A pattern of calls, its values digested once.

    Raises:
        Indigestible: if a value of the pattern has no digest.
    """

    def __init__(self, template: QueryCall) -> None:
        self.template = template
        arguments = template.arguments or {}
        self.arguments = {
            name: None if value is None else _either_digest(value)
            for name, value in arguments.items()
        }
        result = template.result
        self.result = (
            None if result is None else (*_either_digest(result), _core.result_digest(result))
        )

    def matches(self, call: Call | LazyCall | DigestedCall) -> bool:
        """Whether a call fits the pattern."""
        template = self.template
        return (
            _same_text(template.name, call.name)
            and _same_text(template.module, call.module)
            and _same_text(template.code_digest, call.code_digest)
            and (template.version is None or digest(template.version) == digest(call.version))
            and self._arguments_match(call)
            and self._metadata_match(call)
            and self._result_matches(call)
        )

    def _arguments_match(self, call: Call | LazyCall | DigestedCall) -> bool:
        if not self.arguments:
            return True
        held = call._arguments if isinstance(call, LazyCall) else call.arguments
        return all(
            name in held and (digests is None or digest(held[name]) in digests)
            for name, digests in self.arguments.items()
        )

    def _metadata_match(self, call: Call | LazyCall | DigestedCall) -> bool:
        for name, wanted in (self.template.metadata or {}).items():
            if name not in call.metadata:
                return False
            held = call.metadata[name]
            for key, value in (wanted or {}).items():
                if key not in held:
                    return False
                if value is not None and digest(held[key]) != digest(value):
                    return False
        return True

    def _result_matches(self, call: Call | LazyCall | DigestedCall) -> bool:
        if self.result is None:
            return True
        held = call._result if isinstance(call, LazyCall) else call.result
        if held is not None and not isinstance(held, Digest):
            held = _core.result_digest(held)
        return held in self.result


def is_plain(template: QueryCall) -> bool:
    """Whether a pattern matches by its fields, not by a `matches` of its own."""
    return getattr(type(template), "matches", None) is QueryCall.matches


def finder(template: QueryCall, matcher: Matcher | None = None) -> Callable[[DigestedCall], bool]:
    """What tells whether a stored record fits a pattern; where it cannot, it logs that and says no.

    Args:
        template: the pattern.
        matcher: that of a plain one, if there is one already.

    Raises:
        Indigestible: if a value of the pattern has no digest.
    """
    if matcher is None and is_plain(template):
        matcher = Matcher(template)
    matches = template.matches if matcher is None else matcher.matches

    def finds(record: DigestedCall) -> bool:
        try:
            return matches(record)
        except Exception as error:
            logger.warning("Cannot compare call %s, skipped: %r", name_of(record), error)
            return False

    return finds


def name_of(record: Any) -> str:
    """What a message calls a record: its key, if that can be told."""
    try:
        return str(record.to_lookup_key())
    except Exception:
        return f"of {getattr(record, 'name', record)!r}"


def _either_digest(value: Any) -> tuple[Digest, ...]:
    """The digests under which a value may be recorded."""
    if isinstance(value, Digest):
        return (value,)
    return (digest(value), digest(value, typed=True))


def _same_text(wanted: Any, held: str | None) -> bool:
    if wanted is None or wanted == held:
        return True
    return isinstance(wanted, Digest) and held is not None and wanted == digest(held)


def result_is_lost(call: Any) -> bool:
    """Whether the result of a call cannot be loaded."""
    # Why, was said when it was looked at.
    with no_message():
        try:
            call.result  # noqa: B018
        except KeyError:
            return True
    return False


def readable(
    calls: Iterable[LazyCall], look: Callable[[LazyCall], Any]
) -> Iterator[tuple[LazyCall, Any]]:
    """Calls with what `look` gives for them; those whose result it wants in vain are left out.

    The first of them is said at once, how many there are at the end.
    """
    lost: list[LazyCall] = []
    for call in calls:
        try:
            found = look(call)
        except KeyError as error:
            # An error of `look` itself, about a call that is in order, is the caller's.
            if not result_is_lost(call):
                raise
            say_lost(call, error, lost)
            continue
        yield call, found
    if len(lost) > 1:
        logger.warning("%d calls were left out, as their results cannot be loaded", len(lost))


def say_lost(call: LazyCall, error: KeyError, lost: list[LazyCall]) -> None:
    """Say that a result cannot be loaded, if it is the first; others are counted."""
    level = logging.DEBUG if lost else logging.WARNING
    lost.append(call)
    logger.log(
        level,
        "The result of call %s cannot be loaded (%s). Compute it again, or evict the call to be "
        "rid of it",
        call.to_lookup_key(),
        error,
    )


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
        from fleche.caches._redigest import filed_keys

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
        from fleche._table import table

        return table(self, arguments, results, shrink_keys)
