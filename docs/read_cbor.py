"""Reads values that fleche stored as CBOR, without fleche: `pip install "cbor2>=6"`.

    python read_cbor.py STORE KEY [SECRET_KEY]

gives what is stored under a key as plain data: numbers, text, lists, dicts. What plain data cannot
say is a dict with its kind under "kind". Arrays are lists; with numpy, make arrays of the `memory`.
"""

from __future__ import annotations

import gzip
import hmac
import struct
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2

START = bytes.fromhex("d9d9f7")
TUPLE, FROZENSET, BYTEARRAY, DIGEST, OBJECT, PICKLE = range(61932, 61938)
ROW_MAJOR, COLUMN_MAJOR, WTF8 = 40, 1040, 273
# Tags 64 to 87: unsigned, signed and floating numbers, the highest byte first and last.
FORMATS = {
    tag: order + letter
    for first, letters in ((64, "BHIQ"), (72, "bhiq"), (80, "efd"))
    for step, order in ((0, ">"), (4, "<"))
    for tag, letter in enumerate(letters, first + step)
}
FORMATS.pop(76)


class Digest(str):
    """The key of a part that is stored by itself."""


def read(store: str | Path, key: str, secret_key: bytes = b"") -> Any:
    """What is stored under a key, with its parts in their places."""
    value = entry(Path(store, key).read_bytes(), secret_key)
    return whole(value, lambda part: read(store, part, secret_key))


def entry(data: bytes, secret_key: bytes = b"") -> Any:
    """What one file holds: gzip around a signature behind the CBOR, each if it was asked for."""
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    if secret_key:
        data, signature = data[:-64], data[-64:]
        expected = hmac.new(secret_key, data, sha256).hexdigest().encode()
        if not hmac.compare_digest(expected, signature):
            raise ValueError("the signature does not hold")
    if not data.startswith(START):
        raise ValueError("this is no CBOR that fleche wrote")
    return cbor2.loads(data[len(START) :], semantic_decoders=DECODERS, max_depth=4000)


def made(number: int, content: Any, immutable: bool) -> Any:
    """What a tag that cbor2 does not know stands for."""
    if number == TUPLE:
        return tuple(content)
    if number == FROZENSET:
        return frozenset(content)
    if number == BYTEARRAY:
        return content if immutable else bytearray(content)
    if number == DIGEST:
        return Digest(content)
    if number == WTF8:
        return content.decode("utf-8", "surrogatepass")
    if number in FORMATS:
        order, letter = FORMATS[number]
        count = len(content) // struct.calcsize(letter)
        return [*struct.unpack(f"{order}{count}{letter}", content)]
    if number in (ROW_MAJOR, COLUMN_MAJOR):
        lengths, numbers = content
        return nested([*lengths], [*numbers], number == COLUMN_MAJOR)
    if number == PICKLE:
        return {"kind": "pickle", "signature": content[0], "memory": content[1]}
    if number == OBJECT:
        kind, *parts = content
        return (kind, *parts) if immutable else made_of_kind(kind, parts)
    raise ValueError(f"fleche writes no tag {number}")


def nested(lengths: list[int], numbers: list[Any], column_major: bool) -> Any:
    """The elements of an array of several dimensions, as lists of lists."""
    if not lengths:
        return numbers[0]
    if column_major:
        first, *rest = lengths
        return [nested(rest, numbers[row::first], True) for row in range(first)]
    first, *rest = lengths
    size = len(numbers) // first if first else 0
    return [nested(rest, numbers[row * size : (row + 1) * size], False) for row in range(first)]


def made_of_kind(kind: str, parts: list[Any]) -> Any:
    """Plain data where it says enough, else the kind and its parts."""
    if kind in ("dataclass", "attrs", "pydantic", "namedtuple"):
        return {"kind": kind, "class": parts[0], **parts[1]}
    if kind in ("OrderedDict", "Counter", "SimpleNamespace", "split dict", "split sequence"):
        return Split(parts[0]) if kind.startswith("split") else parts[0]
    if kind == "split record":
        return Split({"kind": "record", "class": parts[1], **parts[2]})
    if kind == "numpy.objects":
        return nested(list(parts[1]), list(parts[2]), parts[0] == "F")
    if kind == "numpy.readonly":
        return parts[0]
    return {"kind": kind, "parts": parts}


class Split:
    """Something of which parts are stored by themselves."""

    def __init__(self, content: Any) -> None:
        self.content = content


def whole(value: Any, load: Any) -> Any:
    """What was split, with its parts in the places of their keys."""
    if not isinstance(value, Split):
        return value

    def part(held: Any) -> Any:
        return load(held) if isinstance(held, Digest) else held

    content = value.content
    if isinstance(content, dict):
        return {part(key): part(held) for key, held in content.items()}
    return type(content)(map(part, content))


def decoder_of(number: int) -> Any:
    """What cbor2 calls with what it found behind a tag."""

    def decode(content: Any, immutable: bool) -> Any:
        return made(number, content, immutable)

    return decode


KNOWN = (*range(TUPLE, PICKLE + 1), ROW_MAJOR, COLUMN_MAJOR, WTF8, *FORMATS)
DECODERS = {number: decoder_of(number) for number in KNOWN}

if __name__ == "__main__":
    store, key, *secrets = sys.argv[1:]
    print(read(store, key, bytes.fromhex(secrets[0]) if secrets else b""))
