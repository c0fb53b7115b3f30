"""What `fleche doctor` looks at: each check gives findings, with what to do about them."""

from __future__ import annotations

import os
import platform
import random
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche.cli.stores import pairs
from fleche.look.numbers import count, size

if TYPE_CHECKING:
    from fleche.caches import BaseCache, Cache

__all__ = ["Finding", "check"]

_TEMPORARY = re.compile(r"\.[0-9a-f]{64}\..*\.tmp")
# Less room than this, or less than this part of all, is too little.
_LEAST_ROOM, _LEAST_PART = 1 << 30, 0.02


@dataclass(frozen=True)
class Finding:
    """Something that was found.

    Args:
        about: what it is about: a place, or a part of the cache.
        level: `"ok"`, `"note"` or `"problem"`.
        text: what was found.
        advice: what to do.
    """

    about: str
    level: str
    text: str
    advice: str = ""

    @property
    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def check(cache: BaseCache, sample: int) -> Iterator[Finding]:
    """Look at a cache and the places that it is in.

    Args:
        cache: the cache.
        sample: how many values to look into.
    """
    found = pairs(cache)
    if not found:
        yield from _reachable(cache)
    from fleche.caches.garbage.places import place_of

    places = [place_of(each) for pair in found for each in (pair.values, pair.calls)]
    for place in dict.fromkeys(place for place in places if isinstance(place, Path)):
        yield from _place(place)
    for pair in found:
        try:
            yield from _claims(pair)
            yield from _versions(pair)
            yield from _classes(pair, sample)
        except OSError as error:
            advice = "mend what is said about its place first"
            yield Finding(_named(pair), "problem", f"cannot be read: {error}", advice)


def _reachable(cache: BaseCache) -> Iterator[Finding]:
    from fleche.call import QueryCall

    about = type(cache).__name__
    try:
        next(iter(cache._query(QueryCall(name="no such function"))), None)
    except Exception as error:
        yield Finding(about, "problem", f"out of reach: {error}", "mend the connection, then again")
    else:
        yield Finding(about, "ok", "within reach", "run `fleche doctor` on that machine, too")


def _place(place: Path) -> Iterator[Finding]:
    about = str(place)
    is_file = place.is_file() or (not place.exists() and place.suffix != "")
    folder = place.parent if is_file else place
    if not folder.is_dir():
        above = next(each for each in folder.parents if each.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            yield Finding(
                about,
                "problem",
                f"is not there, and cannot be made: {above} is not to be written to",
                "mount it, choose another root in the configuration, or ask for the right",
            )
        else:
            yield Finding(about, "note", "is not there yet: the first call makes it")
        yield from _room(about, above)
        return
    yield from _writable(about, folder, place if is_file else None)
    yield from _file_system(about, folder)
    yield from _room(about, folder)
    if not is_file:
        yield from _temporary(about, folder)


def _writable(about: str, folder: Path, database: Path | None) -> Iterator[Finding]:
    """Whether files can be made and locked there."""
    path = folder / f".fleche-doctor-{secrets.token_hex(8)}"
    try:
        with open(path, "xb"):
            pass
    except OSError as error:
        yield Finding(
            about,
            "problem",
            f"cannot be written to: {error.strerror}",
            "ask for the right to write, or say read_only = true in its section",
        )
        return
    try:
        lock = _core.lock_file(path, 0, False)
        works = lock is not None and lock.is_held
        if lock is not None:
            lock.release()
    except OSError:
        works = False
    finally:
        path.unlink(missing_ok=True)
    if database is not None and database.exists() and not os.access(database, os.R_OK | os.W_OK):
        yield Finding(
            about, "problem", "the database cannot be read and written", "ask for the right to it"
        )
    elif works:
        yield Finding(about, "ok", "can be written to, and locked")
    else:
        yield Finding(
            about,
            "problem",
            "can be written to, but files in it cannot be locked",
            "mount it with locks (NFS: not with nolock), or let one process at a time use it",
        )


def _file_system(about: str, folder: Path) -> Iterator[Finding]:
    kind = _core.network_file_system(folder)
    if kind is None:
        yield Finding(about, "ok", "on a file system of this machine")
    else:
        yield Finding(
            about,
            "note",
            f"on a network file system ({kind}): each file takes a while",
            "a stack with a local cache before it is faster: docs/caches.md",
        )


def _room(about: str, folder: Path) -> Iterator[Finding]:
    try:
        room = shutil.disk_usage(folder)
    except OSError as error:
        yield Finding(about, "problem", f"how much is free cannot be told: {error}")
        return
    text = f"{size(room.free)} free of {size(room.total)}"
    if room.free < min(_LEAST_ROOM, room.total / 4) or room.free < _LEAST_PART * room.total:
        advice = "`fleche du` shows what takes room; `fleche evict` and `fleche gc` make some"
        yield Finding(about, "problem", text, advice)
    else:
        yield Finding(about, "ok", text)
    if not hasattr(os, "statvfs"):
        return
    status = os.statvfs(folder)
    if status.f_files and status.f_favail < _LEAST_PART * status.f_files:
        yield Finding(
            about,
            "problem",
            f"{status.f_favail:,} files can be made, of {status.f_files:,}",
            "store fewer of them: remaining_depth = 1, calls in SQLite; `fleche convert` does it",
        )


def _temporary(about: str, folder: Path) -> Iterator[Finding]:
    with os.scandir(folder) as entries:
        left = [entry.name for entry in entries if _TEMPORARY.fullmatch(entry.name)]
    if left:
        yield Finding(
            about,
            "note",
            f"{count(len(left), 'temporary file')}, of writers that are at work, or were killed",
            "none: those of killed ones are removed when the folder is listed",
        )


def _claims(pair: Cache) -> Iterator[Finding]:
    """Claims on calls that are being computed, and those of processes that died."""
    claims: Any = pair.calls._claims()
    folder = getattr(claims, "_folder", None)
    if not isinstance(folder, Path) or not folder.is_dir():
        return
    dead = [note for note in folder.glob("*.holder") if claims.holder(note.stem) is None]
    running = len([*folder.glob("*.holder")]) - len(dead)
    if running:
        yield Finding(str(folder), "ok", f"{count(running, 'call')} being computed")
    if dead:
        yield Finding(
            str(folder),
            "note",
            f"{count(len(dead), 'claim')} of processes that died while they computed",
            "none: who wants such a call takes the claim over",
        )


def _versions(pair: Cache) -> Iterator[Finding]:
    """Other versions of Python and of fleche that calls were recorded by."""
    from fleche.call import QueryCall

    others: Counter[str] = Counter()
    ours = {"Python": platform.python_version(), "fleche": _core.VERSION}
    number = 0
    for record in pair.calls.query(QueryCall()):
        number += 1
        held = record.metadata.get("environment")
        for name, key in (("Python", "python_version"), ("fleche", "fleche_version")):
            version = held.get(key) if isinstance(held, dict) else None
            if isinstance(version, str) and version != ours[name]:
                others[f"{name} {version}"] += 1
    unread = len(set(pair.calls.list())) - number
    about = _named(pair)
    if unread > 0:
        yield Finding(
            about,
            "problem",
            f"{count(unread, 'record')} of {number + unread:,} cannot be read",
            "the log above says why; `fleche evict KEY` removes one",
        )
    else:
        yield Finding(about, "ok", f"{count(number, 'record')} can be read")
    if others:
        listed = ", ".join(f"{version} ({calls:,})" for version, calls in others.most_common(8))
        yield Finding(
            about,
            "note",
            f"calls were recorded by {listed}; this is Python {ours['Python']}",
            "none, as long as their classes can be imported, which is looked at, too",
        )


def _named(pair: Cache) -> str:
    from fleche.caches.garbage.places import place_of

    place = place_of(pair.calls)
    return str(place) if isinstance(place, (str, Path)) else "memory"


def _classes(pair: Cache, sample: int) -> Iterator[Finding]:
    """Values that cannot be unpickled here; none is."""
    from fleche._foundation.messages import no_message
    from fleche.caches.garbage.places import place_of
    from fleche.cli.named import cannot_be_imported
    from fleche.storage.raw import names_in, reader

    read = reader(pair.values)
    about = str(place_of(pair.values))
    if read is None or not Path(about).is_dir():
        return
    keys = sorted(pair.values.list())
    some = keys if len(keys) <= sample else random.Random(0).sample(keys, sample)
    missing: Counter[str] = Counter()
    damaged = []
    for key in some:
        try:
            with no_message():
                names = names_in(read(key))
        except (KeyError, ValueError):
            damaged.append(key)
            continue
        missing.update(cannot_be_imported(names))
    if damaged:
        yield Finding(
            about,
            "problem",
            f"{count(len(damaged), 'value')} of {len(some):,} looked at: damaged, or their "
            f"signatures do not hold, as {damaged[0]}",
            "check secret_key; else remove them: the calls that need them compute again",
        )
    own = sorted(name for name in missing if name.startswith("__main__."))
    for name, number in missing.most_common(8):
        if name not in own:
            yield Finding(
                about,
                "problem",
                f"{name} cannot be imported here; {count(number, 'value')} of {len(some):,} looked "
                f"at need it",
                "install its package, or have its module on the path; such calls compute again",
            )
    if own:
        yield Finding(
            about,
            "note",
            f"values hold objects of scripts' own classes: {', '.join(own[:5])}",
            "they load in the script that made them; move the classes to a module to share them",
        )
    if not damaged and not missing:
        yield Finding(about, "ok", f"{count(len(some), 'value')} looked at, all can be loaded")
