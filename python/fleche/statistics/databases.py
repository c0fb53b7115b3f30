"""Statistics in a database server: a row for what a process counted in some seconds.

As in files, the rows are added up when there are many. Who adds up removes the rows that it read,
all of them or none, so that of two who do it at once one gives up.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, MetaData, String, Table, Text, inspect, select
from sqlalchemy.dialects.mysql import LONGTEXT

from fleche.statistics.counts import Rows, add, from_json, to_json

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["StatisticsTable"]

# Added up when there are so many rows.
_MOST = 200

_TABLES = MetaData()
_STATISTICS = Table(
    "fleche_statistics",
    _TABLES,
    Column("id", String(32), primary_key=True),
    Column("counts", Text().with_variant(LONGTEXT(), "mysql", "mariadb"), nullable=False),
)


class _Disturbed(Exception):
    """Somebody else added up, too."""


class StatisticsTable:
    """The statistics of a store in a database server.

    Args:
        store: the database.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def read(self) -> Rows:
        """What was written so far, added up.

        Raises:
            OSError: if the server cannot be asked.
        """

        def work(connection: Connection) -> Rows:
            if not inspect(connection).has_table(_STATISTICS.name):
                return {}
            return _sum(connection)[0]

        rows: Rows = self._store._run("reading the statistics in", work)
        return rows

    def write(self, rows: Rows, patience: float) -> bool:
        """Add counts.

        Args:
            rows: the counts.
            patience: not for servers, which have waits of their own.

        Raises:
            OSError: if nothing can be written.
        """
        row = {"id": secrets.token_hex(16), "counts": json.dumps(to_json(rows))}

        def work(connection: Connection) -> int:
            _TABLES.create_all(connection)
            known = connection.scalars(select(_STATISTICS.c.id)).all()
            # It is done again where nobody knows whether it was done.
            if row["id"] not in known:
                connection.execute(_STATISTICS.insert(), row)
            return len(known)

        if self._store._run("writing statistics to", work, write=True) >= _MOST:
            with contextlib.suppress(_Disturbed):
                self._store._run("adding up the statistics in", _add_up, write=True)
        return True


def _sum(connection: Connection) -> tuple[Rows, list[str]]:
    rows: Rows = {}
    found = connection.execute(select(_STATISTICS.c.id, _STATISTICS.c.counts)).all()
    for _, text in found:
        with contextlib.suppress(ValueError):
            add(rows, from_json(json.loads(text)))
    return rows, [row[0] for row in found]


def _add_up(connection: Connection) -> None:
    rows, known = _sum(connection)
    removed = connection.execute(_STATISTICS.delete().where(_STATISTICS.c.id.in_(known)))
    if removed.rowcount != len(known):
        raise _Disturbed
    added = {"id": secrets.token_hex(16), "counts": json.dumps(to_json(rows))}
    connection.execute(_STATISTICS.insert(), added)
