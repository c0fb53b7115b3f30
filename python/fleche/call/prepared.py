"""Calls between the moment a cache admitted them and the moment their results are stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fleche import _core
from fleche._foundation.errors import SaveError
from fleche.call.records import DigestedCall, Metadata, warn_of_unsaved_argument
from fleche.digest import Digest, Indigestible, digest

if TYPE_CHECKING:
    from fleche.storage import ValueStorage


@dataclass
class PreparedCall:
    """A call that a cache admitted before its body runs: its arguments are stored, its key sealed.

    Exactly one of `commit` and `abandon` ends it; left as a context manager without either, it is
    abandoned.
    """

    digested: DigestedCall
    cache: Any
    # What keeps its stored arguments until then, and the arguments themselves.
    _flight: Any = field(default=None, init=False, repr=False, compare=False)
    _live: dict[str, Any] | None = field(default=None, init=False, repr=False, compare=False)
    _finished: bool = field(default=False, init=False, repr=False)
    _result: Any = field(default=None, init=False, repr=False)
    _metadata: Metadata | None = field(default=None, init=False, repr=False)

    def to_lookup_key(self) -> Digest:
        """The key that the record will have."""
        return self.digested.to_lookup_key()

    def commit(self, result: Any, metadata: Metadata | None = None) -> Digest:
        """Store the result and the record; gives its key.

        Args:
            result: what the call returned.
            metadata: by the metadata's name; replaces what the call was prepared with.

        Raises:
            RuntimeError: if the call was committed or abandoned before.
            Rejected: if the cache refuses.
        """
        if self._finished:
            raise RuntimeError("PreparedCall already committed or abandoned")
        self._finished = True
        self._result = result
        self._metadata = metadata
        try:
            key: Digest = self.cache.save(self)
        finally:
            self._flight = self._live = None
        return key

    def abandon(self) -> None:
        """Give the call up: no record of it will be stored."""
        self._finished = True
        self._flight = self._live = None

    def _through(self, cache: Any) -> PreparedCall:
        """The same call, to be saved by a cache around the one that prepared it."""
        self.cache = cache
        return self

    def _store_arguments_again(self, values: ValueStorage) -> None:
        if self._live is not None:
            store_again(values, self._live, self.digested.arguments)

    def resolve(self, values: ValueStorage) -> DigestedCall:
        """Store the result; gives the finished record."""
        result = values.save(self._result, _core.result_digest(self._result))
        digested = self.digested
        metadata = digested.metadata if self._metadata is None else self._metadata
        return DigestedCall(
            name=digested.name,
            arguments=digested.arguments,
            result=result,
            metadata=metadata,
            module=digested.module,
            version=digested.version,
            code_digest=digested.code_digest,
        )

    def __enter__(self) -> PreparedCall:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> Literal[False]:
        if not self._finished:
            self.abandon()
        return False


def store_again(
    values: ValueStorage, arguments: dict[str, Any], digests: dict[str, Digest]
) -> None:
    """Store what a garbage collection may have evicted while the call ran.

    Args:
        values: where.
        arguments: the live arguments.
        digests: the digests that they had before the body ran.
    """
    for name, value in arguments.items():
        if type(value) is Digest:
            continue
        key = _core.storage_key(digests[name])
        try:
            values.load(key)
        except KeyError:
            try:
                # The body may have changed it.
                if digests[name] not in (digest(value), digest(value, typed=True)):
                    raise SaveError(f"the argument {name!r} is no longer what it was") from None
                values.save(value, key)
            except (SaveError, Indigestible):
                warn_of_unsaved_argument(name)


# Pickles name them by `fleche.call`, as those of the reference do.
__test__ = {each.__name__: each for each in (PreparedCall,)}
for _public in __test__.values():
    _public.__module__ = "fleche.call"
