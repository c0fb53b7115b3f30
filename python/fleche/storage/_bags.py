"""How objects are kept in HDF5 files: by `bagofholding`, or pickled inside a bag.

`bagofholding` makes a tree of HDF5 groups of an object. That is what users want of their values:
any HDF5 tool shows them. Of a call record nobody wants it: each digest in it becomes a tree of its
own, and loading takes tens of milliseconds. Records, and the digests of a value that was split,
are one reduction in their bag: `pickle.loads` over bytes. `bagofholding` loads it as it loads any
object; here the bytes are read directly.
"""

from __future__ import annotations

import inspect
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fleche.call import DigestedCall
from fleche.digest import DIGEST_LENGTH, Digest
from fleche.storage.destructuring import DigestedDict, DigestedFields, DigestedIterable

try:
    import h5py
    import numpy as np
    from bagofholding import H5Bag
    from bagofholding.exceptions import EnvironmentMismatchError as VersionMismatch
    from bagofholding.metadata import versions_match
    from h5py import h5d, h5f, h5g, h5s
except ImportError as _error:
    raise ImportError(
        "the storage 'bagofholding_hdf' needs the packages bagofholding and h5py; "
        "install them by: pip install 'fleche[bagofholding]'"
    ) from _error

__all__ = ["NoSuchBag", "VersionMismatch", "contains", "copy", "keys", "read", "remove", "write"]

# As `bagofholding` reduces objects.
_PROTOCOL = 4
# `pickle.loads`, by the name that bags give it.
_LOADS = b"_pickle.loads"
_PLAIN = frozenset({Digest, bool, bytes, complex, float, int, str, type(None)})
_HEX = frozenset("0123456789abcdef")
_DEFAULT_VALIDATOR = inspect.signature(H5Bag.load).parameters["version_validator"].default


class NoSuchBag(KeyError):
    """A file of several bags does not hold this one."""


class _Bag(H5Bag):  # type: ignore[misc]
    """A bag whose dicts keep their order; for whoever reads it, an ordinary `H5Bag`."""

    @classmethod
    def get_bag_info(cls) -> Any:
        return H5Bag.get_bag_info()

    def create_group(self, path: str) -> None:
        self.file.create_group(path, track_order=True)


class _Pickled:
    """Stands for an object in a bag, and comes out of it as that object."""

    def __init__(self, value: Any) -> None:
        self._pickle = pickle.dumps(value, _PROTOCOL)

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return pickle.loads, (self._pickle,)


# Of a class from elsewhere a bag records the version, and refuses to be loaded by another one.
_Pickled.__module__ = "builtins"


def _packed(value: Any) -> Any:
    """What goes into the bag of a value."""
    match value:
        case DigestedCall():
            return _Pickled(value)
        case DigestedIterable(items=items) if type(items) in (list, tuple) and _are_plain(items):
            return _Pickled(value)
        case DigestedDict(items=items) if _are_plain(items) and _are_plain(items.values()):
            return _Pickled(value)
        case DigestedFields(fields=fields) if _are_plain(fields.values()):
            # Its class stays outside: a bag records the version of the class's package.
            held: Any = object.__new__(type(value))
            held.cls, held.fields = value.cls, _Pickled(fields)
            return held
        case _:
            return value


def _are_plain(items: Iterable[Any]) -> bool:
    return all(type(item) in _PLAIN for item in items)


def write(value: Any, path: Path) -> None:
    """Write a bag of `value` to `path`, a file that is there already.

    Raises:
        Exception: whatever `bagofholding` and `h5py` raise for what they cannot hold.
    """
    try:
        # Our own classes are read by any version of ours: none is recorded.
        _Bag.save(_packed(value), path, version_scraping={"fleche": _no_version})
    except Exception as error:
        # The bag is among the variables of these frames, and its file would stay open.
        traceback.clear_frames(error.__traceback__)
        raise


def _no_version(module: str) -> None:
    return None


def read(file: Path, group: str, validator: str | None) -> Any:
    """The object whose bag is `group` of `file`, or the whole `file` if `group` is empty.

    Args:
        file: an HDF5 file.
        group: the name of a group in it, or nothing.
        validator: which versions of the object's package may load it; `None`: the default of
            `bagofholding`.

    Raises:
        FileNotFoundError: if there is no such file.
        NoSuchBag: if there is no such group.
        VersionMismatch: if the validator refuses a version.
        Exception: whatever `bagofholding`, `h5py` and the object itself raise on loading.
    """
    with _opened(file) as opened:
        if group and not opened.links.exists(group.encode()):
            raise NoSuchBag(group)
        pickled = _pickled_in(opened, group)
    if pickled is not None:
        return pickle.loads(pickled)
    chosen = _DEFAULT_VALIDATOR if validator is None else validator

    def may_load(current: str, stored: str) -> bool:
        return current == _OURS or bool(versions_match(current, stored, chosen))

    # Then a bag of another version of `bagofholding` is tried as well.
    lenient = {"bag_version_validator": "none"} if validator == "none" else {}
    bag = H5Bag(file / group, **lenient)
    return bag.load(version_validator=may_load, version_scraping={"fleche": lambda _: _OURS})


# In place of the version of our own classes, whatever it is.
_OURS = "fleche"


def _pickled_in(opened: Any, group: str) -> bytes | None:
    """The bytes of a bag that `_Pickled` made; `None` for any other one."""
    at = f"{group}/object".encode() if group else b"object"
    with suppress(Exception):  # Other bags have no such parts: `bagofholding` looks at them.
        if h5g.open(opened, at).get_num_objs() != 2:
            return None
        if _dataset(opened, at + b"/constructor").item() != _LOADS:
            return None
        return bytes(_dataset(opened, at + b"/args/i0").tobytes())
    return None


def _dataset(opened: Any, path: bytes) -> Any:
    found = h5d.open(opened, path)
    content = np.empty(found.shape, dtype=found.dtype)
    found.read(h5s.ALL, h5s.ALL, content)
    return content


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A file for reading, by the low-level interface: a tenth of the time of `h5py.File`."""
    opened = h5f.open(bytes(file), h5f.ACC_RDONLY)
    try:
        yield opened
    finally:
        opened.close()


def keys(file: Path) -> list[Digest]:
    """The names of the bags in a file of several.

    Raises:
        OSError: if it is no HDF5 file, or cannot be read.
    """
    with _opened(file) as opened:
        names = [name.decode() for name in h5g.open(opened, b"/")]
    return [Digest(name) for name in names if len(name) == DIGEST_LENGTH and _HEX.issuperset(name)]


def contains(file: Path, group: str) -> bool:
    """Whether a file of several bags holds this one.

    Raises:
        OSError: if it is no HDF5 file, or cannot be read.
    """
    with _opened(file) as opened:
        return bool(opened.links.exists(group.encode()))


def copy(source: Path, group: str, file: Path, key: str) -> None:
    """Copy a bag as it is to the group `key` of `file`, or to a new `file` of its own.

    Args:
        source: the file of the bag.
        group: the bag in it; empty: the whole file.
        file: where to; created if it is not there.
        key: the group in it, replaced at once; empty: a file that has nothing yet.

    Raises:
        OSError, KeyError, ValueError: if the bag cannot be read, or not written.
    """
    with h5py.File(source, "r") as read:
        bag = read[group] if group else read["/"]
        if "object" not in bag or "qualname" not in bag.attrs:
            raise ValueError("it is no intact bag")
        with h5py.File(file, "a", libver=_Bag.libver_str) as written:
            if not key:
                for name in bag:
                    read.copy(bag[name], written, name=name)
                for name, value in bag.attrs.items():
                    written.attrs[name] = value
                return
            unfinished = "." + key
            if unfinished in written:
                del written[unfinished]
            try:
                read.copy(bag, written, name=unfinished)
                if key in written:
                    del written[key]
                written.move(unfinished, key)
            except Exception:
                if unfinished in written:
                    del written[unfinished]
                raise


def remove(file: Path, group: str) -> None:
    """Remove a bag from a file of several, and the file once nothing is left in it."""
    with h5py.File(file, "a", libver=_Bag.libver_str) as opened:
        if group in opened:
            del opened[group]
        empty = not len(opened)
    if empty:
        file.unlink(missing_ok=True)
