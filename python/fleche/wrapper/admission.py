"""Admitting a call to a cache before its body runs: its arguments are stored, its key sealed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche._foundation.errors import SaveError
from fleche.call import Call, DigestedCall, PreparedCall
from fleche.digest import Digest
from fleche.wrapper.recording import Recorded

if TYPE_CHECKING:
    from fleche.caches import BaseCache

_storages = logging.getLogger("fleche.storage")


class AdmittedCall:
    """As `PreparedCall`, of a cache that is a plain pair of built-in storages: no way through the
    methods of all three."""

    __slots__ = ("cache", "call", "digests", "key", "plain")

    def __init__(
        self,
        plain: _core.PlainCall,
        cache: BaseCache,
        key: Digest,
        call: Call,
        digests: dict[str, Digest],
    ) -> None:
        self.plain = plain
        self.cache = cache
        self.key = key
        self.call = call
        self.digests = digests

    def commit(self, result: Any, metadata: Recorded) -> None:
        """Store the result and the record.

        Raises:
            Rejected: if they cannot be stored.
        """
        call = self.call
        record = DigestedCall(
            call.name,
            self.digests,
            None,
            metadata,
            call.module,
            call.version,
            call.code_digest,
        )
        with self.cache._operation_context(self.key):
            try:
                self.plain.commit(record, result, call.arguments)
            except SaveError as error:
                from fleche.caches import Rejected

                raise Rejected(error) from error

            finally:
                self.plain.release()

    def abandon(self) -> None:
        """Give the call up: no record of it will be stored."""
        self.plain.release()


def admit(
    cache: BaseCache, key: Digest, call: Call, digests: dict[str, Digest]
) -> PreparedCall | AdmittedCall:
    """Store the arguments of a call and seal its key.

    Args:
        cache: where to.
        key: the call's.
        call: with its live arguments; what of them cannot be stored is noted in it.
        digests: those of the arguments.
    """
    # The storages tell of every step at this level: through their methods, then.
    if not _storages.isEnabledFor(logging.DEBUG):
        admitted = _core.PlainCall.admit(cache, key, call.arguments, digests)
        if admitted is not None:
            plain, failed = admitted
            call.__dict__["_unsaved"] = failed
            return AdmittedCall(plain, cache, key, call, digests)
    call.__dict__.update(_digests=digests, _unsaved=[])
    try:
        return cache.prepare(call)
    finally:
        del call.__dict__["_digests"]
