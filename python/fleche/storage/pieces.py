"""Whether a stored value may be one in pieces, told by the beginning of its file."""

from __future__ import annotations

import zlib
from typing import Any

from fleche.digest import Digest

__all__ = ["may_be_in_pieces"]

# A shorter entry has no room for the key of another one; one up to the second length is read
# whole, of a longer one the beginning says whether it is a value in pieces.
_SHORTEST, _WHOLE = 100, 1 << 16
_IN_PIECES = b"fleche.storage.destructuring"


def may_be_in_pieces(storage: Any, key: Digest, size: int | None) -> bool:
    """Whether the value under a key may have parts under keys of their own.

    Args:
        storage: where it is.
        key: its key.
        size: its length in bytes, if that is known.
    """
    path = getattr(storage, "_path", None)
    if size is None or path is None:
        return True
    if size <= _WHOLE:
        return size >= _SHORTEST
    try:
        with open(path(key), "rb") as file:
            head = file.read(_WHOLE)
    except OSError:  # in a file with others
        return True
    if head.startswith(b"\x1f\x8b"):
        head = zlib.decompressobj(31).decompress(head, _WHOLE)
    return _IN_PIECES in head
