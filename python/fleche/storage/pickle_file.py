"""Storages of pickled objects, one file a key.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     storage = ValuePickleFile(folder)
...     key = storage.save({"a": [1, 2]})
...     storage.load(key)
{'a': [1, 2]}
"""

import functools
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from fleche import _core
from fleche.digest import Digest
from fleche.security import SignatureError as SignatureError
from fleche.security import SignedBytes as SignedBytes
from fleche.security import get_secret_key, normalize_secret_key
from fleche.storage.base import CallMixin, OperationContext, ValueMixin, register_storage
from fleche.storage.destructuring import DestructuringMixin
from fleche.storage.file import FileStorage
from fleche.storage.thread_safe import PerKeyLockMixin

if TYPE_CHECKING:
    from fleche.call import DigestedCall, QueryCall

# Those of this module take large buffers apart: `dumps(value, buffer_callback=...)`, and
# `loads(data, buffers=...)`, as `pickle` has it (PEP 574).
Dumps = Callable[..., bytes]
Loads = Callable[..., Any]
BufferCallback = Callable[[pickle.PickleBuffer], Any]
Loader = Callable[[], tuple[Dumps, Loads]]


# Large buffers go in without a copy beside; the default of Python before 3.14 copies them.
_PROTOCOL = 5


def _pickle_loader() -> tuple[Dumps, Loads]:
    return functools.partial(pickle.dumps, protocol=_PROTOCOL), pickle.loads


def _cloudpickle_loader() -> tuple[Dumps, Loads]:
    try:
        import cloudpickle
    except ImportError as error:
        raise _missing("cloudpickle") from error
    from fleche.storage import live_classes as live

    return cloudpickle.dumps, live.with_live_classes(cloudpickle.loads, live.cloudpickle_unpickler)


def _dill_loader() -> tuple[Dumps, Loads]:
    try:
        import dill
    except ImportError as error:
        raise _missing("dill") from error
    from fleche.storage import live_classes as live

    def dumps(value: Any, *, buffer_callback: BufferCallback | None = None) -> bytes:
        # Of an array it forgets the order of bytes and of memory, and that it is not to be written.
        kind = type(value)
        is_array = (kind.__module__, kind.__name__) == ("numpy", "ndarray")
        if is_array and not value.dtype.hasobject:
            return pickle.dumps(value, _PROTOCOL, buffer_callback=buffer_callback)
        if buffer_callback is None:
            data: bytes = dill.dumps(value)
        else:
            data = dill.dumps(value, _PROTOCOL, buffer_callback=buffer_callback)
        return data

    return dumps, live.with_live_classes(dill.loads, live.dill_unpickler)


def _missing(package: str) -> ImportError:
    return ImportError(
        f"the serializer {package!r} needs the package {package}; "
        f"install it by: pip install 'fleche[{package}]'"
    )


_SERIALIZERS: dict[str, Loader] = {
    "pickle": _pickle_loader,
    "cloudpickle": _cloudpickle_loader,
    "dill": _dill_loader,
}
# Those whose records are known to be pickles.
_PICKLERS = frozenset(_SERIALIZERS.values())


# The highest level of each; the lowest is 1.
COMPRESSIONS = {"gzip": 9, "zstd": 19}


def check_compression(compress: object, level: object) -> None:
    """See that there is such a compression, and such a level of it.

    Raises:
        ValueError: if not.

    >>> check_compression("zstd", 20)
    Traceback (most recent call last):
        ...
    ValueError: compress_level=20: the levels of 'zstd' are the integers from 1 to 19
    """
    name = "gzip" if compress is True else compress
    if name is not False and name not in COMPRESSIONS:
        known = " or ".join(map(repr, COMPRESSIONS))
        raise ValueError(f"compress={compress!r}: it is {known}, true ('gzip') or false")
    if level is None:
        return
    if not isinstance(name, str):
        raise ValueError("compress_level: nothing is compressed; set compress, too")
    highest = COMPRESSIONS[name]
    if not isinstance(level, int) or isinstance(level, bool) or not 1 <= level <= highest:
        raise ValueError(
            f"compress_level={level!r}: the levels of {name!r} are the integers from 1 to {highest}"
        )


def register_serializer(name: str, loader: Loader) -> None:
    """Make another serialiser known to the storages of this module.

    Args:
        name: what to give as `serializer`.
        loader: returns `(dumps, loads)`; called when a storage chooses the name.

    >>> import marshal, tempfile
    >>> register_serializer("marshal", lambda: (marshal.dumps, marshal.loads))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     storage = ValuePickleFile(folder, serializer="marshal")
    ...     storage.load(storage.save("text"))
    'text'
    """
    _SERIALIZERS[name] = loader


@dataclass(frozen=True)
class PickleFileBackend(FileStorage):
    """A backend that pickles each entry into a file.

    Args:
        root: the folder, created when first written to; `~` is the home folder.
        lock_timeout: how long a writer waits for another one of the same key, in seconds; a
            negative number: without end.
        secret_key: signs and verifies: bytes, hex text (several keys separated by colons), or a
            sequence of those. The first one signs, any verifies. None given: those in the
            environment variable `FLECHE_SECRET_KEY`, if any.
        serializer: `"pickle"`, `"cloudpickle"`, `"dill"`, or a registered name.
        compress: by what to compress what is written: `"gzip"`, `"zstd"`, or not at all (false);
            true is gzip. Reading takes all of them.
        compress_level: how hard that tries, from 1 to 9 (gzip, else 6) or 19 (zstd, else 3).

    Raises:
        ValueError: for an unknown serialiser, compression or level, or a key that is not hex.
        ImportError: if the serialiser's package is not installed.
    """

    lock_timeout: float = field(default=1.0, kw_only=True)
    secret_key: tuple[bytes, ...] = field(default=(), kw_only=True, repr=False)
    serializer: str = field(default="pickle", kw_only=True)
    compress: bool | str = field(default=False, kw_only=True)
    compress_level: int | None = field(default=None, kw_only=True)
    dumps: Dumps = field(init=False, repr=False, compare=False, kw_only=True)
    loads: Loads = field(init=False, repr=False, compare=False, kw_only=True)

    # Whether files are written and read as here; a subclass may do it in its own way.
    _native: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = ("_to_file", "_from_file", "_path")
        cls._native = all(getattr(cls, name) is getattr(PickleFileBackend, name) for name in own)

    def __post_init__(self) -> None:
        super().__post_init__()
        keys = normalize_secret_key(self.secret_key) if self.secret_key else get_secret_key()
        object.__setattr__(self, "secret_key", tuple(keys))
        check_compression(self.compress, self.compress_level)
        self._load_serializer()

    def _load_serializer(self) -> None:
        try:
            loader = _SERIALIZERS[self.serializer]
        except KeyError:
            raise ValueError(
                f"Unknown PickleFile serializer {self.serializer!r}; "
                f"registered serializers: {sorted(_SERIALIZERS)}"
            ) from None
        dumps, loads = loader()
        object.__setattr__(self, "dumps", dumps)
        object.__setattr__(self, "loads", loads)

    def _new_handle(self) -> _core.FileRoot:
        apart = self._has_buffers_apart()
        return self._handle_by(self.dumps, self.loads, apart, getattr(self, "mmap", True))

    def _handle_by(self, dumps: Dumps, loads: Loads, apart: bool, mapped: bool) -> _core.FileStore:
        """The same entries, serialised by these."""
        return _core.FileStore(self.root, *self._framing(), dumps, loads, apart, mapped)

    def _framing(self) -> tuple[float, tuple[bytes, ...], str | None, int | None]:
        method = "gzip" if self.compress is True else self.compress or None
        return self.lock_timeout, self.secret_key, method, self.compress_level

    def _has_buffers_apart(self) -> bool:
        # Records have none.
        return isinstance(self, ValueMixin) and _SERIALIZERS.get(self.serializer) in _PICKLERS

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in ("dumps", "loads")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._load_serializer()

    @classmethod
    def with_serializer(cls, serializer: str, *args: Any, **kwargs: Any) -> Self:
        """As the class, with this serialiser."""
        return cls(*args, serializer=serializer, **kwargs)

    @classmethod
    def with_pickle(cls, *args: Any, **kwargs: Any) -> Self:
        """As the class, with `pickle`."""
        return cls.with_serializer("pickle", *args, **kwargs)

    @classmethod
    def with_cloudpickle(cls, *args: Any, **kwargs: Any) -> Self:
        """As the class, with `cloudpickle`: functions and classes of scripts travel by value."""
        return cls.with_serializer("cloudpickle", *args, **kwargs)

    @classmethod
    def with_dill(cls, *args: Any, **kwargs: Any) -> Self:
        """As the class, with `dill`."""
        return cls.with_serializer("dill", *args, **kwargs)

    def _to_file(self, value: Any, path: Path) -> None:
        path.write_bytes(self._handle.encode(value))

    def _from_file(self, path: Path) -> Any:
        return self._handle.decode(path.read_bytes(), path)

    def put(self, value: Any, key: Digest) -> Digest:
        """Pickle `value` into the file of `key`, replacing it at once.

        Raises:
            SaveError: if it cannot be pickled or written, or another process holds the key's lock
                for longer than `lock_timeout`.
            ValueError: if `key` is no digest.
        """
        if not self._native:
            return super().put(value, key)
        self._handle.put(value, key)
        return key

    def get(self, key: Digest) -> Any:
        """What is pickled in the file of `key`.

        Raises:
            KeyError: if there is no such file, its signature does not hold, or it is damaged.
        """
        if not self._native:
            return super().get(key)
        return self._handle.get(key)

    def _mentions(
        self, keys: Sequence[Digest], wanted: Iterable[Digest]
    ) -> Iterable[Digest] | None:
        # What other serialisers make of a digest, nobody knows.
        if not self._native or self.serializer not in ("pickle", "cloudpickle", "dill", "cbor"):
            return None
        return self._handle.mentions([self._path(key) for key in keys], [*wanted])  # type: ignore[no-any-return]

    def compress_all(self) -> None:
        """Compress every entry that is not compressed, each at once."""
        self._handle.compress_all()

    def decompress_all(self) -> None:
        """Decompress every entry that is compressed, each at once."""
        self._handle.decompress_all()

    def to_config(self) -> dict[str, Any]:
        """The configuration that makes this storage again, its secret keys included, as hex."""
        config: dict[str, Any] = {
            "type": self.serializer,
            "root": str(self.root),
            "compress": self.compress,
            "lock_timeout": self.lock_timeout,
        }
        if self.compress_level is not None:
            config["compress_level"] = self.compress_level
        if isinstance(self, DestructuringMixin):
            config["remaining_depth"] = self.remaining_depth
        if not getattr(self, "mmap", True):
            config["mmap"] = False
        if self.secret_key:
            config["secret_key"] = [key.hex() for key in self.secret_key]
        return config


@dataclass(frozen=True)
class ValuePickleFile(PerKeyLockMixin, DestructuringMixin, ValueMixin, PickleFileBackend):
    """Values in pickle files.

    Args:
        root: the folder, created when first written to; `~` is the home folder.
        remaining_depth: children nested at least this deep are stored under keys of their own.
        lock_timeout: how long a writer waits for another one of the same key, in seconds.
        secret_key: signs and verifies, see `PickleFileBackend`.
        serializer: `"pickle"`, `"cloudpickle"`, `"dill"`, or a registered name.
        compress: by what to compress what is written, see `PickleFileBackend`.
        compress_level: how hard that tries.
        mmap: whether a large array that is loaded is its file, mapped into memory, where that is on
            a disk of this machine, and is not compressed: it takes no time, no memory until it
            is looked at, and is shared with other processes. What is written to it stays in this
            process. `False`: files are read.

    >>> import numpy, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     storage = ValuePickleFile(folder)
    ...     array = storage.load(storage.save(numpy.zeros(100_000)))
    ...     array[0] = 1
    >>> array[:2]
    array([1., 0.])
    """

    mmap: bool = field(default=True, kw_only=True)

    # Files are replaced at once, and locked for that moment: there is nothing to lock here.
    _operation_context = OperationContext._operation_context


@dataclass(frozen=True)
class CallPickleFile(PerKeyLockMixin, CallMixin, PickleFileBackend):
    """Call records in pickle files.

    Args:
        root: the folder, created when first written to; `~` is the home folder.
        lock_timeout: how long a writer waits for another one of the same key, in seconds.
        secret_key: signs and verifies, see `PickleFileBackend`.
        serializer: `"pickle"`, `"cloudpickle"`, `"dill"`, or a registered name.
        compress: by what to compress what is written, see `PickleFileBackend`.
        compress_level: how hard that tries.
    """

    # Files are replaced at once, and locked for that moment: there is nothing to lock here.
    _operation_context = OperationContext._operation_context

    def query(self, template: "QueryCall") -> Iterator["DigestedCall"]:
        from fleche.call.patterns import Matcher, finder, is_plain
        from fleche.storage.filters import filter_of

        # Another class or serialiser may read its entries in its own way.
        pickles = _SERIALIZERS.get(self.serializer) in _PICKLERS
        if type(self) is not CallPickleFile or not pickles or not is_plain(template):
            yield from self._query_each(template)
            return
        matcher = Matcher(template)
        finds = finder(template, matcher)
        scan = _core.RecordScan(self._handle, filter_of(matcher))
        while (some := scan.next()) is not None:
            for found in some:
                record = self._load_or_none(found) if isinstance(found, Digest) else found
                if record is not None and finds(record):
                    yield record


for _name in ("pickle", "cloudpickle", "dill"):
    _values = functools.partial(ValuePickleFile.with_serializer, _name)
    _calls = functools.partial(CallPickleFile.with_serializer, _name)
    register_storage(_name, "value", factory=_values)(ValuePickleFile)
    register_storage(_name, "call", factory=_calls)(CallPickleFile)
