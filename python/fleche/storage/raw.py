"""The bytes of pickled values, verified as ever and not unpickled.

What looks into values, or copies them, without running anything works where their classes are
missing, and on stores that are not trusted.
"""

from __future__ import annotations

import pickletools
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fleche import _core
from fleche.digest import Digest

__all__ = ["keys_in", "names_in", "pieces_in", "reader", "with_pieces", "writer"]

# What holds pieces names its class, and that of their keys, at its beginning.
_HOLDERS, _KEY = "fleche.storage.destructuring", ("fleche.digest", "Digest")
_HEAD = 200
_END = re.compile(rb"\.(?:[0-9a-f]{64})?\Z")
# How an entry begins of which large buffers lie apart (docs/design.md).
_APART = b"\xfffleche\x01"
_HEX = re.compile("[0-9a-f]{64}")

# What another serialiser wrote, and each of these reads.
_READS = {name: {"pickle", name} for name in ("pickle", "cloudpickle", "dill")}

_TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})


def reader(storage: Any, *, whole: bool = False) -> Callable[[Digest], bytes] | None:
    """What reads the pickle under a key; `None` if the storage keeps something else.

    What it gives raises `KeyError` for an entry that is damaged, or whose signature does not hold.

    Args:
        storage: any storage.
        whole: whether to read the large buffers that lie apart from a pickle, too.
    """
    files = _files(storage, looks=not whole)
    return None if files is None else files.get


def writer(storage: Any, source: Any) -> Callable[[bytes, Digest], Any] | None:
    """What writes pickles of another storage, compressed and signed as this one does it; `None` if
    this one would not read them, or takes values apart in another way."""
    files = _files(storage)
    if files is None or _files(source) is None:
        return None
    reads = source.serializer in _READS.get(storage.serializer, ())
    depths = {getattr(each, "remaining_depth", None) for each in (storage, source)}
    return files.put if reads and len(depths) == 1 else None


def _files(storage: Any, *, looks: bool = False) -> _core.FileStore | None:
    from fleche.storage.pickle_file import PickleFileBackend

    if not isinstance(storage, PickleFileBackend) or not storage._native:
        return None
    if type(storage).get is not PickleFileBackend.get:
        return None
    if storage.serializer not in _READS:
        return None
    files = storage._handle_by(bytes, _stream if looks else bytes, looks, looks)
    files.keeps_values()
    return files


def _stream(data: bytes, buffers: Iterable[Any] = ()) -> bytes:
    return data


def _pickle_in(data: bytes) -> bytes:
    """The pickle in the bytes of an entry, of which large buffers may lie apart."""
    if not data.startswith(_APART):
        return data
    head = len(_APART) + 16
    if len(data) >= head:
        length, count = struct.unpack_from("<QQ", data, len(_APART))
        start = head + 16 * count
        end = start + length
        if end <= len(data):
            stream = data[start:end]
            for buffer, _ in struct.iter_unpack("<QQ", data[head:start]):
                end += -end % 64 + buffer
            # Opened without keys, what was signed has its signature at the end.
            if len(data) - end in (0, 64):
                return stream
    raise ValueError("it was cut")


def pieces_in(data: bytes) -> set[Digest]:
    """The keys of the pieces that a stored value consists of, told by its pickle.

    Raises:
        ValueError: if it is damaged.

    >>> import pickle, tempfile
    >>> from fleche.storage import ValuePickleFile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     storage = ValuePickleFile(folder)
    ...     key = storage.save([["x" * 200], ["y" * 200]])
    ...     pieces_in(reader(storage)(key)) == storage.child_digests(key)
    True
    >>> pieces_in(pickle.dumps("text"))
    set()
    """
    data = _pickle_in(data)
    keys = keys_in(data)
    return keys if _HOLDERS.encode() in data[:_HEAD] else set()


def keys_in(data: bytes) -> set[Digest]:
    """As `pieces_in`, with the digests that a value of a user's begins with.

    Raises:
        ValueError: if it is damaged.
    """
    data = _pickle_in(data)
    if _END.search(data, len(data) - 65) is None:
        raise ValueError("it is no whole pickle")
    head = data[:_HEAD]
    if _HOLDERS.encode() not in head and _KEY[0].encode() not in head:
        return set()
    return {Digest(key) for kind, key in _events(data) if kind == "key"}


def names_in(data: bytes) -> set[tuple[str, str]]:
    """The classes and functions that a pickle names, each by module and name.

    Raises:
        ValueError: if it is cut, or is none.

    >>> import fractions, pickle
    >>> names_in(pickle.dumps([fractions.Fraction(1, 2)]))
    {('fractions', 'Fraction')}
    """
    return {name for kind, name in _events(_pickle_in(data)) if kind == "name"}


def with_pieces(keys: Iterable[Digest], read: Callable[[Digest], bytes]) -> dict[Digest, bytes]:
    """The pickles under keys, with those of their pieces, and theirs.

    Raises:
        KeyError: if one of them is lost.
        ValueError: if one is damaged.
    """
    found: dict[Digest, bytes] = {}
    waiting = [*keys]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found[key] = read(key)
            waiting += pieces_in(found[key])
    return found


def _events(data: bytes) -> Iterator[tuple[str, Any]]:
    """What a pickle names, and the keys that it holds."""
    pushed: list[Any] = []  # What was pushed last, as far as it is text, or a name.
    memo: dict[int, Any] = {}
    try:
        for opcode, given, _ in pickletools.genops(data):
            name = opcode.name
            if name in _TEXTS:
                pushed.append(given)
            elif name in ("GLOBAL", "STACK_GLOBAL"):
                named = _named(given, pushed)
                if named is not None:
                    yield "name", named
                pushed.append(named)
            elif name == "TUPLE1":
                pushed[-1:] = [[*pushed[-1:]]]
            elif name in ("NEWOBJ", "REDUCE"):
                match pushed[-2:]:
                    case [tuple() as named, [str(key)]] if named == _KEY and _HEX.fullmatch(key):
                        yield "key", key
                pushed.append(None)
            elif name == "MEMOIZE":
                memo[len(memo)] = pushed[-1] if pushed else None
            elif name in _PUTS:
                memo[_number(given)] = pushed[-1] if pushed else None
            elif name in _GETS:
                pushed.append(memo.get(_number(given)))
            elif opcode.stack_after:
                pushed.append(None)
            del pushed[:-8]
    except Exception as error:
        raise ValueError(f"no whole pickle: {error}") from error


def _named(given: Any, pushed: list[Any]) -> tuple[str, str] | None:
    """What a pickle names: in the opcode, or by the texts before it."""
    texts = pushed[-2:] if given is None else str(given).split(" ", 1)
    match texts:
        case [str(module), str(attribute)]:
            return module, attribute
    return None


def _number(given: Any) -> int:
    return int(given)
