"""Whether a stored value may be one in pieces, told by the beginning of its file."""

from __future__ import annotations

import zlib
from typing import Any

from fleche.digest import Digest

__all__ = ["may_be_in_pieces"]

# A shorter entry has no room for the key of another one; one up to the second length is read
# whole, of a longer one the beginning says whether it is a value in pieces.
_SHORTEST, _WHOLE = 100, 1 << 16
_BEGINNING = 200
_IN_PIECES = b"fleche.storage.destructuring"

# How a pickle of any protocol with frames begins, one whose large buffers lie apart, and gzip.
_PICKLE, _APART, _GZIP = b"\x80", b"\xfffleche\x01", b"\x1f\x8b"


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
    try:
        if head.startswith(_GZIP):
            head = zlib.decompressobj(31).decompress(head, _WHOLE)
    except zlib.error:
        return True
    start = 0
    if head.startswith(_APART) and len(head) >= 24:
        start = 24 + 16 * int.from_bytes(head[16:24], "little")
    # Where the beginning of a pickle is not seen, nothing is said: a piece that were taken for
    # nobody's would be lost.
    is_seen = head.startswith((_PICKLE, _APART)) and start + _BEGINNING <= len(head)
    return not is_seen or _IN_PIECES in head
