"""Signatures of stored objects, so that nobody without the key can put code into a cache.

Unpickling runs code. A storage with secret keys signs what it writes (HMAC-SHA256) and unpickles
nothing whose signature does not hold.

>>> signed = SignedBytes([b"secret"])
>>> signed.loads(signed.dumps(b"a pickle."))
b'a pickle.'
>>> try:
...     signed.loads(SignedBytes([b"other"]).dumps(b"a pickle."))
... except SignatureError:
...     print("not signed by us")
not signed by us
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from fleche import _core

logger = logging.getLogger("fleche.security")

_VARIABLE = "FLECHE_SECRET_KEY"
_STOP = b"."


class SignatureError(Exception):
    """Signed bytes without a signature, or with one that does not hold."""


def normalize_secret_key(key: bytes | str | Sequence[bytes | str]) -> list[bytes]:
    """Secret keys in any of the forms in which they are given.

    Args:
        key: one key as bytes; hex text, several keys separated by colons; or a sequence of both.

    Returns:
        The keys; the first one signs, any of them verifies.

    Raises:
        TypeError: for anything else.
        ValueError: for text that is not hex, and for empty keys.

    >>> normalize_secret_key("00ff:ab")
    [b'\\x00\\xff', b'\\xab']
    """
    if isinstance(key, bytes):
        if not key:
            raise ValueError("a secret key must not be empty: anybody can sign with that")
        return [key]
    if isinstance(key, str):
        # An empty part is left out: as a key it would accept what anybody signs.
        keys = [bytes.fromhex(part) for part in key.split(":") if part.strip()]
        if not keys:
            raise ValueError("a secret key must not be empty: anybody can sign with that")
        return keys
    if isinstance(key, Sequence) and not isinstance(key, bytearray | memoryview):
        parts = cast("Sequence[bytes | str]", key)
        return [one for part in parts for one in normalize_secret_key(part)]
    kind = type(key).__name__
    raise TypeError(f"secret_key must be bytes, str, or sequence, got {kind}")


def get_secret_key() -> list[bytes]:
    """The keys in the environment variable `FLECHE_SECRET_KEY`: hex, separated by colons.

    Returns:
        The keys, the first of which signs; none if the variable is unset or empty.

    Raises:
        ValueError: if it is not hex.
    """
    text = os.environ.get(_VARIABLE, "").strip()
    if not text:
        return []
    try:
        return normalize_secret_key(text)
    except ValueError as error:
        raise ValueError(f"environment variable {_VARIABLE}: {error}") from None


@dataclass(frozen=True, slots=True)
class SignedBytes:
    """Signs pickles and checks them.

    Args:
        keys: the first one signs, any of them verifies. Without keys nothing is signed or checked.

    >>> import pickle
    >>> signed = SignedBytes([b"new", b"old"])
    >>> pickle.loads(signed.loads(SignedBytes([b"old"]).dumps(pickle.dumps([1, 2]))))
    [1, 2]
    """

    keys: Sequence[bytes] = field(repr=False)

    def dumps(self, content: bytes) -> bytes:
        """`content` with its signature, 64 hex characters, behind it; without keys, as it is.

        Args:
            content: a pickle.
        """
        signature = _core.sign(content, list(self.keys))
        return content if signature is None else content + signature.encode()

    def loads(self, content: bytes) -> bytes:
        """The pickle in what `dumps` gave: it ends at the last STOP, a byte no signature has.

        Args:
            content: a pickle and its signature.

        Raises:
            SignatureError: if there is no pickle, no signature, or one that does not hold.
        """
        if not self.keys:
            return content
        end = content.rfind(_STOP) + 1
        if end == 0:
            reason: str | None = "No STOP opcode found"
        else:
            reason = _core.verify(content[:end], content[end:], list(self.keys))
        if reason is not None:
            logger.error("%s", reason)
            raise SignatureError(reason)
        return content[:end]
