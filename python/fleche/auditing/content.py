"""A value against its key: whether it is what was saved.

A key says what is stored in one of three ways (`docs/design.md`): it is a digest of the value (of
arguments, and of results that a digest decides), a digest of the serialised bytes, or made by
chance. What is stored in pieces is looked at piece by piece: a piece holds the digests of others.
"""

from __future__ import annotations

import enum
import io
import pickle
import re
import sys
from collections.abc import Iterator
from typing import Any

from fleche import _core
from fleche.digest import Digest, Indigestible, digest
from fleche.storage.destructuring import Digested

__all__ = ["Proof", "pieces_of", "proof_of_bytes", "proof_of_value"]

# Behind the bytes of what was saved by a storage with secret keys, where it is opened without.
_SIGNED = re.compile(rb"[0-9a-f]{64}\Z")
_KEY = re.compile("[0-9a-f]{64}")
# What these hold has its digest by our rules alone, whatever version of them is installed.
_PLAIN = {*sys.stdlib_module_names, "builtins", "fleche", "numpy", "pandas", "polars", "pyarrow"}


class Proof(enum.Enum):
    """What a key says of what is stored under it."""

    SAME = "it is what was saved"
    OTHER = "it is not what was saved"
    CHANGED = "its digest is another one today"
    NONE = "the key does not tell"


def proof_of_bytes(data: bytes | None, key: Digest) -> bool:
    """Whether these serialised bytes are those that a key was made of."""
    if data is None:
        return False
    if _core.serialised_digest(data) == key:
        return True
    return _SIGNED.search(data) is not None and _core.serialised_digest(data[:-64]) == key


def proof_of_value(
    storage: Any,
    key: Digest,
    stored: Any,
    *,
    is_argument: bool,
    may_be_argument: bool,
    bytes_known: bool,
) -> Proof:
    """What a key says of a value whose serialised bytes do not prove it.

    Args:
        storage: where it is.
        key: its key.
        stored: the value, or its pieces.
        is_argument: whether it is an argument and nothing else.
        may_be_argument: whether it is one, or it is not known what it is.
        bytes_known: whether its key would be a digest of its bytes if it were none of the value.
    """
    if _is_digest_of(stored, key):
        return Proof.SAME
    try:
        whole = storage.load(key) if isinstance(stored, Digested) else stored
    except KeyError:
        # A piece cannot be read, which is told by itself; the keys of the pieces decide all the
        # same, but for an argument, whose key is of the whole.
        return Proof.NONE if may_be_argument else _unlike(stored)
    if _is_digest_of(whole, key) or _is_pickle_of(whole, key):
        return Proof.SAME
    digest_decides = isinstance(stored, Digested) or _core.decided_digest(whole) is not None
    if not (is_argument or bytes_known or digest_decides):
        return Proof.NONE
    return _unlike(stored, whole)


def pieces_of(stored: Any) -> set[Digest]:
    """The keys of the pieces that a value is stored in.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        keys = _core.child_digests(stored)
    except (AttributeError, TypeError) as error:
        raise ValueError(f"what holds its pieces is damaged ({error})") from error
    if not all(map(_KEY.fullmatch, keys)):
        raise ValueError("a key of its pieces is none")
    return keys


def _unlike(*values: Any) -> Proof:
    return Proof.OTHER if all(map(_is_plain, values)) else Proof.CHANGED


def _digests(value: Any) -> Iterator[Digest]:
    for scheme in _core.SCHEMES:
        for typed in (True, False) if scheme == "exact" else (False,):
            try:
                yield _core.digest(value, typed=typed, scheme=scheme)
            except Indigestible:
                return
            except Exception:  # a hook, or a class of a user's
                continue


def _is_digest_of(value: Any, key: Digest) -> bool:
    # Of results of the reference that have another text as their digest, its digest is the key.
    return any(key in (found, _core.storage_key(found)) for found in _digests(value))


def _is_pickle_of(value: Any, key: Digest) -> bool:
    try:
        return key in _core.result_digests(value)
    except Exception:
        return False


class _Met(pickle.Pickler):
    """Whose objects a value consists of."""

    def __init__(self) -> None:
        super().__init__(_Nowhere(), pickle.HIGHEST_PROTOCOL)
        self.packages: set[str] = set()

    def persistent_id(self, value: Any) -> None:
        module = getattr(value, "__module__", None)
        named = (type(value).__module__, module if isinstance(module, str) else None)
        self.packages.update(name.partition(".")[0] for name in named if name)


class _Nowhere(io.RawIOBase):
    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


def _is_plain(value: Any) -> bool:
    """Whether a value's digest depends on nothing but its content: not on classes of users, nor on
    versions of packages."""
    met = _Met()
    try:
        met.dump(value)
        digest(value)
    except Exception:
        return False
    return met.packages <= _PLAIN
