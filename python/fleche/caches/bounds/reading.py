"""Looking at calls of which an account knows the keys alone."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from fleche import _core
from fleche._foundation import seam
from fleche._foundation.messages import no_message
from fleche.caches.bounds.entries import Entry
from fleche.caches.bounds.ledger import Ledger
from fleche.caches.bounds.needs import Needs, join
from fleche.digest import Digest

__all__ = ["Reader"]

# So many keys are asked for at once.
_AT_ONCE = 1000


class Reader:
    """Reads records, and what they need.

    Args:
        values: where values are.
        calls: where records are.
    """

    def __init__(self, values: Any, calls: Any) -> None:
        self.values = values
        self.calls = calls
        self.needs = Needs(values, calls)

    def read(self, ledger: Ledger, until: float, alone: bool = False) -> bool:
        """Look at the calls of which only the key is known; whether none of them is left.

        Args:
            ledger: the account.
            until: when to stop, by `time.monotonic`.
            alone: whether nobody saves meanwhile: what is not there then, is gone.
        """
        left = 0
        while keys := ledger.unread(left, _AT_ONCE):
            for key in keys:
                if not self._read_one(ledger, key, alone):
                    left += 1
                if time.monotonic() > until:
                    return False
        return left == 0

    def _read_one(self, ledger: Ledger, key: bytes, alone: bool) -> bool:
        digest = Digest(key.hex())
        try:
            with no_message():
                record = self.calls.load(digest)
        except Exception:
            there = self.calls.contains(digest)
            if there:
                # Another version's, say: what it needs is told by its bytes alone.
                ledger.add_opaque("call", key)
            if there or alone:
                ledger.drop_unread(key)
            return there or alone
        self.account(ledger, digest, record)
        return True

    def account(
        self,
        ledger: Ledger,
        key: Digest,
        record: Any,
        live: tuple[dict[str, Any], Any] | None = None,
    ) -> None:
        """Account for a call.

        Args:
            ledger: the account.
            key: the call's.
            record: its record.
            live: its arguments and its result, if they are at hand.
        """
        entry = self.needs.of(key, record, ledger)
        if ledger.meta("contents"):
            self._join(entry, record, live or self._stored(record))
        ledger.put(entry)

    def _join(self, entry: Entry, record: Any, held: tuple[dict[str, Any], Any]) -> None:
        # Rules of users may run, which may raise anything: it counts as made of nothing.
        with contextlib.suppress(Exception):
            join(entry, record, seam.look_up("content_of"), *held)

    def _stored(self, record: Any) -> tuple[dict[str, Any], Any]:
        arguments: dict[str, Any] = {}
        result = None
        with no_message():
            for name, named in record.arguments.items():
                with contextlib.suppress(Exception):
                    arguments[name] = self.values.load(_core.storage_key(named))
            with contextlib.suppress(Exception):
                result = self.values.load(_core.storage_key(record.result))
        return arguments, result
