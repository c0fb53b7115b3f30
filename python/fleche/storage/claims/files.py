"""Claims beside files: kernel locks, which end with the process that holds them.

`<folder>/<key>` is a lock file, held while the call is computed; `<folder>/<key>.holder` says, in
JSON, by whom. Both go with the claim. Where the note is still there when the lock is free, its
writer died.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from dataclasses import replace
from pathlib import Path

from fleche import _core
from fleche.storage.claims.base import Claim, Claims, Holder, Unclaimable

__all__ = ["FileClaims"]

_WHERE_NOTHING_IS_SAVED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}


class _FileClaim(Claim):
    def __init__(self, path: Path, lock: _core.FileLock, holder: Holder) -> None:
        self._path, self._lock, self._process = path, lock, os.getpid()
        self._note = path.with_name(f"{path.name}.holder")
        super().__init__(_read(self._note))
        self._holder = holder
        self._write()

    def _write(self) -> None:
        # Who cannot tell others who it is computes all the same.
        with contextlib.suppress(OSError):
            self._note.write_text(json.dumps(self._holder.to_json()))

    def wait_for(self, key: str | None) -> None:
        self._holder = replace(self._holder, waits_for=key)
        self._write()

    def release(self) -> None:
        # A forked child leaves it to its parent.
        if self._lock.is_held and self._process == os.getpid():
            for path in (self._note, self._path):
                with contextlib.suppress(OSError):
                    path.unlink()
        self._lock.release()


class FileClaims(Claims):
    """The claims on the calls of a store in files.

    Args:
        folder: where the locks are; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._folder = folder

    def take(self, key: str, seconds: float = 0, holder: Holder | None = None) -> Claim | None:
        path = self._folder / key
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = _core.lock_file(path, seconds, False)
        except OSError as error:
            told = error.errno in _WHERE_NOTHING_IS_SAVED
            text = f"{self._folder} cannot be locked: {error.strerror or error}"
            raise Unclaimable(text, told) from error
        if lock is None:
            return None
        if not lock.is_held:
            told = not os.access(self._folder, os.W_OK)
            raise Unclaimable(f"{self._folder} has no locks", told)
        return _FileClaim(path, lock, holder or Holder.here())

    def holder(self, key: str) -> Holder | None:
        note = self._folder / f"{key}.holder"
        holder = _read(note)
        if holder is None:
            return None
        # Who can share the lock has found a note that its writer left when it died.
        lock = _core.lock_file(self._folder / key, 0, True)
        if lock is None:
            return holder
        is_free = lock.is_held or not (self._folder / key).exists()
        lock.release()
        return None if is_free else holder


def _read(note: Path) -> Holder | None:
    try:
        return Holder.from_json(json.loads(note.read_text()))
    except (OSError, ValueError):
        return None
