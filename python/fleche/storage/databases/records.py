"""Records as rows of the tables, by statements that every database takes, within a transaction."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy.engine import Connection

from fleche import _core
from fleche.digest import Digest, digest
from fleche.storage.databases.tables import (
    ARGUMENTS,
    CALLS,
    DAMAGED,
    METADATA,
    ORDER,
    SCHEMES,
    damaged,
)

if TYPE_CHECKING:
    from fleche.call import DigestedCall

__all__ = [
    "PAGE",
    "Rows",
    "by_age",
    "delete",
    "holds_calls",
    "insert",
    "known_schemes",
    "load",
    "marked_schemes",
    "note_scheme",
    "rows_of",
    "version_of",
]

#: How many records a page of a query holds: three statements each.
PAGE = 1000

#: What a record puts into `calls`, `arguments` and `metadata`.
Rows = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]

_SCHEMES = frozenset({"exact", "sha256"})


def by_age() -> sqlalchemy.Select[Any]:
    """The keys of all calls, the oldest first."""
    # Another program's records are in no order; they count as the oldest.
    age = sqlalchemy.func.coalesce(ORDER.c.id, 0)
    joined = CALLS.outerjoin(ORDER, ORDER.c.call_key == CALLS.c.key)
    return sqlalchemy.select(CALLS.c.key).select_from(joined).order_by(age, CALLS.c.key)


def note_scheme(connection: Connection, scheme: str) -> None:
    """Note the scheme of a call that is about to be saved in the same transaction."""
    marked = marked_schemes(connection)
    if scheme in marked:
        return
    # What another program saved is under keys of the older scheme.
    missing = _SCHEMES if not marked and holds_calls(connection) else {scheme}
    held = {*connection.scalars(sqlalchemy.select(SCHEMES.c.name))}
    for name in sorted(missing - held):
        connection.execute(SCHEMES.insert(), {"name": name})


def marked_schemes(connection: Connection) -> set[str]:
    """The schemes that the keys are marked to be of; none if that is not known."""
    return known_schemes({*connection.scalars(sqlalchemy.select(SCHEMES.c.name))})


def known_schemes(names: set[str]) -> set[str]:
    """Schemes that are noted; none if there is one among them that is not known here."""
    return names if names <= _SCHEMES else set()


def holds_calls(connection: Connection) -> bool:
    """Whether there is any call."""
    return connection.scalar(sqlalchemy.select(CALLS.c.key).limit(1)) is not None


def delete(connection: Connection, key: str) -> None:
    """Remove the record of a call, if there is one."""
    present = sqlalchemy.select(CALLS.c.key).where(CALLS.c.key == key)
    if connection.scalar(present) is None:
        return
    # Not left to the cascade: another program may have made the tables without it.
    for column in (ORDER.c.call_key, ARGUMENTS.c.call_key, METADATA.c.call_key, CALLS.c.key):
        connection.execute(sqlalchemy.delete(column.table).where(column == key))


def insert(connection: Connection, rows: Rows) -> None:
    """Save a record, in the place of one under its key."""
    call, *parts = rows
    delete(connection, call["key"])
    connection.execute(CALLS.insert(), call)
    for table, values in zip((ARGUMENTS, METADATA), parts, strict=True):
        if values:
            connection.execute(table.insert(), values)
    connection.execute(ORDER.insert(), {"call_key": call["key"]})


def rows_of(record: DigestedCall, key: str) -> Rows:
    """What a record puts into each table.

    Raises:
        ValueError: if it cannot be stored; says which part of it.
    """
    call = {
        "key": key,
        "name": record.name,
        "module": record.module,
        "version": None if record.version is None else _json("its version", record.version),
        "code_digest": record.code_digest,
        "result": _plain(record.result, _core.result_digest),
    }
    arguments = [
        {"call_key": key, "position": position, "name": name, "value": _plain(value, digest)}
        for position, (name, value) in enumerate(record.arguments.items())
    ]
    metadata = []
    for name, data in record.metadata.items():
        _json(f"metadata {name!r}", data)
        metadata.append({"call_key": key, "name": name, "data": data})
    return call, arguments, metadata


def _json(what: str, value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what} is no JSON: {error}") from error


def _plain(value: Any, digest_of: Callable[[Any], Any]) -> str | None:
    """A digest as text; of a live value, its digest."""
    if value is None:
        return None
    return str(value if isinstance(value, Digest) else digest_of(value))


def load(connection: Connection, condition: Any) -> tuple[list[DigestedCall], str | None]:
    """A page of the records that meet a condition, in the order of their keys, by three statements;
    and the last key, if there may be more."""
    from fleche.call import DigestedCall

    statement = sqlalchemy.select(CALLS).where(condition).order_by(CALLS.c.key).limit(PAGE)
    records: dict[str, DigestedCall] = {}
    for row in connection.execute(statement):
        records[row.key] = DigestedCall(
            name=row.name,
            arguments={},
            result=None if row.result is None else Digest(row.result),
            metadata={},
            module=row.module,
            version=version_of(row.version),
            code_digest=None if row.code_digest is None else Digest(row.code_digest),
        )
    if not records:
        return [], None
    keys = [*records]
    arguments = sqlalchemy.select(ARGUMENTS.c.call_key, ARGUMENTS.c.name, ARGUMENTS.c.value)
    arguments = arguments.where(ARGUMENTS.c.call_key.in_(keys)).order_by(ARGUMENTS.c.position)
    for key, name, value in connection.execute(arguments):
        records[key].arguments[name] = Digest(value)
    metadata = sqlalchemy.select(METADATA.c.call_key, METADATA.c.name, METADATA.c.data)
    metadata = metadata.where(METADATA.c.call_key.in_(keys)).order_by(METADATA.c.id)
    for key, name, data in connection.execute(metadata):
        records[key].metadata[name] = data
    for key in keys:
        record = records[key]
        if DAMAGED in (record.version, *record.metadata.values()):
            damaged(key)
            del records[key]
    return [*records.values()], keys[-1] if len(keys) == PAGE else None


def version_of(held: Any) -> Any:
    """A version from its JSON; old tables have integers."""
    try:
        return json.loads(held) if isinstance(held, str) else held
    except ValueError:
        return DAMAGED
