"""What a call needs, and how many bytes that is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fleche import _core
from fleche._foundation.messages import no_message
from fleche.caches.bounds.entries import Entry
from fleche.caches.bounds.ledger import Ledger
from fleche.digest import Digest
from fleche.storage.destructuring import HasChildDigests
from fleche.storage.pieces import may_be_in_pieces
from fleche.storage.sizes import sizes_of

__all__ = ["Needs", "record_size"]

# Of so many values it is remembered of which parts they are.
_MOST = 100_000


class Needs:
    """What calls need of a storage of values.

    Args:
        values: the storage.
        calls: where their records are.
    """

    def __init__(self, values: Any, calls: Any) -> None:
        self.values = values
        self.calls = calls
        self._parts: dict[Digest, tuple[Digest, ...]] = {}

    def of(self, key: Digest, record: Any, ledger: Ledger) -> Entry:
        """A call as it is accounted for.

        Args:
            key: the call's.
            record: its record.
            ledger: the account, which knows some of the values.
        """
        held = [*record.arguments.values(), record.result]
        wanted = [_core.storage_key(each) for each in held if isinstance(each, Digest)]
        sizes = self._reached(wanted, ledger)
        result = record.result
        is_whole = not isinstance(result, Digest) or _core.storage_key(result) in sizes
        return Entry(
            bytes.fromhex(key),
            record.module,
            record.name,
            record_size(self.calls, key, record),
            seconds_of_record(record),
            ended(record),
            {bytes.fromhex(each): size for each, size in sizes.items()},
            is_whole,
        )

    def _reached(self, wanted: Iterable[Digest], ledger: Ledger) -> dict[Digest, int]:
        """The bytes of values and of their parts, as far as they are there."""
        found: dict[Digest, int] = {}
        waiting = [*dict.fromkeys(wanted)]
        while waiting:
            held = ledger.held(bytes.fromhex(key) for key in waiting)
            unknown = []
            for key in waiting:
                known = held.get(bytes.fromhex(key))
                if known is None or not known[2]:
                    unknown.append(key)
                else:
                    found[key] = known[1]
            if unknown:
                found.update(self._sizes(unknown))
            here = [key for key in waiting if key in found]
            parts = [part for key in here for part in self._parts_of(key, found[key], ledger)]
            waiting = [part for part in dict.fromkeys(parts) if part not in found]
        return found

    def _sizes(self, keys: Sequence[Digest]) -> dict[Digest, int]:
        sizes = dict(sizes_of(self.values, keys))
        for key in keys:
            # A storage that does not tell.
            if key not in sizes and self.values.contains(key):
                sizes[key] = 0
        return sizes

    def _parts_of(self, key: Digest, size: int, ledger: Ledger) -> tuple[Digest, ...]:
        known = self._parts.get(key)
        if known is not None:
            return known
        parts: tuple[Digest, ...] = ()
        if isinstance(self.values, HasChildDigests) and may_be_in_pieces(self.values, key, size):
            try:
                with no_message():
                    parts = tuple(self.values.child_digests(key))
            except Exception:
                # Its class is not here, say: others may read it.
                ledger.add_opaque("value", bytes.fromhex(key))
                return ()
        if len(self._parts) >= _MOST:
            self._parts.clear()
        self._parts[key] = parts
        return parts


def join(
    entry: Entry,
    record: Any,
    contents: Callable[[Any], Any],
    arguments: dict[str, Any],
    result: Any,
) -> None:
    """Note in an entry what the call made, and what it was given.

    Args:
        entry: the entry.
        record: the call's record.
        contents: what values are told by (`fleche.lineage`).
        arguments: their values, as far as they are there.
        result: the result.
    """
    given: set[bytes] = set()
    taken = []
    for name, named in record.arguments.items():
        # The value may have changed since it was recorded.
        digests = [bytes.fromhex(named)] if isinstance(named, Digest) else []
        if name in arguments:
            content = contents(arguments[name])
            if content.digest is None and not content.parts:
                continue
            digests += [bytes.fromhex(each) for each in content.digests()]
        given.update(digests)
        taken.append(tuple(dict.fromkeys(digests)))
    made = [bytes.fromhex(each) for each in contents(result).digests()]
    entry.made = [each for each in made if each not in given]
    entry.taken = taken


def record_size(calls: Any, key: Digest, record: Any) -> int:
    """The bytes of a record: of its file, or of its texts."""
    ask = getattr(calls, "_has_a_file_a_key", None)
    if ask is not None and ask():
        return int(sizes_of(calls, [key]).get(key, 0))
    texts = [key, record.name, record.module, record.code_digest, record.result]
    texts += [each for pair in record.arguments.items() for each in pair]
    if record.version is not None:
        texts.append(json.dumps(record.version))
    for name, data in record.metadata.items():
        texts += [name, json.dumps(data)]
    return sum(len(str(each).encode()) for each in texts if each is not None)


def seconds_of_record(record: Any) -> float:
    """How long a call was computed, as `Runtime` recorded it; 0 if it did not."""
    for held in record.metadata.values():
        if isinstance(held, dict) and "timestop" in held:
            took = held.get("walltime")
            if isinstance(took, int | float) and took > 0:
                return float(took)
    return 0.0


def ended(record: Any) -> float:
    """When a call ended, in seconds since 1970, as `Runtime` recorded it; now, if it did not, or by
    a clock that was ahead."""
    now = time.time()
    for held in record.metadata.values():
        if isinstance(held, dict) and isinstance(held.get("timestop"), int | float):
            return min(float(held["timestop"]), now)
    return now
