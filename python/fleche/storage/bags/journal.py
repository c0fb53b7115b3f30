"""Changes of a file in place that are undone unless they were finished.

What a change overwrites is kept in a journal beside the file, as SQLite does it: a process that is
killed in the middle leaves the journal, and who comes next puts back what is in it. The work is
done in the core (`src/engine/undo.rs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleche import _core

__all__ = ["journal_of", "undo", "undoable"]


def journal_of(file: Path) -> Path:
    """Where the journal of a file is, while it is changed."""
    return file.with_name(file.name + "-journal")


@contextmanager
def undoable(file: Path) -> Iterator[_core.UndoableFile]:
    """A file object for changes that are undone if they fail, or the process is killed meanwhile.

    Nobody else reads or writes the file meanwhile.

    Raises:
        FileExistsError: if a change of before is to be undone first.
        OSError: if the file cannot be written, or the disk is full; the file is as it was.
    """
    changed = _core.UndoableFile(file)
    try:
        yield changed
    except BaseException:
        # HDF5 cannot tell why it failed: what is raised here, can.
        changed.give_up()
        raise
    changed.finish()


def undo(file: Path) -> None:
    """Undo a change that was not finished. Nobody else reads or writes the file meanwhile.

    Raises:
        OSError: if the file cannot be written; the journal stays.
    """
    _core.undo_change(file)
