"""Which calls are too much."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fleche.caches.bounds.ledger import EVERYTHING, Ledger
from fleche.caches.bounds.limits import POLICIES, Limits

__all__ = ["Rules", "Victim", "victims"]


@dataclass(frozen=True)
class Rules:
    """What a cache is kept to.

    Args:
        limits: those of all calls together.
        functions: those of some functions, by `module.name`.
        policy: which calls go first.
        keep_records: whether the records of calls stay when their values go.

    Raises:
        ValueError: if there is no such policy.
    """

    limits: Limits
    functions: Mapping[str, Limits] = field(default_factory=dict)
    policy: str = "oldest"
    keep_records: bool = False

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            known = ", ".join(map(repr, POLICIES))
            raise ValueError(f"evict={self.policy!r} is no policy: choose from {known}")


@dataclass(frozen=True)
class Victim:
    """A call that is too much.

    Args:
        number: its number in the account.
        key: its key.
        why: the limit.
    """

    number: int
    key: bytes
    why: str


def victims(ledger: Ledger, rules: Rules, saved: bytes | None = None) -> Iterator[Victim]:
    """The calls that are too much, each accounted for as evicted when the next one is asked for.

    Args:
        ledger: the account.
        rules: what is wanted.
        saved: the key of a call that stays: it was just saved.
    """
    # What is limited in its own right first: it may be enough for all.
    for name, limits in rules.functions.items():
        for function in ledger.functions_named(name):
            yield from _of(ledger, rules, function, limits, saved, f" of {name}")
    yield from _of(ledger, rules, EVERYTHING, rules.limits, saved, "")


def _of(
    ledger: Ledger, rules: Rules, function: int, limits: Limits, saved: bytes | None, of: str
) -> Iterator[Victim]:
    per_function = function != EVERYTHING
    if limits.max_age is not None:
        ledger.order("age", per_function)
        why = f"max_age = {limits.max_age:g} s{of}"
        end = time.time() - limits.max_age
        while (found := ledger.first("age", function, saved)) and found[2] < end:
            yield Victim(found[0], found[1], why)
            ledger.evict(found[0], rules.keep_records, why)
    if limits.max_size is None and limits.max_bytes is None:
        return
    ledger.order(rules.policy, per_function)
    if per_function and limits.max_bytes is not None:
        ledger.count_bytes_of(function)
    while why := _too_much(ledger, function, limits):
        found = ledger.first(rules.policy, function, saved)
        if found is None:
            return
        why += of
        yield Victim(found[0], found[1], why)
        ledger.evict(found[0], rules.keep_records, why)


def _too_much(ledger: Ledger, function: int, limits: Limits) -> str:
    calls, size = ledger.room(function)
    if limits.max_size is not None and calls > limits.max_size:
        return f"max_size = {limits.max_size}"
    if limits.max_bytes is not None and size > limits.max_bytes:
        return f"max_bytes = {limits.max_bytes}"
    return ""
