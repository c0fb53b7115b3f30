"""Call records in a database server, through SQLAlchemy.

What `fleche.storage.sql.Sql` uses for everything that is not SQLite. The engine is made at the
first use, once per process: a forked child has connections of its own.
"""

from __future__ import annotations

import builtins
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
from fleche.digest import Digest
from fleche.storage.base import logger
from fleche.storage.urls import is_secret, without_password

try:
    import sqlalchemy
    from sqlalchemy import exc
    from sqlalchemy.engine import URL, Connection, Engine, make_url

    from fleche.storage.databases import postgresql, records
    from fleche.storage.databases import silence as _silence
    from fleche.storage.databases import tables as _tables
    from fleche.storage.databases.tables import CALLS, SCHEMES
except ImportError as error:
    raise ImportError(
        "databases other than SQLite need SQLAlchemy: pip install 'fleche[sqlalchemy]'"
    ) from error

if TYPE_CHECKING:
    from fleche.call import DigestedCall
    from fleche.storage.claims import Claims
    from fleche.storage.filters import Filter

Result = TypeVar("Result")

#: What to install for a database, and the driver to take if its URL names none.
DRIVERS = {
    "postgresql": ("psycopg", "'psycopg[binary]'"),
    "mysql": ("pymysql", "pymysql"),
    "mariadb": ("pymysql", "pymysql"),
}

#: SQLSTATEs of PostgreSQL: serialization failure, deadlock, and two that made a key, a table or its
#: row type.
_GIVEN_WAY_STATES = {"40001", "40P01", "23505", "42P07", "42710"}

#: Errors of MariaDB and MySQL: deadlock, lock wait, changed record, two that made a key, a table
#: or an index.
_GIVEN_WAY_NUMBERS = {1213, 1205, 1020, 1062, 1050, 1061}

# The parts of a record are read by several statements, which must belong together; who writes locks
# as few rows as possible; and a statement alone needs no more round trips than one.
_READ, _WRITE, _ALONE = "REPEATABLE READ", "READ COMMITTED", "AUTOCOMMIT"

_HEX = frozenset("0123456789abcdef")

# So long after a miss the schemes are known that came with it, in seconds.
_MISSED = 0.1

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
        self._is_postgresql = self._url.get_backend_name() == "postgresql"
        # Of each thread: the schemes that came with its last miss, and when.
        self._missed = threading.local()

    # --- operations ---------------------------------------------------------------------------

    def save(self, record: DigestedCall, key: str) -> None:
        rows, scheme, action = records.rows_of(record, key), _core.scheme(), "saving a call to"
        self._missed.schemes = None
        if self._is_postgresql and self._run(
            action, lambda connection: postgresql.insert(connection, rows, scheme), alone=True
        ):
            return

        def work(connection: Connection) -> None:
            records.note_scheme(connection, scheme)
            records.insert(connection, rows)

        self._run(action, work, write=True)

    def load(self, key: str) -> DigestedCall | None:
        action = "loading a call from"
        if self._is_postgresql:
            record, schemes = self._run(
                action, lambda connection: postgresql.load(connection, key), alone=True
            )
            self._missed.schemes = None if record else (time.monotonic(), schemes)
            return record
        found, _ = self._run(
            action, lambda connection: records.load(connection, CALLS.c.key == key)
        )
        return found[0] if found else None

    def contains(self, key: str) -> bool:
        statement = sqlalchemy.select(CALLS.c.key).where(CALLS.c.key == key)
        return bool(self._keys(statement))

    def contains_many(self, keys: Sequence[str]) -> builtins.list[bool]:
        found: set[str] = set()
        for begin in range(0, len(keys), records.PAGE):
            some = [str(key) for key in keys[begin : begin + records.PAGE]]
            found.update(self._keys(sqlalchemy.select(CALLS.c.key).where(CALLS.c.key.in_(some))))
        return [key in found for key in keys]

    def evict(self, key: str) -> None:
        action = "evicting a call from"
        self._run(action, lambda connection: records.delete(connection, key), write=True)

    def list(self) -> builtins.list[Digest]:
        return self._keys(sqlalchemy.select(CALLS.c.key).order_by(CALLS.c.key))

    def list_by_age(self) -> builtins.list[Digest]:
        return self._keys(records.by_age())

    def overflow(self, keep: int) -> builtins.list[Digest]:
        count = sqlalchemy.select(sqlalchemy.func.count()).select_from(CALLS)

        def work(connection: Connection) -> builtins.list[Digest]:
            excess = (connection.scalar(count) or 0) - keep
            if excess <= 0:
                return []
            return [Digest(key) for key in connection.scalars(records.by_age().limit(excess))]

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
        return self._run("querying", lambda connection: records.load(connection, condition))

    def claims(self) -> Claims:
        if self._claims is None:
            from fleche.storage.databases.leases import LeaseClaims

            self._claims = LeaseClaims(self._shown, self)
        return self._claims

    def may_hold(self, scheme: str) -> bool:
        begun, noted = getattr(self._missed, "schemes", None) or (-math.inf, set())
        self._missed.schemes = None
        marked = records.known_schemes(noted)
        if marked and time.monotonic() - begun < _MISSED:
            return scheme in marked

        def work(connection: Connection) -> bool:
            marked = records.marked_schemes(connection)
            return scheme in marked if marked else records.holds_calls(connection)

        return self._run("reading the digest schemes of", work)

    def hold_only_scheme(self) -> None:
        def work(connection: Connection) -> None:
            connection.execute(SCHEMES.delete())
            connection.execute(SCHEMES.insert(), {"name": _core.scheme()})

        self._missed.schemes = None
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
            "listing the calls in", lambda connection: [*connection.scalars(statement)], alone=True
        )
        return [Digest(key) for key in found]

    # --- connections --------------------------------------------------------------------------

    def _new_engine(self) -> Engine:
        backend = self._url.get_backend_name()
        options: dict[str, Any] = {}
        if backend in DRIVERS:
            options["isolation_level"] = _ALONE if backend == "postgresql" else _READ
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
        self,
        action: str,
        work: Callable[[Connection], Result],
        *,
        write: bool = False,
        alone: bool = False,
    ) -> Result:
        """Do `work` in one transaction, again if the server made it give way.

        Args:
            action: what it does, for errors.
            work: gets a connection.
            write: whether it writes.
            alone: whether it is one statement, which is a transaction by itself.
        """
        deadline = time.monotonic() + self._timeout
        pause = 0.001
        while True:
            began = time.monotonic()
            try:
                with NotLost(), self._transaction(write, alone) as connection:
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
    def _transaction(self, write: bool, alone: bool) -> Iterator[Connection]:
        engine = self._engine_here()
        if not self._has_tables:
            _tables.create(self._with(_WRITE))
            self._has_tables = True
        if not (alone and self._is_postgresql):
            engine = self._with(_WRITE if write else _READ)
        with engine.begin() as connection:
            yield connection

    def _with(self, isolation: str) -> Engine:
        """The engine, whose transactions are isolated in this way."""
        engine = self._engine_here()
        if self._url.get_backend_name() not in DRIVERS:
            return engine
        return engine.execution_options(isolation_level=isolation)

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
