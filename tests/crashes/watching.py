"""System calls of the engine, counted, made to fail, and used to kill a process."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleche import _core

Hook = Callable[[str, Path], int | None]


@contextmanager
def watched(hook: Hook, *, sqlite: bool = False) -> Iterator[None]:
    """Has `hook` called before every system call, with `sqlite` before those of SQLite, too; the
    number it returns is an `errno`."""
    watch = getattr(_core, "watch_system_calls", None)
    if watch is None:
        pytest.fail("needs a build with debug assertions: maturin develop, without --release")
    watch(hook, sqlite)
    try:
        yield
    finally:
        watch(None)


class AtCall:
    """Does something before one system call, counted from 1; the others are simply made."""

    def __init__(self, which: int) -> None:
        self.which, self.count, self.call = which, 0, ""

    def __call__(self, name: str, path: Path) -> int | None:
        self.count += 1
        if self.count != self.which:
            return None
        self.call = f"{name} {path}"
        return self.act(path)

    def act(self, path: Path) -> int | None:
        raise NotImplementedError

    @property
    def reached(self) -> bool:
        return self.count >= self.which


class Failing(AtCall):
    """Lets one system call fail."""

    def __init__(self, which: int, number: int) -> None:
        super().__init__(which)
        self.number = number

    def act(self, path: Path) -> int | None:
        return self.number


class Vanishing(AtCall):
    """Removes the file that a system call is about, just before it is made."""

    def act(self, path: Path) -> int | None:
        if path.is_file():
            path.unlink()
        return None


class Killing(AtCall):
    """Ends the process before a system call, as `kill -9` does."""

    def act(self, path: Path) -> int | None:
        os.kill(os.getpid(), signal.SIGKILL)
        return None


class Interrupting:
    """Interrupts every system call once, as a signal does."""

    def __init__(self) -> None:
        self.interrupted = False

    def __call__(self, name: str, path: Path) -> int | None:
        self.interrupted = not self.interrupted
        return errno.EINTR if self.interrupted else None
