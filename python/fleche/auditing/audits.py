"""Stored calls, run again: whether they give today what is stored."""

from __future__ import annotations

import dataclasses
import enum
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche._foundation.log import logger_of
from fleche.auditing.comparison import EXACT, Tolerance, agree, is_same
from fleche.auditing.functions import NotRun, arguments_of, calls_named, is_of_today, run
from fleche.auditing.places import pairs
from fleche.auditing.sample import Candidate, candidate_of, sampled
from fleche.caches import Cache
from fleche.call import LazyCall, QueryCall
from fleche.call.ages import Age
from fleche.call.outcomes import Outcome, shown, stored_result
from fleche.digest import Digest, Indigestible
from fleche.state import get_cache

if TYPE_CHECKING:
    from fleche.auditing.verification import Progress
    from fleche.caches import BaseCache
    from fleche.wrapper.calls import CachedCalls

__all__ = ["Audit", "Run", "Skipped", "Verdict", "audit", "compared"]

logger = logger_of("fleche")

# The name under which records hold what audits found.
NOTE = "audit"
# So many earlier verdicts a record keeps.
_KEPT = 9
# So many calls wait for each process.
_AHEAD = 2


class Verdict(enum.StrEnum):
    """What running a stored call again gave."""

    SAME = "same"
    CLOSE = "within tolerance"
    #: Two runs of today differ: a seed, the time or a race is part of it.
    VARIES = "different on each run"
    #: Two runs of today agree, and are not what is stored.
    WRONG = "wrong now"
    #: It raised, and did not when it was stored.
    RAISED = "raised"
    NOT_RUN = "not run"

    @property
    def is_wrong(self) -> bool:
        """Whether a hit gives something else than the function."""
        return self in (Verdict.WRONG, Verdict.RAISED)

    @property
    def agrees(self) -> bool:
        """Whether the run gave what is stored."""
        return self in (Verdict.SAME, Verdict.CLOSE)


@dataclass(frozen=True)
class Run:
    """A stored call that was run again, or could not be.

    Args:
        key: the call's.
        name: its function's.
        module: its function's module.
        verdict: what came of it.
        what: where it differs, what it raised, or why it was not run.
        seconds: how long it took today.
        stored_seconds: how long it took then, if that was recorded.
    """

    key: Digest
    name: str
    module: str | None
    verdict: Verdict
    what: str = ""
    seconds: float | None = None
    stored_seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.verdict}: {self.name} {self.key}" + (f": {self.what}" if self.what else "")


@dataclass
class Skipped:
    """Calls of a function that cannot be run.

    Args:
        name: the function's.
        module: its module.
        why: why not.
        calls: how many.
    """

    name: str
    module: str | None
    why: str
    calls: int = 0


@dataclass
class Audit:
    """What an audit found.

    Args:
        runs: the calls that were looked at, in this order.
        left_out: how many there were besides that the budget did not allow for.
        skipped: how many calls of which functions cannot be run, and why.
        notes: what was not looked at, and why.
    """

    runs: list[Run] = field(default_factory=list)
    left_out: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether no call is wrong now."""
        return not any(each.verdict.is_wrong for each in self.runs)

    def counts(self) -> dict[str, int]:
        """How many calls there are of each verdict."""
        return dict(Counter(str(each.verdict) for each in self.runs).most_common())

    def to_json(self) -> dict[str, Any]:
        """As a program reads it."""
        return {
            "sound": self.is_sound,
            "runs": [dataclasses.asdict(each) for each in self.runs],
            "left_out": self.left_out,
            "skipped": [dataclasses.asdict(each) for each in self.skipped],
            "notes": self.notes,
        }


def audit(
    cache: BaseCache | None = None,
    *,
    budget: Age = 600.0,
    tolerance: Tolerance = EXACT,
    name: str | None = None,
    most: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress = lambda items, what, total: items,
) -> Audit:
    """Run a sample of the stored calls again, and compare what they give with what is stored.

    The functions are imported by their names, so those of scripts and notebooks, and those within
    others, are not run; nor are calls that no call of today hits, as their version or code is
    another one. No cache is asked, and what a run returns is not stored. What is found is noted
    in the metadata of the records, as `audit`, where they may be written.

    Args:
        cache: the cache; the active one if not given.
        budget: for how many seconds, or what `timedelta`, to run, by the recorded times and by the
            clock. A call that takes longer than what is left is left out.
        tolerance: how far numbers may be apart.
        name: the function, by its name or the end of its dotted name; all if not given.
        most: how many calls to run at most.
        seed: the same one gives the same sample.
        jobs: in how many processes. In a script, call it below `if __name__ == "__main__":`.
        progress: shows how far it is.

    Raises:
        ValueError: if the budget is negative, or there are no processes.

    >>> from fleche.auditing import audit
    >>> from fleche.call import Call
    >>> from fleche.config import cache_from_config
    >>> from statistics import median
    >>> cache = cache_from_config({"template": "memory"})
    >>> from fleche import cache as use, fleche
    >>> with use(cache):
    ...     fleche(median)([1, 5, 3])
    3
    >>> print(*audit(cache).counts())
    same
    """
    seconds = budget.total_seconds() if isinstance(budget, timedelta) else float(budget)
    if not seconds >= 0:
        raise ValueError(f"budget must be 0 seconds or more, not {budget!r}")
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, not {jobs!r}")
    found = Audit()
    held = _held(get_cache() if cache is None else cache, found)
    caches = [pair for pair, _ in held]
    chosen = sampled(_candidates(caches, name, found, progress), seed)
    limits = _Limits(seconds * jobs, time.monotonic() + seconds, most, found)
    runner = _one_by_one if jobs == 1 else _in_processes
    for each, one in progress(runner(caches, limits.within(chosen), tolerance, jobs), "Runs", None):
        found.runs.append(one)
        limits.add(each, one)
        pair, is_writable = held[each.pair]
        if is_writable and one.verdict is not Verdict.NOT_RUN:
            _note(pair, one)
    return found


def _held(cache: BaseCache, found: Audit) -> list[tuple[Cache, bool]]:
    held = []
    for pair, is_writable in pairs(cache):
        if isinstance(pair, Cache):
            held.append((pair, is_writable))
        else:
            found.notes.append(
                f"a {type(pair).__name__} has no storages here: audit it where it is kept"
            )
    return held


def _candidates(
    held: list[Cache], name: str | None, found: Audit, progress: Progress
) -> Iterator[Candidate]:
    """The calls that can be run, as far as that can be told without their arguments."""
    functions: dict[tuple[str | None, str], CachedCalls | str] = {}
    skipped: dict[tuple[str | None, str, str], Skipped] = {}
    seen = set()
    for number, pair in enumerate(held):
        for record in progress(pair.calls.query(QueryCall()), "Records", None):
            key = record.to_lookup_key()
            is_meant = name is None or _is_named(record, name)
            if key in seen or record.result is None or not is_meant:
                continue
            seen.add(key)
            function = record.module, record.name
            if function not in functions:
                functions[function] = _calls_or_why(*function)
            calls = functions[function]
            why = calls if isinstance(calls, str) else _why_not(calls, record)
            if why is None:
                yield candidate_of(number, key, record)
            else:
                new = Skipped(record.name, record.module, why)
                skipped.setdefault((*function, why), new).calls += 1
    found.skipped.extend(skipped.values())


def _calls_or_why(module: str | None, name: str) -> CachedCalls | str:
    try:
        return calls_named(module, name)
    except NotRun as error:
        return str(error)


def _why_not(calls: CachedCalls, record: Any) -> str | None:
    if is_of_today(calls, record):
        return None
    return "recorded for another version or code: no call hits it today"


def _is_named(record: Any, name: str) -> bool:
    dotted = f"{record.module}.{record.name}"
    return dotted == name or dotted.endswith(f".{name}")


class _Limits:
    """How many calls to run."""

    def __init__(self, seconds: float, end: float, most: int | None, found: Audit) -> None:
        self.left = seconds
        self.end = end
        self.most = most
        self.found = found
        self.ran = 0

    def within(self, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        """Those calls that there is time for, each taken into account when it is given."""
        for each in candidates:
            expected = each.seconds or 0.0
            is_over = time.monotonic() >= self.end or self.ran == self.most
            if is_over or expected > self.left:
                self.found.left_out += 1
                continue
            self.left -= expected
            self.ran += 1
            yield each

    def add(self, each: Candidate, one: Run) -> None:
        """Give back what a call did not take."""
        if one.verdict is Verdict.NOT_RUN:
            self.left += each.seconds or 0.0
            self.ran -= 1


def _one_by_one(
    held: list[Cache], candidates: Iterator[Candidate], tolerance: Tolerance, jobs: int
) -> Iterator[tuple[Candidate, Run]]:
    for each in candidates:
        yield each, _run_stored(held[each.pair], each.key, tolerance)


def _in_processes(
    held: list[Cache], candidates: Iterator[Candidate], tolerance: Tolerance, jobs: int
) -> Iterator[tuple[Candidate, Run]]:
    import multiprocessing

    # Not forked: a function gets a process as it is at its beginning.
    context = multiprocessing.get_context("spawn")
    waiting: dict[Future[Run], Candidate] = {}
    with ProcessPoolExecutor(jobs, context, _begin, (held, tolerance)) as processes:
        try:
            while True:
                while len(waiting) < jobs * _AHEAD:
                    each = next(candidates, None)
                    if each is None:
                        break
                    waiting[processes.submit(_run_there, each.pair, each.key)] = each
                if not waiting:
                    return
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    one = future.result()
                    yield waiting.pop(future), one
        except BrokenExecutor as error:
            for each in (*waiting.values(), *candidates):
                module, name = each.function
                yield each, Run(each.key, name, module, Verdict.NOT_RUN, f"a process died: {error}")
        except BaseException:
            processes.shutdown(wait=False, cancel_futures=True)
            raise


# In a process of `_in_processes`: the caches, and the tolerance.
_GIVEN: list[Any] = []


def _begin(held: list[Cache], tolerance: Tolerance) -> None:
    _GIVEN[:] = held, tolerance
    # What functions print is no result of the command.
    sys.stdout = sys.stderr


def _run_there(pair: int, key: Digest) -> Run:
    held, tolerance = _GIVEN
    return _run_stored(held[pair], key, tolerance)


def _run_stored(pair: Cache, key: Digest, tolerance: Tolerance) -> Run:
    """Run a stored call again."""
    try:
        call = pair.load(key)
    except KeyError:
        return Run(key, "?", None, Verdict.NOT_RUN, "its record is gone, or cannot be read")
    blank = Run(key, call.name, call.module, Verdict.NOT_RUN)
    try:
        return compared(calls_named(call.module, call.name), call, tolerance, blank)
    except NotRun as error:
        return dataclasses.replace(blank, what=str(error))


def compared(calls: CachedCalls, call: LazyCall, tolerance: Tolerance, blank: Run) -> Run:
    """What a run of a stored call gives, beside what is stored.

    Args:
        calls: those of its function.
        call: the stored call.
        tolerance: how far numbers may be apart.
        blank: what is told of it in any case.

    Raises:
        NotRun: if it cannot be run, or compared.
    """
    try:
        stored = stored_result(call)
    except Exception as error:
        raise NotRun(f"its result cannot be read ({error})") from error
    seconds = candidate_of(0, blank.key, call).seconds
    begin = time.monotonic()
    new = run(calls, *arguments_of(calls, call))
    took = time.monotonic() - begin
    blank = dataclasses.replace(blank, seconds=took, stored_seconds=seconds)
    try:
        if is_same(stored, new):
            return dataclasses.replace(blank, verdict=Verdict.SAME)
        if agree(stored, new, tolerance):
            return dataclasses.replace(blank, verdict=Verdict.CLOSE)
        again = run(calls, *arguments_of(calls, call))
        if _raised(new) and _raised(again) and not _raised(stored):
            what = f"{type(new.error).__name__}: {new.error}"
            return dataclasses.replace(blank, verdict=Verdict.RAISED, what=what)
        if not agree(new, again, tolerance):
            return dataclasses.replace(blank, verdict=Verdict.VARIES, what=_differing(new, again))
    except Indigestible as error:
        raise NotRun(f"its result cannot be compared ({error})") from error
    return dataclasses.replace(blank, verdict=Verdict.WRONG, what=_differing(stored, new))


def _raised(result: Any) -> bool:
    return isinstance(result, Outcome) and result.error is not None


def _differing(stored: Any, new: Any) -> str:
    from fleche.differences import differences

    stored, new = shown(stored), shown(new)
    try:
        found = differences(stored, new, typed=True, root="result", most=1)
    except Exception:
        found = []
    return str(found[0]) if found else "the results differ"


def _note(pair: Cache, one: Run) -> None:
    """Note what was found in the record's metadata."""
    try:
        with pair._operation_context(one.key):
            record = pair.calls.load(one.key)
            before = record.metadata.get(NOTE, {})
            earlier = before.get("earlier", [])
            if "verdict" in before:
                earlier = [[before.get("time"), before["verdict"]], *earlier][:_KEPT]
            record.metadata[NOTE] = {
                "time": time.time(),
                "verdict": str(one.verdict),
                "what": one.what,
                "walltime": one.seconds,
                "version": _core.VERSION,
                "runs": before.get("runs", 0) + 1,
                "earlier": earlier,
            }
            pair.save(record)
    except Exception as error:
        logger.warning("What the audit of %s found is not noted: %s", one.key, error)
