"""What would go under other limits, and what it would cost to get it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleche.caches.bounds.ledger import Ledger
from fleche.caches.bounds.reading import Reader
from fleche.caches.bounds.sources import Source
from fleche.caches.bounds.victims import Rules, victims
from fleche.digest import Digest

__all__ = ["Going", "Plan", "plan"]


@dataclass(frozen=True)
class Going:
    """A call that would go.

    Args:
        key: its key.
        function: its function's name.
        module: its function's module.
        bytes: how many bytes are free when it and all before it are gone.
        seconds: what it takes to compute it again, with what is not stored below it by then.
        why: the limit.
    """

    key: Digest
    function: str
    module: str | None
    bytes: int
    seconds: float
    why: str


@dataclass(frozen=True)
class Plan:
    """What would go under some limits; nothing was removed.

    Args:
        calls: the calls that would go, the first one first.
        bytes: how many bytes would be free.
        seconds: what it takes to compute all of them again, each once, with what is below them and
            is not stored any more.
        stays: how many calls would stay.
        stays_bytes: the bytes of these, with their values.
    """

    calls: tuple[Going, ...]
    bytes: int
    seconds: float
    stays: int
    stays_bytes: int

    def functions(self) -> dict[str, tuple[int, int, float]]:
        """By function, the calls that would go, their bytes, and the seconds that they took."""
        found: dict[str, tuple[int, int, float]] = {}
        for call in self.calls:
            name = f"{call.module}.{call.function}" if call.module else call.function
            calls, size, seconds = found.get(name, (0, 0, 0.0))
            found[name] = calls + 1, size + call.bytes, seconds + call.seconds
        return found

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON has it."""
        return {
            "bytes": self.bytes,
            "seconds": self.seconds,
            "stays": self.stays,
            "stays_bytes": self.stays_bytes,
            "calls": [{**vars(call), "key": str(call.key)} for call in self.calls],
        }


def plan(cache: Any, rules: Rules, account: Ledger | None) -> Plan:
    """What would go of a cache.

    Args:
        cache: a pair of storages.
        rules: what it would be kept to.
        account: one of its own in memory, which this may change; without it, one is made.
    """
    ledger = Ledger(None, 0.0) if account is None else account
    try:
        ledger.begin(False)
        with ledger.turn():
            if rules.policy == "cheapest" and not ledger.meta("contents"):
                # What calls were computed from is not known: all of them are looked at again.
                ledger.set_meta("contents", 1)
                ledger.read_again()
            Source(cache.calls).compare(ledger)
            Reader(cache.values, cache.calls).read(ledger, float("inf"), alone=True)
            return _planned(ledger, rules)
    finally:
        ledger.close()


def _planned(ledger: Ledger, rules: Rules) -> Plan:
    before = ledger.room()[1]
    calls = []
    computed: dict[int, float] = {}
    for victim in victims(ledger, rules):
        below = ledger.below(victim.number)
        computed |= below
        name, module = ledger.function_of(victim.number)
        key, size = Digest(victim.key.hex()), ledger.freed(victim.number)
        calls.append(Going(key, name, module, size, sum(below.values()), victim.why))
    stays, stays_bytes = ledger.room()
    total = sum(computed.values())
    return Plan(tuple(calls), before - stays_bytes, total, stays, stays_bytes)
