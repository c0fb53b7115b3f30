"""The tables of the reference for any database, and filters on them.

`calls`, `arguments` and `metadata` are those that the reference makes; the indexes on values and
names and the tables `fleche_order` and `fleche_schemes` are ours, and invisible to it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    case,
    cast,
    exists,
    func,
    inspect,
    literal,
    select,
    text,
    true,
)
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.dialects.postgresql import JSON as POSTGRESQL_JSON
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import Double, TypeDecorator, TypeEngine

from fleche.storage.base import logger

if TYPE_CHECKING:
    from fleche.storage.filters import Filter

_MYSQL = ("mysql", "mariadb")


#: Stands for what should be JSON and is not.
DAMAGED = object()


def damaged(key: str) -> None:
    """Say that a record is none."""
    logger.error("The record of call %s is damaged: it holds what is no JSON", key)


class _Json(TypeDecorator[Any]):
    """JSON as the text that was written: MySQL's own type sorts members."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        kind: TypeEngine[Any] = LONGTEXT() if dialect.name in _MYSQL else JSON()
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return json.dumps(value) if dialect.name in _MYSQL else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        if dialect.name not in _MYSQL:
            return value
        try:
            return json.loads(value)
        except ValueError:
            return DAMAGED


def _text() -> TypeEngine[str]:
    # MariaDB and MySQL want a length, and give up beyond 64 KiB a row.
    return String().with_variant(LONGTEXT(), *_MYSQL)


def _of_a_call() -> ForeignKey:
    return ForeignKey("calls.key", ondelete="CASCADE")


def _lengths() -> dict[str, Any]:
    """How much of a text their indexes hold."""
    return {f"{name}_length": 255 for name in _MYSQL}


def _options() -> dict[str, Any]:
    """Text is any Unicode, and `a` is not `A`."""
    options = {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}
    return {f"{name}_{key}": value for name in _MYSQL for key, value in options.items()}


def _unique(name: str) -> UniqueConstraint:
    def possible(*parts: Any, dialect: Dialect, **rest: Any) -> bool:
        # Their indexes hold no names of any length; a save replaces all of a call's names anyway.
        return dialect.name not in _MYSQL

    return UniqueConstraint("call_key", "name", name=name).ddl_if(callable_=possible)


_BIG = BigInteger().with_variant(Integer(), "sqlite")
_METADATA = MetaData()

CALLS = Table(
    "calls",
    _METADATA,
    Column("key", String(64), primary_key=True),
    Column("name", _text(), nullable=False),
    Column("module", _text()),
    Column("version", _text()),
    Column("code_digest", String(64)),
    Column("result", String(64)),
    **_options(),
)
ARGUMENTS = Table(
    "arguments",
    _METADATA,
    Column("id", _BIG, primary_key=True),
    Column("call_key", String(64), _of_a_call(), nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", _text(), nullable=False),
    Column("value", String(64), nullable=False),
    _unique("uq_arguments_call_name"),
    **_options(),
)
METADATA = Table(
    "metadata",
    _METADATA,
    Column("id", _BIG, primary_key=True),
    Column("call_key", String(64), _of_a_call(), nullable=False),
    Column("name", _text(), nullable=False),
    Column("data", _Json, nullable=False),
    _unique("uq_metadata_call_name"),
    Index("ix_metadata_call_key", "call_key"),
    Index("ix_metadata_name", "name", **_lengths()),
    **_options(),
)

#: In which order calls were saved.
ORDER = Table(
    "fleche_order",
    _METADATA,
    Column("id", _BIG, primary_key=True),
    Column("call_key", String(64), _of_a_call(), nullable=False, unique=True),
    **_options(),
)

#: The digest schemes of the keys.
SCHEMES = Table(
    "fleche_schemes",
    _METADATA,
    Column("name", String(64), primary_key=True),
    **_options(),
)

# A hash index of PostgreSQL's takes names of any length.
_INDEXES = (
    Index("ix_fleche_arguments_value", ARGUMENTS.c.value),
    Index("ix_fleche_calls_name", CALLS.c.name, postgresql_using="hash", **_lengths()),
)


def create(engine: Engine) -> None:
    """Create the tables and indexes that are missing, and bring older ones up to date.

    Raises:
        sqlalchemy.exc.DBAPIError: if the server is not reached, or does not allow it.
    """
    with engine.begin() as connection:
        present = set(inspect(connection).get_table_names())
        _METADATA.create_all(connection)
    if CALLS.name not in present:
        return
    # Tables that another program made, or that were made long ago.
    with engine.connect() as connection:
        columns = {column["name"]: column for column in inspect(connection).get_columns(CALLS.name)}
    if isinstance(columns["version"]["type"], Integer):
        _try(engine, _with_any_version, "Versions other than whole numbers cannot be saved")
    for index in _INDEXES:
        _try(engine, partial(index.create, checkfirst=True), "Queries are slower")


def _try(engine: Engine, change: Callable[[Connection], object], else_: str) -> None:
    """Change a table, or say what is so because that cannot be done."""
    try:
        with engine.begin() as connection:
            change(connection)
    except DBAPIError as error:
        logger.info("%s, as the tables cannot be changed: %s", else_, error.orig)


def _with_any_version(connection: Connection) -> None:
    """Have versions be JSON, as they are since long, where they are whole numbers."""
    if connection.dialect.name in _MYSQL:
        column = "version LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        connection.execute(text(f"ALTER TABLE calls MODIFY {column}"))
    elif connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE calls ALTER version TYPE text USING version::text"))


def conditions(filter: Filter, backend: str) -> list[ColumnElement[bool]]:
    """A filter as SQL. It may let records through that do not match, never the other way round."""
    name, module, code_digest, version, result, arguments, metadata = filter
    columns = {CALLS.c.name: name, CALLS.c.module: module, CALLS.c.code_digest: code_digest}
    wanted = [column == value for column, value in columns.items() if value is not None]
    if version is not None:
        # Old tables have integers.
        column = cast(CALLS.c.version, String) if backend == "postgresql" else CALLS.c.version
        wanted.append(column.in_(version))
    if result is not None:
        wanted.append(CALLS.c.result.in_(result))
    for argument, digests in arguments:
        held = select(ARGUMENTS.c.call_key).where(ARGUMENTS.c.name == argument)
        if digests is not None:
            held = held.where(ARGUMENTS.c.value.in_(digests))
        wanted.append(CALLS.c.key.in_(held))
    for entry, members in metadata:
        present = [METADATA.c.call_key == CALLS.c.key, METADATA.c.name == entry]
        wanted.append(
            exists().where(*present, *(_member(backend, key, value) for key, value in members))
        )
    return wanted


def _member(backend: str, key: str, value: Any) -> ColumnElement[bool]:
    """Whether a member of a JSON object is there and, as far as SQL can tell, equal."""
    if not re.fullmatch(r"[A-Za-z0-9_ -]+", key):
        return true()
    if isinstance(value, str) and not (value.isascii() and value.isprintable()):
        value = None
    if backend == "postgresql":
        return _member_in_postgresql(key, value)
    if backend in _MYSQL:
        return _member_in_mysql(key, value)
    return true()


def _member_in_postgresql(key: str, value: Any) -> ColumnElement[bool]:
    data = cast(METADATA.c.data, POSTGRESQL_JSON)
    held = data[key]
    member = func.json_extract_path_text(data, key)
    condition: ColumnElement[bool]
    if isinstance(value, bool):
        condition = member == json.dumps(value)
    elif isinstance(value, str):
        condition = member == value
    elif isinstance(value, float):
        is_number = func.json_typeof(held) == "number"
        # Only what is one is read as one.
        condition = case((is_number, cast(member, Double).between(*bounds(value))), else_=False)
    else:
        condition = held.is_not(None)
    # Escapes that PostgreSQL's text cannot hold fail when they are read: such records pass.
    unreadable = cast(METADATA.c.data, String).op("~")(literal(r"\\u(0000|[dD][89a-fA-F])"))
    return case((unreadable, True), else_=condition)


def _member_in_mysql(key: str, value: Any) -> ColumnElement[bool]:
    held = func.json_extract(METADATA.c.data, f'$."{key}"')
    condition: ColumnElement[bool]
    if isinstance(value, bool):
        condition = func.json_unquote(held) == json.dumps(value)
    elif isinstance(value, str):
        condition = func.json_unquote(held) == value
    elif isinstance(value, float):
        condition = (held + literal(0.0)).between(*bounds(value))
    else:
        condition = held.is_not(None)
    # What is no JSON there (NaN, say) passes.
    return case((func.json_valid(METADATA.c.data) == 1, condition), else_=True)


def bounds(number: float) -> tuple[float, float]:
    """Between which numbers one is, as the database may have rounded it."""
    margin = abs(number) * 1e-9
    # Finite, as MariaDB takes no infinity.
    largest = sys.float_info.max
    return max(number - margin, -largest), min(number + margin, largest)
