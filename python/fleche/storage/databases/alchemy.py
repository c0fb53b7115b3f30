"""Call records in a database server, through SQLAlchemy.

What `fleche.storage.sql.Sql` uses for everything that is not SQLite. The engine is made at the
first use, once per process: a forked child has connections of its own.
"""

from __future__ import annotations

import builtins
import json
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from fleche import _core
from fleche._foundation.interrupts import NotLost
from fleche.digest import Digest, digest
from fleche.storage.base import logger
from fleche.storage.urls import is_secret, without_password

try:
    import sqlalchemy
    from sqlalchemy import exc
    from sqlalchemy.engine import URL, Connection, Engine, make_url

    from fleche.storage.databases import silence as _silence
    from fleche.storage.databases import tables as _tables
    from fleche.storage.databases.tables import ARGUMENTS, CALLS, DAMAGED, METADATA, ORDER, SCHEMES
except ImportError as error:
    raise ImportError(
        "databases other than SQLite need SQLAlchemy: pip install 'fleche[sqlalchemy]'"
    ) from error

if TYPE_CHECKING:
    from fleche.call import DigestedCall
    from fleche.storage.claims import Claims
    from fleche.storage.filters import Filter

Result = TypeVar("Result")

#: How many records a page of a query holds: three statements each.
PAGE = 1000

#: What to install for a database, and the driver to take if its URL names none.
DRIVERS = {
    "postgresql": ("psycopg", "'psycopg[binary]'"),
    "mysql": ("pymysql", "pymysql"),
    "mariadb": ("pymysql", "pymysql"),
}

#: SQLSTATEs of PostgreSQL: serialization failure, deadlock, and two that made a key or table.
_GIVEN_WAY_STATES = {"40001", "40P01", "23505", "42P07"}

#: Errors of MariaDB and MySQL: deadlock, lock wait, changed record, and two that made a key or
#: table.
_GIVEN_WAY_NUMBERS = {1213, 1205, 1020, 1062, 1050}

_HEX = frozenset("0123456789abcdef")

_SCHEMES = frozenset({"exact", "sha256"})

# Engines of a parent process: closing them would end the parent's connections.
_inherited: list[Engine] = []


class SqlAlchemyStore:
    """The tables of the reference on a database server.

    Args:
        url: an SQLAlchemy URL.
        echo: log every statement (logger `fleche.storage`, INFO).
        lock_timeout: how long to wait for others, in seconds; a negative number: without end.

    Raises:
        ImportError: if the database's driver is not installed.
        ValueError: if SQLAlchemy has no dialect of that name.
    """

    def __init__(self, url: str, echo: bool, lock_timeout: float) -> None:
        self._url = _with_driver(url)
        self._echo = echo
        self._timeout = math.inf if lock_timeout < 0 else lock_timeout
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._engine: Engine | None = self._new_engine()
        self._has_tables = False
        self._claims: Claims | None = None

    # --- operations ---------------------------------------------------------------------------

    def save(self, record: DigestedCall, key: str) -> None:
        rows = _rows_of(record, key)

        def work(connection: Connection) -> None:
            _note_scheme(connection, _core.scheme())
            _delete(connection, key)
            connection.execute(CALLS.insert(), rows[0])
            for table, values in zip((ARGUMENTS, METADATA), rows[1:], strict=True):
                if values:
                    connection.execute(table.insert(), values)
            connection.execute(ORDER.insert(), {"call_key": key})

        self._run("saving a call to", work, write=True)

    def load(self, key: str) -> DigestedCall | None:
        found, _ = self._run(
            "loading a call from", lambda connection: _load(connection, CALLS.c.key == key)
        )
        return found[0] if found else None

    def contains(self, key: str) -> bool:
        statement = sqlalchemy.select(CALLS.c.key).where(CALLS.c.key == key)
        return bool(self._keys(statement))

    def contains_many(self, keys: Sequence[str]) -> builtins.list[bool]:
        found: set[str] = set()
        for begin in range(0, len(keys), PAGE):
            some = [str(key) for key in keys[begin : begin + PAGE]]
            found.update(self._keys(sqlalchemy.select(CALLS.c.key).where(CALLS.c.key.in_(some))))
        return [key in found for key in keys]

    def evict(self, key: str) -> None:
        self._run("evicting a call from", lambda connection: _delete(connection, key), write=True)

    def list(self) -> builtins.list[Digest]:
        return self._keys(sqlalchemy.select(CALLS.c.key).order_by(CALLS.c.key))

    def list_by_age(self) -> builtins.list[Digest]:
        return self._keys(_by_age())

    def overflow(self, keep: int) -> builtins.list[Digest]:
        count = sqlalchemy.select(sqlalchemy.func.count()).select_from(CALLS)

        def work(connection: Connection) -> builtins.list[Digest]:
            excess = (connection.scalar(count) or 0) - keep
            if excess <= 0:
                return []
            return [Digest(key) for key in connection.scalars(_by_age().limit(excess))]

        return self._run("listing the calls in", work)

    def candidates(self, prefix: str) -> builtins.list[Digest]:
        if not _HEX.issuperset(prefix):
            return []
        # Keys are hex: `g` follows every character of one, in every collation.
        within = CALLS.c.key.between(prefix, prefix + "g")
        return self._keys(sqlalchemy.select(CALLS.c.key).where(within).order_by(CALLS.c.key))

    def query(self, filter: Filter, after: str) -> tuple[builtins.list[DigestedCall], str | None]:
        condition = sqlalchemy.and_(
            CALLS.c.key > after, *_tables.conditions(filter, self._url.get_backend_name())
        )
        return self._run("querying", lambda connection: _load(connection, condition))

    def claims(self) -> Claims:
        if self._claims is None:
            from fleche.storage.databases.leases import LeaseClaims

            self._claims = LeaseClaims(self._shown, self)
        return self._claims

    def may_hold(self, scheme: str) -> bool:
        def work(connection: Connection) -> bool:
            marked = _marked_schemes(connection)
            return scheme in marked if marked else _holds_calls(connection)

        return self._run("reading the digest schemes of", work)

    def hold_only_scheme(self) -> None:
        def work(connection: Connection) -> None:
            connection.execute(SCHEMES.delete())
            connection.execute(SCHEMES.insert(), {"name": _core.scheme()})

        self._run("noting the digest scheme of", work, write=True)

    def open(self) -> None:
        """Connects when it is first used."""

    def close(self) -> None:
        if self._process != os.getpid():
            return
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()

    def _keys(self, statement: sqlalchemy.Select[Any]) -> builtins.list[Digest]:
        found = self._run(
            "listing the calls in", lambda connection: [*connection.scalars(statement)]
        )
        return [Digest(key) for key in found]

    # --- connections --------------------------------------------------------------------------

    def _new_engine(self) -> Engine:
        backend = self._url.get_backend_name()
        options: dict[str, Any] = {}
        if backend in DRIVERS:
            # The parts of a record are read by several statements: they must belong together.
            options["isolation_level"] = "REPEATABLE READ"
        if backend != "sqlite":
            # More threads than connections wait for one.
            wait = min(self._timeout, threading.TIMEOUT_MAX)
            options |= {"pool_size": 8, "max_overflow": 8, "pool_timeout": wait}
            options["connect_args"] = _bounded(backend, self._url, self._timeout)
        try:
            engine = sqlalchemy.create_engine(self._url, **options)
        except exc.NoSuchModuleError as error:
            raise ValueError(
                f"SQLAlchemy has no dialect for {self._shown}: check the URL's spelling, or "
                f"install the package of that database's dialect"
            ) from error
        except ImportError as error:
            driver = DRIVERS.get(backend, ("", error.name))[1]
            raise ImportError(
                f"the database {self._shown} needs a driver that is not installed ({error.name}): "
                f"pip install 'fleche[sqlalchemy]' {driver}"
            ) from error
        if backend == "postgresql" and not math.isinf(self._timeout):
            _silence.bounded(engine, _silence.patience(self._timeout))
        if self._echo:
            sqlalchemy.event.listen(engine, "before_cursor_execute", _log_statement)
        return engine

    def _engine_here(self) -> Engine:
        """The engine of this process."""
        if self._process != os.getpid():
            # Another thread of the parent may have held the lock when it forked.
            self._lock = threading.Lock()
            with self._lock:
                if self._engine is not None:
                    _inherited.append(self._engine)
                self._engine, self._process = None, os.getpid()
        with self._lock:
            if self._engine is None:
                self._engine = self._new_engine()
            return self._engine

    def _run(
        self, action: str, work: Callable[[Connection], Result], *, write: bool = False
    ) -> Result:
        """Do `work` in one transaction, again if the server made it give way."""
        deadline = time.monotonic() + self._timeout
        pause = 0.001
        while True:
            began = time.monotonic()
            try:
                with NotLost(), self._transaction(write) as connection:
                    return work(connection)
            except Exception as error:
                # What a driver raises while a connection is made ready comes as it is.
                driver = self._driver_error()
                if not isinstance(error, (exc.SQLAlchemyError, driver)):
                    raise
                # The order of attempts is the server's to decide, not what is written.
                if not self._may_try_again(error) or time.monotonic() > deadline:
                    raise self._failed(action, error, time.monotonic() - began) from None
                time.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(2 * pause, 0.1)

    def _driver_error(self) -> type[Exception]:
        driver: Any = getattr(self._engine_here().dialect, "loaded_dbapi", None)
        found: type[Exception] = getattr(driver, "Error", exc.SQLAlchemyError)
        return found

    def _may_try_again(self, error: Exception) -> bool:
        """Whether an operation failed only because of others, or of a connection that broke."""
        if isinstance(error, exc.SQLAlchemyError):
            return _may_try_again(error)
        engine = self._engine_here()
        broken: Any = error
        if not engine.dialect.is_disconnect(broken, None, None):
            return False
        # The server was started anew: the others that are kept are broken, too.
        engine.dispose()
        return True

    @contextmanager
    def _transaction(self, write: bool) -> Iterator[Connection]:
        engine = self._engine_here()
        if not self._has_tables:
            _tables.create(engine)
            self._has_tables = True
        if write and self._url.get_backend_name() in DRIVERS:
            # Locks as few rows as possible.
            engine = engine.execution_options(isolation_level="READ COMMITTED")
        with engine.begin() as connection:
            yield connection

    @property
    def _shown(self) -> str:
        """The URL as errors show it."""
        return without_password(self._url.render_as_string(hide_password=True))

    def _failed(self, action: str, error: Exception, took: float) -> OSError:
        reason = str(getattr(error, "orig", None) or error).strip()
        if took >= _silence.patience(self._timeout):
            reason = f"the server has not answered within {took:.0f} seconds ({reason})"
        options = self._url.query
        secrets = [options[name] for name in options if is_secret(name)]
        for secret in filter(None, [self._url.password, *secrets]):
            reason = reason.replace(str(secret), "***")
        return OSError(f"{action} the database {self._shown} failed: {reason}")


def _bounded(backend: str, url: URL, timeout: float) -> dict[str, Any]:
    """What has the server, and the driver, wait for others no longer than `timeout` seconds.

    What the URL says about it stays.
    """
    if math.isinf(timeout):
        return {}
    # Whole seconds, of which drivers take at most a year's.
    silence = math.ceil(min(_silence.patience(timeout), 3e7))
    if backend == "postgresql":
        # A number of milliseconds; 0 would be without end.
        limit = f"-c lock_timeout={max(1, round(min(timeout, 2e6) * 1000))}"
        given = url.query.get("options", "")
        options = f"{limit} {given if isinstance(given, str) else ' '.join(given)}".strip()
        return {"options": options} | _not_given({"connect_timeout": silence}, url)
    if backend in ("mysql", "mariadb") and url.get_driver_name() in ("pymysql", "mysqldb"):
        seconds = max(1, math.ceil(min(timeout, 1e6)))
        command = f"innodb_lock_wait_timeout={seconds}, lock_wait_timeout={seconds}"
        limits = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), silence)
        return _not_given({"init_command": f"SET SESSION {command}", **limits}, url)
    return {}


def _not_given(limits: dict[str, Any], url: URL) -> dict[str, Any]:
    return {name: limit for name, limit in limits.items() if name not in url.query}


def _with_driver(text: str) -> URL:
    """The URL, with a driver that is installed if it names none."""
    from importlib.util import find_spec

    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise ValueError(
            f"{without_password(text)!r}, the url of an sql storage, is no URL that SQLAlchemy can "
            f"read: write database://user:password@host:port/name, the port a number, and `@`, `:` "
            f"and `/` in the password as %40, %3A and %2F"
        ) from None
    driver = DRIVERS.get(url.drivername)
    if driver is not None:
        # The dialect's default is older and less often installed.
        default = "psycopg2" if url.drivername == "postgresql" else "MySQLdb"
        if find_spec(driver[0]) is not None or find_spec(default) is None:
            url = url.set(drivername=f"{url.drivername}+{driver[0]}")
    return url


def _log_statement(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
    logger.info("%s", statement)


def _may_try_again(error: exc.SQLAlchemyError) -> bool:
    """Whether an operation failed only because of others at the same time."""
    if not isinstance(error, exc.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    original: Any = error.orig
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    number = original.args[0] if getattr(original, "args", ()) else None
    return state in _GIVEN_WAY_STATES or (isinstance(number, int) and number in _GIVEN_WAY_NUMBERS)


# --- records ------------------------------------------------------------------------------------


def _by_age() -> sqlalchemy.Select[Any]:
    # Another program's records are in no order; they count as the oldest.
    age = sqlalchemy.func.coalesce(ORDER.c.id, 0)
    joined = CALLS.outerjoin(ORDER, ORDER.c.call_key == CALLS.c.key)
    return sqlalchemy.select(CALLS.c.key).select_from(joined).order_by(age, CALLS.c.key)


def _note_scheme(connection: Connection, scheme: str) -> None:
    """Note the scheme of a call that is about to be saved in the same transaction."""
    marked = _marked_schemes(connection)
    if scheme in marked:
        return
    # What another program saved is under keys of the older scheme.
    missing = _SCHEMES if not marked and _holds_calls(connection) else {scheme}
    held = {*connection.scalars(sqlalchemy.select(SCHEMES.c.name))}
    for name in sorted(missing - held):
        connection.execute(SCHEMES.insert(), {"name": name})


def _marked_schemes(connection: Connection) -> set[str]:
    """The schemes that the keys are marked to be of; none if that is not known."""
    names = {*connection.scalars(sqlalchemy.select(SCHEMES.c.name))}
    return names if names <= _SCHEMES else set()


def _holds_calls(connection: Connection) -> bool:
    return connection.scalar(sqlalchemy.select(CALLS.c.key).limit(1)) is not None


def _delete(connection: Connection, key: str) -> None:
    present = sqlalchemy.select(CALLS.c.key).where(CALLS.c.key == key)
    if connection.scalar(present) is None:
        return
    # Not left to the cascade: another program may have made the tables without it.
    for column in (ORDER.c.call_key, ARGUMENTS.c.call_key, METADATA.c.call_key, CALLS.c.key):
        connection.execute(sqlalchemy.delete(column.table).where(column == key))


def _rows_of(
    record: DigestedCall, key: str
) -> tuple[dict[str, Any], builtins.list[dict[str, Any]], builtins.list[dict[str, Any]]]:
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


def _load(connection: Connection, condition: Any) -> tuple[builtins.list[DigestedCall], str | None]:
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
            version=_version(row.version),
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
            logger.error("The record of call %s is damaged: it holds what is no JSON", key)
            del records[key]
    return [*records.values()], keys[-1] if len(keys) == PAGE else None


def _version(held: Any) -> Any:
    """A version from its JSON; old tables have integers."""
    try:
        return json.loads(held) if isinstance(held, str) else held
    except ValueError:
        return DAMAGED
