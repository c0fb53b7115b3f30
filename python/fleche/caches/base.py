"""What every cache does."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from fleche import _core
from fleche._foundation import seam
from fleche.call import Call, DigestedCall, LazyCall, PreparedCall, QueryCall
from fleche.call.outcomes import stored_result
from fleche.digest import DIGEST_LENGTH, Digest, Indigestible
from fleche.query import QueryIterator
from fleche.storage.base import OperationContext

if TYPE_CHECKING:
    import pandas

    from fleche.caches.union import CacheStack
    from fleche.caches.views import FilteredCache, ReadOnlyCache
    from fleche.storage.claims import Claims

logger = logging.getLogger("fleche.cache")

Saveable = Call | PreparedCall | DigestedCall


class Rejected(Exception):
    """The cache refuses to save or to evict."""


class BaseCache(OperationContext, ABC):
    """What every cache does. Subclasses say how; all are frozen and equal by their parts."""

    @abstractmethod
    def save(self, call: Saveable) -> Digest:
        """Save a call and its values; gives its key.

        Args:
            call: a call with its values; a record, whose values are stored already; or a call that
                `prepare` gave and that has its result by now.

        Raises:
            Rejected: if the cache refuses.
        """

    @abstractmethod
    def load(self, key: Digest | str) -> LazyCall:
        """The call under `key`; its values are loaded when they are looked at.

        Args:
            key: the key, or a prefix of at least 4 characters.

        Raises:
            KeyError: if there is none.
            AmbiguousDigestError: if several keys have this prefix.
        """

    @abstractmethod
    def load_value(self, key: Digest | str) -> Any:
        """The value under `key`.

        Args:
            key: the key, or a prefix of at least 4 characters.

        Raises:
            KeyError: if there is none.
            AmbiguousDigestError: if several keys have this prefix.
        """

    @abstractmethod
    def evict(self, key: Digest | str) -> None:
        """Remove the call under `key`; an absent one is no error. Values stay.

        Args:
            key: the key, or a prefix of at least 4 characters.

        Raises:
            Rejected: if the cache refuses.
        """

    @abstractmethod
    def expand(self, key: Digest | str) -> Digest:
        """The key of a call or value that a prefix of at least 4 characters stands for.

        Raises:
            KeyError: if there is none.
            AmbiguousDigestError: if there are several.
        """

    @abstractmethod
    def _shrink(self, *keys: Digest | str) -> tuple[Digest, ...]:
        """As `shrink`, always a tuple."""

    @abstractmethod
    def _query(self, call: QueryCall) -> Iterable[LazyCall]:
        """The calls that match a pattern."""

    def contains(self, key: Digest | str) -> bool:
        """Whether the cache holds the call under `key`."""
        try:
            self.load(key)
        except KeyError:
            return False
        return True

    def _contains_many(self, keys: Sequence[Digest]) -> list[bool]:
        """Whether the cache holds each of the calls under these whole keys."""
        return [self.contains(key) for key in keys]

    def _prefetch(self, keys: Sequence[Digest]) -> None:
        """Calls under these whole keys are likely to be loaded next, in this order."""

    def _shortest(self, keys: Sequence[Digest | str]) -> list[Digest | None]:
        """The shortest unambiguous prefix of each whole key; `None` for one that is not here."""
        held = [key for key in keys if len(key) >= DIGEST_LENGTH and self.contains(key)]
        short = dict(zip(held, self._shrink(*held), strict=True)) if held else {}
        return [short.get(key) for key in keys]

    def prepare(self, call: Call) -> PreparedCall:
        """Admit a call before its body runs: its key is sealed with the arguments as they are now.

        Raises:
            Indigestible: if an argument has no digest.
        """
        return PreparedCall(call.digest(), self)

    def shrink(self, *keys: Digest | str) -> Digest | tuple[Digest, ...]:
        """The shortest unambiguous prefix of each key, at least 4 characters long.

        Returns:
            One prefix for one key, a tuple of them for several.

        Raises:
            KeyError: if a key is not in the cache.
        """
        if not keys:
            raise TypeError("shrink() requires at least one key")
        short = self._shrink(*keys)
        return short[0] if len(keys) == 1 else short

    def query(self, template: QueryCall | None = None, **fields: Any) -> QueryIterator:
        """The calls that match a pattern.

        Args:
            template: the pattern.
            fields: the pattern's fields, instead of it.

        Raises:
            TypeError: if both are given.
        """
        if template is None:
            template = QueryCall(**fields)
        elif fields:
            raise TypeError("Cannot pass keyword arguments when a QueryCall template is provided")

        def calls() -> Iterator[LazyCall]:
            try:
                for call in self._query(template):
                    # Caches of users may give calls of any kind.
                    if isinstance(call, LazyCall) and call._cache is not self:
                        call.__dict__["_asked"] = self
                    yield call
            except Indigestible as error:
                logger.warning("No hash for query argument: %s", error)

        return QueryIterator(calls, self)

    def table(
        self,
        arguments: Iterable[str] | str | Literal[True] = (),
        results: bool = False,
        shrink_keys: bool = True,
    ) -> pandas.DataFrame:
        """All calls as a `pandas.DataFrame`, a row each; see `QueryIterator.table`.

        Args:
            arguments: the names of the arguments to show, one of them, or `True` for all.
            results: whether to show the results.
            shrink_keys: whether the index holds the shortest unambiguous keys.

        Raises:
            ImportError: if pandas is not installed.
        """
        return self.query().table(arguments, results, shrink_keys)

    def transfer(self, other: BaseCache, pop: bool = False, overwrite: bool = False) -> None:
        """Copy all calls, with their values, to another cache; see `QueryIterator.transfer`.

        Args:
            other: where to.
            pop: evict each call that was transferred from this cache.
            overwrite: replace calls that `other` holds already; else they are left alone.
        """
        self.query().transfer(other, pop=pop, overwrite=overwrite)

    def _records(self, key: Digest) -> Iterator[LazyCall]:
        """The call under a whole key, as each of several caches has it."""
        try:
            found = self.load(key)
        except KeyError:
            return
        yield found

    @property
    def _is_looked_at(self) -> bool:
        """Whether its records are read for what notebooks show: at once, by no rule of a user's."""
        return False

    def _repr_html_(self) -> str:
        """Where it is, and its functions, in notebooks."""
        return cast("str", seam.look_up("html_of_cache")(self))

    # One computation for all who want the same call at the same time (`@fleche(once=True)`).

    #: Whether this is wanted of all calls.
    _once: bool = False

    def _claims(self) -> Claims | None:
        """The claims on the calls that are saved here; `None` where none are."""
        from fleche.storage.claims.memory import MemoryClaims

        return MemoryClaims((type(self), id(self)))

    # Calls that were filed under the keys of an older digest scheme (`docs/moving.md`).

    def _may_hold(self, scheme: str) -> bool:
        """Whether there may be calls under keys of a digest scheme."""
        return True

    def _find_older(self, older: _core.OlderCall) -> LazyCall | None:
        """What is filed under a call's older key, if its arguments show that it is the same."""
        if not self._may_hold(_core.OLDER_SCHEME):
            return None
        try:
            found = self.load(older.older_key)
        except KeyError:
            return None
        refusal = older.refusal(found)
        if refusal is not None:
            logger.info("Not taking %s for call %s: %s", older.older_key, older.key, refusal)
            return None
        return found

    def _take_older(self, older: _core.OlderCall) -> tuple[Any] | None:
        """The result of what `_find_older` finds, filed under today's key from now on."""
        found = self._find_older(older)
        try:
            result = None if found is None else stored_result(found)
        except KeyError:
            return None
        if found is None or result is None:
            return None
        self._file_older(older, found, result)
        return (result,)

    def _file_older(self, older: _core.OlderCall, found: LazyCall, result: Any) -> None:
        """File a call under today's key instead of the older one."""
        call = Call(
            name=found.name,
            arguments=older.arguments,
            metadata=found.metadata,
            module=found.module,
            version=found.version,
            code_digest=older.code_digest,
            result=result,
        )
        call.__dict__["_digests"] = older.digests
        call.__dict__["_returned_digest"] = True
        try:
            with self._operation_context(older.key):
                if not self.contains(older.key):
                    self._save_older(older, call)
                    logger.info("Call %s is filed as %s from now on", older.older_key, older.key)
        except Exception as error:
            # It was found, and that is what counts.
            logger.warning("Cannot file %s as %s: %s", older.older_key, older.key, error)

    def _save_older(self, older: _core.OlderCall, call: Call) -> None:
        # Only then, so that who looks for it meanwhile finds one of the two.
        self.save(call)
        self.evict(older.older_key)

    def _transfer_one(self, c: LazyCall, *, overwrite: bool = False) -> bool:
        """Take over a call of another cache; whether it was taken."""
        key = c.to_lookup_key()
        with self._operation_context(key):
            if not overwrite and self.contains(key):
                return False
            call = fetch_again(c, key)
            # Of another scheme until now, and there by its key of today.
            if not overwrite and self.contains(call.to_lookup_key()):
                return False
            self.save(call)
            return True

    def filter(self, predicate: Callable[[Call | LazyCall], bool] | QueryCall) -> FilteredCache:
        """A read-only view of the calls that match.

        Args:
            predicate: whether a call is shown, or a pattern that it must match.
        """
        if isinstance(predicate, QueryCall):
            predicate = predicate.matches
        return cast("FilteredCache", seam.look_up("filtered_cache")(self, predicate))

    def readonly(self) -> ReadOnlyCache:
        """A view that is only read."""
        return cast("ReadOnlyCache", seam.look_up("read_only_cache")(self))

    def push(self, cache: BaseCache) -> CacheStack:
        """A stack with `cache` before this one."""
        return cast("CacheStack", seam.look_up("stack_of_caches")((cache, self)))

    @classmethod
    def from_config(cls, config: dict[str, Any] | list[dict[str, Any]]) -> BaseCache:
        """The cache that a configuration describes; see `fleche.config.cache_from_config`."""
        return cast("BaseCache", seam.look_up("cache_from_config")(config))


def fetch_again(lazy: LazyCall, key: Digest, *, keep: bool = False) -> Call:
    """A call with its values, to be saved in another cache under the key that it has.

    Args:
        lazy: the call.
        key: its key.
        keep: file it under its key even if its values have other digests by now, as in another
            scheme; else it is filed as a call with these values would be.
    """
    call = lazy.fetch()
    if type(call.result) is Digest:
        call.__dict__["_returned_digest"] = isinstance(lazy._result, Digest)
    if call.to_lookup_key() == key:
        return call
    call.__dict__["_typed"] = True
    if call.to_lookup_key() == key:
        return call
    del call.__dict__["_typed"]
    if keep:
        call.__dict__["_digests"] = dict(lazy._arguments)
    return call
