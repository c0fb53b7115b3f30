"""A storage of values as CBOR, one file a key: whoever can write to it cannot run code by it.

Loading makes data of the built-in types and of known libraries, and instances of classes that are
let in, without a line of their code; nothing is imported that the data names.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     storage = ValueCborFile(folder)
...     key = storage.save({"a": (1, 2)})
...     storage.load(key)
{'a': (1, 2)}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fleche.storage.base import OperationContext, ValueMixin, register_storage
from fleche.storage.cbor import serializer
from fleche.storage.destructuring import DestructuringMixin
from fleche.storage.pickle_file import PickleFileBackend
from fleche.storage.thread_safe import PerKeyLockMixin


@dataclass(frozen=True)
class CborFileBackend(PickleFileBackend):
    """A backend that writes each entry as CBOR, in files as those of pickles.

    Args:
        root: the folder, created when first written to; `~` is the home folder.
        lock_timeout: how long a writer waits for another one of the same key, in seconds.
        secret_key: signs and verifies, see `PickleFileBackend`.
        compress: whether to gzip what is written; reading takes both.
        allow: patterns of the qualified names of classes whose instances are let in, as
            `"mypackage.*"`. Those of modules with cached functions are let in anyway.
        fallback: `"pickle"`: what CBOR cannot hold is pickled and signed; needs a secret key.

    Raises:
        ValueError: for another fallback, one without a secret key, or a key that is not hex.
    """

    serializer: str = field(default="cbor", init=False)
    allow: Sequence[str] = field(default=(), kw_only=True)
    fallback: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", tuple(self.allow))
        super().__post_init__()

    def _load_serializer(self) -> None:
        made = serializer(self.allow, fallback=self.fallback, secret_key=self.secret_key)
        object.__setattr__(self, "dumps", made.dumps)
        object.__setattr__(self, "loads", made.loads)

    def to_config(self) -> dict[str, Any]:
        """The configuration that makes this storage again, its secret keys included, as hex."""
        config = super().to_config()
        if self.allow:
            config["allow"] = list(self.allow)
        if self.fallback is not None:
            config["fallback"] = self.fallback
        return config


@register_storage("cbor", "value")
@dataclass(frozen=True)
class ValueCborFile(PerKeyLockMixin, DestructuringMixin, ValueMixin, CborFileBackend):
    """Values in CBOR files.

    Args:
        root: the folder, created when first written to; `~` is the home folder.
        remaining_depth: children nested at least this deep are stored under keys of their own.
        lock_timeout: how long a writer waits for another one of the same key, in seconds.
        secret_key: signs and verifies, see `PickleFileBackend`.
        compress: whether to gzip what is written.
        allow: patterns of names of classes, see `CborFileBackend`.
        fallback: what to do with what CBOR cannot hold, see `CborFileBackend`.
    """

    # Files are replaced at once, and locked for that moment: there is nothing to lock here.
    _operation_context = OperationContext._operation_context
