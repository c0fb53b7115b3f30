"""The backend of bags: one entry, put, got, evicted and listed; roots moved to other layouts."""

from __future__ import annotations

import builtins
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import InitVar, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from fleche import _core
from fleche.digest import Digest
from fleche.storage.bags import VersionValidator
from fleche.storage.bags.layout import (
    cannot_move,
    check_prefix_length,
    check_validator,
    files_of,
    prefix_lengths,
)
from fleche.storage.base import (
    SaveError,
    Unreadable,
)
from fleche.storage.destructuring import DestructuringMixin
from fleche.storage.file import FileStorage

logger = logging.getLogger("fleche.storage.bagofholding_file")


class _Lazy:
    """A module that is imported when it is first used: this one's names are there without h5py."""

    def __getattr__(self, name: str) -> Any:
        from fleche.storage.bags import files as _bags

        return getattr(_bags, name)


_bags: Any = _Lazy()

_Entry = TypeVar("_Entry")
_SUFFIX = ".h5"
# The layout of a new root of the reference, and the only one that its templates open.
_SHARED_LENGTH = 2


@dataclass(frozen=True)
class BagOfHoldingH5FileBackend(FileStorage):
    """A backend that keeps each entry in an HDF5 bag.

    Args:
        root: the folder, created when first written to; `~` is the home folder.
        version_validator: which versions of an object's package may load it; `None`: the default
            of `bagofholding`, which is `"exact"`. An entry of another version is a miss.
        prefix_length: 0: a file a key; else a file for all keys that share so many characters.
            `None`: what is found in `root`; in a new one 0, in digest scheme `sha256` 2, which
            is what the reference opens.
        lock_timeout: how long to wait for others at the same file, in seconds; a negative number:
            without end.
        check_consistency: whether to look at `root` for files of another `prefix_length`.

    Raises:
        ImportError: if `bagofholding` or `h5py` is not installed.
        ValueError: for another validator or prefix length, or if `root` has files of another
            prefix length.
    """

    version_validator: VersionValidator | None = None
    prefix_length: int | None = None
    lock_timeout: float = 1.0
    check_consistency: InitVar[bool] = True

    # Files are replaced at once, or looked at under their lock.
    _put_replaces: ClassVar[bool] = True

    def __post_init__(self, check_consistency: bool) -> None:
        super().__post_init__()
        _bags.write  # noqa: B018 - a missing package is told here, not when the first value comes
        check_validator(self.version_validator)
        if self.prefix_length is None:
            object.__setattr__(self, "prefix_length", self._infer_prefix_length())
            return
        check_prefix_length(self.prefix_length)
        if check_consistency:
            self._check_prefix_consistency()

    def _infer_prefix_length(self) -> int:
        found = prefix_lengths(self.root)
        if len(found) > 1:
            raise ValueError(
                f"Cannot infer prefix_length: files in {self.root} mix prefix lengths {found} "
                f"(0 = one file per key); repair with "
                f"{type(self).__name__}.consolidate({str(self.root)!r}, {found[0]})."
            )
        if found:
            return found[0]
        return _SHARED_LENGTH if _core.scheme() == "sha256" else 0

    def _check_prefix_consistency(self) -> None:
        others = [n for n in prefix_lengths(self.root) if n != self.prefix_length]
        if others:
            name, length, root = type(self).__name__, self.prefix_length, str(self.root)
            raise ValueError(
                f"prefix_length={length} does not match existing files in {root} written with "
                f"prefix length(s) {others} (0 = one file per key); open the storage with "
                f"prefix_length={others[0]} and call refix({length}) to migrate, or unify the "
                f"root with {name}.consolidate({root!r}, {length})."
            )

    @property
    def _length(self) -> int:
        return self.prefix_length or 0

    def _bag_file(self, key: str) -> Path:
        """The HDF5 file that has the bag of `key`."""
        if not self._length:
            return self.root / key
        return self.root / (key[: self._length] + _SUFFIX)

    def _lock_path(self, key: str) -> Path:
        """What is locked around everything done to the file of several keys."""
        return self.root / (key[: self._length] + _SUFFIX + ".lock")

    def _path(self, key: str) -> Path:
        return self._bag_file(key) / key if self._length else self.root / key

    def _to_file(self, value: Any, path: Path) -> None:
        # `bagofholding` looks for an `.h5` in every part of the path of what is no file yet.
        path.touch()
        _bags.write(path, value)

    def _from_file(self, path: Path) -> Any:
        return self._read(path, self.version_validator)

    def _read(self, path: Path, validator: str | None) -> Any:
        if self._length:
            return _bags.read(path.parent, path.name, validator)
        return _bags.read(path, "", validator)

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """Nobody writes to the file of `key` meanwhile, or has done so for too long."""
        if not self._length:
            yield
            return
        held = _core.lock_file(self._lock_path(key), self.lock_timeout, True)
        if held is not None and _bags.has_unfinished(self._bag_file(key)):
            # Who was in it was killed: taking the file for ourselves mends it.
            held.release()
            with suppress(OSError, SaveError), self._writing(key):
                pass
            held = _core.lock_file(self._lock_path(key), self.lock_timeout, True)
        if held is None:
            logger.warning(
                "Lock still held for %s after %s seconds, trying to read anyway.",
                *(key, self.lock_timeout),
            )
        try:
            yield
        finally:
            if held is not None:
                held.release()

    @contextmanager
    def _temporary(self, key: str) -> Iterator[Path]:
        """A name in `root` for a file that is removed afterwards, if it is still there."""
        temporary = self._handle.temporary(key)
        try:
            yield temporary
        finally:
            self._handle.discard(temporary)

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        """Nobody else reads or writes the file of `key` meanwhile."""
        lock = self._lock_path(key)
        held = _core.lock_file(lock, self.lock_timeout, False)
        if held is None:
            message = (
                f"cannot write {key} to {self._bag_file(key)}: the lock file {lock} was still held "
                f"after {self.lock_timeout} s; try again, or give the storage a longer lock_timeout"
            )
            logger.error("%s", message)
            raise SaveError(message)
        try:
            file = self._bag_file(key)
            if held.is_held and _bags.has_unfinished(file):
                _bags.undo_unfinished(file)
            yield
        finally:
            held.release()

    def put(self, value: Any, key: Digest) -> Digest:
        """Write the bag of `value`, replacing the one of `key`.

        Raises:
            SaveError: if the value cannot be put into HDF5, or not in time.
            ValueError: if `key` is no digest.
        """
        handle = self._handle
        try:
            temporary = handle.temporary(key)
        except OSError as error:
            raise SaveError(f"cannot save {key} in {self.root}: {error}") from error
        try:
            self._put(value, key, temporary)
        except (SaveError, MemoryError):
            raise
        except Exception as error:
            if (isinstance(error, OSError) and error.errno is not None) or _bags.is_full(error):
                # The disk's fault, not the value's.
                raise SaveError(f"cannot save {self._path(key)}: {error}") from error
            raise SaveError(
                f"cannot save {self._path(key)}: its {type(value).__name__} cannot be put into an "
                f"HDF5 bag ({type(error).__name__}: {error}); return something that can, or choose "
                "a storage of another type ('cloudpickle' takes most)"
            ) from error
        finally:
            handle.discard(temporary)
        return key

    def _put(self, value: Any, key: Digest, temporary: Path) -> None:
        # Code of users runs only in here: nothing is locked yet, and nothing to be damaged.
        self._to_file(value, temporary)
        try:
            if not self._length:
                self._handle.commit(temporary, key, self._path(key))
                return
            with self._writing(key), self._temporary(key) as changed:
                _bags.copy_into(temporary, "", self._bag_file(key), key, changed)
        except OSError as error:
            raise SaveError(f"cannot save {self._path(key)}: {error}") from error

    def get(self, key: Digest) -> Any:
        """The object in the bag of `key`.

        Raises:
            KeyError: if there is none, or it cannot be loaded.
        """
        return self._get(key, self._from_file)

    def _get(self, key: Digest, load: Any) -> Any:
        path = self._path(key)
        if not os.path.isfile(self._bag_file(key)) and not self._handle.bring_back(key):
            raise KeyError(path)
        try:
            with self._reading(key):
                return load(path)
        except MemoryError:
            raise
        except (FileNotFoundError, _bags.NoSuchBag) as error:
            raise KeyError(path) from error
        except _bags.VersionMismatch as error:
            logger.warning(
                "Cache entry %s is of another version, taken as missing: %s Load it by a storage "
                "with another version_validator, or save it anew by rebag().",
                *(path, error),
            )
            raise Unreadable(path) from error
        except Exception as error:
            logger.error("Corrupt file present in cache at path %s: %s", path, error, exc_info=True)
            # What is no HDF5 file, or a damaged one, is an `OSError` without a number.
            may_pass = isinstance(error, ImportError | AttributeError) or (
                isinstance(error, OSError) and error.errno is not None
            )
            raise (Unreadable if may_pass else KeyError)(path) from error

    def _has_a_file_a_key(self) -> bool:
        return not self._length

    def _mentions(self, keys: Sequence[Digest], wanted: Iterable[Digest]) -> Iterable[Digest]:
        # Texts stand in HDF5 files as they are.
        wanted = [*wanted]
        if not self._length:
            return self._handle.mentions([*map(self._path, keys)], wanted)  # type: ignore[no-any-return]
        found: set[Digest] = set()
        for key in keys:
            # Alone: the others of its file are there by their names.
            with self._temporary(key) as alone:
                try:
                    _bags.copy_out(self._bag_file(key), key, alone)
                except (OSError, KeyError, ValueError, RuntimeError):  # so HDF5 tells of damage
                    found.update(self._handle.mentions([self._bag_file(key)], wanted))
                else:
                    found.update(self._handle.mentions([alone], wanted))
        return found

    def list(self) -> Iterable[Digest]:
        if not self._length:
            return self._handle.list()  # type: ignore[no-any-return]
        # Sweeps what dead writers left; bags of several keys it does not look at.
        self._handle.list()
        every: builtins.list[Digest] = []
        for file in sorted(files_of(self.root, self._length)):
            every.extend(self._keys_in(file))
        return every

    def _keys_in(self, file: Path) -> builtins.list[Digest]:
        return self._look_into(file, _bags.keys)

    def _look_into(
        self, file: Path, look: Callable[[Path], builtins.list[_Entry]]
    ) -> builtins.list[_Entry]:
        """What is in a file of several keys; nothing if it cannot be read."""
        try:
            with self._reading(file.name):
                return look(file)
        except FileNotFoundError:
            return []
        except Exception as error:
            logger.error("Corrupt file present in cache at path %s: %s", file, error, exc_info=True)
            return []

    def _sizes(self, keys: Sequence[Digest]) -> dict[Digest, int]:
        if not self._length:
            return super()._sizes(keys)
        wanted: set[Digest] = {*keys}
        found: dict[Digest, int] = {}
        for file in {self._bag_file(key) for key in wanted}:
            found.update(self._look_into(file, _bags.sizes))
        return {key: size for key, size in found.items() if key in wanted}

    def _list_by_age(self) -> Iterable[Digest]:
        if type(self).list is not BagOfHoldingH5FileBackend.list:
            return self.list()
        if not self._length:
            return self._handle.list_by_age()  # type: ignore[no-any-return]
        every: builtins.list[tuple[int, Digest]] = []
        for file in files_of(self.root, self._length):
            every.extend(self._look_into(file, _bags.times))
        return [key for _, key in sorted(every)]

    def _prefix_candidates(self, prefix: str) -> Iterable[Digest]:
        if type(self).list is not BagOfHoldingH5FileBackend.list:
            return self.list()
        if not self._length:
            return self._handle.candidates(prefix)  # type: ignore[no-any-return]
        if len(prefix) < self._length:
            return self.list()
        return self._keys_in(self._bag_file(prefix))

    def _contains(self, key: Digest) -> bool:
        file = self._bag_file(key)
        if not self._length or not file.is_file():
            return os.path.isfile(file)
        try:
            with self._reading(key):
                return bool(_bags.contains(file, key))
        except MemoryError:
            raise
        except Exception:  # A damaged file, of which HDF5 has many ways to tell.
            return False

    def _evict(self, key: Digest) -> None:
        file = self._bag_file(key)
        if not self._length:
            super()._evict(key)
        elif os.path.isfile(file):
            with self._writing(key), self._temporary(key) as changed:
                if file.is_file():
                    _bags.remove(file, key, changed)

    def refix(self, prefix_length: int) -> Self:
        """Move every entry to the layout of another prefix length, as it is.

        An entry is in its new place before it leaves the old one. If it stops in the middle, the
        next call goes on. Nobody else should write to the root meanwhile.

        Args:
            prefix_length: 0 for a file a key; else for a file for all keys that share so many
                characters.

        Returns:
            The storage of the new layout.

        Raises:
            RuntimeError: if an entry cannot be read; nothing is lost.
            SaveError: if a lock is held by others for longer than `lock_timeout`.
        """
        check_prefix_length(prefix_length)
        target = self._with_prefix_length(prefix_length)
        if prefix_length == self.prefix_length:
            return target
        for file in sorted(files_of(self.root, self._length)):
            for key in self._readable_keys(file, prefix_length):
                self._refix_one(target, key)
        return target

    def _with_prefix_length(self, prefix_length: int) -> Self:
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        own["prefix_length"] = prefix_length
        return type(self)(**own, check_consistency=False)

    def _readable_keys(self, file: Path, prefix_length: int) -> Iterable[Digest]:
        if not self._length:
            return [Digest(file.name)]
        try:
            with self._reading(file.name):
                return builtins.list(_bags.keys(file))
        except Exception as error:
            cannot_move(file, prefix_length, error)

    def _refix_one(self, target: BagOfHoldingH5FileBackend, key: Digest) -> None:
        """Move the bag of `key` to its place in the layout of `target`."""
        group = key if self._length else ""
        temporary = target._handle.temporary(key)
        try:
            try:
                with self._reading(key):
                    _bags.copy_out(self._bag_file(key), group, temporary)
            except Exception as error:
                cannot_move(self._path(key), target._length, error)
            if target._length:
                with target._writing(key), target._temporary(key) as changed:
                    _bags.copy_into(temporary, "", target._bag_file(key), key, changed)
            else:
                target._handle.commit(temporary, key, target._path(key))
        finally:
            target._handle.discard(temporary)
        self._evict(key)

    @classmethod
    def consolidate(cls, root: Path | str, prefix_length: int = 2, **kwargs: Any) -> Self:
        """Move every entry of a root of several layouts to one.

        Args:
            root: the folder.
            prefix_length: the layout, see `refix`.
            kwargs: the storage's other arguments.

        Returns:
            The storage of that layout.

        Raises:
            RuntimeError: if an entry cannot be read; nothing is lost.
        """
        check_prefix_length(prefix_length)
        kwargs["check_consistency"] = False
        target = cls(Path(root), prefix_length=prefix_length, **kwargs)
        for length in prefix_lengths(target.root):
            if length != prefix_length:
                target._with_prefix_length(length).refix(prefix_length)
        return target

    def rebag(self, version_validator: VersionValidator = "none") -> None:
        """Save every entry anew, with the versions of today's packages.

        An entry that cannot be loaded is logged and stays as it is.

        Args:
            version_validator: which versions of an object's package may load it.

        Raises:
            ValueError: if there is no such validator.
            SaveError: if an entry cannot be written.
        """
        check_validator(version_validator)
        for key in builtins.list(self.list()):
            try:
                value = self._get(key, lambda path: self._read(path, version_validator))
            except KeyError:
                continue
            self.put(value, key)

    def to_config(self) -> dict[str, Any]:
        """The configuration that makes this storage again."""
        config: dict[str, Any] = {
            "type": "bagofholding_hdf",
            "root": str(self.root),
            "lock_timeout": self.lock_timeout,
            "version_validator": self.version_validator,
            "prefix_length": self.prefix_length,
        }
        if isinstance(self, DestructuringMixin):
            config["remaining_depth"] = self.remaining_depth
        return config
