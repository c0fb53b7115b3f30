"""The plain cache: a pair of storages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from fleche import _core
from fleche.caches._older import has_values, older_pattern
from fleche.caches._places import check_pair
from fleche.caches._prefixes import each, shortest, shrunk
from fleche.caches._redigest import redigest
from fleche.caches.base import BaseCache, Rejected, Saveable, logger
from fleche.call import Call, DigestedCall, LazyCall, PreparedCall, QueryCall
from fleche.digest import Digest
from fleche.query import name_of
from fleche.storage.base import CallStorage, Intent, SaveError, Unreadable, ValueStorage
from fleche.storage.destructuring import HasChildDigests
from fleche.storage.thread_safe import PerKeyLockMixin

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Cache(PerKeyLockMixin, BaseCache):
    """A pair of storages.

    Args:
        values: where arguments and results are kept, under their digests.
        calls: where the records of calls are kept, under their lookup keys.

    Raises:
        ValueError: if both are kept in one place.
    """

    values: ValueStorage
    calls: CallStorage

    # What is replaced is there as it was or as it is.
    _reads_need_lock: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_pair(self.values, self.calls)

    def save(self, call: Saveable) -> Digest:
        key = call.to_lookup_key()
        with self._operation_context(key):
            try:
                with self.values._collection.saving() as gate:
                    return self.calls.save(self._record_of(call, gate))
            except SaveError as error:
                raise Rejected(error) from error

    def _record_of(self, call: Saveable, gate: _core.Gate) -> DigestedCall:
        """Store the values of a call; gives its record."""
        if isinstance(call, PreparedCall):
            if call._flight is not None and gate.disturbed(call._flight):
                call._store_arguments_again(self.values)
            return call.resolve(self.values)
        return call if isinstance(call, DigestedCall) else call.stash(self.values)

    def load(self, key: Digest | str) -> LazyCall:
        with self._operation_context(key, intent=Intent.READ):
            return self.calls.load(key).fetch(self)

    def load_value(self, key: Digest | str) -> Any:
        with self._operation_context(key, intent=Intent.READ):
            return self.values.load(key)

    def contains(self, key: Digest | str) -> bool:
        with self._operation_context(key, intent=Intent.READ):
            return self.calls.contains(key)

    def _shortest(self, keys: Sequence[Digest | str]) -> list[Digest | None]:
        if type(self)._shrink is not Cache._shrink:
            return super()._shortest(keys)
        return shortest(keys, (self.calls, self.values))

    def evict(self, key: Digest | str) -> None:
        with self._operation_context(key):
            self.calls.evict(key)

    def _may_hold(self, scheme: str) -> bool:
        return self.calls._may_hold(scheme)

    def prepare(self, call: Call) -> PreparedCall:
        digests = call._argument_digests()
        flight = self.values._collection.begin([*digests.values()])
        call._store_arguments(self.values, digests)
        result = None if call.result is None else call._stash_result(self.values)
        prepared = PreparedCall(call._to_digested(digests, result), self)
        prepared._flight, prepared._live = flight, call.arguments
        return prepared

    def expand(self, key: Digest | str) -> Digest:
        with self._operation_context(key, intent=Intent.READ):
            if len(key) >= 64:
                return Digest(key)
            found = each(lambda storage: storage.expand(key), (self.calls, self.values))
            return _core.resolve_prefix(key, set(found))

    def _shrink(self, *keys: Digest | str) -> tuple[Digest, ...]:
        return shrunk(keys, (self.calls, self.values))

    def _query(self, call: QueryCall) -> Iterator[LazyCall]:
        yield from self._fetched(self.calls.query(call))
        older = older_pattern(call) if self._may_hold(_core.OLDER_SCHEME) else None
        if older is not None:
            found = self._fetched(self.calls.query(older))
            yield from (record for record in found if has_values(record, call))

    def _fetched(self, records: Iterable[DigestedCall]) -> Iterator[LazyCall]:
        """The calls of records; one that gives none is logged and skipped."""
        for record in records:
            try:
                call = record.fetch(self)
            except Exception as error:
                logger.warning("Cannot load call %s, skipped: %r", name_of(record), error)
                continue
            yield call

    def redigest(self) -> None:
        """Move every call to the digest scheme in force, for good.

        Arguments and results are saved under the digests that they have today, and the record
        under the key that follows; then the old record is evicted, so that a reader finds the call
        at any time. If it is stopped, the next call goes on. `gc` removes the values that are left.

        A call stays where it is, and is counted in the log, if the value of an argument is not
        stored, or if its key has the digest of its function's code: its new key is not known.

        Raises:
            SaveError: if some calls could not be saved anew; the others were.

        >>> from fleche.call import Call
        >>> from fleche.config import cache_from_config
        >>> cache = cache_from_config({"template": "memory"})
        >>> key = cache.save(Call("square", {"x": 3}, result=9))
        >>> cache.redigest()  # nothing to be done
        >>> cache.contains(key)
        True
        """
        redigest(self)

    def gc(self) -> set[Digest]:
        """Evict the values that no call reaches; gives their keys. Call records stay.

        It reads all calls and lists all values.

        Raises:
            Rejected: if a record, or a value that is needed, is there but cannot be read (a secret
                key, a package or permissions are missing): what it needs is unknown. Nothing is
                evicted then.
        """
        reached: set[Digest] = set()
        garbage = set(self.values.list())
        self._reach(self._records(), reached)
        garbage -= reached
        if not garbage:
            return garbage
        collection = self.values._collection
        # What was saved meanwhile counts, too; nobody saves any longer now. Others wait: of the
        # values only those that are new are looked into.
        with collection.collecting():
            self._reach(self._records(), reached, collection.pinned())
            garbage -= reached
            for key in garbage:
                self.values.evict(key)
        return garbage

    def _reach(
        self,
        records: Iterable[DigestedCall],
        reached: set[Digest],
        waiting: Iterable[Digest] = (),
    ) -> None:
        """Add the keys of the values that records need, with their children, to `reached`."""
        waiting = [*waiting]
        for record in records:
            held = [*record.arguments.values(), record.result]
            waiting.extend(_core.storage_key(key) for key in held if isinstance(key, Digest))
        children = self.values.child_digests if isinstance(self.values, HasChildDigests) else None
        while waiting:
            key = waiting.pop()
            if key in reached:
                continue
            reached.add(key)
            if children is not None:
                waiting.extend(_known(children, key) or ())

    def _records(self) -> Iterator[DigestedCall]:
        """Every record, or an error where one cannot be read."""
        unread = set(self.calls.list())
        for record in self.calls.query(QueryCall()):
            unread.discard(record.to_lookup_key())
            yield record
        # What a query leaves out, with a warning, is damaged, gone, filed under another key, or
        # not to be read at the moment.
        for key in unread:
            left_out = _known(self.calls.load, key)
            if left_out is not None:
                yield left_out


def _known(look: Callable[[Digest], _Found], key: Digest) -> _Found | None:
    """What `look` gives for a key; `None` if nothing is left of it."""
    try:
        return look(key)
    except Unreadable as error:
        raise Rejected(
            f"gc evicts nothing: {key} cannot be read, so what it needs is unknown; mend what the "
            "log says about it, or evict it, and try again"
        ) from error
    except KeyError:
        return None
