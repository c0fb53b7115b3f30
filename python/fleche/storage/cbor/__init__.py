"""Values as CBOR (RFC 8949): what is loaded is data, and no code of anybody runs.

`dumps` and `loads` are the serialiser, whose walk is in the core (``src/py/cbor``). Here is what is
said about it in Python: how frames and tables of pandas, polars and Arrow are taken apart and put
together (a module each), and what is done with what CBOR cannot hold (`fallback`). The bytes are
described in ``docs/cbor.md``. May import `_foundation` and the libraries whose objects it is given.

>>> loads(dumps({"a": (1, 2.5), "b": {3, 1}}))
{'a': (1, 2.5), 'b': {1, 3}}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleche import _core
from fleche.security import normalize_secret_key

__all__ = ["dumps", "loads", "serializer"]


def serializer(
    allow: Sequence[str] = (), *, fallback: str | None = None, secret_key: Any = ()
) -> _core.CborSerializer:
    """What makes bytes of objects, and objects of bytes: its methods `dumps` and `loads`.

    Args:
        allow: patterns of the qualified names of classes of which there may be instances, such as
            `"mypackage.*"`: dataclasses, attrs and pydantic classes, named tuples, enums. Those of
            modules with cached functions may be there in any case. Loading imports none of them.
        fallback: `"pickle"`: what CBOR cannot hold becomes a pickle, signed by `secret_key`.
        secret_key: as for storages; only `fallback` needs it.

    Raises:
        ValueError: for another fallback, or one without a secret key.

    >>> serializer(allow=["mypackage.*"]).loads(serializer().dumps([None]))
    [None]
    """
    if fallback not in (None, "pickle"):
        raise ValueError(f"fallback must be 'pickle' or None, not {fallback!r}")
    keys = normalize_secret_key(secret_key) if secret_key else ()
    return _core.CborSerializer([*allow], [*keys], fallback == "pickle")


_plain = _core.CborSerializer([], [], False)


def dumps(value: Any, allow: Sequence[str] = ()) -> bytes:
    """The bytes of a value.

    Args:
        value: what to serialise.
        allow: patterns of names of classes, see `serializer`.

    Raises:
        SaveError: if CBOR cannot hold it; the message names what, and where in the value it lies.

    >>> dumps([1, "a"]).hex()
    'd9d9f782016161'
    """
    return (serializer(allow) if allow else _plain).dumps(value)


def loads(data: bytes, allow: Sequence[str] = ()) -> Any:
    """The value that was serialised to these bytes.

    Args:
        data: what `dumps` gave.
        allow: patterns of names of classes, see `serializer`.

    Raises:
        ValueError: if the bytes are damaged, or no CBOR of this kind.
        ImportError: if they name a class that is not allowed, or not imported.

    >>> loads(bytes.fromhex("d9d9f7820161"))
    Traceback (most recent call last):
    ValueError: this is no CBOR that fleche wrote: it ends at byte 6, in the middle of a value
    """
    return (serializer(allow) if allow else _plain).loads(data)
