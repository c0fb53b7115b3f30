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
from sqlalchemy.dialects import mysql

from fleche.storage.base import logger
from fleche.storage.claims import Claim, Claims, Holder, Unclaimable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from fleche.storage.databases.alchemy import SqlAlchemyStore

__all__ = ["BEAT", "LEASE", "LeaseClaims", "pause_within"]

#: How long a claim outlives its owner, in seconds.
LEASE = 20.0

#: How often a claim is renewed, in seconds.
BEAT = 4.0

# Who waits looks eight times meanwhile, with pauses of so many seconds.
_LOOKS, _SHORTEST_PAUSE, _LONGEST_PAUSE = 8, 0.005, 0.6

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


def pause_within(seconds: float) -> float:
    """How long who waits for that many seconds pauses between two looks.

    >>> pause_within(0.5), pause_within(5)
    (0.0625, 0.6)
    """
    return min(max(seconds / _LOOKS, _SHORTEST_PAUSE), _LONGEST_PAUSE)


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
        deadline = time.monotonic() + seconds
        pause = pause_within(seconds)
        while True:
            claim = self._try(key, holder or Holder.here())
            left = deadline - time.monotonic()
            if claim is not None or left <= 0:
                return claim
            time.sleep(min(pause, left))

    def holder(self, key: str) -> Holder | None:
        def work(connection: Connection) -> Holder | None:
            alive = RUNNING.c.beat >= _now(connection) - LEASE
            held = sqlalchemy.select(RUNNING).where(RUNNING.c.call_key == key, alive)
            row = connection.execute(held).mappings().first()
            return None if row is None else Holder.from_json(row)

        found: Holder | None = self._run("looking at a claim in", work, alone=True)
        return found

    def _try(self, key: str, holder: Holder) -> Claim | None:
        owner = secrets.token_hex(16)
        row = {"call_key": key, "owner": owner, **holder.to_json()}
        is_mine, dead = (
            self._run("claiming a call in", lambda connection: _take(connection, row), alone=True)
            if self._store._is_postgresql
            else self._run("claiming a call in", lambda c: _take_by_steps(c, row), write=True)
        )
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
                self._run("renewing claims in", work, write=True, alone=True)
            except Exception as error:
                # The next one may succeed in time.
                logger.warning("Cannot renew a claim: %s", error)

    def _run(self, action: str, work: Callable[[Connection], Any], **options: bool) -> Any:
        def with_table(connection: Connection) -> Any:
            if not self._has_table:
                _TABLES.create_all(connection)
            return work(connection)

        try:
            done = self._store._run(action, with_table, **options)
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
        self._claims._run("noting a wait in", lambda c: c.execute(change), write=True, alone=True)

    def release(self) -> None:
        if self._process != os.getpid():
            return
        self._claims._drop(self._owner)
        action, gone = "giving up a claim in", sqlalchemy.delete(RUNNING).where(*self._mine)
        try:
            self._claims._run(action, lambda c: c.execute(gone), write=True, alone=True)
        except Unclaimable as error:
            logger.warning("Cannot give up a claim, which ends in %g s: %s", LEASE, error)


# One statement: of two that find the same dead owner, the second one waits for the first, and then
# sees a row that is renewed.
_TAKE = sqlalchemy.text("""
WITH now AS (
    SELECT CAST(EXTRACT(epoch FROM clock_timestamp()) AS float8) AS now
), dead AS (
    SELECT fleche_running.* FROM fleche_running, now
    WHERE call_key = :call_key AND beat < now - :lease
), mine AS (
    INSERT INTO fleche_running (call_key, owner, host, process, thread, since, beat, waits_for)
    SELECT CAST(:call_key AS text), CAST(:owner AS text), CAST(:host AS text),
        CAST(:process AS integer), CAST(:thread AS text), CAST(:since AS float8), now,
        CAST(:waits_for AS text)
    FROM now
    ON CONFLICT (call_key) DO UPDATE SET owner = excluded.owner, host = excluded.host,
        process = excluded.process, thread = excluded.thread, since = excluded.since,
        beat = excluded.beat, waits_for = excluded.waits_for
    WHERE fleche_running.beat < excluded.beat - :lease
    RETURNING owner
)
SELECT dead.* FROM mine LEFT JOIN dead ON true
""")


def _take(connection: Connection, row: dict[str, Any]) -> tuple[bool, Holder | None]:
    """Claim a call in PostgreSQL; whether it is ours now, and who held it and died."""
    found = connection.execute(_TAKE, {**row, "lease": LEASE}).mappings().first()
    if found is None:
        return False, None
    return True, None if found["owner"] is None else Holder.from_json(found)


def _take_by_steps(connection: Connection, row: dict[str, Any]) -> tuple[bool, Holder | None]:
    """Claim a call in any database, in a transaction."""
    now, key = _now(connection), row["call_key"]
    expired = (RUNNING.c.call_key == key, RUNNING.c.beat < now - LEASE)
    dead = connection.execute(sqlalchemy.select(RUNNING).where(*expired)).mappings().first()
    if dead is not None:
        connection.execute(sqlalchemy.delete(RUNNING).where(*expired))
    connection.execute(_insert(connection).values(beat=now, **row))
    mine = (RUNNING.c.call_key == key, RUNNING.c.owner == row["owner"])
    is_mine = connection.scalar(sqlalchemy.select(RUNNING.c.owner).where(*mine))
    return is_mine is not None, None if dead is None else Holder.from_json(dead)


def _now(connection: Connection) -> Any:
    """Seconds since 1970, by the server's clock."""
    backend = connection.dialect.name
    if backend == "postgresql":
        clock = sqlalchemy.extract("epoch", sqlalchemy.func.clock_timestamp())
        return sqlalchemy.cast(clock, Float(53))
    if backend in ("mysql", "mariadb"):
        return sqlalchemy.func.unix_timestamp(sqlalchemy.func.now(6))
    return sqlalchemy.literal(time.time())


def _insert(connection: Connection) -> Any:
    """An insertion that does nothing where there is such a key."""
    backend = connection.dialect.name
    if backend in ("mysql", "mariadb"):
        return mysql.insert(RUNNING).prefix_with("IGNORE")
    return RUNNING.insert()
