"""Storages of HDF5 bags, written and read by `bagofholding`: any HDF5 tool shows what is in them.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     storage = ValueBagOfHoldingH5File(folder)
...     key = storage.save({"a": [1, 2]})
...     storage.load(key)
{'a': [1, 2]}
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, replace
from typing import Any

from fleche._foundation.errors import SaveError as SaveError
from fleche.call import DigestedCall
from fleche.digest import Digest
from fleche.storage.bags import VersionValidator as VersionValidator
from fleche.storage.bags.backend import BagOfHoldingH5FileBackend
from fleche.storage.bags.orders import is_of, orders_of
from fleche.storage.base import CallMixin, OperationContext, ValueMixin, register_storage
from fleche.storage.destructuring import DestructuringMixin
from fleche.storage.file import FileStorage as FileStorage
from fleche.storage.thread_safe import PerKeyLockMixin

__all__ = ["BagOfHoldingH5FileBackend", "CallBagOfHoldingH5File", "ValueBagOfHoldingH5File"]

logger = logging.getLogger(__name__)

BagOfHoldingH5FileBackend.__module__ = __name__


@register_storage("bagofholding_hdf", "value")
@dataclass(frozen=True)
class ValueBagOfHoldingH5File(
    PerKeyLockMixin, DestructuringMixin, ValueMixin, BagOfHoldingH5FileBackend
):
    """Values in HDF5 bags.

    Args:
        root: the folder, created when first written to; `~` is the home folder.
        version_validator: which versions of a value's package may load it.
        prefix_length: 0: a file a key; else a file for all keys that share so many characters.
            `None`: what is found in `root`; in a new one 0, in digest scheme `sha256` 2.
        lock_timeout: how long to wait for others at the same file, in seconds.
        check_consistency: whether to look at `root` for files of another `prefix_length`.
        remaining_depth: children nested at least this deep are stored under keys of their own.

    Raises:
        ImportError: if `bagofholding` or `h5py` is not installed.
        ValueError: for another validator or prefix length, or if `root` has files of another
            prefix length.
    """

    # Files are replaced at once, or locked for that moment: there is nothing to lock here.
    _operation_context = OperationContext._operation_context


@register_storage("bagofholding_hdf", "call")
@dataclass(frozen=True)
class CallBagOfHoldingH5File(PerKeyLockMixin, CallMixin, BagOfHoldingH5FileBackend):
    """Call records in HDF5 bags.

    Args:
        root: the folder, created when first written to; `~` is the home folder.
        version_validator: which versions of an object's package may load it; our own records load
            in any version.
        prefix_length: 0: a file a key; else a file for all keys that share so many characters.
            `None`: what is found in `root`; in a new one 0, in digest scheme `sha256` 2.
        lock_timeout: how long to wait for others at the same file, in seconds.
        check_consistency: whether to look at `root` for files of another `prefix_length`.

    Raises:
        ImportError: if `bagofholding` or `h5py` is not installed.
        ValueError: for another validator or prefix length, or if `root` has files of another
            prefix length.
    """

    # Files are replaced at once, or locked for that moment: there is nothing to lock here.
    _operation_context = OperationContext._operation_context

    def get(self, key: Digest) -> Any:
        record = super().get(key)
        if not isinstance(record, DigestedCall) or is_of(record, key):
            return record
        # By function: its calls have their arguments in one order.
        orders = self.__dict__.setdefault("_orders", {})
        function = record.module, record.name, frozenset(record.arguments)
        for names in itertools.chain(orders.get(function, ()), orders_of(record)):
            ordered = replace(record, arguments={name: record.arguments[name] for name in names})
            if is_of(ordered, key):
                orders[function] = [names]
                return ordered
        return record
