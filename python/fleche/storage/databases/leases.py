"""Claims in a database server: leases, which a heartbeat renews while their owner lives.

A row of `fleche_running` is a claim. Times are the server's, so that clocks do not have to agree. A
row that nobody has renewed for `LEASE` seconds is of an owner that died, or was suspended.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql, postgresql

from fleche.storage.base import logger
from fleche.storage.claims import Claim, Claims, Holder, Unclaimable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from fleche.storage.databases.alchemy import SqlAlchemyStore

__all__ = ["LeaseClaims"]

#: How long a claim outlives its owner, in seconds.
LEASE = 20.0

#: How often a claim is renewed, in seconds.
BEAT = 4.0

# Pauses between looks at a claim that somebody else has, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5

_TABLES = MetaData()
RUNNING = Table(
    "fleche_running",
    _TABLES,
    Column("call_key", String(64), primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("host", Text, nullable=False),
    Column("process", Integer, nullable=False),
    Column("thread", Text, nullable=False),
    # As the owner's clock says.
    Column("since", Float(53), nullable=False),
    # As the server's clock says.
    Column("beat", Float(53), nullable=False),
    Column("waits_for", String(64)),
)


class LeaseClaims(Claims):
    """The claims on the calls in a database.

    Args:
        place: what tells this database from others.
        store: the database.
    """

    def __init__(self, place: Any, store: SqlAlchemyStore) -> None:
        super().__init__(place)
        self._store = store
        self._lock = threading.Lock()
        self._owned: set[str] = set()
        self._process = os.getpid()
        self._beating = False
        self._has_table = False

    def take(self, key: str, seconds: float = 0, holder: Holder | None = None) -> Claim | None:
        deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
        while True:
            claim = self._try(key, holder or Holder.here())
            left = deadline - time.monotonic()
            if claim is not None or left <= 0:
                return claim
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def holder(self, key: str) -> Holder | None:
        def work(connection: Connection) -> Holder | None:
            alive = RUNNING.c.beat >= _now(connection) - LEASE
            held = sqlalchemy.select(RUNNING).where(RUNNING.c.call_key == key, alive)
            row = connection.execute(held).mappings().first()
            return None if row is None else Holder.from_json(row)

        found: Holder | None = self._run("looking at a claim in", work)
        return found

    def _try(self, key: str, holder: Holder) -> Claim | None:
        owner = secrets.token_hex(16)

        def work(connection: Connection) -> tuple[bool, Holder | None]:
            now = _now(connection)
            expired = (RUNNING.c.call_key == key, RUNNING.c.beat < now - LEASE)
            dead = connection.execute(sqlalchemy.select(RUNNING).where(*expired)).mappings().first()
            if dead is not None:
                connection.execute(sqlalchemy.delete(RUNNING).where(*expired))
            row = {"call_key": key, "owner": owner, "beat": now, **holder.to_json()}
            connection.execute(_insert(connection), row)
            mine = (RUNNING.c.call_key == key, RUNNING.c.owner == owner)
            is_mine = connection.scalar(sqlalchemy.select(RUNNING.c.owner).where(*mine))
            return is_mine is not None, None if dead is None else Holder.from_json(dead)

        is_mine, dead = self._run("claiming a call in", work, write=True)
        if not is_mine:
            return None
        self._keep(owner)
        return _Lease(self, key, owner, holder, dead)

    def _keep(self, owner: str) -> None:
        """Have a lease renewed from now on."""
        if self._process != os.getpid():
            # Those of the parent are the parent's to renew.
            self._lock, self._owned, self._beating = threading.Lock(), set(), False
            self._process = os.getpid()
        with self._lock:
            self._owned.add(owner)
            if not self._beating:
                self._beating = True
                threading.Thread(target=self._beat, name="fleche-leases", daemon=True).start()

    def _drop(self, owner: str) -> None:
        with self._lock:
            self._owned.discard(owner)

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT)
            with self._lock:
                owned = [*self._owned]
                if not owned:
                    self._beating = False
                    return

            def work(connection: Connection, owned: list[str] = owned) -> None:
                mine = RUNNING.c.owner.in_(owned)
                renewed = sqlalchemy.update(RUNNING).where(mine).values(beat=_now(connection))
                connection.execute(renewed)

            try:
                self._run("renewing claims in", work, write=True)
            except Exception as error:
                # The next one may succeed in time.
                logger.warning("Cannot renew a claim: %s", error)

    def _run(self, action: str, work: Callable[[Connection], Any], *, write: bool = False) -> Any:
        def with_table(connection: Connection) -> Any:
            if not self._has_table:
                _TABLES.create_all(connection)
            return work(connection)

        try:
            done = self._store._run(action, with_table, write=write)
        except OSError as error:
            raise Unclaimable(str(error), is_told=True) from error
        self._has_table = True
        return done


class _Lease(Claim):
    def __init__(
        self, claims: LeaseClaims, key: str, owner: str, holder: Holder, dead: Holder | None
    ) -> None:
        super().__init__(dead)
        self._claims, self._owner, self._holder = claims, owner, holder
        self._process = os.getpid()
        self._mine = (RUNNING.c.call_key == key, RUNNING.c.owner == owner)

    def wait_for(self, key: str | None) -> None:
        self._holder = replace(self._holder, waits_for=key)
        change = sqlalchemy.update(RUNNING).where(*self._mine).values(waits_for=key)
        self._claims._run("noting a wait in", lambda c: c.execute(change), write=True)

    def release(self) -> None:
        if self._process != os.getpid():
            return
        self._claims._drop(self._owner)
        gone = sqlalchemy.delete(RUNNING).where(*self._mine)
        try:
            self._claims._run("giving up a claim in", lambda c: c.execute(gone), write=True)
        except Unclaimable as error:
            logger.warning("Cannot give up a claim, which ends in %g s: %s", LEASE, error)


def _now(connection: Connection) -> Any:
    """Seconds since 1970, by the server's clock."""
    backend = connection.dialect.name
    if backend == "postgresql":
        clock = sqlalchemy.extract("epoch", sqlalchemy.func.clock_timestamp())
        return connection.scalar(sqlalchemy.select(sqlalchemy.cast(clock, Float(53))))
    if backend in ("mysql", "mariadb"):
        now: Any = sqlalchemy.func.unix_timestamp(sqlalchemy.func.now(6))
        return float(connection.scalar(sqlalchemy.select(now)) or 0)
    return time.time()


def _insert(connection: Connection) -> Any:
    """An insertion that does nothing where there is such a key."""
    backend = connection.dialect.name
    if backend == "postgresql":
        return postgresql.insert(RUNNING).on_conflict_do_nothing()
    if backend in ("mysql", "mariadb"):
        return mysql.insert(RUNNING).prefix_with("IGNORE")
    return RUNNING.insert()
