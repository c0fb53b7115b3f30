"""What every storage is: its errors, its interfaces, and the mixins that storages are made of.

A storage keeps objects under keys, which are digests. A *backend* ([`StorageBackend`]) says how
one object is put, got, evicted and listed; a *mixin* ([`ValueMixin`], [`CallMixin`]) makes a value
or a call storage of it. The order of the bases matters: the backend first, then the mixin.

One file, as whoever writes a storage imports all of it from here.

>>> class DictBackend(StorageBackend):
...     def __init__(self): self.objects = {}
...     def put(self, value, key):
...         self.objects[key] = value
...         return key
...     def get(self, key):
...         return self.objects[key]
...     def _evict(self, key):
...         self.objects.pop(key, None)
...     def list(self):
...         return self.objects.keys()
>>> class DictStorage(DictBackend, ValueMixin): ...
>>> storage = DictStorage()
>>> storage.load(storage.save([1, 2]))
[1, 2]
"""

import builtins
import contextlib
import enum
import importlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, overload

from fleche import _core
from fleche._foundation.errors import AmbiguousDigestError as AmbiguousDigestError
from fleche._foundation.errors import SaveError as SaveError
from fleche._foundation.errors import Unreadable as Unreadable
from fleche.call import DigestedCall, QueryCall
from fleche.call.patterns import finder
from fleche.digest import DIGEST_LENGTH, Digest, digest

if TYPE_CHECKING:
    from pathlib import Path

    from fleche.storage.claims import Claims

logger = logging.getLogger("fleche.storage")

_FIELDS = {"name", "arguments", "metadata"}
Kind = Literal["value", "call"]
StorageKind = Kind
_Class = TypeVar("_Class")

# Whether storages that are made now may be out of reach: members of a stack, which goes on without.
OPENED_LATER: ContextVar[bool] = ContextVar("OPENED_LATER", default=False)

_STORAGE_CONSTRUCTORS: dict[tuple[str, str], Callable[..., Any]] = {}
_STORAGE_CLASSES: set[Any] = set()

# Imported when their name is first asked for: some need packages that are slow to load.
_BUILT_IN = {
    "memory": "fleche.storage.memory",
    "void": "fleche.storage.void",
    **dict.fromkeys(("pickle", "cloudpickle", "dill"), "fleche.storage.pickle_file"),
    "cbor": "fleche.storage.cbor_file",
    "bagofholding_hdf": "fleche.storage.bagofholding_file",
    "sql": "fleche.storage.sql",
    "bucket": "fleche.storage.bucket",
    "sqlite": "fleche.storage.sqlite",
}


class Intent(enum.StrEnum):
    """What an operation on a key is going to do.

    >>> Intent.READ
    <Intent.READ: 'read'>
    """

    WRITE = "write"
    READ = "read"


# What an operation needs to hold where no mixin adds anything.
NO_CONTEXT: contextlib.AbstractContextManager[None] = contextlib.nullcontext()


class OperationContext(ABC):  # noqa: B024 (a hook with a default)
    """The hook around every operation on one key: locks, sessions, transactions."""

    def _operation_context(
        self, key: Digest | str, *, intent: Intent = Intent.WRITE
    ) -> contextlib.AbstractContextManager[None]:
        """The context in which an operation on `key` runs.

        An override enters `super()._operation_context(key, intent=intent)` as well, so that
        several mixins work together.

        Args:
            key: the key as it was given, or in full.
            intent: whether the operation changes anything.
        """
        return NO_CONTEXT


class KeyManagement(OperationContext):
    """Listing, finding, shortening and evicting keys. Every key may be given by a prefix."""

    @abstractmethod
    def list(self) -> Iterable[Digest]:
        """Every key in the storage."""

    @abstractmethod
    def _contains(self, key: Digest) -> bool:
        """Whether the full `key` is in the storage."""

    @abstractmethod
    def _evict(self, key: Digest) -> None:
        """Remove the full `key`; it may be absent."""

    def _new_collection(self) -> _core.Collection:
        return _core.Collection()

    @property
    def _collection(self) -> _core.Collection:
        """What keeps values that calls are about to need from being collected as garbage."""
        # Not a field: it is no part of a storage's configuration. `setdefault` is atomic.
        held = self.__dict__.get("_held_collection")
        if held is None:
            held = self.__dict__.setdefault("_held_collection", self._new_collection())
        return held  # type: ignore[no-any-return]

    def _prefix_candidates(self, prefix: str) -> Iterable[Digest]:
        """The keys that may start with `prefix`: all of them, unless a storage knows better."""
        return self.list()

    def _normalize_key(self, key: Digest | str) -> Digest:
        """The full key that `key`, or the prefix `key`, stands for."""
        if len(key) >= DIGEST_LENGTH:
            return key if type(key) is Digest else Digest(key)
        if len(key) < _core.SHORTEST_PREFIX:
            raise KeyError(key)
        return _core.resolve_prefix(key, self._prefix_candidates(key))

    def _full_key(self, key: Digest | str) -> Digest:
        """As `expand`, without its context where there is nothing to look up."""
        if type(key) is Digest and len(key) >= DIGEST_LENGTH:
            return key
        return self.expand(key)

    def contains(self, key: Digest | str) -> bool:
        """Whether `key` is in the storage.

        Args:
            key: a key or a prefix of one; an unknown prefix is not contained.

        Raises:
            AmbiguousDigestError: if several keys have this prefix.
        """
        try:
            full = self._full_key(key)
        except KeyError:
            return False
        with self._operation_context(full, intent=Intent.READ):
            return self._contains(full)

    def _contains_many(self, keys: Sequence[Digest]) -> builtins.list[bool]:
        """Whether each of these full keys is in the storage."""
        return [self.contains(key) for key in keys]

    def evict(self, key: Digest | str) -> None:
        """Remove `key` and what is stored under it; a full key may be absent.

        Args:
            key: a key or a prefix of one.

        Raises:
            KeyError: if no key has this prefix.
            AmbiguousDigestError: if several keys have this prefix.
        """
        full = self._full_key(key)
        with self._operation_context(full), contextlib.suppress(KeyError):
            self._evict(full)

    def expand(self, key: Digest | str) -> Digest:
        """The full key that a prefix of at least 4 characters stands for.

        Args:
            key: a prefix; a full key comes back as it is, stored or not.

        Raises:
            KeyError: if no key has this prefix, or it is too short.
            AmbiguousDigestError: if several keys have this prefix.
        """
        with self._operation_context(key, intent=Intent.READ):
            return self._normalize_key(key)

    def _place(self) -> Any:
        """Where entries are kept: a path, something else that tells places apart, or `None`."""
        return None

    def _back_up(self, folder: "Path") -> Iterable["Path"]:
        """Copy all that is kept here to a folder, while it is used; gives what is there then.

        Raises:
            NotImplementedError: if it cannot be copied so.
            FileExistsError: if something of that name is in the folder already.
        """
        raise NotImplementedError(f"{type(self).__name__} has no copies of its own")

    def _set_aside(self, keys: Sequence[Digest]) -> int | None:
        """Evict entries so that who loads one brings it back; gives their length in bytes.

        `None`, and nothing is done, if the storage has no place for them.
        """
        return None

    def _collectable(self, keys: set[Digest]) -> set[Digest]:
        """Those of these entries that a collection of garbage may evict."""
        return keys

    def _list_aside(self) -> Iterable[Digest]:
        """The keys of entries that were set aside."""
        return ()

    def _evict_aside(self, key: Digest) -> None:
        """Remove an entry that was set aside for good."""

    def _mentions(
        self, keys: Sequence[Digest], wanted: Iterable[Digest]
    ) -> Iterable[Digest] | None:
        """Which of the digests in `wanted` are mentioned in entries that cannot be read.

        They may be more than the entries need, never fewer. `None` if this cannot be told.

        Raises:
            OSError: if an entry's bytes are out of reach.
        """
        return None

    def _may_hold(self, scheme: str) -> bool:
        """Whether there may be entries under keys of a digest scheme, as far as is known."""
        return True

    def _note_scheme(self) -> None:
        """Note that an entry is about to be saved under a key of the digest scheme in force."""

    def _hold_only_scheme(self) -> None:
        """Note that all entries are under keys of the digest scheme in force."""

    @overload
    def shrink(self, key: Digest | str, /) -> Digest: ...
    @overload
    def shrink(self, *keys: Digest | str) -> Digest | tuple[Digest, ...]: ...
    def shrink(self, *keys: Digest | str) -> Digest | tuple[Digest, ...]:
        """The shortest unambiguous prefix of each key, at least 4 characters long.

        Args:
            keys: keys, or prefixes that stand for one.

        Returns:
            One prefix for one key, a tuple of them for several.

        Raises:
            KeyError: if a key is not in the storage.
            TypeError: without any key.
        """
        if not keys:
            raise TypeError("shrink() requires at least one key")
        with self._operation_context(keys[0], intent=Intent.READ):
            short = self._shrink(*keys)
        return short[0] if len(keys) == 1 else short

    def _shrink(self, *keys: Digest | str) -> tuple[Digest, ...]:
        """As `shrink`, always a tuple; the storage is listed once."""
        if len(keys) == 1 and len(keys[0]) >= _core.SHORTEST_PREFIX:
            among = self._prefix_candidates(keys[0][: _core.SHORTEST_PREFIX])
        else:
            among = self.list()
        return tuple(_core.shrink_keys(builtins.list(keys), among))

    def _shortest(self, keys: Sequence[Digest | str]) -> builtins.list[Digest | None]:
        """The shortest unambiguous prefix of each whole key; `None` for one that is not here."""
        own = type(self).contains, type(self)._shrink
        if len(keys) > 1 and own == (KeyManagement.contains, KeyManagement._shrink):
            return self._shorten(keys)
        held = [key for key in keys if len(key) >= DIGEST_LENGTH and self.contains(key)]
        short = dict(zip(held, self._shrink(*held), strict=True)) if held else {}
        return [short.get(key) for key in keys]

    def _shorten(self, keys: Sequence[Digest | str]) -> builtins.list[Digest | None]:
        return _core.shorten_keys(keys, self.list())


class StorageBackend(KeyManagement):
    """How one object is kept: the part of a storage that its author writes."""

    # Whether `put` may be called for a key that is there already, and replaces it.
    _put_replaces: ClassVar[bool] = False

    @abstractmethod
    def put(self, value: Any, key: Digest) -> Digest:
        """Keep `value` under `key`; gives the key.

        Raises:
            SaveError: if it cannot be kept.
        """

    @abstractmethod
    def get(self, key: Digest) -> Any:
        """What is kept under the full `key`.

        Raises:
            KeyError: if there is nothing.
        """

    def _contains(self, key: Digest) -> bool:
        try:
            self.get(key)
        except KeyError:
            return False
        return True


class ValueStorage(KeyManagement):
    """A storage of values under the digests of their content."""

    def _together(self, calls: "CallStorage") -> contextlib.AbstractContextManager[Any]:
        """The context in which values are saved together with the record that needs them."""
        return NO_CONTEXT

    @abstractmethod
    def save(self, value: Any, key: Digest | None = None) -> Digest:
        """Store `value`.

        Args:
            value: what to store.
            key: its key; without one, `digest(value)`.

        Raises:
            SaveError: if it cannot be stored.
            Indigestible: if no key is given and the value has no digest.
        """

    @abstractmethod
    def load(self, key: Digest | str) -> Any:
        """The value under `key`, which may be a prefix.

        Raises:
            KeyError: if there is none, or it cannot be read.
        """

    def _keeps(self, key: Digest) -> bool:
        """Whether a value is there, and stays for a record that is about to be saved."""
        return self.contains(key)


class CallStorage(KeyManagement):
    """A storage of call records under their lookup keys."""

    @abstractmethod
    def save(self, call: DigestedCall) -> Digest:
        """Store a record under its lookup key, replacing the one that is there.

        Raises:
            SaveError: if it cannot be stored.
        """

    @abstractmethod
    def load(self, key: Digest | str) -> DigestedCall:
        """The record under `key`, which may be a prefix.

        Raises:
            KeyError: if there is none, or it cannot be read.
        """

    @abstractmethod
    def query(self, template: QueryCall) -> Iterable[DigestedCall]:
        """The records that match `template`, one by one."""

    def _query_all(self) -> Iterable[DigestedCall]:
        """Every record that can be read, as it is now."""
        return self.query(QueryCall())

    def _prefetch(self, keys: Sequence[Digest]) -> None:
        """Records under these keys are likely to be loaded next, in this order."""

    def _claims(self) -> "Claims":
        """The claims on the calls that are kept here."""
        from fleche.storage.claims import claims_at

        place = self._place()
        return claims_at((type(self), id(self)) if place is None else place)

    def _load_or_none(self, key: Digest) -> DigestedCall | None:
        """The record under `key`, unless it cannot be read, which is said."""
        try:
            return self.load(key)
        except KeyError as error:
            logger.warning("Cannot load call %s, skipped: %s", key, error)
        except Exception as error:
            logger.warning("Cannot load call %s, skipped: %r", key, error)
        return None

    def _query_each(self, template: QueryCall) -> Iterator[DigestedCall]:
        """As `query`, each record loaded by itself."""
        finds = finder(template)
        for key in builtins.list(self.list()):
            record = self._load_or_none(key)
            if record is not None and finds(record):
                yield record

    def transform(self, func: Callable[[DigestedCall], DigestedCall] | None = None) -> None:
        """Rewrite every record, and file it anew where its lookup key changed.

        A record is stored under its new key before the old one is evicted, so that a reader finds
        it at any time. A record that cannot be loaded is logged and left alone.

        Args:
            func: gives the new record for an old one; without it, records only get the keys that
                they have today.
        """
        for key in builtins.list(self.list()):
            try:
                record = self.load(key)
            except KeyError as error:
                logger.warning("Cannot load call %s, left as it is: %s", key, error)
                continue
            changed = record if func is None else func(record)
            new_key = changed.to_lookup_key()
            if func is not None or new_key != key:
                self.save(changed)
            if new_key != key:
                self.evict(key)


class ValueMixin(ValueStorage, StorageBackend):
    """Makes a value storage of a backend, which stands before it among the bases."""

    def save(self, value: Any, key: Digest | None = None) -> Digest:
        if key is None:
            key = _core.storage_key(digest(value))
        logger.debug("Saving value with key %s", key)
        with self._operation_context(key):
            return self.put(value, key)

    def load(self, key: Digest | str) -> Any:
        full = self._full_key(key)
        logger.debug("Loading value with key %s", full)
        with self._operation_context(full, intent=Intent.READ):
            return self.get(full)


class CallMixin(CallStorage, StorageBackend):
    """Makes a call storage of a backend, which stands before it among the bases."""

    def save(self, call: DigestedCall) -> Digest:
        key = call.to_lookup_key()
        logger.debug("Saving call %s", key)
        with self._operation_context(key):
            self._note_scheme()
            if not self._put_replaces and self._contains(key):
                self._evict(key)
            return self.put(call, key)

    def load(self, key: Digest | str) -> DigestedCall:
        full = self._full_key(key)
        logger.debug("Loading call with key %s", full)
        with self._operation_context(full, intent=Intent.READ):
            record: DigestedCall = self.get(full)
        # One in which a name was damaged may be loaded as well.
        damaged = type(record) is DigestedCall and not record.__dict__.keys() >= _FIELDS
        if damaged or not hasattr(record, "to_lookup_key"):
            kind = type(record).__name__
            logger.error("What is stored under %s is no call record but a %s.", full, kind)
            raise KeyError(full)
        return record

    def query(self, template: QueryCall) -> Iterator[DigestedCall]:
        return self._query_each(template)


def register_storage(
    name: str, kind: Kind, *, factory: Callable[..., Any] | None = None
) -> Callable[[_Class], _Class]:
    """Make a storage class known to the functions of `fleche.config`, as a class decorator.

    Args:
        name: the `type` in a configuration.
        kind: `"value"` or `"call"`.
        factory: builds the storage from the other keys of its configuration; without one, the
            class itself is called with them.

    >>> @register_storage("example", "value")
    ... class ExampleStorage:
    ...     pass
    >>> get_storage_constructor("example", "value") is ExampleStorage
    True
    """

    def register(storage_class: _Class) -> _Class:
        constructor = storage_class if factory is None else factory
        _STORAGE_CONSTRUCTORS[name, kind] = constructor  # type: ignore[assignment]
        _STORAGE_CLASSES.add(storage_class)
        return storage_class

    return register


def get_storage_constructor(name: str, kind: Kind) -> Callable[..., Any] | None:
    """What builds the storage that is registered under `name`, or `None`.

    Args:
        name: the `type` in a configuration.
        kind: `"value"` or `"call"`.

    >>> get_storage_constructor("no such storage", "call") is None
    True
    """
    if (name, kind) not in _STORAGE_CONSTRUCTORS and name in _BUILT_IN:
        importlib.import_module(_BUILT_IN[name])
    return _STORAGE_CONSTRUCTORS.get((name, kind))


def is_registered_storage(cls: type) -> bool:
    """Whether exactly this class was registered, whatever its base classes are.

    >>> is_registered_storage(dict)
    False
    """
    return cls in _STORAGE_CLASSES
