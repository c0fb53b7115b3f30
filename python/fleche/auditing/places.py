"""The storages of a cache, and what lies in them that is no entry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche.caches import BaseCache
from fleche.caches.garbage.places import place_of
from fleche.caches.views import ReadOnlyMixin
from fleche.digest import DIGEST_LENGTH
from fleche.storage.urls import without_password

if TYPE_CHECKING:
    from fleche.caches import Cache

__all__ = ["damaged_files", "leftovers", "pairs", "place_name"]

_HEX = frozenset("0123456789abcdef")


def pairs(cache: Any, writable: bool = True) -> Iterator[tuple[Cache | BaseCache, bool]]:
    """The pairs of storages that a cache is made of, each with whether it may be changed. A cache
    that has no storages here, as one on another machine, comes as it is.

    Args:
        cache: the cache.
        writable: whether what it is a part of may be changed.
    """
    writable = writable and not isinstance(cache, ReadOnlyMixin)
    if hasattr(cache, "values") and hasattr(cache, "calls"):
        yield cache, writable
        return
    members = (*getattr(cache, "stack", ()), *getattr(cache, "caches", ()))
    if inner := getattr(cache, "cache", None):
        members = (*members, inner)
    if not members:
        yield cache, writable
    for member in members:
        yield from pairs(member, writable)


def place_name(storage: Any) -> str:
    """Where a storage is, for people."""
    try:
        place = place_of(storage)
    except Exception:
        place = None
    if isinstance(place, str):
        return without_password(place)
    return str(place) if isinstance(place, Path) else type(storage).__name__


def _root_of(storage: Any) -> Path | None:
    place = place_of(storage)
    is_folder = isinstance(place, Path) and hasattr(storage, "_handle")
    return place if is_folder else None


def damaged_files(storage: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with files of a storage that no key leads to: a path or a name, and what.

    Args:
        storage: of values or of records.
    """
    store = getattr(storage, "_store", None)
    if store is not None and hasattr(store, "check"):
        try:
            for line in store.check():
                yield place_name(storage), f"SQLite says: {line}"
        except OSError as error:
            yield place_name(storage), str(error)
    root = _root_of(storage)
    if root is None or not root.is_dir():
        return
    length = getattr(storage, "prefix_length", 0) or 0
    for entry in os.scandir(root):
        name = entry.name
        if length:
            if name.endswith(".h5") and _HEX.issuperset(name[:-3]):
                yield from _damaged_bags(storage, Path(entry.path))
        elif len(name) == DIGEST_LENGTH and _HEX.issuperset(name) and not entry.is_file():
            what = "a folder" if entry.is_dir() else "a link that leads nowhere, or no file"
            yield entry.path, f"in the place of an entry there is {what}: remove it"


def _damaged_bags(storage: Any, path: Path) -> Iterator[tuple[str, str]]:
    from fleche.storage.bags import files

    try:
        with storage._reading(path.name):
            files.keys(path)
    except FileNotFoundError:
        if path.is_symlink():
            yield str(path), "a link that leads nowhere: remove it"
    except Exception as error:
        yield (
            str(path),
            f"no bag in it can be read ({error}): put it back from a backup, or remove it",
        )


def leftovers(storage: Any) -> Iterator[str]:
    """Files that writers left, or are about to finish.

    Args:
        storage: of values or of records.
    """
    root = _root_of(storage)
    if root is None or not root.is_dir():
        return
    for entry in os.scandir(root):
        if entry.name.endswith((".tmp", ".h5-journal")):
            yield entry.path
    if isinstance(storage._handle, _core.FileRoot):
        for key in storage._list_aside():
            yield str(root / ".fleche-aside" / key)
