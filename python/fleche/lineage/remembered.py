"""What values are told by, kept from one process to the next in the user's cache folder.

A key stands for one content, in whichever store it is. Only what took long to find out is kept, and
nothing depends on it: a file that is lost, locked or damaged costs reading the values again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleche._foundation.paths import expanded_home
from fleche.digest import Digest
from fleche.lineage.contents import Content

__all__ = ["keep", "recall"]

logger = logging.getLogger("fleche.lineage")

# A content that is longer is read again: the file is to stay small beside the stores.
_LONGEST = 4096

_TABLE = """
CREATE TABLE IF NOT EXISTS contents
(scheme TEXT, key TEXT, content TEXT NOT NULL, PRIMARY KEY (scheme, key)) WITHOUT ROWID
"""

# So many variables every SQLite takes in one statement.
_AT_ONCE = 500


def _path() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(base) if os.path.isabs(base) else expanded_home("~/.cache")
    return folder / "fleche" / "lineage.sqlite"


def recall(scheme: str, keys: Iterable[Digest]) -> dict[Digest, Content]:
    """What was kept of these values.

    Args:
        scheme: the digest scheme in force.
        keys: their keys.
    """
    found: dict[Digest, Content] = {}
    wanted = [*keys]
    try:
        path = _path()
        if not path.exists():
            return found
        with contextlib.closing(sqlite3.connect(path, timeout=1)) as database:
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = database.execute(
                    f"SELECT key, content FROM contents WHERE scheme = ? AND key IN ({marks})",
                    [scheme, *map(str, some)],
                )
                for key, text in rows:
                    found[Digest(key)] = _content_from(json.loads(text))
    except (OSError, ValueError, TypeError, sqlite3.Error) as error:
        logger.info("Nothing is recalled for lineage: %r", error)
    return found


def keep(scheme: str, contents: Mapping[Digest, Content]) -> None:
    """Keep what values are told by.

    Args:
        scheme: the digest scheme in force.
        contents: by the values' keys.
    """
    rows = []
    for key, content in contents.items():
        text = json.dumps(_plain(content), separators=(",", ":"))
        if len(text) <= _LONGEST:
            rows.append((scheme, str(key), text))
    try:
        path = _path()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(path, timeout=1)) as database, database:
            database.execute(_TABLE)
            database.executemany("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", rows)
    except (OSError, ValueError, sqlite3.Error) as error:
        logger.info("Nothing is kept for lineage: %r", error)


def _plain(content: Content) -> list[Any]:
    digest = None if content.digest is None else str(content.digest)
    return [digest, *map(_plain, content.parts)]


def _content_from(plain: list[Any]) -> Content:
    digest, *parts = plain
    return Content(None if digest is None else Digest(digest), tuple(map(_content_from, parts)))
