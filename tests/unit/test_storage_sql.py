"""`fleche.storage.sql`: URLs, drivers, statements, damage, processes, and old databases."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import fleche
from fleche.caches import Cache
from fleche.call import Call, DigestedCall, QueryCall
from fleche.config import storage_to_config
from fleche.digest import Digest, digest
from fleche.metadata import Tags
from fleche.storage import SaveError, Sql, ValueMemory

DATABASES = ["sqlite", "postgresql", "mariadb"]


def record(**arguments: Any) -> DigestedCall:
    return Call("f", arguments, {"tags": {"n": 1, "t": "a"}}, "m", 1, result=1).digest()


@pytest.fixture(params=DATABASES)
def url(request, tmp_path):
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/calls.db"
    return request.getfixturevalue(request.param).new_database()


@pytest.fixture
def opened():
    """Opens storages that are closed in the end."""
    storages = []

    def open_storage(*arguments: Any, **options: Any) -> Sql:
        storages.append(Sql(*arguments, **options))
        return storages[-1]

    yield open_storage
    for storage in storages:
        storage._store.close()


def test_the_largest_number_in_metadata_is_found(url, opened):
    largest = sys.float_info.max
    storage = opened(url)
    storage.save(Call("f", {}, {"tags": {"n": largest}}, "m", 1, result=1).digest())
    storage.save(record(x=1))
    (found,) = storage.query(QueryCall(metadata={"tags": {"n": largest}}))
    assert found.metadata == {"tags": {"n": largest}}


class TestUrls:
    @pytest.mark.parametrize(
        "form",
        [
            "{}/calls.db",
            "sqlite:///{}/calls.db",
            "sqlite+pysqlite:///{}/calls.db",
            "sqlite:///{}/calls.db?timeout=20&check_same_thread=false",
        ],
    )
    def test_files(self, form, tmp_path):
        folder = tmp_path / "new" / "folder"
        storage = Sql(form.format(folder))
        key = storage.save(record(x=1))
        assert (folder / "calls.db").is_file()
        assert Sql(folder / "calls.db").contains(key)

    @pytest.mark.parametrize("form", ["~/calls.db", "sqlite:///~/calls.db"])
    def test_home(self, form, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        storage = Sql(form)
        assert (tmp_path / "calls.db").is_file()
        assert storage.url == f"sqlite:///{tmp_path}/calls.db"

    @pytest.mark.parametrize("form", ["calls.db", "sqlite:///calls.db", "sqlite:///sub/calls.db"])
    def test_relative(self, form, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Sql(form)
        assert [path.name for path in tmp_path.rglob("*.db")] == ["calls.db"]

    @pytest.mark.parametrize("form", [None, ":memory:", "sqlite://", "sqlite:///:memory:"])
    def test_in_memory(self, form):
        storage = Sql(form)
        assert storage.url == "sqlite:///:memory:"
        key = storage.save(record(x=1))
        assert not Sql(form).contains(key)

    def test_threads_share_what_is_in_memory(self):
        storage = Sql()
        keys = []
        thread = threading.Thread(target=lambda: keys.append(storage.save(record(x=1))))
        thread.start()
        thread.join()
        assert storage.contains(keys[0])

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ("", "empty"),
            ("sqlite://folder/file.db", "no path"),
            ("sqlite:///file.db?tiemout=3", "tiemout"),
            ("nosuch://host/db", "nosuch"),
            ("://", "URL"),
            ("postgresql://me:s3cret@host:no-number/calls", r"me:\*\*\*@host:no-number.*a number"),
        ],
    )
    def test_what_is_no_url(self, bad, said):
        with pytest.raises(ValueError, match=said):
            Sql(bad)

    @pytest.mark.parametrize(
        "secret",
        [
            "postgresql://me:s3cret@127.0.0.1:1/calls",
            "postgresql://127.0.0.1:1/calls?user=me&password=s3cret",
            "mariadb://me:s3cret@127.0.0.1:1/calls",
            "sqlite+pysqlcipher://:s3cret@/file.db",
            "nosuch://me:s3cret@host/db",
            "postgresql://me:a?s3cret@127.0.0.1:1/calls",
            "postgresql://me:s3cret@host:no-number/calls",
            "postgresql://127.0.0.1:1/calls?user=me&passwd=s3cret&sslpassword=s3cret",
            "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Ds3cret",
        ],
    )
    def test_passwords_are_never_shown(self, secret, caplog):
        caplog.set_level(logging.DEBUG)
        shown = []
        try:
            storage = Sql(secret, echo=True)
            shown += [repr(storage), str(storage)]
            storage.save(record(x=1))
        except (ValueError, SaveError, ImportError) as error:
            shown += [str(error), repr(error), str(error.__cause__)]
        assert shown
        assert "s3cret" not in "".join(shown) + caplog.text

    def test_the_configuration_is_complete(self):
        url = "postgresql+psycopg://me:s3cret@host/calls"
        assert storage_to_config(Sql(url)) == {"type": "sql", "url": url, "echo": False}


class TestServers:
    @pytest.mark.parametrize("scheme", ["postgresql", "mariadb", "mysql+pymysql"])
    def test_an_unreachable_server_is_named(self, scheme):
        storage = Sql(f"{scheme}://me:s3cret@127.0.0.1:1/calls")
        with pytest.raises(OSError, match=r"127\.0\.0\.1:1"):
            storage.contains(Digest("ab" * 32))
        with pytest.raises(SaveError, match=r"127\.0\.0\.1:1"):
            storage.save(record(x=1))

    def test_a_wrong_password(self, postgresql, opened):
        url = postgresql.new_database().replace("s3cret-of-the-tests", "wr0ng")
        with pytest.raises(OSError, match="authentication") as caught:
            opened(url).list()
        assert "wr0ng" not in str(caught.value)

    def test_a_missing_driver_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(ImportError, match=r"pip install 'fleche\[sqlalchemy\]' 'psycopg"):
            Sql("postgresql+psycopg://host/calls")

    def test_without_sqlalchemy(self):
        code = (
            "import sys; sys.modules['sqlalchemy'] = None\n"
            "from fleche.storage import Sql\n"
            "Sql()\n"
            "try: Sql('postgresql://host/calls')\n"
            "except ImportError as error: print(error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert "pip install 'fleche[sqlalchemy]'" in done.stdout

    def test_sqlite_needs_no_sqlalchemy(self, tmp_path):
        code = (
            f"import sys; from fleche.storage import Sql; Sql({str(tmp_path / 'a.db')!r}).list()\n"
            "print('sqlalchemy' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout == "False\n"

    def test_connections_that_the_server_closed_are_replaced(self, postgresql, opened):
        import psycopg

        url = postgresql.new_database()
        storage = opened(url)
        key = storage.save(record(x=1))
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert storage.load(key) == record(x=1)


class TestStatements:
    """What the database is asked, by its log."""

    @pytest.fixture
    def asked(self, url, opened, caplog):
        caplog.set_level(logging.INFO, "fleche.storage")
        storage = opened(url, echo=True)
        for number in range(40):
            call = record(x=number)
            call.metadata = {"tags": {"n": number, "t": f"a{number}"}}
            storage.save(call)

        def ask(**template: Any) -> tuple[int, list[str]]:
            caplog.clear()
            found = list(storage.query(QueryCall(**template)))
            statements = [entry.getMessage() for entry in caplog.records]
            return len(found), [text for text in statements if "SELECT" in text.upper()]

        return ask

    @pytest.mark.parametrize(
        ("template", "matches"),
        [
            ({}, 40),
            ({"name": "f"}, 40),
            ({"name": "g"}, 0),
            ({"arguments": {"x": 3}}, 1),
            ({"arguments": {"x": 3, "y": None}}, 0),
            ({"result": 1, "module": "m", "version": 1}, 40),
            ({"metadata": {"tags": {"n": 5}}}, 1),
            ({"metadata": {"tags": {"t": "a7"}}}, 1),
            ({"metadata": {"tags": {"n": None}}}, 40),
        ],
    )
    def test_a_bounded_number_whatever_matches(self, asked, template, matches):
        found, statements = asked(**template)
        assert found == matches
        assert len(statements) <= 3

    @pytest.mark.parametrize(
        "template",
        [
            {"name": "g"},
            {"module": "other"},
            {"version": 2},
            {"version": "1"},
            {"code_digest": digest("c")},
            {"result": 2},
            {"arguments": {"x": 99}},
            {"arguments": {"y": None}},
            {"metadata": {"other": {}}},
            {"metadata": {"tags": {"n": 99}}},
            {"metadata": {"tags": {"n": 2.5}}},
            {"metadata": {"tags": {"t": "b"}}},
            {"metadata": {"tags": {"missing": None}}},
        ],
    )
    def test_the_database_filters(self, asked, template):
        """No match: nothing is asked about arguments and metadata of records."""
        found, statements = asked(**template)
        assert found == 0
        assert len(statements) == 1

    def test_echo_is_not_part_of_a_storage(self, url, opened, caplog):
        caplog.set_level(logging.INFO, "fleche.storage")
        quiet = opened(url)
        quiet.save(record(x=1))
        assert "INSERT" not in caplog.text
        loud = opened(url, echo=True)
        loud.save(record(x=2))
        assert "INSERT INTO arguments" in caplog.text
        assert "s3cret" not in caplog.text, "the password of the server's URL"
        assert loud == quiet
        assert pickle.loads(pickle.dumps(loud)).echo


class TestDamage:
    def test_a_file_that_is_no_database(self, tmp_path):
        (tmp_path / "junk.db").write_bytes(b"no database, but long enough to be one" * 100)
        with pytest.raises(OSError, match=r"junk\.db.*not a database"):
            Sql(str(tmp_path / "junk.db"))
        with pytest.raises(OSError, match="folder"):
            Sql(str(tmp_path / "junk.db" / "below.db"))

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE calls SET version = 'no json' WHERE key = ?",
            "UPDATE metadata SET data = '{broken' WHERE call_key = ?",
            "UPDATE metadata SET data = x'ff00' WHERE call_key = ?",
        ],
    )
    def test_a_damaged_record_is_a_logged_miss(self, tmp_path, damage, caplog):
        storage = Sql(str(tmp_path / "calls.db"))
        bad, good = (storage.save(record(x=number)) for number in range(2))
        storage._store.close()
        # By another process: two copies of SQLite must not have one file open.
        code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        code += "c.execute(sys.argv[2], (sys.argv[3],)); c.commit()"
        path = str(tmp_path / "calls.db")
        subprocess.run([sys.executable, "-c", code, path, damage, bad], check=True)
        with pytest.raises(KeyError):
            storage.load(bad)
        assert bad in caplog.text
        assert [call.to_lookup_key() for call in storage.query(QueryCall())] == [good]
        storage.save(record(x=0))
        assert storage.load(bad) == record(x=0)

    def test_metadata_that_is_no_json_costs_the_caller_nothing(self, tmp_path, caplog):
        cache = Cache(ValueMemory({}), Sql(str(tmp_path / "calls.db")))
        with fleche.cache(cache):
            function = fleche.fleche(meta=(Tags({"odd": object()}),))(lambda x: x + 1)
            assert function(1) == 2
        assert "tags" in caplog.text


KEEPS_A_CACHE_ACTIVE = """
import os, sys
from fleche import cache, fleche
from fleche.caches import Cache
from fleche.storage import Sql, ValueMemory
cache(Cache(ValueMemory({}), Sql(os.path.join(sys.argv[1], "calls.db"))))
@fleche(meta=())
def double(x):
    return 2 * x
for x in range(5):
    double(x)
"""

ENDS = {
    "at the end": "",
    "by sys.exit": "sys.exit()",
    "beside a thread": """
import threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
""",
    "with the cache kept": "sys.modules['json'].kept = cache()",
    "by an error": "sys.stderr = None; raise ValueError",
    "in a forked child": """
import warnings
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    double(5)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
double(0)
""",
}


class TestProcesses:
    @pytest.fixture
    def shared(self, url, opened):
        storage = opened(url)
        storage.save(record(x="parent"))
        return storage

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    @pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
    def test_children_have_connections_of_their_own(self, shared, method):
        context = multiprocessing.get_context(method)
        children = [context.Process(target=save_in_child, args=(shared, n)) for n in range(3)]
        for child in children:
            child.start()
        mine = [shared.save(record(x=("mine", number))) for number in range(10)]
        for child in children:
            child.join(60)
            assert child.exitcode == 0
        theirs = [record(x=(n, i)).to_lookup_key() for n in range(3) for i in range(10)]
        everything = [record(x="parent").to_lookup_key(), *mine, *theirs]
        assert sorted(shared.list()) == sorted(everything)

    @pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
    def test_forks_while_threads_save(self, tmp_path):
        """No child finds a lock that a thread of its parent held."""
        storage = Sql(str(tmp_path / "calls.db"))
        done = threading.Event()

        def work() -> None:
            number = 0
            while not done.is_set():
                storage.save(record(x=number))
                number = (number + 1) % 50

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for number in range(20):
                child = os.fork()
                if child == 0:
                    status = 1
                    try:
                        storage.save(record(x=("child", number)))
                        status = 0
                    finally:
                        os._exit(status)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            done.set()
            for thread in threads:
                thread.join()
        for number in range(20):
            assert storage.contains(record(x=("child", number)).to_lookup_key())

    def test_a_private_database_in_a_child(self):
        storage = Sql()
        key = storage.save(record(x=1))
        context = multiprocessing.get_context("spawn")
        child = context.Process(target=contains_in_child, args=(storage, key))
        child.start()
        child.join(60)
        assert child.exitcode == 0

    @pytest.mark.parametrize("end", ENDS)
    def test_who_ends_last_leaves_one_file(self, end, tmp_path):
        code = f"{KEEPS_A_CACHE_ACTIVE}\n{ENDS[end]}"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, tmp_path],
            capture_output=True,
            text=True,
            env={**os.environ, "FLECHE_CONFIG": os.devnull},
        )
        assert (done.stdout, done.stderr) == ("", "")
        assert [file.name for file in tmp_path.glob("[!.]*")] == ["calls.db"]
        again = Sql(str(tmp_path / "calls.db"))
        assert len(again.list()) == 5 + (end == "in a forked child")

    def test_others_go_on_when_one_ends(self, tmp_path):
        mine = Sql(str(tmp_path / "calls.db"))
        key = mine.save(record(x="mine"))
        subprocess.run([sys.executable, "-c", KEEPS_A_CACHE_ACTIVE, tmp_path], check=True)
        assert mine.contains(key)
        mine.save(record(x="after"))
        assert len(mine.list()) == 7


def save_in_child(storage: Sql, n: int) -> None:
    for i in range(10):
        storage.save(record(x=(n, i)))
    assert storage.load(record(x="parent").to_lookup_key()) == record(x="parent")
    storage._store.close()


def contains_in_child(storage: Sql, key: Digest) -> None:
    assert storage.contains(key)


class TestTables:
    REFERENCE = """
        CREATE TABLE calls ("key" VARCHAR(64) NOT NULL, name VARCHAR NOT NULL, module VARCHAR,
            version INTEGER, code_digest VARCHAR(64), result VARCHAR(64), PRIMARY KEY ("key"));
        INSERT INTO calls VALUES ('{key}', 'f', 'm', 3, NULL, NULL);
    """

    def test_old_integer_versions(self, tmp_path):
        call = DigestedCall("f", {}, None, {}, "m", 3)
        key = call.to_lookup_key()
        connection = sqlite3.connect(tmp_path / "old.db")
        connection.executescript(self.REFERENCE.format(key=key))
        connection.close()
        storage = Sql(str(tmp_path / "old.db"))
        assert storage.load(key) == call
        assert list(storage.query(QueryCall(version=3))) == [call]
        assert list(storage.query(QueryCall(version=4))) == []
        newer = DigestedCall("f", {}, None, {}, "m", "1.2")
        assert storage.load(storage.save(newer)) == newer
        assert list(storage.query(QueryCall(version="1.2"))) == [newer]

    def test_a_query_by_an_argument_uses_the_index(self, tmp_path, caplog):
        caplog.set_level(logging.INFO, "fleche.storage")
        storage = Sql(str(tmp_path / "calls.db"), echo=True)
        storage.save(record(x=1))
        caplog.clear()
        template = {"name": "f", "module": "m", "arguments": {"x": 1}}
        assert len(list(storage.query(QueryCall(**template)))) == 1
        (statement,) = (
            entry.getMessage() for entry in caplog.records if "FROM calls WHERE" in entry.message
        )
        storage._store.close()
        connection = sqlite3.connect(tmp_path / "calls.db")
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", ["f"] * statement.count("?"))
        steps = " ".join(str(row) for row in plan)
        connection.close()
        assert "ix_fleche_arguments_value" in steps
        assert "SCAN" not in steps

    def test_journal_and_tables(self, tmp_path):
        path = tmp_path / "calls.db"
        storage = Sql(str(path))
        storage.save(record(x=1))
        storage._store.close()
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        names = ["arguments", "calls", "fleche_schemes", "metadata"]
        assert sorted(name for (name,) in tables) == names
        row = connection.execute("SELECT name, module, version, code_digest FROM calls")
        assert row.fetchone() == ("f", "m", "1", None)
        row = connection.execute("SELECT data FROM metadata")
        assert row.fetchone() == ('{"n": 1, "t": "a"}',)
        connection.close()

    def test_file_permissions_follow_the_umask(self, tmp_path):
        path = Path(tmp_path / "calls.db")
        Sql(str(path)).save(record(x=1))
        mask = os.umask(0)
        os.umask(mask)
        assert path.stat().st_mode & 0o777 == 0o644 & ~mask
