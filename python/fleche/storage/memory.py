"""Storages that keep their entries in a dictionary.

What goes in and what comes out is independent of the caller's objects, as if by `copy.deepcopy`.

>>> storage = ValueMemory({})
>>> key = storage.save({"a": [1, 2]})
>>> storage.load(key)
{'a': [1, 2]}
"""

import builtins
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fleche import _core
from fleche.digest import Digest
from fleche.storage.base import (
    CallMixin,
    OperationContext,
    StorageBackend,
    ValueMixin,
    register_storage,
)
from fleche.storage.destructuring import DestructuringMixin
from fleche.storage.thread_safe import PerKeyLockMixin


@dataclass(frozen=True)
class MemoryBackend(StorageBackend):
    """Keeps entries in a dictionary, which the caller may share.

    Args:
        storage: the entries by key.
    """

    storage: dict[Digest, Any]

    _put_replaces: ClassVar[bool] = True

    # The dictionary has no hash: a storage is itself, whatever it holds at the moment.
    __hash__ = object.__hash__

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__hash__" not in cls.__dict__:
            # A frozen dataclass would make one of the fields, which fails on the dictionary.
            cls.__hash__ = object.__hash__  # type: ignore[method-assign, assignment]

    @classmethod
    def from_config(cls, **kwargs: Any) -> "MemoryBackend":
        """An empty storage with these other fields."""
        return cls({}, **kwargs)

    def put(self, value: Any, key: Digest) -> Digest:
        # Last, as the newest: the order of a dictionary is the age of its entries.
        _core.put_newest(self.storage, key, _core.independent_copy(value))
        return key

    def get(self, key: Digest) -> Any:
        return _core.independent(self.storage[key])

    def _place(self) -> Any:
        return id(self.storage)

    def _contains(self, key: Digest) -> bool:
        return key in self.storage

    def _contains_many(self, keys: Sequence[Digest]) -> builtins.list[bool]:
        kind = type(self)
        if (kind.contains, kind._contains) != (MemoryBackend.contains, MemoryBackend._contains):
            return super()._contains_many(keys)
        return [key in self.storage for key in keys]

    def _evict(self, key: Digest) -> None:
        self.storage.pop(key, None)

    def list(self) -> tuple[Digest, ...]:
        return tuple(self.storage)

    def _sizes(self, keys: Iterable[Digest]) -> dict[Digest, int]:
        from fleche.storage.sizes import of_objects

        return of_objects(self.storage, keys)


def _value_memory(**kwargs: Any) -> "ValueMemory":
    return ValueMemory({}, **kwargs)


def _call_memory(**kwargs: Any) -> "CallMemory":
    return CallMemory({}, **kwargs)


@register_storage("memory", "value", factory=_value_memory)
@dataclass(frozen=True)
class ValueMemory(PerKeyLockMixin, DestructuringMixin, ValueMixin, MemoryBackend):
    """Values in a dictionary.

    Args:
        storage: the entries by key; shared with the caller.
        remaining_depth: children nested at least this deep are stored under keys of their own.
    """

    storage: dict[Digest, Any]
    remaining_depth: int = 0

    __hash__ = object.__hash__
    # A dictionary does each of its operations at once: there is nothing to lock.
    _operation_context = OperationContext._operation_context

    def to_config(self) -> dict[str, Any]:
        """The configuration that makes such a storage; its content is no part of it."""
        return {"type": "memory", "remaining_depth": self.remaining_depth}


@register_storage("memory", "call", factory=_call_memory)
@dataclass(frozen=True)
class CallMemory(PerKeyLockMixin, CallMixin, MemoryBackend):
    """Call records in a dictionary.

    Args:
        storage: the records by key; shared with the caller.
    """

    __hash__ = object.__hash__
    # A dictionary does each of its operations at once: there is nothing to lock.
    _operation_context = OperationContext._operation_context

    def __post_init__(self) -> None:
        if not self.storage:
            self.__dict__["_schemes"] = set()

    # The schemes of what was saved here; not there if the dictionary had records already.
    def _may_hold(self, scheme: str) -> bool:
        schemes = self.__dict__.get("_schemes")
        return bool(self.storage) if schemes is None else scheme in schemes

    def _note_scheme(self) -> None:
        if not self.storage:
            self.__dict__["_schemes"] = {_core.scheme()}
        elif "_schemes" in self.__dict__:
            self.__dict__["_schemes"].add(_core.scheme())

    def _hold_only_scheme(self) -> None:
        self.__dict__["_schemes"] = {_core.scheme()}

    def to_config(self) -> dict[str, Any]:
        """The configuration that makes such a storage; its content is no part of it."""
        return {"type": "memory"}
