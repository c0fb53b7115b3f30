"""Which stored calls are run again: some of each function, of each age, of each cost."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fleche.digest import Digest

__all__ = ["Candidate", "candidate_of", "sampled"]

# So many groups by age, and by cost, the calls of a function are divided into.
_BANDS = 3


@dataclass(frozen=True)
class Candidate:
    """A stored call that may be run again.

    Args:
        pair: the number of the pair of storages that it is in.
        key: its key there.
        function: its function's module and name.
        seconds: how long it took; `None` if that was not recorded.
        ended: when it ended, in seconds since 1970.
    """

    pair: int
    key: Digest
    function: tuple[str | None, str]
    seconds: float | None
    ended: float | None


def candidate_of(pair: int, key: Digest, record: Any) -> Candidate:
    """A record, as far as the choice needs it."""
    seconds = ended = None
    for held in record.metadata.values():
        if isinstance(held, dict) and isinstance(held.get("timestop"), int | float):
            ended = float(held["timestop"])
            time = held.get("walltime")
            seconds = float(time) if isinstance(time, int | float) else None
            break
    return Candidate(pair, key, (record.module, record.name), seconds, ended)


def sampled(candidates: Iterable[Candidate], seed: int) -> Iterator[Candidate]:
    """The calls in the order in which to run them: those of all functions in turns, and of each
    function those of all ages and costs in turns; among these by chance.

    Args:
        candidates: what there is.
        seed: the same one gives the same order.

    >>> calls = [Candidate(0, Digest(f"{n:064}"), ("m", "fg"[n % 2]), n, n) for n in range(8)]
    >>> [call.function[1] for call in sampled(calls, seed=0)]
    ['f', 'g', 'f', 'g', 'f', 'g', 'f', 'g']
    """
    chance = random.Random(seed)
    functions: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for each in candidates:
        functions[each.function[0] or "", each.function[1]].append(each)
    yield from _in_turns([_of_function(functions[name], chance) for name in sorted(functions)])


def _of_function(calls: list[Candidate], chance: random.Random) -> list[Candidate]:
    ages = _bands(calls, [each.ended or 0.0 for each in calls])
    costs = _bands(calls, [each.seconds or 0.0 for each in calls])
    groups: dict[tuple[int, int], list[Candidate]] = defaultdict(list)
    # Whatever order the storage lists them in.
    for each in sorted(calls, key=lambda call: (call.key, call.pair)):
        groups[ages[each], costs[each]].append(each)
    names = sorted(groups)
    chance.shuffle(names)
    for name in names:
        chance.shuffle(groups[name])
    return [*_in_turns([groups[name] for name in names])]


def _bands(calls: list[Candidate], numbers: list[float]) -> dict[Candidate, int]:
    """Which of a few equal parts each call belongs to, by its number."""
    order = sorted(set(numbers))
    part = {number: place * _BANDS // len(order) for place, number in enumerate(order)}
    return {call: part[number] for call, number in zip(calls, numbers, strict=True)}


def _in_turns(lists: list[list[Candidate]]) -> Iterator[Candidate]:
    for turn in range(max(map(len, lists), default=0)):
        yield from (each[turn] for each in lists if turn < len(each))
