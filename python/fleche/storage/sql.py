"""Call records in a database.

SQLite is handled by the compiled core; any other database through SQLAlchemy.

>>> from fleche.call import Call
>>> storage = Sql()
>>> key = storage.save(Call("square", {"x": 3}, result=9).digest())
>>> storage.load(key).name
'square'
"""

from __future__ import annotations

import atexit
import builtins
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fleche import _core
from fleche.call import DigestedCall, QueryCall
from fleche.digest import DIGEST_LENGTH as DIGEST_LENGTH
from fleche.digest import Digest
from fleche.digest import digest as digest
from fleche.storage.base import (
    OPENED_LATER,
    CallStorage,
    Intent,
    OperationContext,
    SaveError,
    logger,
    register_storage,
)
from fleche.storage.base import KeyManagement as KeyManagement
from fleche.storage.thread_safe import PerKeyLockMixin
from fleche.storage.urls import IN_MEMORY, normalized, scheme_of, sqlite_path, without_password

if TYPE_CHECKING:
    from fleche.storage.claims import Claims
    from fleche.storage.filters import Filter


# Who closes a database last folds the write-ahead log into it. A forked child closes nothing of its
# parent's.
atexit.register(_core.close_databases)


class _Store(Protocol):
    """What `Sql` needs of a database."""

    def save(self, record: DigestedCall, key: str) -> None: ...
    def load(self, key: str) -> DigestedCall | None: ...
    def contains(self, key: str) -> bool: ...
    def contains_many(self, keys: Sequence[str]) -> builtins.list[bool]: ...
    def evict(self, key: str) -> None: ...
    def list(self) -> builtins.list[Digest]: ...
    def list_by_age(self) -> builtins.list[Digest]: ...
    def overflow(self, keep: int) -> builtins.list[Digest]: ...
    def candidates(self, prefix: str) -> builtins.list[Digest]: ...
    def query(
        self, filter: Filter, after: str
    ) -> tuple[builtins.list[DigestedCall], str | None]: ...
    def may_hold(self, scheme: str) -> bool: ...
    def hold_only_scheme(self) -> None: ...
    def open(self) -> None: ...
    def close(self) -> None: ...


@register_storage("sql", "call")
@dataclass(frozen=True)
class Sql(PerKeyLockMixin, CallStorage):
    """Call records in a database, shared by any number of threads and processes.

    Args:
        url: an SQLAlchemy URL, or a path (an SQLite file); `~` is expanded, folders are created.
            `None`: a private database in memory.
        echo: log every statement (logger `fleche.storage`, INFO).
        lock_timeout: how long to wait for others at the same database, in seconds; a negative
            number: without end.

    Raises:
        ImportError: for other databases than SQLite, if SQLAlchemy or the driver is missing.
        OSError: if the database cannot be opened.
        ValueError: if the URL is none.
    """

    url: str | None = None
    echo: bool = field(default=False, compare=False)
    lock_timeout: float = field(default=60.0, compare=False)
    _store: _Store = field(init=False, repr=False, compare=False)

    # The database has its own locks: there is nothing to lock here.
    _operation_context = OperationContext._operation_context

    def __post_init__(self) -> None:
        url = normalized(self.url)
        object.__setattr__(self, "url", url)
        object.__setattr__(self, "_store", _store(url, self.echo, self.lock_timeout))
        if not OPENED_LATER.get():
            self._store.open()

    def __repr__(self) -> str:
        shown = without_password(str(self.url))
        return f"Sql(url={shown!r}, echo={self.echo!r}, lock_timeout={self.lock_timeout!r})"

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "url": self.url,
            "echo": self.echo,
            "lock_timeout": self.lock_timeout,
        }
        if self.url == IN_MEMORY:
            # Nobody else can reach what is in memory: it travels along.
            loaded = map(self._store.load, self._store.list_by_age())
            state["records"] = [record for record in loaded if record is not None]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "url", state["url"])
        object.__setattr__(self, "echo", state["echo"])
        object.__setattr__(self, "lock_timeout", state.get("lock_timeout", Sql.lock_timeout))
        # Opened when it is first used, as where it travels to the database may be out of reach.
        store = _store(self.url, self.echo, self.lock_timeout)
        object.__setattr__(self, "_store", store)
        for record in state.get("records", ()):
            self.save(record)

    def save(self, call: DigestedCall) -> Digest:
        key = call.to_lookup_key()
        logger.debug("Saving call %s", key)
        try:
            with self._operation_context(key):
                self._store.save(call, key)
        except (OSError, ValueError, TypeError) as error:
            raise SaveError(f"call {key} cannot be saved: {error}") from error
        return key

    def load(self, key: Digest | str) -> DigestedCall:
        full = self._full_key(key)
        logger.debug("Loading call with key %s", full)
        with self._operation_context(full, intent=Intent.READ):
            record = self._store.load(full)
        if record is None:
            raise KeyError(full)
        return record

    def query(self, template: QueryCall) -> Iterator[DigestedCall]:
        from fleche.call.patterns import Matcher, finder, is_plain
        from fleche.storage.filters import filter_of

        kind = type(self)
        own = kind.load, kind._operation_context
        if own != (Sql.load, Sql._operation_context) or not is_plain(template):
            yield from self._query_each(template)
            return
        matcher = Matcher(template)
        finds = finder(template, matcher)
        conditions = filter_of(matcher)
        after: str | None = ""
        while after is not None:
            records, after = self._store.query(conditions, after)
            yield from filter(finds, records)

    def list(self) -> builtins.list[Digest]:
        return self._store.list()

    def _list_by_age(self) -> builtins.list[Digest]:
        return self._store.list_by_age()

    def _shorten(self, keys: Sequence[Digest | str]) -> builtins.list[Digest | None]:
        if type(self).list is Sql.list and isinstance(self._store, _core.SqliteStore):
            return self._store.shorten(keys)
        return super()._shorten(keys)

    def _sizes(self, keys: Sequence[Digest]) -> dict[Digest, int]:
        if not isinstance(self._store, _core.SqliteStore):
            return {}
        wanted = {*keys}
        return {Digest(key): size for key, size in self._store.sizes() if key in wanted}

    def _overflow(self, keep: int) -> builtins.list[Digest]:
        if type(self).list is not Sql.list or type(self)._list_by_age is not Sql._list_by_age:
            by_age = [*self._list_by_age()]
            return by_age[: max(len(by_age) - keep, 0)]
        return self._store.overflow(keep)

    def _contains(self, key: Digest) -> bool:
        return self._store.contains(key)

    def _contains_many(self, keys: Sequence[Digest]) -> builtins.list[bool]:
        if (type(self).contains, type(self)._contains) != (Sql.contains, Sql._contains):
            return super()._contains_many(keys)
        return self._store.contains_many(keys)

    def _evict(self, key: Digest) -> None:
        self._store.evict(key)

    def _prefix_candidates(self, prefix: str) -> Iterable[Digest]:
        # An override of `list` knows better than the table.
        if type(self).list is not Sql.list:
            return self.list()
        return self._store.candidates(prefix)

    def _place(self) -> Any:
        if self.url == IN_MEMORY:
            return None
        path = sqlite_path(str(self.url)) if scheme_of(str(self.url)) == "sqlite" else None
        return self.url if path is None else Path(os.path.realpath(path))

    def _back_up(self, folder: Path) -> Iterable[Path]:
        from fleche.storage.copies import copy_database

        place = self._place()
        if not isinstance(place, Path):
            return super()._back_up(folder)
        store: Any = self._store
        return [copy_database(store, place, folder)]

    def _claims(self) -> Claims:
        place = self._place()
        if isinstance(place, Path):
            from fleche.storage.claims.files import FileClaims

            return FileClaims(place.with_name(f".{place.name}-running"))
        if place is None:
            return super()._claims()
        store: Any = self._store
        return store.claims()  # type: ignore[no-any-return]

    # The schemes of the keys stand in a table; a save notes its own in the same transaction.

    def _may_hold(self, scheme: str) -> bool:
        return self._store.may_hold(scheme)

    def _hold_only_scheme(self) -> None:
        self._store.hold_only_scheme()

    def to_config(self) -> dict[str, Any]:
        """The configuration that makes such a storage."""
        config: dict[str, Any] = {"type": "sql", "url": self.url, "echo": self.echo}
        if self.lock_timeout != Sql.lock_timeout:
            config["lock_timeout"] = self.lock_timeout
        return config


def _store(url: Any, echo: bool, lock_timeout: float) -> _Store:
    if scheme_of(url) == "sqlite":
        log = (lambda statement: logger.info("%s", statement)) if echo else None
        return _core.SqliteStore(sqlite_path(url), lock_timeout, log)
    from fleche.storage.databases.alchemy import SqlAlchemyStore

    return SqlAlchemyStore(url, echo, lock_timeout)
