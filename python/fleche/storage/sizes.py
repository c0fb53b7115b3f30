"""How many bytes entries take, for many of them at once.

A storage that knows has a method `_sizes(keys)`, which gives the sizes of those that it knows of.
Nothing is loaded for that: files are asked for their length, databases for that of their texts.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleche.digest import Digest

__all__ = ["of_files", "of_objects", "sizes_of"]

# From so many on, a folder is read once, instead of each file being asked for.
_MANY = 100


def sizes_of(storage: Any, keys: Iterable[Digest]) -> Mapping[Digest, int]:
    """The bytes of entries, as far as that is known.

    Args:
        storage: any storage.
        keys: the entries' whole keys.

    >>> from fleche.storage import ValueMemory, ValueVoid
    >>> storage = ValueMemory({})
    >>> key = storage.save("text")
    >>> sizes_of(storage, [key])[key]
    19
    >>> sizes_of(ValueVoid(), [key])
    {}
    """
    # A storage of a user's may derive from anything.
    ask = getattr(storage, "_sizes", None)
    found: Mapping[Digest, int] = {} if ask is None else ask([*keys])
    return found


def of_files(root: Path, keys: Iterable[Digest]) -> dict[Digest, int]:
    """The lengths of the files in a folder that have these names."""
    # Sizes are told by the caller's own keys: no second text for each.
    wanted = {key: key for key in keys}
    found: dict[Digest, int] = {}
    if len(wanted) < _MANY:
        for key in wanted:
            try:
                found[key] = os.stat(root / key).st_size
            except OSError:
                continue
        return found
    try:
        entries = os.scandir(root)
    except OSError:
        return found
    with entries:
        for entry in entries:
            key = wanted.get(entry.name)  # type: ignore[call-overload]
            if key is not None:
                try:
                    found[key] = entry.stat().st_size
                except OSError:  # It went meanwhile.
                    continue
    return found


def of_objects(entries: Mapping[Digest, Any], keys: Iterable[Digest]) -> dict[Digest, int]:
    """The lengths of the pickles of objects in memory; not of those that have none."""
    found = {}
    for key in keys:
        try:
            found[key] = len(pickle.dumps(entries[key], 5))
        except Exception:
            continue
    return found
