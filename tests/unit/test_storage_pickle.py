"""`fleche.storage.pickle_file`: round trips, damaged and forged files, processes and old stores."""

import copy
import gzip
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleche.call import DigestedCall
from fleche.digest import Digest, digest
from fleche.storage import (
    CallPickleFile,
    PickleFileBackend,
    SaveError,
    ValueMixin,
    ValuePickleFile,
    get_storage_constructor,
)
from fleche.storage.pickle_file import register_serializer
from tests.recorded import unpacked

DATA = Path(__file__).parent.parent / "data"
KEY = Digest("ab" * 32)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.binary()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)
forms = st.fixed_dictionaries(
    {
        "serializer": st.sampled_from(["pickle", "cloudpickle", "dill"]),
        "compress": st.booleans(),
        "secret_key": st.sampled_from([(), b"key", "00ff:ab"]),
        "remaining_depth": st.sampled_from([0, 1, 2, 100]),
    }
)


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch):
    monkeypatch.delenv("FLECHE_SECRET_KEY", raising=False)


def misses(storage, key=KEY):
    """The `KeyError` of a load, which must not remove anything."""
    path = storage.root / key
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(KeyError) as caught:
        storage.load(key)
    assert caught.value.args[0] == path
    assert before is None or path.read_bytes() == before
    return caught.value


def call(name, **arguments):
    arguments = {name: digest(value) for name, value in arguments.items()}
    return DigestedCall(name, arguments, digest(name), {"runtime": {"walltime": 1.5}}, "m", 1)


class TestValues:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
    @given(values, forms, st.integers())
    def test_round_trip(self, tmp_path, value, form, number):
        storage = ValuePickleFile(tmp_path / str(number), **form)
        key = storage.save(value)
        assert key == digest(value)
        loaded = storage.load(key)
        assert loaded == value
        assert type(loaded) is type(value)

    def test_a_real_unpickler_reads_the_file(self, tmp_path):
        ValuePickleFile(tmp_path).save("text", KEY)
        assert pickle.loads((tmp_path / KEY).read_bytes()) == "text"
        ValuePickleFile(tmp_path, compress=True).save("text", KEY)
        assert pickle.loads(gzip.decompress((tmp_path / KEY).read_bytes())) == "text"

    @pytest.mark.parametrize("size", [0, 1 << 10, 1 << 18, 3 << 20])
    @pytest.mark.parametrize("secret_key", [(), b"key"])
    @pytest.mark.parametrize("compress", [False, True])
    def test_every_size(self, tmp_path, size, secret_key, compress):
        storage = ValuePickleFile(tmp_path, secret_key=secret_key, compress=compress)
        value = os.urandom(size)
        assert storage.load(storage.save(value)) == value
        if secret_key:
            forged = ValuePickleFile(tmp_path, secret_key=b"other")
            misses(forged, digest(value))

    def test_reading_takes_what_any_setting_wrote(self, tmp_path):
        plain, packed = ValuePickleFile(tmp_path), ValuePickleFile(tmp_path, compress=True)
        signed = ValuePickleFile(tmp_path, compress=True, secret_key=b"key")
        for writer in (plain, packed, signed):
            writer.save("text", KEY)
            assert plain.load(KEY) == packed.load(KEY) == "text"

    def test_a_serializer_of_ones_own(self, tmp_path):
        loaded = []

        def loader():
            loaded.append(1)
            return (lambda value: bytearray(json.dumps(value).encode())), json.loads

        register_serializer("test-json", loader)
        assert not loaded
        storage = ValuePickleFile.with_serializer("test-json", tmp_path, 9, secret_key=b"key")
        key = storage.save([1, "a"])
        assert storage.load(key) == [1, "a"]
        assert (tmp_path / key).read_bytes().startswith(b'[1, "a"]')
        assert storage.to_config()["type"] == "test-json"

    def test_cloudpickle_and_dill_take_functions(self, tmp_path):
        for make in (ValuePickleFile.with_cloudpickle, ValuePickleFile.with_dill):
            storage = make(tmp_path)
            storage.save(lambda: 3, KEY)
            assert storage.load(KEY)() == 3
        with pytest.raises(SaveError):
            ValuePickleFile.with_pickle(tmp_path).save(lambda: 3, KEY)

    def test_a_missing_package_says_what_to_install(self, tmp_path, monkeypatch):
        for name in ("cloudpickle", "dill"):
            monkeypatch.setitem(sys.modules, name, None)
            with pytest.raises(ImportError, match=rf"pip install 'fleche\[{name}\]'"):
                ValuePickleFile(tmp_path, serializer=name)

    def test_an_unknown_serializer_lists_the_known_ones(self, tmp_path):
        with pytest.raises(ValueError, match=r"'nope'; registered serializers: \['cloudpickle'"):
            ValuePickleFile(tmp_path, serializer="nope")


class TestConfiguration:
    def test_fields(self, tmp_path):
        storage = ValuePickleFile(tmp_path, 2)
        assert storage.remaining_depth == 2
        assert ValuePickleFile(tmp_path).remaining_depth == 0
        assert (storage.lock_timeout, storage.secret_key, storage.compress) == (1.0, (), False)
        assert pickle.loads(storage.dumps([1])) == [1]
        assert storage.loads is pickle.loads
        with pytest.raises(TypeError):
            CallPickleFile(tmp_path, 2)
        with pytest.raises(AttributeError):
            storage.compress = True

    @given(forms)
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_equal_hashable_picklable_configurable(self, tmp_path, form):
        storage = ValuePickleFile(tmp_path, **form)
        config = storage.to_config()
        rebuilt = get_storage_constructor(config.pop("type"), "value")(**config)
        for again in (
            ValuePickleFile(str(tmp_path), **form),
            pickle.loads(pickle.dumps(storage)),
            copy.deepcopy(storage),
            rebuilt,
        ):
            assert again == storage
            assert hash(again) == hash(storage)
            assert again.load(storage.save([1])) == [1]
        assert json.loads(json.dumps(storage.to_config())) == storage.to_config()

    def test_the_configuration_in_full(self, tmp_path):
        storage = CallPickleFile.with_dill(tmp_path, compress=True, lock_timeout=3, secret_key=b"k")
        assert storage.to_config() == {
            "type": "dill",
            "root": str(tmp_path),
            "compress": True,
            "lock_timeout": 3,
            "secret_key": ["6b"],
        }
        values = ValuePickleFile(tmp_path, 1)
        assert values.to_config()["remaining_depth"] == 1
        assert "secret_key" not in values.to_config()

    def test_different_settings_differ(self, tmp_path):
        storage = ValuePickleFile(tmp_path)
        assert storage != ValuePickleFile(tmp_path, compress=True)
        assert storage != ValuePickleFile(tmp_path / "other")
        assert storage != CallPickleFile(tmp_path)

    def test_secret_keys_do_not_show(self, tmp_path, caplog):
        storage = ValuePickleFile(tmp_path, secret_key=b"secret")
        storage.save(1, KEY)
        misses(ValuePickleFile(tmp_path, secret_key=b"different"))
        for text in (repr(storage), repr(storage._handle), caplog.text):
            assert "secret'" not in text
            assert b"secret".hex() not in text

    def test_keys_from_the_environment(self, tmp_path, monkeypatch):
        monkeypatch.setenv("FLECHE_SECRET_KEY", "00ff:ab")
        assert ValuePickleFile(tmp_path).secret_key == (b"\x00\xff", b"\xab")
        assert ValuePickleFile(tmp_path, secret_key=[]).secret_key == (b"\x00\xff", b"\xab")
        assert ValuePickleFile(tmp_path, secret_key=b"k").secret_key == (b"k",)
        monkeypatch.setenv("FLECHE_SECRET_KEY", "no hex")
        with pytest.raises(ValueError, match="FLECHE_SECRET_KEY"):
            ValuePickleFile(tmp_path)

    def test_lock_timeouts(self, tmp_path):
        for timeout in (0, 0.5, -1, float("inf")):
            ValuePickleFile(tmp_path, lock_timeout=timeout).save(1)
        with pytest.raises(ValueError, match="lock_timeout"):
            ValuePickleFile(tmp_path, lock_timeout=float("nan")).save(1)


class TestDamage:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x80",
            pickle.dumps([1, 2, 3])[:-3],
            b"\x00" * 50,
            b"foreign text",
            b"\x1f\x8b",
            b"\x1f\x8bgarbage",
            gzip.compress(pickle.dumps(1), mtime=0)[:-9],
            gzip.compress(b"", mtime=0),
            b"cno_such_module\nname\n.",
            b"cbuiltins\nno_such_name\n.",
            b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        ],
    )
    def test_what_cannot_be_read_is_a_logged_miss(self, tmp_path, content, caplog):
        storage = ValuePickleFile(tmp_path)
        storage.save(1, KEY)
        (tmp_path / KEY).write_bytes(content)
        error = misses(storage)
        assert "Value present but cannot be read" in error.args[1]
        [record] = caplog.records
        assert (record.name, record.levelname) == ("fleche.storage", "WARNING")
        assert str(tmp_path / KEY) in record.getMessage()
        storage.save(2, KEY)
        assert storage.load(KEY) == 2

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
    @given(st.binary(max_size=80))
    def test_any_bytes_in_a_signed_store_are_a_miss(self, tmp_path, content):
        (tmp_path / KEY).write_bytes(content)
        misses(ValuePickleFile(tmp_path, secret_key=b"key"))

    def test_a_folder_or_a_dead_link_in_place_of_an_entry(self, tmp_path, caplog):
        storage = ValuePickleFile(tmp_path)
        (tmp_path / KEY).mkdir()
        misses(storage)
        assert caplog.records
        with pytest.raises(SaveError, match=KEY):
            storage.save(1, KEY)
        (tmp_path / KEY).rmdir()
        (tmp_path / KEY).symlink_to(tmp_path / "nowhere")
        misses(storage)
        assert not storage.contains(KEY)
        assert list(storage.list()) == []

    @pytest.mark.parametrize("error", [MemoryError, RecursionError, OSError, SystemError])
    def test_whatever_unpickling_raises(self, tmp_path, error):
        def loads(content):
            raise error("while loading")

        register_serializer("test-failing", lambda: (pickle.dumps, loads))
        storage = ValuePickleFile(tmp_path, serializer="test-failing")
        storage.save(1, KEY)
        caught = misses(storage)
        assert isinstance(caught.__cause__, error)
        assert "while loading" in caught.args[1]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_interrupts_pass(self, tmp_path, error):
        def interrupted(content):
            raise error

        register_serializer("test-interrupted", lambda: (pickle.dumps, interrupted))
        storage = ValuePickleFile(tmp_path, serializer="test-interrupted")
        storage.save(1, KEY)
        with pytest.raises(error):
            storage.load(KEY)
        register_serializer("test-interrupted", lambda: (interrupted, pickle.loads))
        with pytest.raises(error):
            ValuePickleFile(tmp_path, serializer="test-interrupted").save(1, KEY)

    def test_what_cannot_be_pickled(self, tmp_path):
        storage = ValuePickleFile(tmp_path)
        storage.save("old", KEY)
        with pytest.raises(SaveError) as caught:
            storage.put((x for x in ()), KEY)
        message = str(caught.value)
        assert str(tmp_path / KEY) in message
        assert "cannot pickle 'generator' object" in message
        assert "cloudpickle" in message
        assert isinstance(caught.value.__cause__, TypeError)
        assert storage.load(KEY) == "old"
        assert sorted(os.listdir(tmp_path)) == [".locks", KEY]

    def test_a_root_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        storage = ValuePickleFile(tmp_path / "file" / "root")
        with pytest.raises(SaveError, match="cannot create a file in") as caught:
            storage.save(1, KEY)
        assert KEY in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)
        misses(storage)
        assert not storage.contains(KEY)

    def test_a_record_that_is_no_record(self, tmp_path, caplog):
        calls = CallPickleFile(tmp_path)
        good = calls.save(call("f", x=1))
        ValuePickleFile(tmp_path, 9).save([1], KEY)
        with pytest.raises(KeyError):
            calls.load(KEY)
        assert KEY in caplog.text
        assert sorted(calls.list()) == sorted([good, KEY])


class TestSignatures:
    def test_nothing_is_unpickled_before_its_signature_holds(self, tmp_path, caplog):
        storage = ValuePickleFile(tmp_path, secret_key=b"key")
        evil = f"cos\nmkdir\n(V{tmp_path / 'evil'}\ntR."
        forged = evil.encode() + b"0" * 64
        for content in (evil.encode(), forged, gzip.compress(forged), forged * 20_000):
            caplog.clear()
            (tmp_path / KEY).write_bytes(content)
            error = misses(storage)
            assert error.args[1] == "Value present but failed signature check."
            [record] = caplog.records
            assert (record.name, record.levelname) == ("fleche.security", "ERROR")
            assert storage.contains(KEY)
        assert not (tmp_path / "evil").exists()
        (tmp_path / KEY).write_bytes(evil.encode())
        ValuePickleFile(tmp_path).load(KEY)
        assert (tmp_path / "evil").exists(), "the test itself would find out"

    def test_rotation(self, tmp_path):
        old = ValuePickleFile(tmp_path, secret_key=b"old")
        both = ValuePickleFile(tmp_path, secret_key=[b"new", b"old"])
        new = ValuePickleFile(tmp_path, secret_key=b"new")
        old.save("text", KEY)
        assert both.load(KEY) == "text"
        misses(new)
        both.save("text", KEY)
        assert new.load(KEY) == both.load(KEY) == "text"
        misses(old)

    def test_unsigned_and_signed_stores(self, tmp_path):
        unsigned, signed = ValuePickleFile(tmp_path), ValuePickleFile(tmp_path, secret_key=b"k")
        signed.save("text", KEY)
        assert unsigned.load(KEY) == "text"
        unsigned.save("text", KEY)
        misses(signed)

    def test_anything_appended_invalidates(self, tmp_path):
        storage = ValuePickleFile(tmp_path, secret_key=b"key")
        storage.save("text", KEY)
        with (tmp_path / KEY).open("ab") as file:
            file.write(b"a")
        misses(storage)


class TestConversion:
    @pytest.mark.parametrize("secret_key", [(), b"key"])
    def test_compressing_and_decompressing_everything(self, tmp_path, secret_key):
        storage = ValuePickleFile(tmp_path, secret_key=secret_key)
        keys = [storage.save(f"value {number}" * 20) for number in range(20)]
        packed = ValuePickleFile(tmp_path, secret_key=secret_key, compress=True)
        keys.append(packed.save("packed"))
        os.utime(tmp_path / keys[0], (1000, 1000))

        def magic():
            return {(tmp_path / key).read_bytes()[:2] == b"\x1f\x8b" for key in keys}

        for _ in range(2):
            storage.compress_all()
            assert magic() == {True}
            assert storage.load(keys[3]) == "value 3" * 20
        for _ in range(2):
            packed.decompress_all()
            assert magic() == {False}
            assert storage.load(keys[-1]) == "packed"
        assert (tmp_path / keys[0]).stat().st_mtime == 1000
        assert sorted(storage.list()) == sorted(keys)

    def test_what_cannot_be_converted_is_logged_and_left(self, tmp_path, caplog):
        storage = ValuePickleFile(tmp_path, compress=True)
        good = storage.save("good")
        (tmp_path / KEY).write_bytes(b"\x1f\x8bgarbage")
        storage.decompress_all()
        assert (tmp_path / KEY).read_bytes() == b"\x1f\x8bgarbage"
        assert KEY in caplog.text
        assert storage.load(good) == "good"
        (tmp_path / KEY).write_bytes(b"garbage")
        storage.compress_all()
        assert gzip.decompress((tmp_path / KEY).read_bytes()) == b"garbage"


class TestSubclasses:
    def test_overrides_are_honoured(self, tmp_path):
        seen = []

        @dataclass(frozen=True)
        class Watched(ValuePickleFile):
            label: str = "x"

            def _to_file(self, value, path):
                seen.append(("to", path.parent))
                super()._to_file(value, path)

            def _from_file(self, path):
                seen.append(("from", path.name))
                return super()._from_file(path)

        storage = Watched(tmp_path, secret_key=b"key", compress=True, label="y")
        storage.save("text", KEY)
        assert storage.load(KEY) == "text"
        assert seen == [("to", tmp_path), ("from", KEY)]
        misses(storage, "f" * 64)
        again = copy.copy(storage)
        assert again == storage
        assert again.label == "y"
        assert again.load(KEY) == "text"

    def test_other_places_for_files(self, tmp_path):
        class Elsewhere(ValuePickleFile):
            def _path(self, key):
                return self.root / f"{key}.pickle"

        storage = Elsewhere(tmp_path, 9)
        storage.save([1], KEY)
        assert pickle.loads((tmp_path / f"{KEY}.pickle").read_bytes()) == [1]
        assert storage.load(KEY) == [1]
        assert storage.contains(KEY)
        storage.evict(KEY)
        assert not storage.contains(KEY)

    def test_the_backend_alone(self, tmp_path):
        @dataclass(frozen=True)
        class Plain(ValueMixin, PickleFileBackend):
            pass

        storage = Plain(tmp_path, compress=True)
        key = storage.save([1, [2]])
        assert list(storage.list()) == [key]
        assert storage.load(key) == [1, [2]]
        assert "remaining_depth" not in storage.to_config()


class TestCalls:
    def test_round_trip_and_replacing(self, tmp_path):
        calls = CallPickleFile(tmp_path, compress=True, secret_key=b"key")
        record = call("f", x=1)
        key = calls.save(record)
        assert key == record.to_lookup_key()
        assert calls.load(key[:10]) == record
        record.metadata["tags"] = {"a": 1}
        assert calls.save(record) == key
        assert calls.load(key).metadata["tags"] == {"a": 1}
        assert list(calls.list()) == [key]

    def test_transforming(self, tmp_path):
        calls = CallPickleFile(tmp_path)
        keys = [calls.save(call(name, x=1)) for name in ("f", "g")]

        def rename(record):
            record.name = record.name.upper()
            return record

        calls.transform(rename)
        assert not set(keys) & set(calls.list())
        assert sorted(calls.load(key).name for key in calls.list()) == ["F", "G"]


WRITERS = """
import sys
from fleche.storage import ValuePickleFile
storage = ValuePickleFile(sys.argv[1], 99, lock_timeout=60)
key = "ab" * 32
for round in range(150):
    storage.save([sys.argv[2]] * 2000, key)
    if round % 10 == 0:
        storage.evict(key)
    try:
        value = storage.load(key)
    except KeyError:
        continue
    assert len(value) == 2000 and len(set(value)) == 1, value
storage.save(["done"] * 2000, key)
"""


class TestConcurrency:
    def test_processes_write_one_key(self, tmp_path):
        command = [sys.executable, "-W", "error", "-c", WRITERS, tmp_path]
        writers = [
            subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in "abc"
        ]
        errors = [writer.communicate(timeout=120)[1] for writer in writers]
        assert errors == ["", "", ""]
        assert ValuePickleFile(tmp_path).load(KEY) == ["done"] * 2000
        assert sorted(os.listdir(tmp_path)) == [".locks", KEY]

    def test_threads_share_a_storage(self, tmp_path, caplog):
        storage = ValuePickleFile(tmp_path, 1)
        failures = []

        def work(number):
            try:
                for round in range(40):
                    value = [number, [round % 5]]
                    key = storage.save(value)
                    assert storage.load(key) == value
                    storage.save([number] * 500, KEY)
                    assert len(set(storage.load(KEY))) == 1
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert not [record for record in caplog.records if record.levelno > logging.INFO]

    def test_a_forked_child_writes_as_well(self, tmp_path):
        script = """
import os, sys
from fleche.storage import ValuePickleFile
storage = ValuePickleFile(sys.argv[1])
storage.save("parent")
child = os.fork()
storage.save("both")
if child == 0:
    storage.save("child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
        command = [sys.executable, "-c", script, str(tmp_path)]
        subprocess.run(command, check=True, timeout=60)
        storage = ValuePickleFile(tmp_path)
        loaded = sorted(storage.load(key) for key in storage.list())
        assert loaded == ["both", "child", "parent"]

    @pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
    def test_the_umask_applies(self, tmp_path, umask, mode):
        before = os.umask(umask)
        try:
            storage = ValuePickleFile(tmp_path / "root")
            storage.save(1, KEY)
        finally:
            os.umask(before)
        assert (tmp_path / "root" / KEY).stat().st_mode & 0o777 == mode
        root = (tmp_path / "root").stat().st_mode
        assert (tmp_path / "root" / ".locks").stat().st_mode == root


def open_store(root, name, keys):
    """The value and call storages of a recorded store."""
    form = {"secret_key": keys} if "signed" in name else {}
    serializer = name.split("-")[0]
    return (
        ValuePickleFile.with_serializer(serializer, root / name / "values", **form),
        CallPickleFile.with_serializer(serializer, root / name / "calls", **form),
    )


@pytest.fixture(params=["0.16.1", "0.22.2"])
def recorded(request, tmp_path):
    """A copy of the stores that a version of the reference wrote, and what is in them."""
    stores = unpacked(request.param, tmp_path)
    return stores, json.loads((stores / "manifest.json").read_text())


class TestRecordedStores:
    @pytest.mark.parametrize(
        "name",
        ["pickle", "pickle-gzip", "pickle-signed", "cloudpickle-depth2", "dill-signed-gzip"],
    )
    def test_everything_loads(self, recorded, name, caplog):
        root, manifest = recorded
        store = manifest["stores"][name]
        values, calls = open_store(root, name, manifest["secret_keys"])
        assert sorted(values.list()) == sorted(store["value_keys"])
        assert sorted(calls.list()) == sorted(each["key"] for each in store["calls"])
        for each in store["calls"]:
            record = calls.load(each["key"])
            assert type(record) is DigestedCall
            assert record.name == each["name"]
            assert record.module == each["module"]
            assert record.arguments == each["arguments"]
            assert record.result == each["result_digest"]
            assert sorted(record.metadata) == sorted(each["metadata_names"])
            assert values.load(record.result) == eval(each["result"])
        for key in values.list():
            values.load(key)
        assert not [record for record in caplog.records if record.levelno > logging.INFO]

    def test_signed_stores_need_a_key(self, recorded):
        root, manifest = recorded
        values, _ = open_store(root, "pickle-signed", b"another")
        for key in manifest["stores"]["pickle-signed"]["value_keys"]:
            misses(values, key)
        for key in manifest["secret_keys"][1:]:
            values, _ = open_store(root, "pickle-signed", key)
            misses(values, manifest["stores"]["pickle-signed"]["value_keys"][0])
