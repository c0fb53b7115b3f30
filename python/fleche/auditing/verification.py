"""Whether every entry of a cache can be read, and is what its key says."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche._foundation.messages import no_message
from fleche.auditing.content import Proof, pieces_of, proof_of_bytes, proof_of_value
from fleche.auditing.entries import Failure, framing, looked_up, payload, raw
from fleche.auditing.places import damaged_files, leftovers, pairs, place_name
from fleche.auditing.report import Kind, Problem, Report
from fleche.caches import BaseCache, BoundedCache, Cache, Rejected
from fleche.caches.garbage.users import users_of
from fleche.call import DigestedCall
from fleche.digest import Digest
from fleche.query.filed import other_keys
from fleche.state import get_cache
from fleche.storage.base import CallStorage, Unreadable
from fleche.storage.destructuring import Digested

if TYPE_CHECKING:
    from fleche.storage import ValueStorage

__all__ = ["Progress", "verify"]

#: How progress is shown: called with what is gone through, what is done, and how many there are.
Progress = Callable[[Iterable[Any], str, int | None], Iterable[Any]]


class _Role(enum.IntFlag):
    """What a value is needed as."""

    UNKNOWN = 0
    ARGUMENT = 1
    RESULT = 2
    PIECE = 4


def verify(
    cache: BaseCache | None = None,
    *,
    quick: bool = False,
    repair: bool = False,
    progress: Progress = lambda items, what, total: items,
) -> Report:
    """See that every record and every value of a cache can be read, and is what its key says.

    Nothing is changed, unless that is asked for, and nothing is unpickled whose signature does not
    hold. Values are loaded one at a time; of all others their keys are held.

    Args:
        cache: the cache; the active one if not given.
        quick: load no value, and look only at what is there, at signatures, and at the form of
            files.
        repair: evict what is damaged, and records whose results are lost; never what is only not
            to be read here, for want of a class or a key.
        progress: shows how far it is.

    >>> from fleche.auditing import verify
    >>> from fleche.call import Call
    >>> from fleche.config import cache_from_config
    >>> cache = cache_from_config({"template": "memory"})
    >>> key = cache.save(Call("square", {"x": 3}, result=9))
    >>> report = verify(cache)
    >>> report.is_sound, report.records, report.values
    (True, 1, 2)
    >>> cache.values.evict(cache.load(key)._result)
    >>> print(*verify(cache).counts())
    missing
    """
    report = Report()
    whole = get_cache() if cache is None else cache
    seen: set[int] = set()
    found = [*pairs(whole)]
    for pair, writable in found:
        if not isinstance(pair, Cache):
            report.notes.append(
                f"a {type(pair).__name__} has no storages here: verify it where it is kept"
            )
            continue
        if id(pair) in seen:
            continue
        seen.add(id(pair))
        others = [other.values for other, _ in found if isinstance(other, Cache)]
        one = _Verification(pair, others, report, quick, progress)
        with no_message():
            one.run()
            if repair and not writable:
                report.notes.append(f"{place_name(pair.calls)} is only read: nothing is repaired")
            elif repair:
                one.repair()
    return report


class _Verification:
    """Of a pair of storages.

    Args:
        pair: the storages.
        elsewhere: where else its records' values may be.
        report: what is found goes there.
        quick: whether no value is loaded.
        progress: shows how far it is.
    """

    def __init__(
        self,
        pair: Cache,
        elsewhere: list[ValueStorage],
        report: Report,
        quick: bool,
        progress: Progress,
    ) -> None:
        self.pair = pair
        self.elsewhere = [values for values in elsewhere if values is not pair.values]
        self.report = report
        self.quick = quick
        self.progress = progress
        self.problems: list[Problem] = []
        # Keys of what can go: of values (True), and of records.
        self.damaged: dict[bool, list[Digest]] = {True: [], False: []}
        self.needed: dict[Digest, _Role] = {}
        self.seen: set[Digest] = set()
        # Of which it is not known what they need.
        self.unread_records: list[Digest] = []
        self.unread_values: list[Digest] = []
        self.kept = pair.kept_records() if isinstance(pair, BoundedCache) else frozenset[Digest]()
        self.places = {True: place_name(pair.values), False: place_name(pair.calls)}

    def run(self) -> None:
        """Look at everything."""
        # Values first: what is saved meanwhile is none that nobody needs.
        values = set(self._listed(self.pair.values, True))
        for storage in (self.pair.values, self.pair.calls):
            for path, what in damaged_files(storage):
                self.problems.append(Problem(Kind.FILE, path, None, what))
            self.report.leftovers.extend(leftovers(storage))
        keys = self._listed(self.pair.calls, False)
        for key in self.progress(keys, "Records", len(keys)):
            self._look_at_record(key)
        self.report.records += len(keys)
        known = self._add_needs_of_others()
        total = len(values | self.needed.keys())
        for key in self.progress(self._reached(self.needed), "Values", total):
            self._look_at_value(key, self.needed.get(key, _Role.PIECE))
        if self.quick:
            # What they are needed for is not known, as nothing is loaded that holds pieces.
            for key in self._reached(sorted(values)):
                self._look_at_value(key, _Role.UNKNOWN)
        else:
            self._look_for_orphans(values, known)
        self._name_calls()
        self.report.problems.extend(self.problems)

    def _listed(self, storage: Any, values: bool) -> list[Digest]:
        try:
            return [*storage.list()]
        except Exception as error:
            what = f"it cannot be listed: {error}"
            self.problems.append(Problem(Kind.UNREACHABLE, self.places[values], None, what))
            return []

    def _add(self, kind: Kind, values: bool, key: Digest, what: str) -> None:
        self.problems.append(Problem(kind, self.places[values], key, what))
        if kind in (Kind.DAMAGED, Kind.CONTENT, Kind.MISFILED):
            self.damaged[values].append(key)

    # Records

    def _look_at_record(self, key: Digest) -> None:
        record, failure = looked_up(self.pair.calls, key, lambda calls, key: calls.load(key))
        if failure is not None:
            if failure.kind is not Kind.MISSING:  # evicted meanwhile
                self.unread_records.append(key)
                self._add(failure.kind, False, key, f"a record: {failure.what}")
            return
        try:
            own = record.to_lookup_key()
            is_misfiled = key != own and key not in other_keys(record)
            # What a limit evicted is none that is missing.
            if key not in self.kept:
                self._need(record)
        except Exception as error:
            self._add(Kind.DAMAGED, False, key, f"it is no record ({error})")
            return
        if is_misfiled:
            what = f"a record of {record.name}, whose own key is {own}"
            self._add(Kind.MISFILED, False, key, what)
        elif record.result is None:
            self._add(Kind.PENDING, False, key, f"a record of {record.name} without a result")

    def _need(self, record: DigestedCall) -> None:
        for digest in record.arguments.values():
            if isinstance(digest, Digest):
                self._need_as(_core.storage_key(digest), _Role.ARGUMENT)
        if isinstance(record.result, Digest):
            self._need_as(record.result, _Role.RESULT)

    def _need_as(self, key: Digest, role: _Role) -> None:
        held = self.needed.get(key)
        if held is not role:  # Most are needed once.
            self.needed[key] = role if held is None else held | role

    def _add_needs_of_others(self) -> bool:
        """What the records of other caches need of these values; whether all are known."""
        try:
            for calls in users_of(self.pair)[1:]:
                for record in calls._query_all():
                    self._need(record)
        except (Rejected, OSError) as error:
            told = str(error).removeprefix("gc evicts nothing: ")
            self.report.notes.append(f"values that no record needs were not looked for: {told}")
            return False
        return True

    # Values

    def _reached(self, keys: Iterable[Digest]) -> Iterator[Digest]:
        """Keys, and those of the pieces that are found under way."""
        for root in [*keys]:
            self.waiting = [root]
            while self.waiting:
                key = self.waiting.pop()
                if key not in self.seen:
                    self.seen.add(key)
                    yield key

    def _look_at_value(self, key: Digest, role: _Role) -> None:
        values = self.pair.values
        if self.quick:
            _, failure = looked_up(values, key, framing)
            self.report.values += 1
            if failure is not None:
                self._say_unread(key, role, failure)
            return
        data, failure = looked_up(values, key, payload)
        if failure is not None:
            self._say_unread(key, role, failure)
            return
        bytes_known = data is not None and getattr(values, "serializer", None) == "pickle"
        is_proven = proof_of_bytes(data, key)
        del data
        stored, failure = looked_up(values, key, raw)
        if failure is not None:
            if is_proven:
                failure = Failure(Kind.CLASS, f"its bytes are what was saved; {failure.what}")
            self._say_unread(key, role, failure)
            return
        self.report.values += 1
        try:
            self.waiting.extend(pieces_of(stored))
        except ValueError as error:
            self.unread_values.append(key)
            self._add(Kind.DAMAGED, True, key, f"{_shown(role)}: {error}")
            return
        if not is_proven:
            self._prove(key, stored, role, bytes_known)

    def _prove(self, key: Digest, stored: Any, role: _Role, bytes_known: bool) -> None:
        def prove(values: Any, key: Digest) -> Proof:
            return proof_of_value(
                values,
                key,
                stored,
                is_argument=role is _Role.ARGUMENT,
                may_be_argument=role is _Role.UNKNOWN or bool(role & _Role.ARGUMENT),
                bytes_known=bytes_known,
            )

        proof, failure = looked_up(self.pair.values, key, prove)
        if failure is not None or proof is Proof.NONE:
            self.report.unproven += 1
        elif proof is Proof.OTHER:
            what = f"{_shown(role)}, a {_kind_of(stored)}, {proof.value}"
            self._add(Kind.CONTENT, True, key, what)
        elif proof is Proof.CHANGED:
            what = (
                f"{_shown(role)}, a {_kind_of(stored)}: {proof.value}. It is damaged, or its "
                f"class, a hook or a package changed"
            )
            self._add(Kind.CHANGED, True, key, what)

    def _say_unread(self, key: Digest, role: _Role, failure: Failure) -> None:
        kind = failure.kind
        if kind is not Kind.MISSING:
            self.report.values += 1
            self.unread_values.append(key)
        elif role is _Role.UNKNOWN or any(values.contains(key) for values in self.elsewhere):
            return
        elif role is _Role.ARGUMENT:
            kind = Kind.ARGUMENT
        self._add(kind, True, key, f"{_shown(role)}: {failure.what}")

    # What nobody needs

    def _look_for_orphans(self, values: set[Digest], known: bool) -> None:
        pair, unneeded = self.pair, values - self.seen
        for storage, unread in (
            (pair.calls, self.unread_records),
            (pair.values, self.unread_values),
        ):
            known = known and self._reach_mentioned(storage, unread, unneeded)
        orphans = values - self.seen - {*pair.values._collection.pinned()}
        for key in self.progress(sorted(orphans), "Values that nobody needs", len(orphans)):
            for reached in self._reached([key]):
                self._look_at_value(reached, _Role.UNKNOWN)
        if known:
            self.report.orphans = [*(self.report.orphans or ()), *sorted(orphans)]

    def _reach_mentioned(self, storage: Any, unread: list[Digest], values: set[Digest]) -> bool:
        """Take what entries mention that cannot be read for needed; whether that can be told."""
        if not unread or not values:
            return True
        try:
            mentioned = storage._mentions(unread, values)
        except Exception:
            mentioned = None
        if mentioned is None:
            self.report.notes.append(
                f"values that no record needs were not looked for: what {len(unread)} entries need "
                f"that cannot be read, is unknown"
            )
            return False
        for key in self._reached([*mentioned]):
            self._look_at_value(key, _Role.UNKNOWN)
        return True

    def _name_calls(self) -> None:
        """Say which records need what is wrong; what is missing and no longer needed is none."""
        wrong = {problem.key for problem in self.problems if problem.key in self.needed}
        if not wrong:
            return
        calls: dict[Digest, list[Digest]] = {}
        for key, record in self._records(self.pair.calls):
            held = (*record.arguments.values(), record.result)
            for each in {_core.storage_key(one) for one in held if isinstance(one, Digest)}:
                if each in wrong:
                    calls.setdefault(each, []).append(key)
        absent = (Kind.MISSING, Kind.ARGUMENT)
        self.problems = [
            dataclasses.replace(problem, calls=tuple(calls.get(problem.key, ())))
            if problem.key in wrong and problem.key is not None
            else problem
            for problem in self.problems
            if problem.kind not in absent or problem.key in calls or problem.key not in wrong
        ]

    @staticmethod
    def _records(calls: CallStorage) -> Iterator[tuple[Digest, DigestedCall]]:
        for key in [*calls.list()]:
            record, failure = looked_up(calls, key, lambda calls, key: calls.load(key))
            if failure is None:
                yield key, record

    # Repair

    def repair(self) -> None:
        """Evict what is damaged, and then the records whose results are lost."""
        for key in self.damaged[True]:
            self._evict_value(key)
        for key in self.damaged[False]:
            self._evict(self.pair.calls, key)
        if not any(each.is_certain and not each.is_only_here for each in self.problems):
            return
        for key, record in [*self._records(self.pair.calls)]:
            for digest in record.arguments.values():
                held = _core.storage_key(digest)
                if self._is_lost(held) and self.pair.values.contains(held):
                    self._evict_value(held)
            if isinstance(record.result, Digest) and self._is_lost(record.result):
                if self.pair.values.contains(record.result):
                    self._evict_value(record.result)
                self._evict(self.pair.calls, key)

    def _is_lost(self, key: Digest) -> bool:
        """Whether a value, or a piece of it, is gone for good."""
        for values in (self.pair.values, *self.elsewhere):
            try:
                values.load(key)
            except Unreadable:
                return False
            except KeyError:
                continue
            except Exception:
                return False
            return False
        return True

    def _evict_value(self, key: Digest) -> None:
        # As a collection does: calls that are being saved look after their values.
        with self.pair.values._collection.collecting():
            self._evict(self.pair.values, key)

    def _evict(self, storage: Any, key: Digest) -> None:
        try:
            storage.evict(key)
            is_left = storage.contains(key)
            why = "it is still there"
        except Exception as error:
            is_left, why = True, str(error)
        if not is_left:
            self.report.repaired.append(key)
            return
        note = f"{key} cannot be evicted from {place_name(storage)} ({why}): remove it by hand"
        if note not in self.report.notes:
            self.report.notes.append(note)


def _shown(role: _Role) -> str:
    if role & _Role.RESULT:
        return "a result"
    if role & _Role.ARGUMENT:
        return "an argument"
    return "a piece of a value" if role & _Role.PIECE else "a value"


def _kind_of(stored: Any) -> str:
    held = getattr(stored, "cls", None) or type(getattr(stored, "items", None))
    name: str = (held if isinstance(stored, Digested) else type(stored)).__name__
    return name
