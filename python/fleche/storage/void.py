"""Storages that keep nothing: for caches that must never hit.

>>> storage = ValueVoid()
>>> key = storage.save([1, 2])
>>> storage.contains(key)
False
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from fleche.digest import Digest
from fleche.storage.base import CallMixin, StorageBackend, ValueMixin, register_storage


@dataclass(frozen=True)
class VoidBackend(StorageBackend):
    """Forgets what it is given."""

    _put_replaces: ClassVar[bool] = True

    def put(self, value: Any, key: Digest) -> Digest:
        return key

    def get(self, key: Digest) -> Any:
        raise KeyError(key)

    def list(self) -> Iterable[Digest]:
        return ()

    def _contains(self, key: Digest) -> bool:
        return False

    def _evict(self, key: Digest) -> None:
        pass

    def _may_hold(self, scheme: str) -> bool:
        return False

    def to_config(self) -> dict[str, Any]:
        """The configuration that builds this storage again: `{"type": "void"}`."""
        return {"type": "void"}


@register_storage("void", "value")
@dataclass(frozen=True)
class ValueVoid(ValueMixin, VoidBackend):
    """A value storage that keeps nothing; saving gives the digest."""


@register_storage("void", "call")
@dataclass(frozen=True)
class CallVoid(CallMixin, VoidBackend):
    """A call storage that keeps nothing."""
