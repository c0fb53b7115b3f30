"""The plain cache: a pair of storages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fleche import _core
from fleche.caches._prefixes import each, shrunk
from fleche.caches.base import BaseCache, Rejected, Saveable
from fleche.call import Call, DigestedCall, LazyCall, PreparedCall, QueryCall
from fleche.digest import Digest
from fleche.storage.base import CallStorage, SaveError, ValueStorage
from fleche.storage.destructuring import HasChildDigests
from fleche.storage.thread_safe import PerKeyLockMixin


@dataclass(frozen=True)
class Cache(PerKeyLockMixin, BaseCache):
    """A pair of storages.

    Args:
        values: where arguments and results are kept, under their digests.
        calls: where the records of calls are kept, under their lookup keys.
    """

    values: ValueStorage
    calls: CallStorage

    def save(self, call: Saveable) -> Digest:
        key = call.to_lookup_key()
        with self._operation_context(key):
            try:
                if isinstance(call, PreparedCall):
                    record = call.resolve(self.values)
                elif isinstance(call, DigestedCall):
                    record = call
                else:
                    record = call.stash(self.values)
                return self.calls.save(record)
            except SaveError as error:
                raise Rejected(error) from error

    def load(self, key: Digest | str) -> LazyCall:
        return self.calls.load(key).fetch(self)

    def load_value(self, key: Digest | str) -> Any:
        return self.values.load(key)

    def contains(self, key: Digest | str) -> bool:
        return self.calls.contains(key)

    def _knows(self, key: Digest | str) -> bool:
        return self.calls.contains(key) or self.values.contains(key)

    def evict(self, key: Digest | str) -> None:
        self.calls.evict(key)

    def prepare(self, call: Call) -> PreparedCall:
        arguments = call._stash_arguments(self.values)
        result = None if call.result is None else call._stash_result(self.values)
        return PreparedCall(call._to_digested(arguments, result), self)

    def expand(self, key: Digest | str) -> Digest:
        if len(key) >= 64:
            return Digest(key)
        found = each(lambda storage: storage.expand(key), (self.calls, self.values))
        return _core.resolve_prefix(key, set(found))

    def _shrink(self, *keys: Digest | str) -> tuple[Digest, ...]:
        return shrunk(keys, (self.calls, self.values))

    def _query(self, call: QueryCall) -> Iterator[LazyCall]:
        for record in self.calls.query(call):
            yield record.fetch(self)

    def redigest(self) -> None:
        """File every record under the key that it has today; readers find it at any time."""
        self.calls.transform()

    def gc(self) -> set[Digest]:
        """Evict the values that no call reaches; gives their keys. Call records stay.

        It reads all calls and lists all values.
        """
        reached: set[Digest] = set()
        waiting: list[Digest] = []
        for record in self.calls.query(QueryCall()):
            held = [*record.arguments.values(), record.result]
            waiting.extend(key for key in held if isinstance(key, Digest))
        children = self.values.child_digests if isinstance(self.values, HasChildDigests) else None
        while waiting:
            key = waiting.pop()
            if key in reached:
                continue
            reached.add(key)
            if children is not None:
                try:
                    waiting.extend(children(key))
                except KeyError:
                    continue
        unreached = set(self.values.list()) - reached
        for key in unreached:
            self.values.evict(key)
        return unreached
