"""Storages on files, one a key: what the pickle family, bags and storages of users share.

>>> import json, tempfile
>>> from dataclasses import dataclass
>>> from fleche.storage import ValueMixin
>>> @dataclass(frozen=True)
... class JsonFile(ValueMixin, FileStorage):
...     def _to_file(self, value, path):
...         path.write_text(json.dumps(value))
...     def _from_file(self, path):
...         return json.loads(path.read_text())
>>> with tempfile.TemporaryDirectory() as folder:
...     storage = JsonFile(folder)
...     storage.load(storage.save([1, 2]))
[1, 2]
"""

import builtins
import contextlib
import errno
import os
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from fleche import _core
from fleche._foundation.forks import kept
from fleche._foundation.paths import expanded_home
from fleche.digest import Digest
from fleche.storage.base import SaveError, StorageBackend, ValueStorage

# What an instance keeps to itself: handles and locks are made anew where a storage travels.
_TRANSIENT = frozenset({"_handle", "_key_locks", "_held_collection", "_orders"})


@dataclass(frozen=True)
class FileStorage(StorageBackend):
    """A backend that keeps each entry in a file of its own.

    A subclass writes and reads one file in `_to_file` and `_from_file`. Files are replaced at once:
    a reader sees the old or the new one, and what a dead process left unfinished is removed.

    Args:
        root: the folder, created when first written to; `~` is the home folder.
    """

    root: Path

    _put_replaces: ClassVar[bool] = True
    _reads_need_lock: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", _resolved(self.root))

    # Not a field: it is no part of a storage's configuration.
    @kept
    def _handle(self) -> Any:
        handle = self._new_handle()
        if isinstance(self, ValueStorage):
            handle.keeps_values()
        return handle

    def _new_handle(self) -> _core.FileRoot:
        return _core.FileRoot(self.root, getattr(self, "lock_timeout", 1.0))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _TRANSIENT}

    def _new_collection(self) -> _core.Collection:
        return _core.Collection(self._handle)

    def _place(self) -> Path:
        return self.root

    @abstractmethod
    def _to_file(self, value: Any, path: Path) -> None:
        """Write `value` to a new file at `path`."""

    @abstractmethod
    def _from_file(self, path: Path) -> Any:
        """Read what `_to_file` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
        """

    def _path(self, key: str) -> Path:
        """Where the entry of `key` is."""
        return self.root / key

    def put(self, value: Any, key: Digest) -> Digest:
        """Write `value` to the file of `key`, replacing it at once.

        Raises:
            SaveError: if the file cannot be written, or another process holds the key's lock for
                longer than the storage's `lock_timeout`.
            ValueError: if `key` is no digest.
        """
        path = self._path(key)
        try:
            temporary = self._handle.temporary(key)
            try:
                self._to_file(value, temporary)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._handle.commit(temporary, key, path)
            finally:
                self._handle.discard(temporary)
        except OSError as error:
            raise SaveError(f"cannot save {key} to {path}: {error}") from error
        return key

    def get(self, key: Digest) -> Any:
        """What the file of `key` holds.

        Raises:
            KeyError: if there is no such file.
        """
        path = self._path(key)
        try:
            return self._from_file(path)
        except FileNotFoundError as error:
            if self._handle.bring_back(key):
                return self.get(key)
            raise KeyError(path) from error

    def list(self) -> Iterable[Digest]:
        return self._handle.list()  # type: ignore[no-any-return]

    def _list_by_age(self) -> Iterable[Digest]:
        """Every key, the one that was written longest ago first."""
        if type(self).list is not FileStorage.list:
            return self.list()
        return self._handle.list_by_age()  # type: ignore[no-any-return]

    def _overflow(self, keep: int) -> Iterable[Digest]:
        """The keys written longest ago, as many as there are more than `keep`."""
        if type(self)._list_by_age is not FileStorage._list_by_age or (
            type(self).list is not FileStorage.list
        ):
            by_age = [*self._list_by_age()]
            return by_age[: max(len(by_age) - keep, 0)]
        return self._handle.overflow(keep)  # type: ignore[no-any-return]

    def _make_newest(self, key: Digest) -> None:
        """Have an entry that was just written count as the newest, whatever the clocks say."""
        # On a file system that does not let it, it is kept this time.
        with contextlib.suppress(OSError):
            self._handle.make_newest(key)

    def _has_a_file_a_key(self) -> bool:
        return type(self)._path is FileStorage._path

    def _back_up(self, folder: Path) -> Iterable[Path]:
        from fleche.storage.copies import copy_folder

        return [copy_folder(self.root, folder)]

    def _set_aside(self, keys: Sequence[Digest]) -> int | None:
        if not self._has_a_file_a_key():
            return None
        return self._handle.set_aside(keys)  # type: ignore[no-any-return]

    def _list_aside(self) -> Iterable[Digest]:
        return self._handle.list_aside()  # type: ignore[no-any-return]

    def _evict_aside(self, key: Digest) -> None:
        self._handle.evict_aside(key)

    def _sizes(self, keys: Sequence[Digest]) -> dict[Digest, int]:
        from fleche.storage.sizes import of_files

        return of_files(self.root, keys) if self._has_a_file_a_key() else {}

    def _prefix_candidates(self, prefix: str) -> Iterable[Digest]:
        # An override of `list` knows better than the names of files.
        if type(self).list is not FileStorage.list:
            return self.list()
        return self._handle.candidates(prefix)  # type: ignore[no-any-return]

    def _shorten(self, keys: Sequence[Digest | str]) -> builtins.list[Digest | None]:
        if type(self).list is not FileStorage.list:
            return super()._shorten(keys)
        return self._handle.shorten(keys)  # type: ignore[no-any-return]

    def _contains(self, key: Digest) -> bool:
        return os.path.isfile(self._path(key))

    def _contains_many(self, keys: Sequence[Digest]) -> builtins.list[bool]:
        kind = type(self)
        own = kind.contains, kind._contains, kind._path
        if own != (FileStorage.contains, FileStorage._contains, FileStorage._path):
            return super()._contains_many(keys)
        return self._handle.contains_many(keys)  # type: ignore[no-any-return]

    def _evict(self, key: Digest) -> None:
        self._handle.evict(key, self._path(key))

    # Of storages of records: `root` holds an empty dot-file for each scheme of its keys.

    def _may_hold(self, scheme: str) -> bool:
        return bool(self._handle.may_hold(scheme))

    def _note_scheme(self) -> None:
        self._handle.note_scheme()

    def _hold_only_scheme(self) -> None:
        self._handle.hold_only_scheme()


def _resolved(root: str | os.PathLike[str]) -> Path:
    expanded = expanded_home(root)
    if "\0" in os.fspath(expanded):
        raise ValueError(f"{os.fspath(root)!r} is no path: it has a NUL character")
    try:
        return expanded.resolve()
    except RuntimeError:  # so until Python 3.13
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(root)) from None
