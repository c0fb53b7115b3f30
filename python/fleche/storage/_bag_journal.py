"""Changes of a file in place that are undone unless they were finished.

What a change overwrites is kept in a journal beside the file, as SQLite does it: a process that is
killed in the middle leaves the journal, and who comes next puts back what is in it.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["UndoableFile", "journal_of", "open_descriptors", "undo", "undoable"]

_MAGIC = b"fleche-1"
# After the magic, the size of the file; then the pieces, each after its address and its length.
_HEADER = struct.Struct("<8sQ")
_PIECE = struct.Struct("<QQ")
# What is kept is kept in blocks of so many bytes, each once.
_BLOCK = 4096
_open: set[UndoableFile] = set()


def open_descriptors() -> list[int]:
    """Those of all files that are being changed, and of their journals."""
    return [descriptor for opened in [*_open] for descriptor in opened.descriptors()]


def journal_of(file: Path) -> Path:
    """Where the journal of a file is, while it is changed."""
    return file.with_name(file.name + "-journal")


class UndoableFile(io.FileIO):
    """A file that is changed, with its journal; what `h5py` takes for a file object."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, "r+")
        self.failure: OSError | None = None
        self._size = os.fstat(self.fileno()).st_size
        self._kept: set[int] = set()
        self._is_over = False
        self._journal = io.FileIO(journal_of(file), "x")
        _write_all(self._journal, _HEADER.pack(_MAGIC, self._size))

    def descriptors(self) -> tuple[int, int]:
        """Those of the file and of its journal."""
        return self.fileno(), self._journal.fileno()

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        if not self._is_over:
            address = self.tell()
            with self._told():
                self._keep(address, address + len(view))
                self.seek(address)
                _write_all(super(), view)
        # HDF5 may write once more when the interpreter ends: what it failed to is no more wanted.
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        end = self.tell() if size is None else size
        if self._is_over:
            return end
        with self._told():
            self._keep(end, self._size)
            return super().truncate(end)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """HDF5 tells only that it failed: why is remembered here."""
        try:
            yield
        except OSError as error:
            self.failure = error
            raise

    def _keep(self, start: int, end: int) -> None:
        """Put into the journal what is between two addresses, and was there at the beginning."""
        first, behind = start // _BLOCK, -(-min(end, self._size) // _BLOCK)
        wanted = [block for block in range(first, behind) if block not in self._kept]
        for block in wanted:
            self.seek(block * _BLOCK)
            content = super().read(_BLOCK)[: self._size - block * _BLOCK]
            _write_all(self._journal, _PIECE.pack(block * _BLOCK, len(content)) + content)
            self._kept.add(block)

    def finish(self) -> None:
        """Nothing more is written or undone."""
        self._is_over = True
        self._journal.close()
        os.unlink(self._journal.name)
        self.close()

    def give_up(self) -> None:
        """Nothing more is written; what was is undone."""
        self._is_over = True
        self._journal.close()
        undo(Path(os.fsdecode(self.name)))


def _write_all(file: Any, content: Any) -> None:
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


@contextmanager
def undoable(file: Path) -> Iterator[UndoableFile]:
    """A file for changes that are undone if they fail, or if the process is killed meanwhile.

    Nobody else reads or writes it meanwhile.

    Raises:
        FileExistsError: if a change of before is to be undone first.
        OSError: if the file cannot be written, or the disk is full; the file is as it was.
    """
    opened = UndoableFile(file)
    _open.add(opened)
    try:
        yield opened
        if opened.failure is not None:
            raise opened.failure
    except BaseException:
        opened.give_up()
        if opened.failure is not None:
            raise opened.failure from None
        raise
    else:
        opened.finish()
    finally:
        _open.discard(opened)


def undo(file: Path) -> None:
    """Undo a change that was not finished. Nobody else reads or writes the file meanwhile.

    Raises:
        OSError: if the file cannot be written; the journal stays.
    """
    journal = journal_of(file)
    with suppress(FileNotFoundError), journal.open("rb") as kept:
        header = kept.read(_HEADER.size)
        # One that is cut was never followed by a change.
        if len(header) == _HEADER.size and header.startswith(_MAGIC):
            size = _HEADER.unpack(header)[1]
            with file.open("r+b", buffering=0) as changed:
                for address, content in _pieces(kept):
                    changed.seek(address)
                    _write_all(changed, content)
                changed.truncate(size)
        journal.unlink()


def _pieces(journal: Any) -> Iterator[tuple[int, bytes]]:
    while len(place := journal.read(_PIECE.size)) == _PIECE.size:
        address, length = _PIECE.unpack(place)
        content = journal.read(length)
        if len(content) < length:
            return
        yield address, content
