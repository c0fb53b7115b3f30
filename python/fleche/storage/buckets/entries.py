"""The bytes of entries: pickled, signed and compressed; of a record, with small values in it.

A record's payload begins with `FLR1`, a length of four bytes (big-endian) and the pickled record;
then, of each value in it, its digest (32 bytes), a length of eight bytes, and the pickled value.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from fleche import _core
from fleche._foundation.errors import Unreadable
from fleche._foundation.forks import kept
from fleche.security import SignatureError
from fleche.security import logger as security_logger
from fleche.storage.base import SaveError, logger
from fleche.storage.pickle_file import _SERIALIZERS, check_compression

__all__ = ["INSIDE", "Entries", "pack", "unpack"]

#: Up to this length a result, with all its parts, goes into its record, in bytes.
INSIDE = 1 << 16

_MAGIC = b"FLR1"
_HEAD, _VALUE = struct.Struct(">4sI"), struct.Struct(">32sQ")


def pack(record: bytes, values: dict[str, bytes]) -> bytes:
    """A record with values in it.

    >>> unpack(pack(b"record", {"ab" * 32: b"value"}))
    (b'record', {'abababababababababababababababababababababababababababababababab': b'value'})
    """
    parts = [_HEAD.pack(_MAGIC, len(record)), record]
    for key, payload in values.items():
        parts += [_VALUE.pack(bytes.fromhex(key), len(payload)), payload]
    return b"".join(parts)


def unpack(payload: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The parts of what `pack` gave.

    Raises:
        ValueError: if they are none.
    """
    try:
        magic, length = _HEAD.unpack_from(payload)
        end = _HEAD.size + length
        if magic != _MAGIC or end > len(payload):
            raise ValueError("it is no record")
        return payload[_HEAD.size : end], dict(_values(payload, end))
    except struct.error as error:
        raise ValueError("it is cut") from error


def _values(payload: bytes, begin: int) -> Iterator[tuple[str, bytes]]:
    while begin < len(payload):
        key, length = _VALUE.unpack_from(payload, begin)
        begin += _VALUE.size
        if begin + length > len(payload):
            raise ValueError("it is cut")
        yield key.hex(), payload[begin : begin + length]
        begin += length


class Entries:
    """How a storage makes bytes of objects, and objects of bytes.

    Args:
        serializer: the name of a serialiser.
        keys: what signs (the first) and verifies (any); without any, nothing is signed.
        compress: by what to compress, see `PickleFileBackend`.
        level: how hard that tries.

    Raises:
        ValueError: for an unknown serialiser, compression or level.
        ImportError: if its package is not installed.
    """

    def __init__(
        self,
        serializer: str,
        keys: tuple[bytes, ...],
        compress: bool | str,
        level: int | None = None,
    ) -> None:
        try:
            loader = _SERIALIZERS[serializer]
        except KeyError:
            raise ValueError(
                f"unknown serializer {serializer!r}; registered are {sorted(_SERIALIZERS)}"
            ) from None
        self._dumps, self._loads = loader()
        check_compression(compress, level)
        self._settings = (keys, "gzip" if compress is True else compress or None, level)

    @kept
    def _codec(self) -> Any:
        keys, compress, level = self._settings
        return _core.Codec([*keys], compress, level)

    def dumps(self, value: Any, path: str) -> bytes:
        """What the serialiser makes of a value.

        Raises:
            SaveError: if it refuses.
        """
        try:
            data = self._dumps(value)
        except Exception as error:
            raise SaveError(
                f"cannot save {path}: its {type(value).__name__} cannot be serialised ({error!r}); "
                f"return something that can, or choose another serializer ('cloudpickle' and "
                f"'dill' take more than 'pickle')"
            ) from error
        return data if type(data) is bytes else bytes(data)

    def encode(self, payload: bytes) -> bytes:
        """The bytes to store."""
        encoded: bytes = self._codec.encode(payload)
        return encoded

    def decode(self, stored: bytes, path: str) -> bytes:
        """The payload of stored bytes, their signature verified.

        Raises:
            KeyError: if they are of no use, which is said.
        """
        try:
            payload: bytes = self._codec.decode(stored)
        except SignatureError as error:
            security_logger.error("%s (%s)", error, path)
            raise Unreadable(path, "Value present but failed signature check.") from error
        except OSError as error:
            raise _useless(path, error) from error
        return payload

    def loads(self, payload: bytes, path: str) -> Any:
        """The value in a payload.

        Raises:
            KeyError: if it cannot be read, which is said.
        """
        try:
            return self._loads(payload)
        except (ImportError, AttributeError, MemoryError) as error:
            missing = _useless(path, error)
            raise Unreadable(*missing.args) from error
        except Exception as error:
            raise _useless(path, error) from error

    def read(self, payload: bytes, path: str, take: Callable[[bytes], Any]) -> Any:
        """What `take` makes of a payload.

        Raises:
            KeyError: if it cannot, which is said.
        """
        try:
            return take(payload)
        except ValueError as error:
            raise _useless(path, error) from error


def _useless(path: str, error: Exception) -> KeyError:
    reason = f"{type(error).__name__}: {error}"
    logger.warning("Cannot read cache entry %s, taken as missing: %s", path, reason)
    return KeyError(path, f"Value present but cannot be read: {reason}")
