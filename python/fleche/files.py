"""Files and folders as arguments, counted by what is in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, final

from fleche import _core
from fleche.digest import Digest, Indigestible

__all__ = ["File", "FileChanged", "as_file"]


@final
class File:
    """A file, or a folder with all that is in it, as an argument: it counts by its content.

    Neither its name nor its time counts: two files of equal content are the same argument. Its
    content is looked at in each call, but read only if the system says that it changed. It goes
    wherever a path goes: `open(file)`, `Path(file)`, `str(file)`.

    Args:
        path: where it is. A relative path is one of the folder that the process is in now.

    Raises:
        TypeError: if that is no path.

    >>> import os, tempfile
    >>> from fleche import File, cache, fleche
    >>> @fleche
    ... def count_lines(data: File):
    ...     print("computing")
    ...     return data.path.read_text().count("\\n")
    >>> with tempfile.TemporaryDirectory() as folder, cache("memory"):
    ...     path = os.path.join(folder, "data.txt")
    ...     for text in "1\\n", "1\\n", "1\\n2\\n":
    ...         with open(path, "w") as file:
    ...             _ = file.write(text)
    ...         count_lines(path)
    computing
    1
    1
    computing
    2
    """

    __slots__ = ("__weakref__", "_path", "_recorded")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        text = os.fsdecode(path)
        # From here on it is this one, wherever the process or a worker goes.
        self._path = text if os.path.isabs(text) else os.path.join(os.getcwd(), text)
        self._recorded: Digest | None = None

    @property
    def path(self) -> Path:
        """Where it is.

        >>> from fleche import File
        >>> File("/data/run.csv").path.name
        'run.csv'
        """
        return Path(self._path)

    @property
    def digest(self) -> Digest:
        """The digest of its content as it is now.

        Raises:
            OSError: if it cannot be read, or is neither file nor folder.

        >>> import os, tempfile
        >>> from fleche import File
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     one, two = (os.path.join(folder, name) for name in ("one.txt", "two.csv"))
        ...     for path in one, two:
        ...         with open(path, "w") as file:
        ...             _ = file.write("the same")
        ...     File(one).digest == File(two).digest
        True
        """
        return _core.file_digest(self._path)

    @property
    def recorded(self) -> Digest | None:
        """The digest that it had when it was stored or sent; `None` if it was not.

        >>> from fleche import File
        >>> File("run.csv").recorded is None
        True
        """
        return self._recorded

    def is_unchanged(self) -> bool:
        """Whether it still has the content that it was stored with.

        Raises:
            ValueError: if it was not stored.

        >>> import copy, os, tempfile
        >>> from fleche import File
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "run.csv")
        ...     with open(path, "w") as file:
        ...         _ = file.write("1")
        ...     stored = copy.deepcopy(File(path))
        ...     print(stored.is_unchanged())
        ...     os.remove(path)
        ...     stored.is_unchanged()
        True
        False
        """
        if self._recorded is None:
            raise ValueError(f"{self!r} was not loaded from a cache: compare its digest yourself")
        try:
            return self.digest == self._recorded
        except OSError:
            return False

    def __digest__(self) -> Digest:
        try:
            digest = self.digest
        except OSError as error:
            raise _Unreadable(_reason(self._path, error)) from error
        if self._recorded not in (None, digest):
            # Nobody can tell whether it stands for what it was or for what it is.
            raise _Unreadable(
                f"{self._path!r} changed since it was stored; File(path) is what it is now"
            )
        return digest

    def _now(self) -> File:
        """The file as it is, whatever was recorded of it."""
        return self if self._recorded is None else File(self)

    def __fspath__(self) -> str:
        return self._path

    def __str__(self) -> str:
        return self._path

    def __repr__(self) -> str:
        return f"File({self._path!r})"

    def __eq__(self, other: object) -> bool:
        return self._path == other._path if isinstance(other, File) else NotImplemented

    def __hash__(self) -> int:
        return hash((File, self._path))

    def __copy__(self) -> File:
        return self

    # What is stored or sent tells what it had in it.
    def __reduce__(self) -> tuple[Any, ...]:
        recorded = self._recorded
        if recorded is None:
            try:
                recorded = self.digest
            except OSError:
                return File, (self._path,)
        return File, (self._path,), str(recorded)

    def __setstate__(self, recorded: str) -> None:
        self._recorded = Digest(recorded)
        _core.note_loaded_file(self)


class FileChanged(Exception):
    """Raised in strict for a call while which the content of a file among its arguments changed.

    Args:
        argument: the argument's name.

    >>> from fleche.files import FileChanged
    >>> print(FileChanged("data"))
    the content of argument 'data' changed while the call ran
    """

    def __str__(self) -> str:
        return f"the content of argument {self.args[0]!r} changed while the call ran"


class _Unreadable(Indigestible):
    """A file without content, and why."""

    advice = ""


def as_file(value: Any) -> Any:
    """A path as a `File`; anything else as it is.

    >>> from fleche.files import as_file
    >>> as_file("/data/run.csv"), as_file(None)
    (File('/data/run.csv'), None)
    """
    if type(value) is File:
        return value._now()
    is_path = isinstance(value, str | bytes) or hasattr(type(value), "__fspath__")
    return File(value) if is_path and type(value) is not Digest else value


def _reason(path: str, error: OSError) -> str:
    if error.errno is None:
        return str(error)
    inner = "" if error.filename in (None, path) else f" ({error.filename!r} in it)"
    return f"cannot read {path!r}{inner}: {error.strerror}"


# It is imported, and pickled, by the name under which users know it.
File.__module__ = "fleche"
__test__ = {"File": File}
_core.set_file_class(File)
