"""One entry of a storage: whether it is there, and can be read."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

from fleche import _core
from fleche.auditing.report import Kind
from fleche.digest import Digest
from fleche.security import SignatureError
from fleche.storage.base import Unreadable

__all__ = ["Failure", "framing", "looked_up", "payload", "raw"]

_GLOBALS = (ImportError, AttributeError)
# The beginning of an HDF5 file; of a pickle of protocol 2 or more, and its end.
_HDF5, _PROTO, _STOP = b"\x89HDF\r\n\x1a\n", b"\x80", b"."
# Tag 55799.
_CBOR = b"\xd9\xd9\xf7"
_SIGNATURE = 64


@dataclass(frozen=True)
class Failure:
    """Why an entry cannot be read.

    Args:
        kind: in a word.
        what: why.
    """

    kind: Kind
    what: str


def raw(storage: Any, key: Digest) -> Any:
    """What is stored under a key, in pieces if it is stored in pieces.

    Raises:
        KeyError: if it is not there, or cannot be read.
    """
    get = getattr(storage, "get", None)
    return storage.load(key) if get is None else get(key)


def payload(storage: Any, key: Digest) -> bytes | None:
    """The bytes that the serialiser made of a value, verified but not unpickled; `None` if the
    storage does not tell.

    Raises:
        KeyError: if they cannot be read.
    """
    handle = _handle(storage)
    if handle is None:
        return None
    return _there(handle.payload_of(key), key)


def _there(data: bytes | None, key: Digest) -> bytes:
    if data is None:
        raise KeyError(key)
    return data


def _handle(storage: Any) -> _core.FileStore | None:
    handle = getattr(storage, "_handle", None)
    is_known = isinstance(handle, _core.FileStore) and getattr(storage, "_native", False)
    return handle if is_known else None


def looked_up(storage: Any, key: Digest, look: Any) -> tuple[Any, Failure | None]:
    """What `look(storage, key)` gives, or why it gives nothing."""
    try:
        return look(storage, key), None
    except MemoryError:
        return None, Failure(Kind.UNREACHABLE, "it takes more memory than there is")
    except Exception as error:
        return None, _failure(storage, key, error)


def _failure(storage: Any, key: Digest, error: Exception) -> Failure:
    cause = error.__cause__
    if isinstance(cause, SignatureError):
        kind = Kind.UNSIGNED if "no signature" in str(cause) else Kind.FORGED
        return Failure(kind, str(cause))
    told = _told(error)
    while cause is not None and not isinstance(cause, (*_GLOBALS, OSError)):
        cause = cause.__cause__
    if isinstance(error, Unreadable):
        if isinstance(cause, _GLOBALS) or not isinstance(cause, OSError):
            return Failure(Kind.CLASS, told)
        return Failure(Kind.UNREACHABLE, told)
    if isinstance(error, KeyError):
        return (
            Failure(Kind.DAMAGED, told)
            if _is_there(storage, key)
            else Failure(Kind.MISSING, "it is not there")
        )
    if isinstance(error, OSError):
        return Failure(Kind.UNREACHABLE, told)
    return Failure(Kind.DAMAGED, told)


def _is_there(storage: Any, key: Digest) -> bool:
    try:
        return bool(storage.contains(key)) or bool(storage._path(key).is_symlink())
    except Exception:
        return False


def _told(error: Exception) -> str:
    """Why, in words."""
    if isinstance(error, KeyError):
        if len(error.args) > 1 and isinstance(error.args[1], str):
            return error.args[1].removeprefix("Value present but cannot be read: ")
        if error.__cause__ is not None:
            return f"{type(error.__cause__).__name__}: {error.__cause__}"
        return "it cannot be read"
    return f"{type(error).__name__}: {error}"


def framing(storage: Any, key: Digest) -> None:
    """See that an entry is there, signed, and of the form that it should have; nothing is loaded.

    Raises:
        KeyError: if not.
    """
    if not storage.contains(key):
        raise KeyError(key)
    handle = _handle(storage)
    if handle is None:
        _check_bag(storage, key)
        return
    # Large buffers that lie apart from it have their lengths, or it would not be given.
    data = _there(handle.stream_of(key), key)
    serializer = getattr(storage, "serializer", None)
    if serializer == "cbor" and not data.startswith(_CBOR):
        raise KeyError(key, "it is no CBOR")
    if serializer not in ("pickle", "cloudpickle", "dill"):
        return
    # Opened without keys, what was signed has its signature at the end.
    ends = data.endswith(_STOP) or data[:-_SIGNATURE].endswith(_STOP)
    if not (data.startswith(_PROTO) and ends):
        raise KeyError(key, "its bytes are no whole pickle") from pickle.UnpicklingError()


def _check_bag(storage: Any, key: Digest) -> None:
    if getattr(storage, "prefix_length", None) != 0:
        return
    with open(storage._path(key), "rb") as file:
        if file.read(len(_HDF5)) != _HDF5:
            raise KeyError(key, "it is no HDF5 file")
