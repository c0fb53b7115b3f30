"""Calls in database servers: what a call asks of them, databases of old, who saves at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from fleche import cache, fleche
from fleche.caches import Cache
from fleche.call import Call, DigestedCall, QueryCall
from fleche.storage import SaveError, Sql, ValueMemory
from tests.conftest import DatabaseServer


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    found: DatabaseServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def opened() -> Iterator[Callable[..., Sql]]:
    """Opens storages that are closed in the end."""
    storages: list[Sql] = []

    def open_storage(url: str, **options: Any) -> Sql:
        storages.append(Sql(url, **options))
        return storages[-1]

    yield open_storage
    for storage in storages:
        storage._store.close()


def record(x: Any, **metadata: Any) -> DigestedCall:
    return Call("f", {"x": x}, metadata, "m", 1, result=1).digest()


def double(x: int, y: int = 2) -> int:
    return x * y


# Statements of a miss, of a hit, and of a miss of a call that is computed once.
@pytest.mark.parametrize(("kind", "numbers"), [("postgresql", (2, 1, 5)), ("mariadb", (8, 3, 14))])
def test_statements_of_a_call(
    kind: str,
    numbers: tuple[int, int, int],
    opened: Callable[..., Sql],
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "fleche.storage")
    url = request.getfixturevalue(kind).new_database()
    storage = opened(url, echo=True)
    once = fleche(once=True)(double)
    plain = fleche(double)
    with cache(Cache(ValueMemory({}), storage)):
        once(0)
        for function, x, expected in ((plain, 1, 0), (plain, 1, 1), (once, 2, 2)):
            caplog.clear()
            assert function(x) == 2 * x
            assert len(caplog.records) == numbers[expected], caplog.text


def test_round_trips_of_a_call(
    postgresql: DatabaseServer, opened: Callable[..., Sql], tmp_path: Path
) -> None:
    storage = opened(postgresql.new_database())
    function = fleche(double)
    store: Any = storage._store
    with cache(Cache(ValueMemory({}), storage)), (tmp_path / "trace").open("wb") as trace:
        # A statement is prepared when it was used some times, which is a trip more.
        for x in range(12):
            function(x)
            function(x)
        connection = store._engine.raw_connection()
        connection.driver_connection.pgconn.trace(trace.fileno())
        connection.close()
        function(100)
        function(100)
        store.close()
    lines = (tmp_path / "trace").read_text().splitlines()
    assert sum("\tF\t" in line and "\tSync" in line for line in lines) == 3


OLDER = """
    CREATE TABLE calls ({key} VARCHAR(64) NOT NULL, name VARCHAR(500) NOT NULL,
        module VARCHAR(500), version INTEGER, code_digest VARCHAR(64), result VARCHAR(64),
        PRIMARY KEY ({key})) {options};
    CREATE TABLE arguments (id {serial}, call_key VARCHAR(64) NOT NULL REFERENCES calls ({key}),
        position INTEGER NOT NULL, name VARCHAR(50) NOT NULL, value VARCHAR(64) NOT NULL) {options};
    CREATE TABLE metadata (id {serial}, call_key VARCHAR(64) NOT NULL REFERENCES calls ({key}),
        name VARCHAR(500) NOT NULL, data {json} NOT NULL) {options};
    INSERT INTO calls VALUES ('{held}', 'f', 'm', 3, NULL, '{result}');
    INSERT INTO arguments (call_key, position, name, value) VALUES ('{held}', 0, 'x', '{value}');
    INSERT INTO metadata (call_key, name, data) VALUES ('{held}', 'tags', '{{"n": 1}}');
"""


def test_a_database_of_old_is_brought_up_to_date(
    server: DatabaseServer, opened: Callable[..., Sql], caplog: pytest.LogCaptureFixture
) -> None:
    """Whole numbers as versions, no order, no schemes, no indexes: nothing of it is lost."""
    url = server.new_database()
    held = Call("f", {"x": 5}, {"tags": {"n": 1}}, "m", 3, result=10).digest()
    key = held.to_lookup_key()
    is_postgresql = server.scheme == "postgresql"
    dialect = {
        "key": "key" if is_postgresql else "`key`",
        "serial": "SERIAL PRIMARY KEY" if is_postgresql else "INT AUTO_INCREMENT PRIMARY KEY",
        "json": "JSON" if is_postgresql else "LONGTEXT",
        "options": "" if is_postgresql else "CHARSET utf8mb4 COLLATE utf8mb4_bin",
    }
    driver = "postgresql+psycopg" if is_postgresql else "mariadb+pymysql"
    engine = sqlalchemy.create_engine(url.replace(server.scheme, driver, 1))
    parts = {"held": key, "result": str(held.result), "value": str(held.arguments["x"])}
    with engine.begin() as connection:
        for statement in OLDER.format(**dialect, **parts).split(";")[:-1]:
            connection.exec_driver_sql(statement)

    storage = opened(url)
    assert storage.load(key) == held
    assert storage._may_hold("sha256")
    assert list(storage.query(QueryCall(version=3, arguments={"x": 5}))) == [held]
    newer = DigestedCall("f", {}, None, {}, "m", "1.2")
    assert storage.load(storage.save(newer)) == newer
    assert storage.load(key) == held
    assert list(storage._list_by_age()) == [key, newer.to_lookup_key()]
    storage.save(held)
    assert list(storage._list_by_age()) == [newer.to_lookup_key(), key]
    storage.evict(key)
    assert storage.list() == [newer.to_lookup_key()]
    assert opened(url).load(newer.to_lookup_key()) == newer
    with engine.connect() as connection:
        found = sqlalchemy.inspect(connection)
        indexes = {i["name"] for table in ("calls", "arguments") for i in found.get_indexes(table)}
        assert {"ix_fleche_calls_name", "ix_fleche_arguments_value"} <= indexes
        assert {"fleche_order", "fleche_schemes"} <= {*found.get_table_names()}
    engine.dispose()
    assert "tables cannot be changed" not in caplog.text


def test_tables_that_may_not_be_changed_are_read(
    postgresql: DatabaseServer, opened: Callable[..., Sql]
) -> None:
    """A user who may only read gets hits, and is told what failed of the rest."""
    import psycopg

    url = postgresql.new_database()
    key = opened(url).save(record(1))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'only-reads'")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        connection.execute("ALTER TABLE calls ALTER version TYPE integer USING version::integer")
        connection.execute("DROP INDEX ix_fleche_calls_name")
    account, *_ = url.partition("://")[2].rpartition("@")
    reader = opened(url.replace(account, "reader:only-reads"))
    assert reader.load(key) == record(1)
    assert list(reader.query(QueryCall(arguments={"x": 1}))) == [record(1)]
    with pytest.raises(SaveError, match="saving a call to the database"):
        reader.save(record(2))
    reader._store.close()


@pytest.mark.parametrize("entry", [{}, {"n": [1, None, 0.1, 1e300]}, {"t": "\\ \" ' % :x \u2713"}])
def test_what_comes_back(
    entry: dict[str, Any], server: DatabaseServer, opened: Callable[..., Sql]
) -> None:
    storage = opened(server.new_database())
    name = "an 'entry' % :x [\"]"
    held = record("a", **{name: entry, "z": {"\u00e9": "\\u0000"}, "a": {}})
    key = storage.save(held)
    assert storage.load(key) == held
    assert [*storage.load(key).metadata] == [name, "z", "a"]


def test_of_many_who_save_one_call_one_is_left(
    server: DatabaseServer, opened: Callable[..., Sql]
) -> None:
    url = server.new_database()
    together = threading.Barrier(8)

    def save(number: int) -> None:
        storage = opened(url)
        together.wait(60)
        for _ in range(5):
            storage.save(record(1, tags={"n": number}, more={"n": number}))

    with ThreadPoolExecutor(8) as pool:
        for saved in [pool.submit(save, number) for number in range(8)]:
            saved.result(60)
    storage = opened(url)
    found = storage.load(record(1).to_lookup_key())
    assert found.metadata["tags"] == found.metadata["more"]
    assert len(storage.list()) == len(list(storage._list_by_age())) == 1
    assert list(found.arguments) == ["x"]
