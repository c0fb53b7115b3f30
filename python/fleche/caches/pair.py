"""The plain cache: a pair of storages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fleche import _core
from fleche._foundation import seam
from fleche.caches.base import BaseCache, Rejected, Saveable, logger
from fleche.caches.bounds.limits import Limits
from fleche.caches.bounds.plans import Plan, plan
from fleche.caches.bounds.victims import Rules
from fleche.caches.garbage.collect import collect
from fleche.caches.garbage.places import check_pair
from fleche.caches.garbage.users import note_of, remember, say_all
from fleche.caches.prefixes import each, shortest, shrunk
from fleche.caches.schemes.older import has_values, older_pattern
from fleche.caches.schemes.redigest import redigest
from fleche.call import Call, DigestedCall, LazyCall, PreparedCall, QueryCall
from fleche.digest import DIGEST_LENGTH, Digest
from fleche.query import name_of
from fleche.storage.base import CallStorage, Intent, SaveError, ValueStorage
from fleche.storage.thread_safe import PerKeyLockMixin

if TYPE_CHECKING:
    from datetime import timedelta

    from fleche.caches.bounds.ledger import Ledger
    from fleche.storage.claims import Claims


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

    # It is read where it is.
    _is_looked_at = True

    def __post_init__(self) -> None:
        check_pair(self.values, self.calls)
        remember(self.values, self.calls)

    def save(self, call: Saveable) -> Digest:
        return self._saved(call)[0]

    def _saved(self, call: Saveable) -> tuple[Digest, DigestedCall]:
        """Save a call; gives its key and its record."""
        key = call.to_lookup_key()
        with self._operation_context(key):
            try:
                values = self.values
                with values._collection.saving() as gate, values._together(self.calls):
                    self._note_user()
                    record = self._record_of(call, gate)
                    return self.calls.save(record), record
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

    def _contains_many(self, keys: Sequence[Digest]) -> list[bool]:
        if type(self).contains is not Cache.contains:
            return super()._contains_many(keys)
        return self.calls._contains_many(keys)

    def _prefetch(self, keys: Sequence[Digest]) -> None:
        self.calls._prefetch(keys)

    def _shortest(self, keys: Sequence[Digest | str]) -> list[Digest | None]:
        if type(self)._shrink is not Cache._shrink:
            return super()._shortest(keys)
        return shortest(keys, (self.calls, self.values))

    def evict(self, key: Digest | str) -> None:
        try:
            if not self._is_value(key):
                key = self.calls.expand(key)
                with self._operation_context(key):
                    was_there = self.calls.contains(key)
                    self.calls.evict(key)
                if was_there:
                    seam.look_up("evicted")(self, key)
                return
        except KeyError:  # a prefix that no call has
            key = self.values.expand(key)
        # As a collection does: calls that are being saved look after their values.
        with self.values._collection.collecting():
            self.values.evict(key)

    def _is_value(self, key: Digest | str) -> bool:
        """Whether a whole key is that of a value alone."""
        if len(key) < DIGEST_LENGTH or self.calls.contains(key):
            return False
        return self.values.contains(key)

    def _may_hold(self, scheme: str) -> bool:
        return self.calls._may_hold(scheme)

    def _claims(self) -> Claims:
        return self.calls._claims()

    def prepare(self, call: Call) -> PreparedCall:
        digests = call._argument_digests()
        flight = self.values._collection.begin([*digests.values()])
        with self.values._together(self.calls):
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

        It reads all calls and lists all values. Where several caches save into the same values,
        the calls of all of them count: of those in this process, and of those that left a note
        beside the values, as every cache does that saves there. Where values were saved by older
        versions, or by another package, garbage is set aside, and comes back where somebody loads
        it, until `shares_values_with` has been called.

        An entry that cannot be read (its class is gone, its file was cut) is left alone, with all
        values that it may need; a warning names it. `evict` removes it.

        Raises:
            Rejected: if records or values are there, but out of reach (a secret key, permissions,
                a database of another cache): what they need is unknown. Nothing is evicted then.
        """
        return collect(self)

    def shares_values_with(self, *others: BaseCache) -> None:
        """Say that these caches, and no others, save into the values of this one.

        To be said once where values were saved by older versions, or by another package, which
        leave no notes of that. From then on `gc` removes what none of them needs for good.

        Args:
            others: the other caches; none: the values are this cache's alone.

        Raises:
            SaveError: if it cannot be noted.

        >>> from fleche.config import cache_from_config
        >>> cache = cache_from_config({"template": "memory"})
        >>> cache.shares_values_with()
        >>> cache.gc()
        set()
        """
        say_all(self, others)

    def plan(
        self,
        max_bytes: int | str | None = None,
        *,
        max_age: float | str | timedelta | None = None,
        max_size: int | None = None,
        evict: str | None = None,
    ) -> Plan:
        """What would go if the cache were limited so, and what it would cost to get it back.

        Nothing is removed. Without any limit, it is about those that the cache has.

        Args:
            max_bytes: the bytes of records and values, a number or text as `"200GB"`.
            max_age: how old calls may get: seconds, a `timedelta`, or text as `"90d"`.
            max_size: the number of calls.
            evict: which calls go first: `"oldest"`, `"lru"`, `"lfu"` or `"cheapest"`; `None`: as in
                this cache.

        Raises:
            ValueError: if a limit is none, or there is no such policy.

        >>> from fleche.call import Call
        >>> from fleche.config import cache_from_config
        >>> cache = cache_from_config({"template": "memory"})
        >>> for x in range(3):
        ...     _ = cache.save(Call("square", {"x": x}, result=x * x))
        >>> plan = cache.plan(max_size=1)
        >>> len(plan.calls), plan.stays
        (2, 1)
        """
        rules = self._rules_for_plan(Limits(max_bytes, max_age, max_size), evict)
        return plan(self, rules, self._account())

    def _account(self) -> Ledger | None:
        """What is known already of what the records need."""
        return None

    def _rules_for_plan(self, limits: Limits, policy: str | None) -> Rules:
        return Rules(limits, policy=policy or "oldest")

    def _note_user(self) -> None:
        """Have it known whose records need the values, before one is stored."""
        if self._user is not None:
            self.values._collection.note_user(*self._user)

    @property
    def _user(self) -> tuple[str, bytes] | None:
        """The note that tells of this cache, beside the values."""
        held: tuple[int, tuple[str, bytes] | None] | None = vars(self).get("_noted")
        # Records in a forked child's memory are its own.
        if held is None or held[0] != os.getpid():
            remember(self.values, self.calls)
            held = os.getpid(), note_of(self.values, self.calls)
            # Not a field: it is no part of a cache's configuration.
            vars(self)["_noted"] = held
        return held[1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_noted"}
