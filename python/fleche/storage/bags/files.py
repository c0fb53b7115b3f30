"""How objects are kept in HDF5 files: by `bagofholding`, or pickled inside a bag.

`bagofholding` makes a tree of HDF5 groups of an object. That is what users want of their values:
any HDF5 tool shows them. Of a call record nobody wants it: each digest in it becomes a tree of its
own, and loading takes tens of milliseconds. What `_bag_content` pickles is one reduction in its
bag: `pickle.loads` over bytes. `bagofholding` loads it as it loads any object; here the bytes are
read directly.
"""

from __future__ import annotations

import errno
import functools
import inspect
import os
import pickle
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from fleche import _core
from fleche._foundation import forks
from fleche._foundation.interrupts import NotLost
from fleche.digest import DIGEST_LENGTH, Digest
from fleche.storage.bags.journal import journal_of, undo, undoable

try:
    import h5py
    import numpy as np
    from bagofholding import H5Bag
    from bagofholding.exceptions import EnvironmentMismatchError as VersionMismatch
    from bagofholding.metadata import versions_match
    from h5py import h5a, h5d, h5f, h5fd, h5g, h5o, h5p, h5s, h5t

    from fleche.storage.bags.bag import Bag, label, text_attributes
    from fleche.storage.bags.content import Pickled, packed
except ImportError as _error:
    raise ImportError(
        "the storage 'bagofholding_hdf' needs the packages bagofholding and h5py; "
        "install them by: pip install 'fleche[bagofholding]'"
    ) from _error

__all__ = [
    "NoSuchBag",
    "VersionMismatch",
    "contains",
    "copy_into",
    "copy_out",
    "has_unfinished",
    "is_full",
    "keys",
    "read",
    "remove",
    "sizes",
    "times",
    "undo_unfinished",
    "write",
]

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

# A fork waits until no file is open: HDF5 holds a lock on each that a child would keep, and writes
# what it knows of each once more when the child ends.
_NO_FORK = _core.ForkBarrier()
# Before h5py's own preparation, which keeps those out that are waited for.
forks.await_others()

# The files in use, with how often they are.
_in_use: dict[bytes, int] = {}


def _while_no_fork(work: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Have forks wait for a function whose first argument is a file."""

    @functools.wraps(work)
    def waited_for(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        with NotLost(), _NO_FORK:
            file = os.fsencode(args[0])  # type: ignore[arg-type]
            _in_use[file] = _in_use.get(file, 0) + 1
            try:
                return work(*args, **kwargs)
            finally:
                _in_use[file] -= 1
                if not _in_use[file]:
                    del _in_use[file]

    return waited_for


def _leave_to_parent() -> None:
    """In a child: take the place of files that code of users had kept open for too long."""
    if not _in_use:
        return
    for opened in h5f.get_obj_ids(h5f.OBJ_ALL, h5f.OBJ_FILE):
        if opened.name not in _in_use:
            continue
        writes = opened.get_intent() & h5f.ACC_RDWR
        with suppress(OSError, RuntimeError):  # One with a journal has no descriptor of HDF5's.
            # Of a file that is read a descriptor of the child's own, without the parent's lock.
            source = _nowhere() if writes else os.open(opened.name, os.O_RDONLY)
            os.dup2(source, opened.get_vfd_handle(), inheritable=False)
            os.close(source)


def _nowhere() -> int:
    """A file of nobody's."""
    if sys.platform == "linux":
        return os.memfd_create("fleche")
    return os.open(os.devnull, os.O_RDWR)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)

# `pickle.loads`, by the name that bags give it.
_LOADS = b"_pickle.loads"
_HEX = frozenset("0123456789abcdef")
_DEFAULT_VALIDATOR = inspect.signature(H5Bag.load).parameters["version_validator"].default


class NoSuchBag(KeyError):
    """A file of several bags does not hold this one."""


@_while_no_fork
def write(path: Path, value: Any) -> None:
    """Write a bag of `value` to `path`, a file that is there already.

    Raises:
        Exception: whatever `bagofholding` and `h5py` raise for what they cannot hold.
    """
    content = packed(value)
    if type(content) is Pickled:
        _write_pickled(content, path)
        return
    try:
        # Our own classes are read by any version of ours: none is recorded.
        Bag.save(content, path, version_scraping={"fleche": _no_version})
    except Exception as error:
        # The bag is among the variables of these frames, and its file would stay open.
        traceback.clear_frames(error.__traceback__)
        raise


def _write_pickled(content: Pickled, path: Path) -> None:
    """What `bagofholding` writes for a `Pickled`, in a third of the time."""
    file = h5f.create(bytes(path), h5f.ACC_TRUNC, fapl=_FORMAT)
    try:
        for name, text in _BAG_FIELDS:
            label(file, name, text)
        reduction = h5g.create(file, b"object")
        label(reduction, _CONTENT, b"bagofholding.content.Reducible")
        loads = _scalar(reduction, b"constructor", np.array(_LOADS))
        label(loads, _CONTENT, b"bagofholding.content.Global")
        arguments = h5g.create(reduction, b"args")
        label(arguments, _CONTENT, b"bagofholding.content.Tuple")
        data = _scalar(arguments, b"i0", np.array(np.void(content.pickle)))
        label(data, _CONTENT, b"bagofholding.content.Bytes")
    finally:
        file.close()


_CONTENT = b"content_type"
# When a bag came to a file of several, as decimal text; `bagofholding` does not look at it.
_SAVED = b"fleche_saved_ns"


def _bag_fields() -> tuple[tuple[bytes, bytes], ...]:
    """What a bag says about itself."""
    fields = H5Bag.get_bag_info().field_items()
    return tuple((name.encode(), text.encode()) for name, text in fields if text is not None)


_BAG_FIELDS = _bag_fields()


def _scalar(parent: Any, name: bytes, content: Any) -> Any:
    space = h5s.create(h5s.SCALAR)
    dataset = h5d.create(parent, name, h5t.py_create(content.dtype), space)
    dataset.write(h5s.ALL, h5s.ALL, content)
    return dataset


def _no_version(module: str) -> None:
    return None


@_while_no_fork
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
    chosen = _DEFAULT_VALIDATOR if validator is None else validator

    def may_load(current: str, stored: str) -> bool:
        return current == _OURS or bool(versions_match(current, stored, chosen))

    # Then a bag of another version of `bagofholding` is tried as well.
    lenient = {"bag_version_validator": "none"} if validator == "none" else {}
    with _opened(file) as opened:
        if group and not opened.links.exists(group.encode()):
            raise NoSuchBag(group)
        pickled = _pickled_in(opened, group)
        if pickled is None:
            bag = Bag(file / group, opened, **lenient)
            return bag.load(version_validator=may_load, version_scraping=_OUR_VERSION)
    return pickle.loads(pickled)


# In place of the version of our own classes, whatever it is.
_OURS = "fleche"
_OUR_VERSION = {"fleche": lambda _: _OURS}


def _pickled_in(opened: Any, group: str) -> bytes | None:
    """The bytes of a bag that `Pickled` made; `None` for any other one."""
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
        if opened.valid:
            opened.close()


# A file up to this size is copied for a change, in bytes: who reads without a lock finds it whole.
# To copy one of 5 MB takes 6 ms, a change of any file with a journal 1 ms.
LARGEST_COPY = 1 << 20


@contextmanager
def _opened_for_writing(file: Path) -> Iterator[Any]:
    """The low-level root group of a file, which is created if it is not there."""
    if file.exists():
        opened = h5f.open(bytes(file), h5f.ACC_RDWR, fapl=_FORMAT)
    else:
        opened = h5f.create(bytes(file), h5f.ACC_EXCL, fapl=_FORMAT)
    try:
        yield h5g.open(opened, b"/")
    finally:
        opened.close()


@contextmanager
def _opened_undoably(file: Path) -> Iterator[Any]:
    """The low-level root group of a file, which is as it was if the change is not finished."""
    with undoable(file) as changed:
        access = _format()
        access.set_fileobj_driver(h5fd.fileobj_driver, changed)
        opened = h5f.open(bytes(file), h5f.ACC_RDWR, fapl=access)
        try:
            yield h5g.open(opened, b"/")
        finally:
            opened.close()


def has_unfinished(file: Path) -> bool:
    """Whether a change of a file was not finished, by who is in it or was killed."""
    return os.path.exists(journal_of(file))


@_while_no_fork
def undo_unfinished(file: Path) -> None:
    """Undo a change of a file that was not finished. Nobody else reads or writes it meanwhile.

    Raises:
        OSError: if the file cannot be written.
    """
    undo(file)


def _format() -> Any:
    """How files are written, but for those that `bagofholding` writes itself.

    The newest format marks a file as long as somebody has it open for writing, and what a killed
    process had open stays unreadable: this is the one before.
    """
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_LATEST)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    return access


_FORMAT = _format()


@_while_no_fork
def keys(file: Path) -> list[Digest]:
    """The names of the bags in a file of several.

    Raises:
        OSError: if it is no HDF5 file, or cannot be read.
    """
    with _opened(file) as opened:
        names = [name.decode() for name in h5g.open(opened, b"/")]
    return [Digest(name) for name in names if len(name) == DIGEST_LENGTH and _HEX.issuperset(name)]


@_while_no_fork
def times(file: Path) -> list[tuple[int, Digest]]:
    """When each bag in a file of several was written, in nanoseconds since 1970, and its name.

    Those that the reference wrote do not tell: 0.

    Raises:
        OSError: if it is no HDF5 file, or cannot be read.
    """
    every = keys(file)
    with _opened(file) as opened:
        wanted = frozenset({_SAVED.decode()})
        found = (text_attributes(opened, key, wanted).get(_SAVED.decode(), "0") for key in every)
        return [(int(saved), key) for saved, key in zip(found, every, strict=True)]


@_while_no_fork
def sizes(file: Path) -> list[tuple[Digest, int]]:
    """How many bytes the data of each bag in a file of several take."""
    found = dict.fromkeys(keys(file), 0)
    with h5py.File(file, "r") as opened:

        def add(path: str, held: Any) -> None:
            key = path.partition("/")[0]
            if key in found and isinstance(held, h5py.Dataset):
                found[Digest(key)] += held.id.get_storage_size()

        opened.visititems(add)
    return [*found.items()]


@_while_no_fork
def contains(file: Path, group: str) -> bool:
    """Whether a file of several bags holds this one.

    Raises:
        OSError: if it is no HDF5 file, or cannot be read.
    """
    with _opened(file) as opened:
        return bool(opened.links.exists(group.encode()))


@contextmanager
def _changed(file: Path, temporary: Path) -> Iterator[Any]:
    """The root group of a file, which is as it was until all that is done to it is done.

    A copy is changed and takes the file's place; one too large to be copied is changed in place,
    with a journal.
    """
    exists = file.exists()
    if exists and file.stat().st_size > LARGEST_COPY:
        with _opened_undoably(file) as group:
            yield group
        return
    if exists:
        shutil.copy(file, temporary)
    with _opened_for_writing(temporary) as group:
        yield group
        empty = not group.get_num_objs()
    if empty:
        file.unlink(missing_ok=True)
    else:
        os.replace(temporary, file)


@_while_no_fork
def copy_into(source: Path, group: str, file: Path, key: str, temporary: Path) -> None:
    """Copy a bag as it is to the group `key` of `file`, replacing the one that is there.

    Args:
        source: the file of the bag.
        group: the bag in it; empty: the whole file.
        file: where to; created if it is not there.
        key: the group in it.
        temporary: a free name beside `file`; what is there afterwards is to be removed.

    Raises:
        OSError, KeyError, ValueError: if the bag cannot be read, or not written; `file` has what
            it had.
    """
    name, unfinished = key.encode(), b"." + key.encode()
    with _opened(source) as read, _changed(file, temporary) as written:
        bag = h5g.open(read, group.encode() or b"/")
        _check_intact(bag)
        if written.links.exists(unfinished):
            written.unlink(unfinished)
        try:
            h5o.copy(bag, b".", written, unfinished)
            copied = h5g.open(written, unfinished)
            if not h5a.exists(copied, _SAVED):
                label(copied, _SAVED, str(time.time_ns()).encode())
            if written.links.exists(name):
                written.unlink(name)
            written.links.move(unfinished, written, name)
        except Exception:
            if written.links.exists(unfinished):
                written.unlink(unfinished)
            raise


@_while_no_fork
def copy_out(source: Path, group: str, file: Path) -> None:
    """Copy a bag as it is to a new file of its own.

    Args:
        source: the file of the bag.
        group: the bag in it; empty: the whole file.
        file: the new file.

    Raises:
        OSError, KeyError, ValueError: if the bag cannot be read, or not written.
    """
    with h5py.File(source, "r") as read:
        bag = read[group or "/"]
        _check_intact(bag.id)
        with h5py.File(file, "w", libver=Bag.libver_str) as written:
            for name in bag:
                read.copy(bag[name], written, name=name)
            for name, value in bag.attrs.items():
                written.attrs[name] = value


def _check_intact(bag: Any) -> None:
    if not bag.links.exists(b"object") or not h5a.exists(bag, b"qualname"):
        raise ValueError("it is no intact bag")


@_while_no_fork
def remove(file: Path, group: str, temporary: Path) -> None:
    """Remove a bag from a file of several, and the file once nothing is left in it."""
    name = group.encode()
    try:
        with _changed(file, temporary) as opened:
            empty = _unlinked(opened, name)
    except OSError as error:
        if not is_full(error):
            raise
        # No room for a copy: what is removed makes some.
        temporary.unlink(missing_ok=True)
        with _opened_for_writing(file) as opened:
            empty = _unlinked(opened, name)
    if empty:
        file.unlink(missing_ok=True)


def _unlinked(opened: Any, name: bytes) -> bool:
    """Remove a bag from an open file; whether none is left."""
    if opened.links.exists(name):
        opened.unlink(name)
    return not opened.get_num_objs()


def is_full(error: Exception) -> bool:
    """Whether an error says that there is no room on the disk."""
    full = (errno.ENOSPC, errno.EDQUOT)
    # HDF5 tells the cause in words.
    return getattr(error, "errno", None) in full or any(
        os.strerror(number) in str(error) for number in full
    )
