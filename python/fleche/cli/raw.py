"""The pickles of values, read and verified as ever, and not run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fleche import _core
from fleche._foundation.messages import no_message
from fleche.cli.needs import Values
from fleche.cli.opcodes import names_in
from fleche.digest import Digest

__all__ = ["names_of_value", "reader"]


def reader(storage: Any) -> Callable[[Digest], bytes] | None:
    """What reads the pickle under a key; `None` if the storage keeps something else.

    What it gives raises `KeyError` for an entry that is damaged, or whose signature does not hold.
    """
    from fleche.storage.pickle_file import PickleFileBackend

    if not isinstance(storage, PickleFileBackend) or not storage._native:
        return None
    keys = storage.secret_key
    files = _core.FileStore(storage.root, storage.lock_timeout, keys, False, bytes, bytes)
    return files.get


def names_of_value(values: Values, key: Digest) -> set[tuple[str, str]]:
    """The classes and functions that a value's pickle names, with those of its parts."""
    read = reader(values.storage)
    found: set[tuple[str, str]] = set()
    if read is None:
        return found
    with no_message():
        for each in values.reached([key]):
            try:
                found |= names_in(read(each))
            except (KeyError, ValueError):
                continue
    return found
