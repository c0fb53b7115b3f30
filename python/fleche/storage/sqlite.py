"""Values in an SQLite database, beside the records of the calls.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     storage = ValueSqlite(f"{folder}/cache.db")
...     key = storage.save({"a": [1, 2]})
...     storage.load(key)
{'a': [1, 2]}
"""

from __future__ import annotations

import atexit
import builtins
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fleche import _core
from fleche.digest import Digest
from fleche.storage import cbor
from fleche.storage.base import (
    NO_CONTEXT,
    OPENED_LATER,
    CallStorage,
    OperationContext,
    ValueMixin,
    register_storage,
)
from fleche.storage.destructuring import DestructuringMixin
from fleche.storage.file import FileStorage
from fleche.storage.pickle_file import Dumps, Loads, PickleFileBackend
from fleche.storage.sql import Sql
from fleche.storage.thread_safe import PerKeyLockMixin
from fleche.storage.urls import IN_MEMORY, normalized, scheme_of, sqlite_path

if TYPE_CHECKING:
    from _typeshed import StrPath

__all__ = ["ValueSqlite"]

# What large values lie in, beside the database.
_FOLDER = "{}-values"


# Who closes a database last folds the write-ahead log into it. A forked child closes nothing of its
# parent's.
atexit.register(_core.close_databases)


@register_storage("sqlite", "value")
@dataclass(frozen=True, init=False)
class ValueSqlite(PerKeyLockMixin, DestructuringMixin, ValueMixin, PickleFileBackend):
    """Values in an SQLite database: small ones in a table, large ones in files beside it.

    Together with a `Sql` of the same database as the storage of the calls, a call is saved in one
    transaction, and found by one statement. Shared by any number of threads and processes.

    Args:
        url: the database: a path, or a URL as `sqlite:///folder/cache.db`; `~` is the home folder.
            Large values lie in the folder of the same name with `-values` behind it.
        remaining_depth: children nested at least this deep are stored under keys of their own.
        lock_timeout: how long to wait for others at the same database, in seconds; a negative
            number: without end.
        secret_key: signs and verifies, see `PickleFileBackend`.
        serializer: `"pickle"`, `"cloudpickle"`, `"dill"` or `"cbor"`.
        compress: by what to compress what is written, see `PickleFileBackend`.
        compress_level: how hard that tries.
        mmap: whether a large array that is loaded is its file, mapped, see `ValuePickleFile`.
        allow: of `"cbor"`: patterns of names of classes, see `CborFileBackend`.
        fallback: of `"cbor"`: what to do with what it cannot hold, see `CborFileBackend`.

    Raises:
        OSError: if the database cannot be opened.
        ValueError: if the URL is none of a file, or for an unknown serialiser.
        ImportError: if the serialiser's package is not installed.
    """

    url: str = field(kw_only=True)
    root: Path = field(init=False)
    lock_timeout: float = field(default=60.0, kw_only=True, compare=False)
    mmap: bool = field(default=True, kw_only=True)
    allow: Sequence[str] = field(default=(), kw_only=True)
    fallback: str | None = field(default=None, kw_only=True)

    # Up to so many bytes a value lies in the table.
    _largest: ClassVar[int] = 1 << 14

    # Rows and files are replaced at once, and locked for that moment.
    _operation_context = OperationContext._operation_context

    def __init__(
        self,
        url: StrPath,
        remaining_depth: int = 0,
        *,
        lock_timeout: float = 60.0,
        secret_key: Any = (),
        serializer: str = "pickle",
        compress: bool | str = False,
        compress_level: int | None = None,
        mmap: bool = True,
        allow: Sequence[str] = (),
        fallback: str | None = None,
    ) -> None:
        path = _path_of(url)
        given = {
            "url": normalized(path),
            "root": path.with_name(_FOLDER.format(path.name)),
            "remaining_depth": remaining_depth,
            "lock_timeout": lock_timeout,
            "secret_key": secret_key,
            "serializer": serializer,
            "compress": compress,
            "compress_level": compress_level,
            "mmap": mmap,
            "allow": tuple(allow),
            "fallback": fallback,
        }
        for name, value in given.items():
            object.__setattr__(self, name, value)
        self.__post_init__()
        if not OPENED_LATER.get():
            self._handle.open()

    def _load_serializer(self) -> None:
        if self.serializer == "cbor":
            made = cbor.serializer(self.allow, fallback=self.fallback, secret_key=self.secret_key)
            object.__setattr__(self, "dumps", made.dumps)
            object.__setattr__(self, "loads", made.loads)
            return
        if self.allow or self.fallback:
            raise ValueError("allow and fallback are of serializer = 'cbor'; set it, or leave them")
        super()._load_serializer()

    def _handle_by(self, dumps: Dumps, loads: Loads, apart: bool, mapped: bool) -> _core.FileStore:
        return _core.SqliteValues(
            Path(str(sqlite_path(self.url))),
            self.root,
            *self._framing(),
            self.serializer,
            dumps,
            loads,
            apart,
            mapped,
            self._largest,
        )

    def __repr__(self) -> str:
        return (
            f"ValueSqlite(url={self.url!r}, remaining_depth={self.remaining_depth!r}, "
            f"lock_timeout={self.lock_timeout!r}, serializer={self.serializer!r}, "
            f"compress={self.compress!r})"
        )

    def list(self) -> Iterable[Digest]:
        return self._handle.list()  # type: ignore[no-any-return]

    def _list_by_age(self) -> Iterable[Digest]:
        return self.list()

    def _overflow(self, keep: int) -> Iterable[Digest]:
        by_age = [*self._list_by_age()]
        return by_age[: max(len(by_age) - keep, 0)]

    def _make_newest(self, key: Digest) -> None:
        """Rows are in the order in which they came, whatever the clocks say."""

    def _set_aside(self, keys: Sequence[Digest]) -> int | None:
        return None

    def _sizes(self, keys: Sequence[Digest]) -> dict[Digest, int]:
        sizes = self._handle.sizes(keys)
        return {key: size for key, size in zip(keys, sizes, strict=True) if size is not None}

    def _prefix_candidates(self, prefix: str) -> Iterable[Digest]:
        if type(self).list is not ValueSqlite.list:
            return self.list()
        return self._handle.candidates(prefix)  # type: ignore[no-any-return]

    def _shorten(self, keys: Sequence[Digest | str]) -> builtins.list[Digest | None]:
        if type(self).list is not ValueSqlite.list:
            return super(FileStorage, self)._shorten(keys)
        return self._handle.shorten(keys)  # type: ignore[no-any-return]

    def _contains(self, key: Digest) -> bool:
        return self._handle.contains(key)  # type: ignore[no-any-return]

    def _contains_many(self, keys: Sequence[Digest]) -> builtins.list[bool]:
        kind = type(self)
        if (kind.contains, kind._contains) != (ValueSqlite.contains, ValueSqlite._contains):
            return super(FileStorage, self)._contains_many(keys)
        return self._handle.contains_many(keys)  # type: ignore[no-any-return]

    def _together(self, calls: CallStorage) -> AbstractContextManager[Any]:
        return _core.Together(self._handle) if self.is_beside(calls) else NO_CONTEXT

    def is_beside(self, calls: CallStorage) -> bool:
        """Whether a storage of records keeps them in the same database."""
        return isinstance(calls, Sql) and calls.url == self.url

    def _back_up(self, folder: Path) -> Iterable[Path]:
        from fleche.storage.copies import copy_database, copy_folder

        # The rows name files: these are written before them, and copied after them.
        database = Path(str(sqlite_path(self.url)))
        copied = copy_database(self._handle, database, folder)
        return [copied, copy_folder(self.root, folder)]

    def _mentions(
        self, keys: Sequence[Digest], wanted: Iterable[Digest]
    ) -> Iterable[Digest] | None:
        return self._handle.mentioned([*keys], [*wanted])  # type: ignore[no-any-return]

    def to_config(self) -> dict[str, Any]:
        """The configuration that makes this storage again, its secret keys included, as hex."""
        config = super().to_config()
        del config["root"]
        config |= {"type": "sqlite", "url": self.url, "serializer": self.serializer}
        if self.allow:
            config["allow"] = list(self.allow)
        if self.fallback is not None:
            config["fallback"] = self.fallback
        return config


def _path_of(url: StrPath) -> Path:
    """The file of a database.

    Raises:
        ValueError: if it is another one's, or none.
    """
    text = normalized(url)
    if text == IN_MEMORY:
        raise ValueError("values in SQLite need a file: give a path, or use type = 'memory'")
    path = sqlite_path(text) if scheme_of(text) == "sqlite" else None
    if path is None:
        raise ValueError(
            f"{scheme_of(text)!r} is no database for values: give the path of an SQLite file"
        )
    return Path(path)
