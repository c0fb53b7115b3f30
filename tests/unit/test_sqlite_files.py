"""SQLite's files: whose they are, who may read them, and what is put in their place."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.call import Call, DigestedCall, QueryCall
from fleche.config import cache_from_config, cache_to_config
from fleche.digest import Digest
from fleche.storage import Sql, ValuePickleFile  # noqa: F401 - imported before rights are given up
from tests.forks import in_child

as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs to become other users")


def record(x: Any) -> DigestedCall:
    return Call("f", {"x": x}, {}, "m", 1, result=x).digest()


def key_of(x: Any) -> Digest:
    return record(x).to_lookup_key()


def whole(path: Path) -> int:
    """How many calls a database holds, which is in order."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (count,) = connection.execute("SELECT count(*) FROM calls").fetchone()
        return int(count)


def as_user(user: int, work: Callable[[], None], mask: int = 0o002) -> None:
    def become() -> None:
        os.umask(mask)
        os.setgroups([20500])
        os.setgid(20500)
        os.setuid(user)
        work()

    in_child(become)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder of a group, which is the first user's."""
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    folder.chmod(0o755)
    (folder / "store").mkdir()
    os.chown(folder / "store", 20001, 20500)
    (folder / "store").chmod(0o2775)
    yield folder / "store" / "calls.db"
    shutil.rmtree(folder)


class TestRights:
    @pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
    def test_the_umask_counts(self, mask: int, tmp_path: Path) -> None:
        def save() -> None:
            os.umask(mask)
            storage = Sql(tmp_path / "calls.db")
            storage.save(record(1))
            for ending in ("", "-wal", "-shm"):
                mode = os.stat(tmp_path / f"calls.db{ending}").st_mode
                assert stat.S_IMODE(mode) == 0o666 & ~mask

        in_child(save)

    @as_root
    def test_a_group_shares_a_database(self, shared: Path) -> None:
        def save(*numbers: int) -> Callable[[], None]:
            def work() -> None:
                storage = Sql(shared)
                for number in numbers:
                    storage.save(record(number))
                storage._store.close()

            return work

        as_user(20001, save(0))
        as_user(20002, save(1))
        as_user(20001, save(2))
        assert whole(shared) == 3

    @as_root
    @pytest.mark.parametrize("owner", ["is gone", "was killed", "goes on"])
    @pytest.mark.parametrize("mode", [0o2775, 0o2755])
    def test_a_reader_keeps_nobody_out(self, owner: str, mode: int, shared: Path) -> None:
        """Who may not write the database, made by somebody with another umask."""
        shared.parent.chmod(mode)

        def save(*numbers: int) -> None:
            storage = Sql(shared)
            for number in numbers:
                storage.save(record(number))
            assert sorted(storage.list()) == sorted(map(key_of, range(numbers[-1] + 1)))
            if owner == "was killed":
                os._exit(0)
            storage._store.close()

        def read(*numbers: int) -> None:
            storage = Sql(shared)
            assert sorted(storage.list()) == sorted(map(key_of, numbers))
            for number in numbers:
                assert storage.load(key_of(number)) == record(number)
            assert [*storage.query(QueryCall(arguments={"x": 0}))] == [record(0)]
            with pytest.raises(Exception, match="readonly"):
                storage.save(record(99))
            assert len(storage.list()) == len(numbers)
            storage._store.close()

        def both() -> None:
            storage = Sql(shared)
            storage.save(record(0))
            as_user_again(20002, lambda: read(0))
            storage.save(record(1))
            as_user_again(20002, lambda: read(0, 1))
            storage.save(record(2))

        def as_user_again(user: int, work: Callable[[], None]) -> None:
            as_user(user, work, 0o022)

        if owner == "goes on":
            # The owner's part is root's here, who may become the reader.
            in_child(both)
            assert whole(shared) == 3
            return
        as_user(20001, lambda: save(0), 0o022)
        as_user(20002, lambda: read(0), 0o022)
        as_user(20001, lambda: save(1), 0o022)
        as_user(20002, lambda: read(0, 1), 0o022)
        as_user(20001, lambda: save(2), 0o022)
        for path in shared.parent.iterdir():
            assert path.stat().st_uid == 20001
        assert whole(shared) == 3

    @as_root
    def test_a_reader_sees_what_comes_meanwhile(self, shared: Path) -> None:
        """It reads without locks; the owner opens, saves and closes."""
        in_child(lambda: Sql(shared).save(record(0)))
        reader, writer = os.pipe()
        said, say = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgid(20500)
                os.setuid(20002)
                storage = Sql(shared)
                for count in range(1, 30):
                    assert len(storage.list()) == count
                    os.write(say, b".")
                    os.read(reader, 1)
                status = 0
            finally:
                os._exit(status)
        for number in range(1, 30):
            os.read(said, 1)
            owner = Sql(shared)
            owner.save(record(number))
            if number % 3:
                owner._store.close()
            os.write(writer, b".")
        assert os.waitpid(child, 0)[1] == 0
        for end in (reader, writer, said, say):
            os.close(end)


class TestPlaces:
    @pytest.mark.parametrize("name", ["what?", "a#b", "100%", "%3F", "%25", "a b", "a\nb", "ä"])
    def test_a_path_is_a_path(self, name: str, tmp_path: Path) -> None:
        folder = tmp_path / name
        config = {"template": "sql", "root": str(folder), "values": "pickle"}
        for held in (cache_from_config(config),) * 2:
            with cache(held):
                assert number(3) == 3
        again = cache_from_config(cache_to_config(held))
        assert again.query().count() == 1
        assert (folder / "calls.db").is_file()
        assert [path.name for path in tmp_path.iterdir()] == [name]
        direct = Sql(folder / "calls.db")
        assert len(direct.list()) == 1
        assert Sql(direct.url) == direct
        assert len(Sql(direct.url).list()) == 1

    def test_a_reader_notices_it(self, tmp_path: Path) -> None:
        storage = Sql(tmp_path / "store" / "calls.db")
        storage.save(record("before"))
        shutil.rmtree(tmp_path / "store")
        deadline = time.monotonic() + 10
        while storage.contains(key_of("before")):
            assert time.monotonic() < deadline

    @pytest.mark.parametrize("way", ["removed", "moved", "replaced"])
    def test_the_folder_is_no_longer_there(self, way: str, tmp_path: Path) -> None:
        """What is saved afterwards is where the next process looks."""
        folder, other = tmp_path / "store", tmp_path / "other"
        storage = Sql(folder / "calls.db")
        storage.save(record("before"))
        if way == "replaced":
            made = Sql(other / "calls.db")
            made.save(record("there"))
            made._store.close()
        if way == "moved":
            folder.rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(folder)
        if way == "replaced":
            other.rename(folder)
        storage.save(record("after"))
        assert storage.contains(key_of("there")) == (way == "replaced")
        assert not storage.contains(key_of("before"))
        assert storage.load(key_of("after")) == record("after")
        storage._store.close()
        assert whole(folder / "calls.db") == 1 + (way == "replaced")
        if way == "moved":
            assert whole(tmp_path / "elsewhere" / "calls.db") == 1

    def test_a_member_of_a_stack_that_is_out_of_reach(self, tmp_path: Path, caplog: Any) -> None:
        lost = tmp_path / "lost"
        lost.write_text("a file in place of the folder")
        mine = {"template": "pickle", "root": str(tmp_path / "mine")}
        theirs = {"template": "sql", "values": "pickle", "root": str(lost)}
        stack = cache_from_config([mine, theirs])
        ran.clear()
        with cache(stack):
            assert [number(5), number(5)] == [5, 5]
            assert ran == [5]
            assert str(lost) in caplog.text
            lost.unlink()
            number(6)
        assert ran == [5, 6]
        with pytest.raises(OSError, match=r"calls\.db"):
            Sql("/dev/null/calls.db")


ran: list[int] = []


@fleche
def number(x: int) -> int:
    ran.append(x)
    return x


FILLS = """
import os, sys
from fleche.call import Call
from fleche.storage import Sql
storage = Sql(sys.argv[1])
for x in range(*map(int, sys.argv[2:4])):
    storage.save(Call("f", {"x": x}, {}, "m", 1, result=x).digest())
if sys.argv[4:]:
    os._exit(0)
"""


class TestLogs:
    """A log beside a database that was put back."""

    def fill(self, path: Path, first: int, end: int, *killed: str) -> None:
        command = [sys.executable, "-c", FILLS, str(path), str(first), str(end), *killed]
        subprocess.run(command, check=True)

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """A database with its log, left by a process that was killed; an old copy is beside it."""
        path = tmp_path / "store" / "calls.db"
        self.fill(path, 0, 50)
        shutil.copy(path, tmp_path / "copy.db")
        self.fill(path, 50, 400)
        self.fill(path, 400, 600, "killed")
        assert path.with_name("calls.db-wal").stat().st_size > 0
        return path

    @pytest.mark.parametrize("way", ["copied", "copied with its time", "renamed"])
    def test_a_log_of_another_database(self, way: str, path: Path, caplog: Any) -> None:
        copy = path.parents[1] / "copy.db"
        if way == "copied":
            shutil.copyfile(copy, path)
        elif way == "renamed":
            copy.replace(path)
        else:
            shutil.copy2(copy, path)
        storage = Sql(path)
        assert sorted(storage.list()) == sorted(key_of(x) for x in range(50))
        for x in range(50):
            assert storage.load(key_of(x)) == record(x)
        storage.save(record("new"))
        storage._store.close()
        assert "calls.db-wal is not of the database beside it" in caplog.text
        assert whole(path) == 51
        names = sorted(file.name for file in path.parent.glob("[!.]*"))
        assert names == ["calls.db", "calls.db-wal.left-over"]

    def test_others_have_the_old_database_open(self, path: Path) -> None:
        old = Sql(path)
        old.save(record("old"))
        code = "import os, sys; from fleche.storage import Sql; print(len(Sql(sys.argv[1]).list()))"
        (path.parents[1] / "copy.db").replace(path)
        done = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
        )
        assert done.stdout == "50\n"
        assert "is not of the database" in done.stderr
        old.save(record("new"))
        old._store.close()
        assert whole(path) == 51

    def test_its_own_log_counts(self, path: Path, caplog: Any) -> None:
        storage = Sql(path)
        assert len(storage.list()) == 600
        storage._store.close()
        assert caplog.text == ""
        assert whole(path) == 600

    def test_both_were_copied(self, path: Path, caplog: Any) -> None:
        """As a backup of a store in use."""
        folder = path.parents[1] / "backup"
        shutil.copytree(path.parent, folder)
        os.utime(folder / "calls.db-wal", (0, 0))
        storage = Sql(folder / "calls.db")
        assert len(storage.list()) == 600
        storage._store.close()
        assert caplog.text == ""
        assert whole(folder / "calls.db") == 600

    def test_the_log_of_a_database_that_is_damaged(self, path: Path) -> None:
        bytes_ = bytearray(path.read_bytes())
        bytes_[2048:] = b"\xff" * (len(bytes_) - 2048)
        path.write_bytes(bytes_)
        with contextlib.suppress(OSError):
            Sql(path).list()
        assert not path.with_name("calls.db-wal.left-over").exists()

    @as_root
    def test_a_reader_does_not_serve_it(self, path: Path, shared: Path) -> None:
        shutil.copytree(path.parent, shared.parent, dirs_exist_ok=True)
        shutil.copyfile(path.parents[1] / "copy.db", shared)

        def read() -> None:
            with pytest.raises(OSError, match=r"calls\.db"):
                Sql(shared).list()

        as_user(20002, read)
