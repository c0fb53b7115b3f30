"""What PostgreSQL does in one statement, and so in one round trip: load a record, save a new one.

A statement sees one state of the database, and is done wholly or not at all: it needs no
transaction around it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from fleche.digest import Digest
from fleche.storage.databases.records import version_of
from fleche.storage.databases.tables import DAMAGED, damaged

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from fleche.call import DigestedCall
    from fleche.storage.databases.records import Rows

__all__ = ["insert", "load"]

# A row in any case: who misses learns of which schemes the keys are.
_LOAD = text("""
SELECT (SELECT array_agg(name) FROM fleche_schemes) AS schemes,
    calls.key, calls.name, calls.module, calls.version, calls.code_digest, calls.result,
    (SELECT CAST(json_agg(json_build_array(name, value) ORDER BY position) AS text)
        FROM arguments WHERE call_key = calls.key) AS arguments,
    (SELECT CAST(json_agg(json_build_array(name, data) ORDER BY id) AS text)
        FROM metadata WHERE call_key = calls.key) AS metadata
FROM (SELECT 1) AS one LEFT JOIN calls ON calls.key = :key
""")

_TEXTS = ARRAY(Text)

_INSERT = text("""
WITH saved AS (
    INSERT INTO calls (key, name, module, version, code_digest, result)
    SELECT CAST(:key AS text), CAST(:name AS text), CAST(:module AS text), CAST(:version AS text),
        CAST(:code_digest AS text), CAST(:result AS text)
    WHERE EXISTS (SELECT 1 FROM fleche_schemes WHERE name = :scheme)
    ON CONFLICT DO NOTHING RETURNING key
), with_arguments AS (
    INSERT INTO arguments (call_key, position, name, value)
    SELECT saved.key, given.number - 1, given.name, given.value
    FROM saved, unnest(CAST(:names AS text[]), CAST(:digests AS text[]))
        WITH ORDINALITY AS given (name, value, number)
), with_metadata AS (
    INSERT INTO metadata (call_key, name, data)
    SELECT saved.key, given.name, CAST(given.data AS json)
    FROM saved, unnest(CAST(:entries AS text[]), CAST(:contents AS text[]))
        WITH ORDINALITY AS given (name, data, number) ORDER BY given.number
), in_order AS (
    INSERT INTO fleche_order (call_key) SELECT key FROM saved
)
SELECT key FROM saved
""").bindparams(
    *(bindparam(name, type_=_TEXTS) for name in ("names", "digests", "entries", "contents"))
)


def load(connection: Connection, key: str) -> tuple[DigestedCall | None, set[str]]:
    """The record under a key, if there is one; and the names of all schemes that are noted."""
    from fleche.call import DigestedCall

    row = connection.execute(_LOAD, {"key": key}).one()
    schemes = {*(row.schemes or ())}
    if row.key is None:
        return None, schemes
    record = DigestedCall(
        name=row.name,
        arguments={name: Digest(value) for name, value in json.loads(row.arguments or "[]")},
        result=None if row.result is None else Digest(row.result),
        metadata=dict(json.loads(row.metadata or "[]")),
        module=row.module,
        version=version_of(row.version),
        code_digest=None if row.code_digest is None else Digest(row.code_digest),
    )
    if record.version is DAMAGED:
        damaged(key)
        return None, schemes
    return record, schemes


def insert(connection: Connection, rows: Rows, scheme: str) -> bool:
    """Save a record; not, if there is one under its key, or its scheme is not noted yet."""
    call, arguments, metadata = rows
    given: dict[str, Any] = {
        **call,
        "scheme": scheme,
        "names": [row["name"] for row in arguments],
        "digests": [row["value"] for row in arguments],
        "entries": [row["name"] for row in metadata],
        "contents": [json.dumps(row["data"]) for row in metadata],
    }
    return connection.execute(_INSERT, given).first() is not None
