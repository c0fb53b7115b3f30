"""`fleche.storage.file`: storages of users on files, and what stands in a root."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleche.digest import Digest, digest
from fleche.storage import CallMixin, FileStorage, PerKeyLockMixin, SaveError, ValueMixin

KEY = Digest("ab" * 32)


@dataclass(frozen=True)
class JsonFile(PerKeyLockMixin, ValueMixin, FileStorage):
    lock_timeout: float = 0.05

    def _to_file(self, value, path):
        path.write_text(json.dumps(value))

    def _from_file(self, path):
        return json.loads(path.read_text())


@contextlib.contextmanager
def process(script, *arguments):
    """A process that runs `script`, which says "ready" when it is."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout.readline() == "ready\n"
        yield running
    finally:
        running.kill()
        running.wait()
        running.stdin.close()
        running.stdout.close()


HOLD_A_LOCK = """
import fcntl, os, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("ready", flush=True)
sys.stdin.read()
"""

WRITE_HALF = """
import sys
from dataclasses import dataclass
from fleche.storage import FileStorage, ValueMixin

@dataclass(frozen=True)
class Half(ValueMixin, FileStorage):
    def _to_file(self, value, path):
        path.write_text("half of it")
        print("ready", flush=True)
        sys.stdin.read()
    def _from_file(self, path):
        raise AssertionError

Half(sys.argv[1]).save(1, sys.argv[2])
"""


def temporaries(root):
    return sorted(path.name for path in Path(root).iterdir() if path.name.endswith(".tmp"))


class TestStorage:
    def test_a_storage_of_two_methods(self, tmp_path):
        storage = JsonFile(tmp_path / "root")
        assert not (tmp_path / "root").exists()
        assert list(storage.list()) == []
        key = storage.save({"a": 1})
        assert key == digest({"a": 1})
        assert storage.load(key[:8]) == {"a": 1}
        assert list(storage.list()) == [key]
        assert type(next(iter(storage.list()))) is Digest
        assert storage.contains(key)
        assert storage.shrink(key) == key[:4]
        assert json.loads((tmp_path / "root" / key).read_text()) == {"a": 1}
        storage.evict(key)
        storage.evict(key)
        assert not storage.contains(key)
        with pytest.raises(KeyError) as caught:
            storage.load(key)
        assert caught.value.args == (tmp_path / "root" / key,)

    def test_both_methods_are_needed(self, tmp_path):
        class Half(ValueMixin, FileStorage):
            def _to_file(self, value, path):
                pass

        with pytest.raises(TypeError, match="_from_file"):
            Half(tmp_path)

    def test_the_root_is_whole(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        assert JsonFile("~/x").root == tmp_path / "x"
        assert JsonFile("y/../z").root == tmp_path / "z"
        with pytest.raises(TypeError):
            JsonFile(None)

    def test_equal_hashable_picklable_readable(self, tmp_path):
        storage = JsonFile(tmp_path)
        storage.save(1)
        again = pickle.loads(pickle.dumps(storage))
        assert again == storage == JsonFile(str(tmp_path))
        assert hash(again) == hash(storage)
        assert again.load(digest(1)) == 1
        assert repr(storage) == f"JsonFile(root={tmp_path!r}, lock_timeout=0.05)"
        assert storage != JsonFile(tmp_path, lock_timeout=2.0)

    def test_other_places_for_files(self, tmp_path):
        class Sharded(JsonFile):
            def _path(self, key):
                return self.root / key[:2] / f"{key}.json"

            def list(self):
                return [Digest(path.stem) for path in self.root.glob("*/*.json")]

        storage = Sharded(tmp_path)
        key = storage.save("text")
        assert (tmp_path / key[:2] / f"{key}.json").exists()
        assert storage.load(key[:6]) == "text"
        assert storage.contains(key)
        storage.evict(key)
        assert not storage.contains(key)

    def test_what_is_no_key_is_not_listed(self, tmp_path):
        storage = JsonFile(tmp_path)
        key = storage.save(1)
        for name in (".hidden", "x.lock", "garbage", "A" * 64, "ab" * 31):
            (tmp_path / name).write_text("")
        (tmp_path / ("cd" * 32)).mkdir()
        assert list(storage.list()) == [key]
        assert not storage.contains("cd" * 32)

    @pytest.mark.parametrize("key", ["", "short", "../" + "a" * 61, "A" * 64, "z" * 64, "a" * 65])
    def test_only_digests_are_keys(self, tmp_path, key):
        storage = JsonFile(tmp_path / "root")
        with pytest.raises(ValueError, match="64 lower-case hex"):
            storage.put(1, key)
        assert not (tmp_path / "root").exists()

    def test_saving_a_call_replaces_it_at_once(self, tmp_path):
        class Calls(CallMixin, JsonFile):
            def _to_file(self, value, path):
                path.write_text(value.name)

            def _from_file(self, path):
                return Record(path.read_text())

            def _evict(self, key):
                raise AssertionError("a reader could miss it")

        class Record:
            def __init__(self, name):
                self.name = name

            def to_lookup_key(self):
                return KEY

        storage = Calls(tmp_path)
        for name in ("old", "new"):
            storage.save(Record(name))
        assert storage.load(KEY).name == "new"


class TestFailures:
    def test_a_failed_write_changes_nothing(self, tmp_path):
        storage = JsonFile(tmp_path)
        storage.save("old", KEY)
        with pytest.raises(TypeError):
            storage.save(object(), KEY)
        assert storage.load(KEY) == "old"
        assert temporaries(tmp_path) == []

    def test_a_disk_that_fails(self, tmp_path):
        class Full(JsonFile):
            def _to_file(self, value, path):
                path.write_text("half")
                raise OSError(28, "No space left on device")

        with pytest.raises(SaveError, match="No space left on device") as caught:
            Full(tmp_path).save(1, KEY)
        assert KEY in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)
        assert temporaries(tmp_path) == []

    def test_a_root_that_is_a_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        storage = JsonFile(tmp_path / "file")
        with pytest.raises(SaveError):
            storage.save(1)
        assert not storage.contains(KEY)

    def test_a_lock_that_another_process_holds(self, tmp_path, caplog):
        storage = JsonFile(tmp_path)
        storage.save("old", KEY)
        lock = tmp_path / ".locks" / KEY[0]
        with process(HOLD_A_LOCK, lock):
            for change in (lambda: storage.save("new", KEY), lambda: storage.evict(KEY)):
                caplog.clear()
                with pytest.raises(SaveError, match=r"held by another process after 0\.05 s"):
                    change()
                [record] = caplog.records
                assert record.name == "fleche.storage"
                assert KEY in record.getMessage()
                assert str(lock) in record.getMessage()
            assert storage.load(KEY) == "old"
            assert list(storage.list()) == [KEY]
            assert temporaries(tmp_path) == []
            JsonFile(tmp_path).save("elsewhere", Digest("cd" * 32))
        storage.save("new", KEY)
        assert storage.load(KEY) == "new"

    def test_a_waiting_writer_goes_on_when_the_lock_is_free(self, tmp_path):
        storage = JsonFile(tmp_path, lock_timeout=60)
        storage.save("old", KEY)
        with process(HOLD_A_LOCK, tmp_path / ".locks" / KEY[0]) as holder:
            holder.stdin.close()
            storage.save("new", KEY)
        assert storage.load(KEY) == "new"

    def test_a_killed_writer_leaves_nothing(self, tmp_path):
        with process(WRITE_HALF, tmp_path, KEY) as writer:
            assert len(temporaries(tmp_path)) == 1
            assert list(JsonFile(tmp_path).list()) == []
            assert len(temporaries(tmp_path)) == 1, "its writer lives"
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            storage = JsonFile(tmp_path)
            storage.save("mine", KEY)
            assert temporaries(tmp_path) == []
            assert storage.load(KEY) == "mine"

    def test_listing_sweeps_as_well(self, tmp_path):
        with process(WRITE_HALF, tmp_path, KEY) as writer:
            writer.kill()
            writer.wait()
            assert list(JsonFile(tmp_path).list()) == []
            assert temporaries(tmp_path) == []

    def test_old_temporaries_of_unknown_writers_are_swept(self, tmp_path):
        old, new = (tmp_path / f".{KEY}.{name * 32}.tmp" for name in "ab")
        for path in (old, new):
            path.write_text("half")
        os.utime(old, (1, 1))
        list(JsonFile(tmp_path).list())
        assert temporaries(tmp_path) == [new.name]

    def test_lock_files_do_not_pile_up(self, tmp_path):
        storage = JsonFile(tmp_path)
        for number in range(100):
            storage.save(number)
        others = [path for path in tmp_path.rglob("*") if path.name not in set(storage.list())]
        assert len(others) <= 17
        assert all(path.relative_to(tmp_path).parts[0] == ".locks" for path in others)
