"""What a process knows of one bucket: the way there, and what it has seen lately."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fleche import _core
from fleche._foundation.errors import BucketError
from fleche.storage.buckets.settings import Access, options_of
from fleche.storage.buckets.urls import Where

__all__ = ["REFRESH", "Place", "place_at"]

_Got = TypeVar("_Got")

#: A value that is saved again is written anew once it is older than this, in seconds: a collection
#: of garbage leaves alone what is younger than twice that.
REFRESH = 12 * 3600.0

# A server that is out of reach is not asked again before this time, in seconds, so that the calls
# of a program do not wait for it one after the other.
_REST = 5.0

# So long, in seconds, a value is known to be there.
_KNOWN = 3600.0
_MOST_KNOWN = 1 << 17

# What was asked for ahead is good for so long, in seconds.
_FRESH = 30.0

# What was saved lately, to be put into its record: so many values of so many bytes at most.
_MOST_RECENT = 256
_RECENT_BYTES = 1 << 20

_PLACES: dict[tuple[int, Where, Access], Place] = {}


def place_at(where: Where, access: Access) -> Place:
    """The one place for a bucket and a way to speak to it in this process."""
    key = (os.getpid(), where, access)
    found = _PLACES.get(key)
    return _PLACES.setdefault(key, Place(where, access)) if found is None else found


class _OfThread(threading.local):
    """What a thread saved and loaded last."""

    def __init__(self) -> None:
        self.saved: dict[str, tuple[bytes, frozenset[str]]] = {}
        self.bytes = 0
        self.loaded: dict[str, bytes] = {}


class Place:
    """One bucket.

    Args:
        where: which one.
        access: how it is spoken to.
    """

    def __init__(self, where: Where, access: Access) -> None:
        self.where, self.access = where, access
        self._bucket: Any = None
        self._down: tuple[float, BucketError] | None = None
        self._known: dict[str, tuple[float, int | None]] = {}
        self._of_thread = _OfThread()
        self._ahead: dict[str, tuple[float, bytes]] = {}

    @property
    def bucket(self) -> Any:
        """The bucket, for operations that `ask` makes.

        Raises:
            ImportError: if the core was built without.
            ValueError: if its settings are not right.
        """
        if self._bucket is None:
            if not hasattr(_core, "Bucket"):
                raise ImportError(
                    "this build of fleche has no buckets: install a wheel from PyPI, or build it "
                    "with the feature `bucket`"
                )
            where, options = self.where, options_of(self.where, self.access)
            self._bucket = _core.Bucket(
                *(where.service, where.url, where.bucket, where.prefix),
                *(options, self.access.timeout),
            )
        return self._bucket

    def ask(self, operation: Callable[[Any], _Got]) -> _Got:
        """Does something with the bucket.

        Raises:
            BucketError: if that fails; at once, while it is known to be out of reach.
        """
        down = self._down
        if down is not None:
            if time.monotonic() < down[0]:
                raise BucketError(str(down[1]), down[1].kind)
            self._down = None
        try:
            return operation(self.bucket)
        except BucketError as error:
            if error.kind in ("unreachable", "timeout"):
                self._down = (time.monotonic() + _REST, error)
            elif error.kind in ("expired", "credentials"):
                # They are read anew: somebody may have logged in meanwhile.
                self._bucket = None
            raise

    def is_known(self, path: str, content: int | None = None) -> bool:
        """Whether a value was there not long ago; of this content, if that is told by a hash."""
        when, known = self._known.get(path, (-_KNOWN, None))
        return time.monotonic() - when < _KNOWN and content in (None, known)

    def note_known(self, path: str, content: int | None = None) -> None:
        """A value is there."""
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[path] = (time.monotonic(), content)

    def note_gone(self, path: str) -> None:
        """A value is not there."""
        self._known.pop(path, None)

    # Records that were asked for many at a time, each to be taken once.

    def ask_ahead(self, paths: list[str]) -> None:
        """Have these objects at hand for those who ask for them soon."""
        now = time.monotonic()
        for path, (when, _) in [*self._ahead.items()]:
            if now - when > _FRESH:
                self._ahead.pop(path, None)
        stored = self.ask(lambda bucket: bucket.get_many(paths))
        for path, data in zip(paths, stored, strict=True):
            if data is not None:
                self._ahead[path] = (now, data)

    def at_hand(self, path: str) -> bytes | None:
        """An object that was asked for ahead, and not long ago."""
        when, data = self._ahead.pop(path, (0.0, None))
        return data if data is not None and time.monotonic() - when < _FRESH else None

    # From the values that a thread saves to the record that it saves then.

    def note_saved(self, key: str, payload: bytes, children: Iterable[str]) -> None:
        """A value was saved, and may go into the record that is saved next."""
        mine = self._of_thread
        if len(mine.saved) >= _MOST_RECENT or mine.bytes + len(payload) > _RECENT_BYTES:
            mine.saved.clear()
            mine.bytes = 0
        mine.saved[key] = (payload, frozenset(children))
        mine.bytes += len(payload)

    def saved_with(self, key: str, limit: int) -> dict[str, bytes]:
        """A value that was saved just now with all its parts; nothing, if they are longer."""
        mine = self._of_thread
        found: dict[str, bytes] = {}
        waiting, length = [key], 0
        while waiting:
            key = waiting.pop()
            if key in found:
                continue
            held = mine.saved.get(key)
            if held is None or length + len(held[0]) > limit:
                found = {}
                break
            found[key] = held[0]
            length += len(held[0])
            waiting.extend(held[1])
        mine.saved.clear()
        mine.bytes = 0
        return found

    # From the record that a thread loads to the values that it loads then.

    def hand_over(self, values: dict[str, bytes]) -> None:
        """The values in the record that was just loaded."""
        self._of_thread.loaded = values

    def handed_over(self, key: str) -> bytes | None:
        """A value of the record that this thread loaded last, once."""
        return self._of_thread.loaded.pop(key, None)
