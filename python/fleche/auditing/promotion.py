"""Old records for a function that was changed and still computes the same."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleche.auditing.audits import Run, Verdict, compared
from fleche.auditing.comparison import EXACT, Tolerance
from fleche.auditing.functions import NotRun, arguments_of, calls_of, is_of_today
from fleche.auditing.places import pairs
from fleche.auditing.sample import candidate_of
from fleche.caches import Cache, Rejected
from fleche.call import DigestedCall, QueryCall
from fleche.digest import Digest, Indigestible
from fleche.state import get_cache

if TYPE_CHECKING:
    from fleche.auditing.verification import Progress
    from fleche.caches import BaseCache
    from fleche.wrapper.calls import CachedCalls

__all__ = ["Promotion", "promote"]

# The name under which records hold what spoke for their promotion.
NOTE = "promoted"


@dataclass
class Promotion:
    """What came of a promotion.

    Args:
        found: how many records of older code or versions there were.
        runs: those that were run with today's function.
        promoted: the keys that calls find them under from now on; none if a run disagreed.
        contested: how many records were left out, as several of them are of one call and say
            different things.
        refusal: why nothing was promoted.
    """

    found: int = 0
    runs: list[Run] = field(default_factory=list)
    promoted: list[Digest] = field(default_factory=list)
    contested: int = 0
    refusal: str = ""

    @property
    def agreed(self) -> int:
        """How many runs gave what is stored."""
        return sum(each.verdict.agrees for each in self.runs)

    @property
    def disagreed(self) -> list[Run]:
        """The runs that did not."""
        ran = (each for each in self.runs if each.verdict is not Verdict.NOT_RUN)
        return [each for each in ran if not each.verdict.agrees]

    def to_json(self) -> dict[str, Any]:
        """As a program reads it."""
        return {
            "found": self.found,
            "agreed": self.agreed,
            "runs": [dataclasses.asdict(each) for each in self.runs],
            "promoted": self.promoted,
            "contested": self.contested,
            "refusal": self.refusal,
        }


@dataclass(frozen=True)
class _Old:
    """A record of older code or of an older version, its key today, and the keys of others that
    say the same."""

    pair: Cache
    key: Digest
    record: DigestedCall
    today: Digest
    others: tuple[Digest, ...] = ()


def promote(
    function: Callable[..., Any],
    evidence: int = 20,
    *,
    cache: BaseCache | None = None,
    tolerance: Tolerance = EXACT,
    replace: bool = False,
    seed: int = 0,
    progress: Progress = lambda items, what, total: items,
) -> Promotion:
    """Have calls of a function find what it computed before its code, or its version, changed.

    A sample of the old records is run with the function as it is today. If all of these runs give
    what is stored, all old records are filed under the keys of today, with a note in their
    metadata, `promoted`, that says how many runs agreed; else nothing is changed. Values stay
    where they are.

    Args:
        function: the function, decorated.
        evidence: how many runs must agree; of fewer records, all of them.
        cache: where; the active cache if not given.
        tolerance: how far numbers may be apart.
        replace: evict the old records, which are kept otherwise.
        seed: the same one gives the same sample.
        progress: shows how far it is.

    Raises:
        ValueError: if `evidence` is less than 1.
        TypeError: if the function is not decorated, or the cache has no storages here.
        Rejected: if the cache is read-only.

    >>> from fleche import cache as use, fleche
    >>> from fleche.auditing import promote
    >>> from fleche.config import cache_from_config
    >>> with use(cache_from_config({"template": "memory"})):
    ...     @fleche(version=1, hash_code=False)
    ...     def area(r):
    ...         return r * r * 3
    ...     _ = [area(r) for r in range(5)]
    ...     @fleche(version=2, hash_code=False)
    ...     def area(r):
    ...         return 3 * r**2
    ...     result = promote(area)
    >>> result.agreed, len(result.promoted)
    (5, 5)
    """
    if evidence < 1:
        raise ValueError(f"evidence must be 1 or more, not {evidence!r}")
    if not hasattr(function, "fleche"):
        raise TypeError(f"{function!r} is not decorated: no call of it is cached")
    calls = calls_of(function)
    held = _writable(get_cache() if cache is None else cache)
    result = Promotion()
    old = _without_contested([*_old_records(calls, held)], result)
    result.found = len(old) + result.contested
    if not old:
        result.refusal = "there is no record of older code or another version"
        return result
    needed = min(evidence, len(old))
    order = sorted(old, key=lambda each: each.key)
    random.Random(seed).shuffle(order)
    for each in progress(order, "Runs", needed):
        if result.agreed == needed or result.disagreed:
            break
        result.runs.append(_run(calls, each, tolerance))
    if result.disagreed:
        result.refusal = f"a run disagrees: {result.disagreed[0]}"
    elif result.agreed < needed:
        why = next((each.what for each in result.runs if not each.verdict.agrees), "")
        result.refusal = f"only {result.agreed} of {needed} records can be run: {why}"
    else:
        _file(calls, old, result, replace)
    return result


def _writable(cache: BaseCache) -> list[Cache]:
    found = [*pairs(cache)]
    held = [pair for pair, is_writable in found if is_writable and isinstance(pair, Cache)]
    if not any(isinstance(pair, Cache) for pair, _ in found):
        raise TypeError(
            f"a {type(cache).__name__} has no storages here: promote records where they are kept"
        )
    if not held:
        raise Rejected("Cannot promote records in a read-only cache", type(cache).__name__)
    return held


def _old_records(calls: CachedCalls, held: list[Cache]) -> Iterator[_Old]:
    name, module, version, code = calls.core.identity()
    parameters = [each for each in calls.signature.parameters if each not in calls.ignored]
    for pair in held:
        for record in [*pair.calls.query(QueryCall(name, module=module))]:
            fits = record.module == module and {*record.arguments} == {*parameters}
            if not fits or record.result is None or is_of_today(calls, record):
                continue
            arguments = {each: record.arguments[each] for each in parameters}
            new = dataclasses.replace(
                record, arguments=arguments, version=version, code_digest=code
            )
            today, key = new.to_lookup_key(), record.to_lookup_key()
            # Of another digest scheme it has another key, and is filed anew by `redigest`.
            if pair.calls.contains(key) and not pair.calls.contains(today):
                yield _Old(pair, key, record, today)


def _without_contested(found: list[_Old], result: Promotion) -> list[_Old]:
    """Those that no other one of the same call contradicts; the newest of each call."""
    by_call: dict[tuple[int, Digest], list[_Old]] = {}
    for each in found:
        by_call.setdefault((id(each.pair), each.today), []).append(each)
    kept = []
    for same in by_call.values():
        if len({each.record.result for each in same}) > 1:
            result.contested += len(same)
            continue
        newest = max(same, key=lambda each: _ended(each.record))
        others = tuple(each.key for each in same if each is not newest)
        kept.append(dataclasses.replace(newest, others=others))
    return kept


def _ended(record: DigestedCall) -> float:
    return candidate_of(0, Digest(""), record).ended or 0.0


def _run(calls: CachedCalls, old: _Old, tolerance: Tolerance) -> Run:
    record = old.record
    blank = Run(old.key, record.name, record.module, Verdict.NOT_RUN)
    call = record.fetch(old.pair)
    try:
        args, kwargs = arguments_of(calls, call)
        if calls.key(args, kwargs) != old.today:
            # As if its arguments counted by type then, and do not today.
            why = "a call with its arguments would not find it: its key is made in another way"
            return dataclasses.replace(blank, verdict=Verdict.WRONG, what=why)
        return compared(calls, call, tolerance, blank)
    except (NotRun, Indigestible) as error:
        return dataclasses.replace(blank, what=str(error))


def _file(calls: CachedCalls, old: list[_Old], result: Promotion, replace: bool) -> None:
    _, _, version, code = calls.core.identity()
    close = sum(each.verdict is Verdict.CLOSE for each in result.runs)
    for each in old:
        record = each.record
        note = {
            "time": time.time(),
            "runs": result.agreed,
            "within_tolerance": close,
            "version": record.version,
            "code": record.code_digest,
            "key": each.key,
        }
        metadata = {**record.metadata, NOTE: note}
        new = dataclasses.replace(record, metadata=metadata, version=version, code_digest=code)
        order = [name for name in calls.signature.parameters if name in record.arguments]
        new.arguments = {name: record.arguments[name] for name in order}
        # The new one first: whoever looks meanwhile finds one of the two.
        with each.pair._operation_context(each.today):
            if not each.pair.contains(each.today):
                result.promoted.append(each.pair.save(new))
        for key in (each.key, *each.others) if replace else ():
            each.pair.evict(key)
