"""`fleche backup`: copy a store that is in use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fleche.cli.command import DONE, Command
from fleche.cli.output import Output
from fleche.cli.stores import Mistake, cache_named, pairs

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="a new folder, or one without a copy")


def _run(given: argparse.Namespace, output: Output) -> int:
    cache = cache_named(given.cache)
    folder = Path(given.folder).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    copied: list[Path] = []
    for pair in pairs(cache):
        copied += _copy(pair, folder)
    if not copied:
        raise Mistake("there is nothing to copy: the cache has no folder and no database here")

    def show() -> None:
        for path in copied:
            output.line(str(path))

    output.give({"files": [str(path) for path in copied]}, show)
    return DONE


def _copy(pair: Any, folder: Path) -> list[Path]:
    """Copy a pair of storages: records first, as their values are written before them."""
    from fleche.storage.sqlite import ValueSqlite

    values, calls = pair.values, pair.calls
    # Where both are in one database, that is copied once.
    shared = isinstance(values, ValueSqlite) and values.is_beside(calls)
    storages = (values,) if shared else (calls, values)
    try:
        return [path for each in storages for path in each._back_up(folder)]
    except FileExistsError as error:
        raise Mistake(f"{error.filename} is there already: choose another folder") from error
    except NotImplementedError as error:
        raise Mistake(
            f"{error}: copy it by the tools of its server, or by `fleche convert`"
        ) from error


COMMAND = Command(
    help="copy a store that is in use, as it is at one moment, to a folder",
    run=_run,
    arguments=_arguments,
    examples=(("fleche backup ~/backups/monday", "databases and folders, under their own names"),),
)
