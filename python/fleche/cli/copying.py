"""Copying calls, with their values, from a cache to another one; what is there is skipped.

Where both keep the same pickles, their bytes are copied, compressed and signed anew, and nothing is
unpickled: classes may be missing, and no code of the store runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from fleche import _core
from fleche.cli.output import Output
from fleche.cli.stores import Mistake, pairs
from fleche.look.numbers import count
from fleche.storage.raw import reader, with_pieces, writer

if TYPE_CHECKING:
    from fleche.caches import BaseCache, Cache
    from fleche.call import DigestedCall, LazyCall
    from fleche.digest import Digest

_Read: TypeAlias = "Callable[[Digest], bytes]"
_Write: TypeAlias = "Callable[[bytes, Digest], Any]"

__all__ = ["Copied", "copy"]


@dataclass
class Copied:
    """What became of calls that were to be copied.

    Args:
        copied: how many were.
        skipped: how many were there already.
        failed: why others could not be, by key.
    """

    copied: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"copied": self.copied, "skipped": self.skipped, "failed": self.failed}

    def say(self, output: Output) -> None:
        """Say it to people."""
        there = f", {self.skipped:,} were there already" if self.skipped else ""
        output.say(f"copied {count(self.copied, 'call')}{there}")
        for key, why in self.failed.items():
            output.say(f"not copied: {key}: {why}", "red")


def copy(
    calls: Iterable[LazyCall],
    source: BaseCache,
    target: BaseCache,
    output: Output,
    *,
    total: int | None = None,
    verify: bool = False,
) -> Copied:
    """Copy calls to another cache, under the keys that they have.

    Args:
        calls: the calls.
        source: the cache that gave them.
        target: where to.
        output: shows how far it is.
        total: how many there are.
        verify: whether to read each call back, those that were there already, too.

    Raises:
        Mistake: if nothing can be saved there.
    """
    from fleche.caches import ReadOnlyMixin
    from fleche.query.filed import filed_key

    if isinstance(target, ReadOnlyMixin):
        raise Mistake("nothing can be copied there: that cache is read-only")
    done = Copied()
    copier = _of_bytes(source, target) or _OfValues(target)
    for call in output.progress(calls, "Copying", total):
        key = filed_key(call, source)
        try:
            is_new = not copier.has(call, key)
            if is_new:
                copier.copy(call, key)
            if verify:
                copier.verify(call, key)
                _check_record(call, target.load(key))
        except Exception as error:
            why = error.args[0] if isinstance(error, KeyError) and error.args else error
            lost = "a value is lost, or cannot be loaded: " if isinstance(error, KeyError) else ""
            done.failed[str(key)] = f"{lost}{why}"
            continue
        if is_new:
            done.copied += 1
        else:
            done.skipped += 1
    return done


class _OfValues:
    """Copies calls whose values are loaded, and stored anew."""

    def __init__(self, target: BaseCache) -> None:
        self._target = target

    def has(self, call: LazyCall, key: Digest) -> bool:
        """Whether a call is there with its result: a copy that was stopped may lack it."""
        try:
            found = self._target.load(key)
            return found._result is None or found._stored_result() is not None
        except KeyError:
            return False

    def copy(self, call: LazyCall, key: Digest) -> None:
        from fleche.caches.base import fetch_again

        with self._target._operation_context(key):
            saved = self._target.save(fetch_again(call, key, keep=True))
        if saved != key:
            raise ValueError(f"it would be filed as {saved} there, as its arguments were changed")

    def verify(self, call: LazyCall, key: Digest) -> None:
        """
        Raises:
            KeyError: if the result of the copy cannot be loaded.
        """
        self._target.load(key)._stored_result()


class _OfBytes(_OfValues):
    """Copies calls whose values stay pickled.

    Args:
        target: the cache.
        source: reads the pickles of the cache that they come from.
        read: reads those of the target.
        write: writes them.
    """

    def __init__(self, target: Cache, source: _Read, read: _Read, write: _Write) -> None:
        super().__init__(target)
        self._pair, self._source, self._read, self._write = target, source, read, write

    def has(self, call: LazyCall, key: Digest) -> bool:
        record = call.detach()
        if record.to_lookup_key() != key:
            # Of another digest scheme, or of a function that was moved.
            return super().has(call, key)
        if not self._pair.calls.contains(key):
            return False
        try:
            with_pieces(_needed(record, self._read), self._read)
        except (KeyError, ValueError):
            return False
        return True

    def copy(self, call: LazyCall, key: Digest) -> None:
        record = call.detach()
        if record.to_lookup_key() != key:
            super().copy(call, key)
            return
        pickles = with_pieces(_needed(record, self._source), self._source)
        values = self._pair.values
        with self._pair._operation_context(key):
            flight = values._collection.begin([*pickles])
            self._store(pickles)
            with values._collection.saving() as gate:
                self._pair._note_user()
                if gate.disturbed(flight):
                    self._store(pickles)
                self._pair.calls.save(record)

    def _store(self, pickles: dict[Digest, bytes]) -> None:
        for key, data in pickles.items():
            if self._present(key) != data:
                self._write(data, key)

    def _present(self, key: Digest) -> bytes | None:
        try:
            return self._read(key) if self._pair.values.contains(key) else None
        except KeyError:
            return None

    def verify(self, call: LazyCall, key: Digest) -> None:
        """
        Raises:
            ValueError: if a value of the copy has other bytes.
            KeyError: if one is lost.
        """
        record = call.detach()
        if record.to_lookup_key() != key:
            super().verify(call, key)
            return
        for each, data in with_pieces(_needed(record, self._source), self._source).items():
            if self._read(each) != data:
                raise ValueError(f"read back, the value {each} differs")


def _of_bytes(source: BaseCache, target: BaseCache) -> _OfBytes | None:
    """What copies bytes, if every storage of the source keeps what the target reads."""
    from fleche.caches import Cache, CacheStack

    if isinstance(target, CacheStack) and target.stack:
        target = target.stack[0]
    if type(target) is not Cache:
        return None
    read = reader(target.values, whole=True)
    # A cache in memory is empty here.
    storages = [pair.values for pair in pairs(source) if any(True for _ in pair.values.list())]
    writers = [writer(target.values, each) for each in storages]
    readers = [found for each in storages if (found := reader(each, whole=True)) is not None]
    if read is None or not writers or None in writers or len(readers) < len(storages):
        return None

    def first(key: Digest) -> bytes:
        for each in readers[:-1]:
            with contextlib.suppress(KeyError):
                return each(key)
        return readers[-1](key)

    write = writers[0]
    return None if write is None else _OfBytes(target, first, read, write)


def _needed(record: DigestedCall, read: _Read) -> list[Digest]:
    """The keys of a call's result, and of those arguments that are stored.

    Raises:
        KeyError: if an argument is there, and damaged.
    """
    held = {_core.storage_key(key) for key in record.arguments.values()}
    keys = [key for key in held if _is_stored(key, read)]
    return keys if record.result is None else [_core.storage_key(record.result), *keys]


def _is_stored(key: Digest, read: _Read) -> bool:
    from fleche.storage.base import Unreadable

    try:
        read(key)
    except Unreadable:
        raise
    except KeyError:
        return False
    return True


def _check_record(call: LazyCall, copied: LazyCall) -> None:
    """
    Raises:
        ValueError: if the copy of a call differs.
    """
    for what in ("name", "module", "version", "code_digest", "metadata"):
        if getattr(copied, what) != getattr(call, what):
            raise ValueError(f"read back, its {what} differs")
    if copied._arguments != call._arguments:
        raise ValueError("read back, its arguments differ")
