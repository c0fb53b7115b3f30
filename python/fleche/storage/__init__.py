"""Storages: where values and call records are kept.

The classes of each kind live in modules of their own, loaded when first used; `base` has what all
of them are, `thread_safe` and `destructuring` what they mix in. It may import calls and what is
below. A new storage is a file here, registered by `register_storage`, and a line in
`base._BUILT_IN`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fleche.storage.base import (
    AmbiguousDigestError,
    CallMixin,
    CallStorage,
    Intent,
    KeyManagement,
    OperationContext,
    SaveError,
    StorageBackend,
    ValueMixin,
    ValueStorage,
    get_storage_constructor,
    is_registered_storage,
    register_storage,
)

if TYPE_CHECKING:
    from fleche.storage.bagofholding_file import (
        BagOfHoldingH5FileBackend,
        CallBagOfHoldingH5File,
        ValueBagOfHoldingH5File,
    )
    from fleche.storage.bucket import BucketBackend, CallBucket, ValueBucket
    from fleche.storage.cbor_file import CborFileBackend, ValueCborFile
    from fleche.storage.destructuring import DestructuringMixin, register_destructurer
    from fleche.storage.file import FileStorage
    from fleche.storage.memory import CallMemory, MemoryBackend, ValueMemory
    from fleche.storage.pickle_file import CallPickleFile, PickleFileBackend, ValuePickleFile
    from fleche.storage.sql import Sql
    from fleche.storage.sqlite import ValueSqlite
    from fleche.storage.thread_safe import PerKeyLockMixin, SerializingMixin
    from fleche.storage.void import CallVoid, ValueVoid, VoidBackend

_LAZY = {
    "DestructuringMixin": "destructuring",
    "register_destructurer": "destructuring",
    "MemoryBackend": "memory",
    "ValueMemory": "memory",
    "CallMemory": "memory",
    "VoidBackend": "void",
    "ValueVoid": "void",
    "CallVoid": "void",
    "FileStorage": "file",
    "PickleFileBackend": "pickle_file",
    "CborFileBackend": "cbor_file",
    "ValueCborFile": "cbor_file",
    "ValuePickleFile": "pickle_file",
    "CallPickleFile": "pickle_file",
    "BagOfHoldingH5FileBackend": "bagofholding_file",
    "ValueBagOfHoldingH5File": "bagofholding_file",
    "CallBagOfHoldingH5File": "bagofholding_file",
    "BucketBackend": "bucket",
    "ValueBucket": "bucket",
    "CallBucket": "bucket",
    "Sql": "sql",
    "ValueSqlite": "sqlite",
    "SerializingMixin": "thread_safe",
    "PerKeyLockMixin": "thread_safe",
}

__all__ = [
    "AmbiguousDigestError",
    "BagOfHoldingH5FileBackend",
    "BucketBackend",
    "CallBagOfHoldingH5File",
    "CallBucket",
    "CallMemory",
    "CallMixin",
    "CallPickleFile",
    "CallStorage",
    "CallVoid",
    "CborFileBackend",
    "DestructuringMixin",
    "FileStorage",
    "Intent",
    "KeyManagement",
    "MemoryBackend",
    "OperationContext",
    "PerKeyLockMixin",
    "PickleFileBackend",
    "SaveError",
    "SerializingMixin",
    "Sql",
    "StorageBackend",
    "ValueBagOfHoldingH5File",
    "ValueBucket",
    "ValueCborFile",
    "ValueMemory",
    "ValueMixin",
    "ValuePickleFile",
    "ValueSqlite",
    "ValueStorage",
    "ValueVoid",
    "VoidBackend",
    "get_storage_constructor",
    "is_registered_storage",
    "register_destructurer",
    "register_storage",
]


_MODULES = frozenset(_LAZY.values())


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_MODULES})
