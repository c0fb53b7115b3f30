"""Directories for the calls of `@fleche(isolate=True)`, one call at a time.

The working directory is the whole process's. Two calls in two threads would read and write each
other's files, and store what comes of that, so they take turns. A call inside of another one, in
the same thread, gets a directory of its own and gives the outer one's back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from fleche import _core
from fleche._foundation.log import logger_of

logger = logger_of("fleche")

# After so many seconds of waiting a warning says for what: a call that waits for isolated calls in
# other threads never ends.
PATIENCE = 10.0

# In seconds: how old what killed processes left is when it goes.
_DAY = 86400.0

# When each root was looked through last; once an hour is often enough.
_swept: dict[Path, float] = {}

# A directory to go back to: a descriptor, or its path where there are none of directories.
_Place: TypeAlias = Any


class _Turns:
    """Who may change the working directory, and where it goes back to."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.holder: int | None = None
        self.places: list[_Place] = []

    @contextlib.contextmanager
    def take(self, name: str) -> Iterator[None]:
        lock = self.lock
        if not lock.acquire(timeout=PATIENCE):
            logger.warning(
                "An isolated call (%s) waits for another thread's, which has not ended within %g "
                "seconds: they take turns in a process, as its working directory is one. A call "
                "that waits for isolated calls in other threads never ends: use processes there",
                name,
                PATIENCE,
            )
            lock.acquire()
        try:
            self.holder = threading.get_ident()
            yield
        finally:
            if not self.places:
                self.holder = None
            lock.release()

    def in_child(self) -> None:
        """After a fork: a call of another thread goes on in the parent alone."""
        if self.holder == threading.get_ident():
            return
        if self.places:
            with contextlib.suppress(OSError):
                _go_back(self.places[0])
            for place in self.places:
                _forget(place)
        self.__init__()  # type: ignore[misc]


_turns = _Turns()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turns.in_child)


@contextlib.contextmanager
def fresh_directory(name: str) -> Iterator[None]:
    """Run in a new directory, which is removed afterwards.

    Args:
        name: what its name begins with.

    Raises:
        OSError: if none can be made.
    """
    with _turns.take(name):
        process = os.getpid()
        new, lock = _new_directory(name)
        try:
            with _inside(new):
                yield
        finally:
            # A child that was forked inside leaves it to its parent.
            if os.getpid() == process:
                shutil.rmtree(new, ignore_errors=True)
                if lock is not None:
                    _lock_of(new).unlink(missing_ok=True)
                    lock.release()


def _new_directory(name: str) -> tuple[str, _core.FileLock | None]:
    """A new directory, and the lock beside it that says that it is in use."""
    for root in _roots():
        with contextlib.suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            new = tempfile.mkdtemp(prefix=f"{name}_", dir=root)
            lock = None
            with contextlib.suppress(OSError):
                lock = _core.lock_file(_lock_of(new), 0, False)
            _sweep(root, Path(new))
            return new, lock
    # Where the system has its temporary files; what is wrong there is raised.
    return tempfile.mkdtemp(prefix=f"fleche_{name}_"), None


def _lock_of(directory: str | Path) -> Path:
    return Path(directory).with_name(f".{Path(directory).name}.lock")


def _sweep(root: Path, new: Path) -> None:
    """Remove what calls left whose process was killed a day ago or more."""
    if new.stat().st_mtime - _swept.get(root, -_DAY) < _DAY / 24:
        return
    # By the clock of the file system, as what is compared.
    _swept[root] = now = new.stat().st_mtime
    for lock in root.glob(".*.lock"):
        left = root / lock.name.removeprefix(".").removesuffix(".lock")
        with contextlib.suppress(OSError):
            if now - lock.stat().st_mtime < _DAY:
                continue
            held = _core.lock_file(lock, 0, False)
            # Where nothing can be locked, nobody knows whether it is in use.
            if held is not None and held.is_held:
                logger.debug("Removing %s, which a call left whose process was killed", left)
                shutil.rmtree(left, ignore_errors=True)
                lock.unlink(missing_ok=True)
                held.release()


def _roots() -> Iterator[Path]:
    """Where directories are made, if there is such a place and one may write there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():
        try:
            cache = Path.home() / ".cache"
        except RuntimeError:  # there is no home
            return
    if cache.is_absolute():
        yield cache / "fleche" / "cwd"


@contextlib.contextmanager
def _inside(directory: str) -> Iterator[None]:
    before = _here()
    _turns.places.append(before)
    try:
        os.chdir(directory)
        yield
    finally:
        _go_back(before)
        _turns.places.remove(before)
        _forget(before)


if sys.platform == "win32":

    def _here() -> _Place:
        """The working directory, which nobody can rename or remove meanwhile."""
        return os.getcwd()

    def _go_back(place: _Place) -> None:
        os.chdir(place)

    def _forget(place: _Place) -> None:
        pass

else:

    def _here() -> _Place:
        """The working directory, by a descriptor: it may be renamed or removed meanwhile, or be
        there no longer already."""
        return os.open(".", getattr(os, "O_PATH", os.O_RDONLY))

    def _go_back(place: _Place) -> None:
        os.fchdir(place)

    def _forget(place: _Place) -> None:
        os.close(place)
