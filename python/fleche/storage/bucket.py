"""Values and call records in a bucket: S3 and its kin, Google Cloud Storage, Azure, or a folder.

>>> import tempfile
>>> from pathlib import Path
>>> with tempfile.TemporaryDirectory() as folder:
...     storage = ValueBucket(Path(folder).as_uri())
...     key = storage.save({"a": [1, 2]})
...     storage.load(key)
{'a': [1, 2]}
"""

from __future__ import annotations

import builtins
import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fleche import _core
from fleche._foundation.errors import BucketError as BucketError
from fleche._foundation.forks import kept
from fleche.call import DigestedCall, QueryCall
from fleche.call.patterns import finder
from fleche.digest import DIGEST_LENGTH, Digest
from fleche.security import get_secret_key, normalize_secret_key
from fleche.storage.base import (
    CallMixin,
    OperationContext,
    SaveError,
    StorageBackend,
    ValueMixin,
    logger,
    register_storage,
)
from fleche.storage.buckets.entries import INSIDE, Entries, pack, unpack
from fleche.storage.buckets.place import REFRESH, Place, place_at
from fleche.storage.buckets.settings import Access
from fleche.storage.buckets.urls import where
from fleche.storage.destructuring import DestructuringMixin
from fleche.storage.thread_safe import PerKeyLockMixin

if TYPE_CHECKING:
    from fleche.storage.claims import Claims

# How long a claim outlives its owner, in seconds, unless a storage says otherwise.
LEASE = 20.0

# How often an entry is replaced that others replace at the same time.
_TRIES = 5

# So many records are read at once where all are.
_CHUNK = 256

# So long, in seconds, it is known that there are no records of a digest scheme.
_SCHEMES_KNOWN = 60.0

# What an instance keeps to itself: it is made anew where a storage travels.
_OWN = frozenset(
    {"_entries", "_place_here", "_index", "_mirror", "_leases", "_schemes", "_key_locks"}
)


@dataclass(frozen=True)
class BucketBackend(StorageBackend):
    """A backend that keeps each entry in an object of a bucket.

    Nothing is asked of the bucket before it is used. Credentials are taken from where the tools of
    the service have them: the environment (`AWS_ACCESS_KEY_ID`, ...) and files
    (`~/.aws/credentials`, ...); they are kept nowhere.

    Args:
        url: `s3://bucket/folder`, `gs://bucket/folder`, `az://container/folder` or `file:///path`.
        endpoint: the server's URL, for others than the services' own.
        region: the region of the bucket.
        profile: a section of the files of the AWS tools.
        account: the storage account of Azure.
        anonymous: whether to sign no request, for buckets that everybody may read.
        timeout: how long to wait for a server that gives nothing, in seconds.
        secret_key: signs and verifies, as with `PickleFileBackend`.
        serializer: `"pickle"`, `"cloudpickle"`, `"dill"`, or a registered name.
        compress: by what to compress what is written, see `PickleFileBackend`.
        compress_level: how hard that tries.

    Raises:
        ValueError: for a URL of anything else, no such serialiser or compression, a key not in hex.
        ImportError: if the serialiser's package is not installed, or the core has no buckets.
    """

    url: str
    endpoint: str | None = field(default=None, kw_only=True)
    region: str | None = field(default=None, kw_only=True)
    profile: str | None = field(default=None, kw_only=True)
    account: str | None = field(default=None, kw_only=True)
    anonymous: bool = field(default=False, kw_only=True)
    timeout: float = field(default=20.0, kw_only=True)
    secret_key: tuple[bytes, ...] = field(default=(), kw_only=True, repr=False)
    serializer: str = field(default="pickle", kw_only=True)
    compress: bool | str = field(default=False, kw_only=True)
    compress_level: int | None = field(default=None, kw_only=True)

    _put_replaces: ClassVar[bool] = True
    # The folder in the bucket.
    _folder: ClassVar[str]

    def __post_init__(self) -> None:
        if not hasattr(_core, "Bucket"):
            raise ImportError(
                "this build of fleche has no buckets: install a wheel, or build it with the "
                "feature `bucket`"
            )
        object.__setattr__(self, "url", where(self.url).url)
        keys = normalize_secret_key(self.secret_key) if self.secret_key else get_secret_key()
        object.__setattr__(self, "secret_key", tuple(keys))
        # What is wrong with it is said now.
        assert self._entries is not None

    @kept
    def _entries(self) -> Any:
        return Entries(self.serializer, self.secret_key, self.compress, self.compress_level)

    @property
    def _at(self) -> Place:
        held: tuple[int, Place] | None = vars(self).get("_place_here")
        if held is None or held[0] != os.getpid():
            held = vars(self)["_place_here"] = (os.getpid(), self._new_place())
        return held[1]

    def _new_place(self) -> Place:
        access = Access(
            endpoint=self.endpoint,
            region=self.region,
            profile=self.profile,
            account=self.account,
            anonymous=self.anonymous,
            timeout=self.timeout,
        )
        return place_at(where(self.url), access)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _OWN}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def _path(self, key: str) -> str:
        """The name of the object of a key: spread over prefixes, as servers divide by those."""
        return f"{self._folder}/{key[:2]}/{key}"

    def _shown(self, key: str) -> str:
        return f"{self.url}/{self._path(key)}"

    def _place(self) -> str:
        server = "" if self.endpoint is None else f" at {self.endpoint}"
        return f"{self.url}/{self._folder}{server}"

    def list(self) -> Iterable[Digest]:
        return self._keys_in(self._folder)

    def _keys_in(self, folder: str) -> builtins.list[Digest]:
        names = (name.rpartition("/")[2] for name, _, _ in self._listed(folder))
        return [Digest(name) for name in names if len(name) == DIGEST_LENGTH]

    def _listed(self, folder: str) -> builtins.list[tuple[str, int, float]]:
        listed: builtins.list[tuple[str, int, float]]
        listed = self._at.ask(lambda bucket: bucket.list(folder))
        return listed

    def _prefix_candidates(self, prefix: str) -> Iterable[Digest]:
        if type(self).list is not BucketBackend.list:
            return self.list()
        found = self._keys_in(f"{self._folder}/{prefix[:2]}")
        return [key for key in found if key.startswith(prefix)]

    def _contains(self, key: Digest) -> bool:
        return self._contains_many([key])[0]

    def _contains_many(self, keys: Sequence[Digest]) -> builtins.list[bool]:
        paths = [self._path(key) for key in keys]
        found = self._at.ask(lambda bucket: bucket.changed_many(paths))
        return [changed is not None for changed in found]

    def _sizes(self, keys: Sequence[Digest]) -> dict[Digest, int]:
        wanted = {*map(str, keys)}
        sizes = ((name.rpartition("/")[2], size) for name, size, _ in self._listed(self._folder))
        return {Digest(name): size for name, size in sizes if name in wanted}

    def _list_by_age(self) -> builtins.list[Digest]:
        """Every key, the one that was written longest ago first, by the server's clock."""
        listed = sorted(self._listed(self._folder), key=lambda each: (each[2], each[0]))
        names = (name.rpartition("/")[2] for name, _, _ in listed)
        return [Digest(name) for name in names if len(name) == DIGEST_LENGTH]

    def _overflow(self, keep: int) -> builtins.list[Digest]:
        by_age = self._list_by_age()
        return by_age[: max(len(by_age) - keep, 0)]

    def _stored(self, key: str) -> bytes | None:
        """The bytes of an entry."""
        found = self._at.ask(lambda bucket: bucket.get(self._path(key)))
        return None if found is None else found[0]

    def _write(self, path: str, data: bytes) -> None:
        """Write an object in place of the one that is there, if any.

        Raises:
            BucketError: if that fails.
            SaveError: if others replace it all the time.
        """
        place = self._at
        for _ in range(_TRIES):
            if place.ask(lambda bucket: bucket.create(path, data)) is not None:
                return
            version = place.ask(lambda bucket: bucket.version(path))
            if version is not None:
                replaced = place.ask(lambda bucket: bucket.replace(path, data, version))  # noqa: B023
                if replaced is not None:
                    return
        raise SaveError(
            f"cannot save {self.url}/{path}: others replaced it {_TRIES} times at the same moment"
        )

    def to_config(self) -> dict[str, Any]:
        """The configuration that makes this storage again, its secret keys included, as hex."""
        config: dict[str, Any] = {"type": "bucket"}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.init and (each.name == "url" or value != each.default):
                config[each.name] = value
        if self.secret_key:
            config["secret_key"] = [key.hex() for key in self.secret_key]
        return config


@register_storage("bucket", "value")
@dataclass(frozen=True)
class ValueBucket(DestructuringMixin, ValueMixin, BucketBackend):
    """Values in a bucket, in objects `v/<two characters>/<key>`.

    Args:
        url: where; see `BucketBackend` for this and the others.
        remaining_depth: children nested at least this deep are stored under keys of their own.
    """

    remaining_depth: int = field(default=0, kw_only=True)

    _folder: ClassVar[str] = "v"
    # Objects are replaced at once: there is nothing to lock here.
    _operation_context = OperationContext._operation_context

    def put(self, value: Any, key: Digest) -> Digest:
        shown, path, place = self._shown(key), self._path(key), self._at
        payload = self._entries.dumps(value, shown)
        if len(payload) <= INSIDE:
            place.note_saved(str(key), payload, map(str, _children(value)))
        content = hash(payload)
        if not place.is_known(path, content):
            try:
                self._write(path, self._entries.encode(payload))
            except BucketError as error:
                raise SaveError(str(error)) from error
            place.note_known(path, content)
        return key

    def _keeps(self, key: Digest) -> bool:
        path, place = self._path(key), self._at
        if place.is_known(path):
            return True
        (changed,) = place.ask(lambda bucket: bucket.changed_many([path]))
        if changed is None:
            return False
        if changed < time.time() - REFRESH:
            # By what is there: an equal argument, or the very content that the key names.
            found = place.ask(lambda bucket: bucket.get(path))
            if found is None:
                return False
            with contextlib.suppress(BucketError):
                place.ask(lambda bucket: bucket.replace(path, *found))
        place.note_known(path)
        return True

    def get(self, key: Digest) -> Any:
        shown, place = self._shown(key), self._at
        payload = place.handed_over(str(key))
        if payload is None:
            stored = self._stored(key)
            if stored is None:
                place.note_gone(self._path(key))
                raise KeyError(shown)
            payload = self._entries.decode(stored, shown)
        return self._entries.loads(payload, shown)

    def _evict(self, key: Digest) -> None:
        path = self._path(key)
        self._at.note_gone(path)
        self._at.ask(lambda bucket: bucket.delete(path))

    def _collectable(self, keys: set[Digest]) -> set[Digest]:
        # Somebody elsewhere may be saving a call that needs what is young, or was renewed.
        before = time.time() - 2 * REFRESH
        ordered = sorted(keys)
        paths = [self._path(key) for key in ordered]
        changed = self._at.ask(lambda bucket: bucket.changed_many(paths))
        return {
            key
            for key, when in zip(ordered, changed, strict=True)
            if when is not None and when < before
        }


@register_storage("bucket", "call")
@dataclass(frozen=True)
class CallBucket(PerKeyLockMixin, CallMixin, BucketBackend):
    """Call records in a bucket, in objects `r/<two characters>/<key>`.

    A small result is in its record as well, so that a hit takes one request. Queries look into a
    local copy of the records, which is brought up to date by what writers tell in `i/`.

    Args:
        url: where; see `BucketBackend` for this and the others.
        mirror: the folder for the local copy; `None`: in the user's folder for caches.
        lease: how long a claim of `once=True` outlives its owner, in seconds.
    """

    mirror: str | None = field(default=None, kw_only=True)
    lease: float = field(default=LEASE, kw_only=True)

    _folder: ClassVar[str] = "r"
    # What is saved and evicted is told in the order in which it happens; reads see whole objects.
    _reads_need_lock: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lease > 0:
            raise ValueError(f"lease must be a number of seconds above 0, not {self.lease!r}")

    def put(self, value: DigestedCall, key: Digest) -> Digest:
        shown, path = self._shown(key), self._path(key)
        record = self._entries.dumps(value, shown)
        inside: dict[str, bytes] = {}
        if isinstance(value.result, Digest):
            inside = self._at.saved_with(str(_core.storage_key(value.result)), INSIDE)
        data = self._entries.encode(pack(record, inside))
        try:
            self._index.told(key, value, lambda: self._write(path, data))
        except BucketError as error:
            raise SaveError(str(error)) from error
        self._at.at_hand(path)
        return key

    def get(self, key: Digest) -> DigestedCall:
        place, shown = self._at, self._shown(key)
        place.hand_over({})
        stored = place.at_hand(self._path(key))
        if stored is None:
            stored = self._stored(key)
        if stored is None:
            raise KeyError(shown)
        record: DigestedCall
        record, inside = self._parts(stored, shown)
        place.hand_over(inside)
        return record

    def _parts(self, stored: bytes, shown: str) -> tuple[Any, dict[str, bytes]]:
        payload = self._entries.decode(stored, shown)
        record, inside = self._entries.read(payload, shown, unpack)
        return self._entries.loads(record, shown), inside

    def _prefetch(self, keys: Sequence[Digest]) -> None:
        self._at.ask_ahead([self._path(key) for key in keys])

    def _evict(self, key: Digest) -> None:
        path = self._path(key)
        self._at.at_hand(path)
        at, index = self._at, self._index
        index.told(key, None, lambda: at.ask(lambda bucket: bucket.delete(path)))

    # Queries.

    @kept
    def _index(self) -> Any:
        from fleche.storage.buckets.index import Index

        return Index(self._at, self._entries)

    @kept
    def _mirror(self) -> Any:
        from fleche.storage.buckets.mirror import Mirror, folder_of

        folder = folder_of(where(self.url), self.endpoint, self.mirror)
        return Mirror(self._at, self._entries, self._record_or_none, folder)

    def _record_or_none(self, stored: bytes, path: str) -> DigestedCall | None:
        """The record in the bytes of an entry; `None` if they are of no use, which is said."""
        try:
            record = self._parts(stored, f"{self.url}/{path}")[0]
            key = path.rpartition("/")[2]
            if type(record) is DigestedCall and record.to_lookup_key() == key:
                return record
            logger.error("What is stored under %s is no call record of that key.", path)
        except KeyError:
            return None
        except Exception as error:
            logger.warning("Cannot load call %s, skipped: %r", path, error)
        return None

    def query(self, template: QueryCall) -> Iterator[DigestedCall]:
        if (type(self).get, type(self).load) != (CallBucket.get, CallMixin.load):
            yield from self._query_each(template)
            return
        self._index.flush()
        seen = set()
        try:
            for record in self._mirror.query(template):
                seen.add(record.to_lookup_key())
                yield record
            return
        except OSError as error:
            logger.warning("The local copy of records is not used: %s", error)
        finds = finder(template)
        for record in self._query_all():
            if record.to_lookup_key() not in seen and finds(record):
                yield record

    def _query_all(self) -> Iterator[DigestedCall]:
        """Every record as it is in the bucket now, whatever the local copy says."""
        keys = [*self.list()]
        for begin in range(0, len(keys), _CHUNK):
            paths = [self._path(key) for key in keys[begin : begin + _CHUNK]]
            found = self._at.ask(lambda bucket: bucket.get_many(paths))  # noqa: B023
            for path, stored in zip(paths, found, strict=True):
                record = None if stored is None else self._record_or_none(stored, path)
                if record is not None:
                    yield record

    def flush(self) -> None:
        """Have queries elsewhere find what was saved here."""
        self._index.flush()

    # The schemes of the keys: an object `m/<scheme>` for each.

    def _noted(self, now: float) -> tuple[float, frozenset[str]]:
        known: tuple[float, frozenset[str]] | None = vars(self).get("_schemes")
        if known is None or now - known[0] > _SCHEMES_KNOWN:
            names = frozenset(name.rpartition("/")[2] for name, _, _ in self._listed("m"))
            if not names and self._listed("r"):  # brought here from elsewhere
                names = frozenset(_core.SCHEMES)
            known = vars(self)["_schemes"] = (now, names)
        return known

    def _may_hold(self, scheme: str) -> bool:
        known: tuple[float, frozenset[str]] | None = vars(self).get("_schemes")
        if known is not None and scheme in known[1]:
            return True
        return scheme in self._noted(time.monotonic())[1]

    def _note_scheme(self) -> None:
        scheme = _core.scheme()
        known: tuple[float, frozenset[str]] | None = vars(self).get("_schemes")
        if known is not None and scheme in known[1]:
            return
        try:
            self._at.ask(lambda bucket: bucket.create(f"m/{scheme}", b"fleche"))
        except BucketError as error:
            raise SaveError(str(error)) from error
        when, names = known or (0.0, frozenset())
        vars(self)["_schemes"] = (when, names | {scheme})

    def _hold_only_scheme(self) -> None:
        scheme = _core.scheme()
        for name, _, _ in self._listed("m"):
            if name.rpartition("/")[2] != scheme:
                self._at.ask(lambda bucket: bucket.delete(name))  # noqa: B023
        vars(self).pop("_schemes", None)

    # Claims.

    def _claims(self) -> Claims:
        held: Claims | None = vars(self).get("_leases")
        if held is None:
            if self._at.where.service == "file":
                from fleche.storage.claims.files import FileClaims

                held = FileClaims(Path(self._at.where.bucket) / ".fleche-running")
            else:
                from fleche.storage.buckets.leases import BucketClaims

                held = BucketClaims(self._place(), self._at, self.lease)
            # The first one made is kept.
            held = vars(self).setdefault("_leases", held)
        return held


def _children(value: Any) -> Iterable[Digest]:
    """The keys of what a value was split into."""
    return _core.child_digests(value) if hasattr(value, "underlying") else ()
