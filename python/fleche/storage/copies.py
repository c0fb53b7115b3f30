"""Copies of stores that are in use.

A record is written after the values that it names: records are copied first, and what they name is
there when the values' turn comes.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Protocol

__all__ = ["copy_database", "copy_folder"]


class _Database(Protocol):
    def copy_to(self, path: str) -> None: ...


def copy_database(database: _Database, path: Path, folder: Path) -> Path:
    """Copy an SQLite database as it is at one moment.

    Args:
        database: the open database.
        path: its file.
        folder: where the copy goes, under the same name.

    Raises:
        FileExistsError: if there is one already.
    """
    copied = _free(folder / path.name)
    # Made here, as SQLite would not ask the umask.
    with open(copied, "xb"):
        pass
    try:
        database.copy_to(str(copied))
    except BaseException:
        copied.unlink(missing_ok=True)
        raise
    return copied


def copy_folder(root: Path, folder: Path) -> Path:
    """Copy the entries of a folder, and what says whose they are.

    Args:
        root: the folder of the entries; it may be missing.
        folder: where the copy goes, under the same name.

    Raises:
        FileExistsError: if there is one already.
    """
    copied = _free(folder / root.name)
    copied.mkdir()
    try:
        entries = [*os.scandir(root)]
    except FileNotFoundError:
        entries = []
    for entry in entries:
        is_part = not entry.name.startswith(".") or entry.name.startswith(".fleche-")
        if is_part and not entry.name.endswith(".tmp") and entry.is_file():
            try:
                shutil.copy2(entry.path, copied / entry.name)
            except FileNotFoundError:  # It was evicted meanwhile.
                continue
    return copied


def _free(path: Path) -> Path:
    if path.exists():
        raise FileExistsError(errno.EEXIST, "there is something already", str(path))
    return path
