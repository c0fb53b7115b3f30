"""Which values no record needs."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fleche import _core
from fleche._foundation.messages import each_message_once
from fleche.caches.base import Rejected
from fleche.caches.garbage.places import check_pair, place_of
from fleche.caches.garbage.users import are_all_known, users_of
from fleche.call import DigestedCall
from fleche.digest import Digest
from fleche.storage.base import CallStorage, KeyManagement, Unreadable, ValueStorage
from fleche.storage.destructuring import DestructuringMixin, HasChildDigests
from fleche.storage.raw import keys_in, reader

if TYPE_CHECKING:
    from fleche.caches.pair import Cache

logger = logging.getLogger("fleche.cache")

_Found = TypeVar("_Found")

# So many keys are named in a message.
_NAMED = 5

# How often something is looked for that is there, and cannot be loaded.
_LOOKS = 3

# So many bytes that could be free are worth a warning.
_WORTH_SAYING = 1 << 26


def collect(cache: Cache) -> set[Digest]:
    """Evict the values that no record needs; see `Cache.gc`."""
    _check_places(cache)
    # What is looked at twice is said to be damaged once.
    with each_message_once():
        return _collect(cache)


def preview(cache: Cache) -> set[Digest]:
    """The values that `collect` would evict now; nothing is changed.

    Raises:
        Rejected: as `collect`.
    """
    _check_places(cache)
    with each_message_once():
        garbage, reach = _unreached(cache)
        reach.add(cache.values._collection.pinned())
        reach.warn()
        return garbage - reach.keys


def _unreached(cache: Cache) -> tuple[set[Digest], Reach]:
    """The values that no record needs at the moment, and what was found out for that."""
    values = cache.values
    garbage = set(values.list())
    if are_all_known(values):
        garbage.update(values._list_aside())
    reach = Reach(values, garbage)
    reach.add_records_of([cache.calls])
    garbage -= reach.keys
    if garbage:
        reach.add_records_of(users_of(cache)[1:])
        garbage -= reach.keys
    return values._collectable(garbage) if garbage else garbage, reach


def _collect(cache: Cache) -> set[Digest]:
    values, collection = cache.values, cache.values._collection
    garbage, reach = _unreached(cache)
    # What was saved meanwhile counts, too; nobody saves any longer now. Others wait: of the
    # values only those that are new are looked into.
    if garbage:
        with _alone(cache):
            reach.add_records_of(users_of(cache))
            reach.add(collection.pinned())
            garbage -= reach.keys
            # Others may have saved the same meanwhile, on other machines.
            garbage = values._collectable(garbage) if garbage else garbage
            if are_all_known(values):
                for key in garbage:
                    values.evict(key)
                    values._evict_aside(key)
            elif not _set_aside(values, garbage):
                garbage = set()
    reach.warn()
    return garbage


@contextmanager
def _alone(cache: Cache) -> Iterator[None]:
    """Nobody saves meanwhile; who may not evict is told so."""
    try:
        with cache.values._collection.collecting():
            yield
    except PermissionError as error:
        raise Rejected(f"gc has no right to evict values: {error}") from error
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        raise Rejected(f"gc cannot evict values: {error}") from error


def _set_aside(values: ValueStorage, garbage: set[Digest]) -> bool:
    """Evict values that may belong to others, whom nobody noted, so that these get them back."""
    length = values._set_aside([*garbage])
    what = (
        "that no known record needs, but which may belong to other caches: they were saved by a "
        "version that did not note for whom, or by another package. Say once which caches share "
        "them, by Cache.shares_values_with(); without arguments: none"
    )
    if length is None:
        logger.warning("gc evicts nothing: there are %d values %s", len(garbage), what)
        return False
    for key in garbage:
        # Nothing is left to be removed, but a subclass may want to know.
        values.evict(key)
    logger.log(
        logging.INFO if length < _WORTH_SAYING else logging.WARNING,
        "gc set %d values (%d MB) aside %s. Until then who loads one gets it back",
        *(len(garbage), length >> 20, what),
    )
    return True


def _check_places(cache: Cache) -> None:
    try:
        check_pair(cache.values, cache.calls)
    except ValueError as error:
        raise Rejected(f"gc evicts nothing: {error}") from None
    place = place_of(cache.values)
    marks = [f".fleche-{name}" for name in _core.SCHEMES]
    if isinstance(place, Path) and any((place / mark).exists() for mark in marks):
        raise Rejected(
            f"gc evicts nothing: {str(place)!r} holds records, saved by a cache that keeps its "
            f"calls where this one has its values. Give each a place of its own"
        )


class Reach:
    """The keys of the values that records need, with those of their children.

    Args:
        values: where the values are.
        wanted: the keys that matter.
    """

    def __init__(self, values: ValueStorage, wanted: Iterable[Digest]) -> None:
        self.values = values
        self.wanted = frozenset(wanted)
        self.keys: set[Digest] = set()
        self.unreadable: set[Digest] = set()
        self._children = _children_of(values)

    def add_records_of(self, storages: Iterable[CallStorage]) -> None:
        """Add what the records in these storages need.

        Raises:
            Rejected: if that cannot be told.
        """
        for calls in storages:
            try:
                for record in self._records(calls):
                    held = [*record.arguments.values(), record.result]
                    self.add(_core.storage_key(key) for key in held if isinstance(key, Digest))
            except OSError as error:
                raise Rejected(
                    f"gc evicts nothing: the records cannot be read ({error})"
                ) from error

    def add(self, keys: Iterable[Digest]) -> None:
        """Add values with their children.

        Raises:
            Rejected: if a value is there, but out of reach: what it needs is unknown.
        """
        waiting = [*keys]
        while waiting:
            unreadable = []
            while waiting:
                key = waiting.pop()
                if key in self.keys:
                    continue
                self.keys.add(key)
                if self._children is None:
                    continue
                children, error = _look(self._children, self.values.contains, key)
                waiting.extend(children or ())
                if error is not None:
                    unreadable.append((key, error))
            waiting.extend(self._mentioned(self.values, unreadable))

    def _records(self, calls: CallStorage) -> Iterator[DigestedCall]:
        """Every record that can be read; what others need is added."""
        unread = set(calls.list())
        seen = 0
        for record in calls._query_all():
            unread.discard(record.to_lookup_key())
            seen += 1
            yield record
        # What a query leaves out, with a warning, is damaged, gone, filed under another key, or
        # not to be read at the moment.
        unreadable = []
        for key in unread:
            found, error = _look(calls.load, calls.contains, key)
            if error is not None:
                unreadable.append((key, error))
            elif found is not None:
                seen += 1
                yield found
        forged = [pair for pair in unreadable if isinstance(pair[1], Unreadable)]
        if forged and not seen:
            key, cause = forged[0]
            raise _refusal([key], f"as no record of {len(unreadable)} can") from cause
        self.add(self._mentioned(calls, unreadable))

    def _mentioned(
        self, storage: KeyManagement, unreadable: list[tuple[Digest, KeyError]]
    ) -> Iterable[Digest]:
        """What entries that cannot be read may need."""
        if not unreadable:
            return ()
        keys = [key for key, _ in unreadable]
        try:
            found = storage._mentions(keys, self.wanted)
        except OSError as error:
            raise _refusal(keys, f"({error})") from error
        if found is None:
            raise _refusal(keys, "") from unreadable[0][1]
        self.unreadable.update(keys)
        return found

    def warn(self) -> None:
        """Say what could not be read."""
        if self.unreadable:
            logger.warning(
                "gc left %d entries alone that cannot be read, with all that they may need: %s. "
                "Mend what the log says about them; or evict them to be rid of them, by "
                "Cache.evict(key), and collect again",
                len(self.unreadable),
                _named(self.unreadable),
            )


def _children_of(values: ValueStorage) -> Callable[[Digest], set[Digest]] | None:
    """What tells which values another one needs; by its bytes, where they are a pickle."""
    if not isinstance(values, HasChildDigests):
        return None
    read = reader(values)
    if read is None or type(values).child_digests is not DestructuringMixin.child_digests:
        return values.child_digests

    def children(key: Digest) -> set[Digest]:
        try:
            return keys_in(read(key))
        except ValueError as error:
            raise KeyError(key) from error

    return children


def _named(keys: Iterable[Digest]) -> str:
    ordered = sorted(keys)
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return ", ".join(ordered[:_NAMED]) + more


def _refusal(keys: list[Digest], why: str) -> Rejected:
    return Rejected(
        f"gc evicts nothing: {_named(keys)} cannot be read{' ' if why else ''}{why}, so what is "
        f"needed is unknown; mend what the log says about it, or evict it by Cache.evict(key), and "
        f"try again"
    )


def _look(
    look: Callable[[Digest], _Found], contains: Callable[[Digest], bool], key: Digest
) -> tuple[_Found | None, KeyError | None]:
    """What `look` gives for a key; an error, if something is there that it cannot read."""
    error: KeyError | None = None
    # Between a look and the next one it may be evicted, and saved again.
    for _ in range(_LOOKS):
        try:
            return look(key), None
        except KeyError as failure:
            error = failure
            if isinstance(failure, Unreadable):
                break
            if not contains(key):
                return None, None
    return None, error
