"""Whose records need the values of a storage: not those of one cache alone, where several share it.

A cache that saves into a folder of values leaves a note there (`docs/design.md`), and every cache
of this process is remembered: a garbage collection looks at the records of all of them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
import socket
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche.caches.base import BaseCache, Rejected
from fleche.caches.garbage.places import pairs_of, place_of
from fleche.storage.base import CallStorage, ValueStorage, get_storage_constructor
from fleche.storage.urls import without_password

if TYPE_CHECKING:
    from fleche.caches.pair import Cache

# What the names of notes begin with, and of the locks that say whose process still runs.
_NOTE, _HOLDER = ".fleche-user-", ".fleche-holder-"

# Notes of records in memory, by name: the process that made them.
_OURS: dict[str, int] = {}

# Storages of calls of this process, and the values that they need the records of. By identity:
# two databases in memory are equal.
_REMEMBERED: dict[int, tuple[weakref.ref[Any], set[Any]]] = {}


def remember(values: ValueStorage, calls: CallStorage) -> None:
    """Keep in mind, as long as `calls` lives, that its records need values of `values`."""
    found = _REMEMBERED.get(id(calls))
    if found is None or found[0]() is not calls:
        forget = functools.partial(_forget, id(calls))
        try:
            reference = weakref.ref(calls, forget)
        except TypeError:  # a class of a user's, with slots
            return
        found = _REMEMBERED[id(calls)] = (reference, set())
    found[1].add(_shared(values))


def _forget(key: int, gone: Any) -> None:
    held = _REMEMBERED.get(key)
    if held is not None and held[0] is gone:
        del _REMEMBERED[key]


def _shared(values: ValueStorage) -> Any:
    """What is equal for two storages of the same values."""
    place = place_of(values)
    return id(values) if place is None else (type(place), place)


def note_of(values: ValueStorage, calls: CallStorage) -> tuple[str, bytes] | None:
    """The note to be left beside the values: its name, and what it says."""
    values_place, place = place_of(values), place_of(calls)
    if not isinstance(values_place, Path):
        return None
    if not isinstance(place, (Path, str)):
        return _note_while_it_lives(values_place, calls)
    note: dict[str, str | None] = {"type": _type_of(calls)}
    if isinstance(place, Path):
        note["path"] = str(place)
        # Good where the whole store was moved, or is reached by another way.
        note["relative"] = tells_apart = os.path.relpath(place, values_place)
    else:
        note["url"] = tells_apart = without_password(place)
    name = hashlib.sha256(tells_apart.encode(errors="surrogateescape")).hexdigest()[:16]
    return name, json.dumps(note).encode()


def _note_while_it_lives(values_place: Path, calls: CallStorage) -> tuple[str, bytes] | None:
    """The note of records that only this process has; it goes with them.

    A lock beside it says that they are still there, if the process is killed, too.
    """
    name = secrets.token_hex(8)
    holder = values_place / f"{_HOLDER}{name}"
    try:
        values_place.mkdir(parents=True, exist_ok=True)
        lock = _core.lock_file(holder, 0, False)
        if lock is None or not lock.is_held:
            return None
        weakref.finalize(calls, _take_back, holder, lock, os.getpid())
        _OURS[name] = os.getpid()
    except (OSError, TypeError):
        # No locks there, or a class of a user's, with slots: it stays unknown to others.
        return None
    here = {"type": _type_of(calls), "process": os.getpid(), "host": socket.gethostname()}
    return name, json.dumps(here).encode()


def _take_back(holder: Path, lock: _core.FileLock, process: int) -> None:
    # A forked child leaves it to its parent.
    if os.getpid() == process:
        holder.with_name(holder.name.replace(_HOLDER, _NOTE)).unlink(missing_ok=True)
        holder.unlink(missing_ok=True)
        lock.release()


def _is_gone(note: Path) -> bool:
    """Whether the process that left a note of records in its memory has ended."""
    holder = note.with_name(note.name.replace(_NOTE, _HOLDER))
    if not holder.exists():
        return True
    lock = _core.lock_file(holder, 0, False)
    # One that cannot be locked, another user's, say, may be in use.
    if lock is None or not lock.is_held:
        return False
    holder.unlink(missing_ok=True)
    lock.release()
    return True


def _type_of(calls: CallStorage) -> str | None:
    to_config = getattr(calls, "to_config", None)
    return None if to_config is None else to_config().get("type")


def users_of(cache: Cache) -> list[CallStorage]:
    """The storages of all records that need the values of a cache, its own first.

    Raises:
        Rejected: if one of them is noted but out of reach.
    """
    values, calls = cache.values, cache.calls
    shared = _shared(values)
    found = [calls]
    for reference, needed in [*_REMEMBERED.values()]:
        other = reference()
        if other is not None and shared in needed:
            found.append(other)
    # Several on one place have the same records.
    known = {
        (id(each) if (place := place_of(each)) is None else place): each for each in found[::-1]
    }
    noted = values._collection.users()
    for path, text in () if noted is None else noted[0]:
        for other in _noted(path, text, cache, [*known]):
            known[place_of(other)] = other
    known.pop(place_of(calls), None)
    known.pop(id(calls), None)
    return [calls, *known.values()]


def say_all(cache: Cache, others: Iterable[BaseCache]) -> None:
    """Note that these caches, and no others, save into the values of `cache`."""
    values, collection = cache.values, cache.values._collection
    users = [pair.calls for each in (cache, *others) for pair in pairs_of(each)]
    with collection.collecting():
        for calls in users:
            remember(values, calls)
        notes = dict(filter(None, (note_of(values, calls) for calls in users)))
        for name, text in notes.items():
            collection.note_user(name, text)
        noted = collection.users()
        for path, _ in () if noted is None else noted[0]:
            if path.name.rpartition("-")[2] not in notes:
                path.unlink(missing_ok=True)
        collection.complete_users()


def are_all_known(values: ValueStorage) -> bool:
    """Whether every cache that saved into these values noted that."""
    noted = values._collection.users()
    return noted is None or noted[1]


def _noted(path: Path, text: bytes, cache: Cache, known: list[Any]) -> Iterator[CallStorage]:
    """The storage that a note is of, unless it is known."""
    refusal = (
        f"gc evicts nothing: the note {str(path)!r} says that records elsewhere need these values"
    )
    way_out = (
        "Make that cache in the same process first; or, if those records are gone for good, say "
        "by Cache.shares_values_with() which caches there are"
    )
    try:
        note = json.loads(text)
        kind, url, place = note["type"], note.get("url"), note.get("path")
        relative, process = note.get("relative"), note.get("process")
        ways = []
        if process is None and url is None:
            ways = [Path(os.path.realpath(each)) for each in (place, path.parent / relative)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Rejected(f"{refusal}, but cannot be read. {way_out}") from None
    if process is not None:
        if _OURS.get(path.name.removeprefix(_NOTE)) == os.getpid():
            return  # They are remembered.
        if not _is_gone(path):
            raise Rejected(
                f"gc evicts nothing: a cache with records in memory, of process {process} on "
                f"{note.get('host')}, needs these values. Collect when it has ended; or there"
            )
        path.unlink(missing_ok=True)
        return
    if url is not None:
        if not any(isinstance(each, str) and _hidden(each) == url for each in known):
            raise Rejected(f"{refusal}, in the database {url}. {way_out}")
        return
    there = [way for way in ways if way.exists()]
    if not there and not any(way in known for way in ways):
        raise Rejected(f"{refusal}, in {place!r}, where nothing is. {way_out}")
    for way in dict.fromkeys(there):
        if way not in known:
            try:
                yield _opened(kind, way, cache)
            except Exception as error:
                raise Rejected(f"{refusal}, in {str(way)!r}: {error}. {way_out}") from error


def _hidden(url: str) -> str:
    return without_password(url)


def _opened(kind: str | None, place: Path, cache: Cache) -> CallStorage:
    constructor = None if kind is None else get_storage_constructor(kind, "call")
    if constructor is None:
        raise ValueError(f"there is no storage type {kind!r} here")
    if kind == "sql":
        return constructor(url=str(place))  # type: ignore[no-any-return]
    # Nothing is unpickled there that would not be here.
    keys = getattr(cache.calls, "secret_key", None)
    if keys is None:
        keys = getattr(cache.values, "secret_key", ())
    more = {"secret_key": keys} if keys and kind in ("pickle", "cloudpickle", "dill") else {}
    return constructor(root=place, **more)  # type: ignore[no-any-return]
