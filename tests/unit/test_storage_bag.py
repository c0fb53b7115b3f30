"""`fleche.storage.bagofholding_file`: round trips, layouts, locks, damage, processes."""

import contextlib
import copy
import itertools
import json
import logging
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass

import h5py
import numpy as np
import pytest
from bagofholding import H5Bag
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleche import caches
from fleche import fleche as cached
from fleche.call import DigestedCall, QueryCall
from fleche.config import storage_from_config, storage_to_config
from fleche.digest import Digest, digest
from fleche.storage import (
    BagOfHoldingH5FileBackend,
    CallBagOfHoldingH5File,
    SaveError,
    ValueBagOfHoldingH5File,
    ValueMixin,
)

KEY = Digest("ab" * 32)
LAYOUTS = [0, 1, 2, 64]
ROOTS = itertools.count()

each_layout = pytest.mark.parametrize("length", LAYOUTS)
quickly = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_characters="\0"))
    | st.binary()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text("abc/ é", min_size=1) | st.integers(), inner)
    ),
    max_leaves=8,
)
forms = st.fixed_dictionaries(
    {
        "prefix_length": st.sampled_from(LAYOUTS),
        "remaining_depth": st.sampled_from([0, 1, 100]),
        "version_validator": st.sampled_from(
            [None, "exact", "semantic-minor", "semantic-major", "none"]
        ),
        "lock_timeout": st.sampled_from([1.0, 30]),
    }
)


@dataclass
class Point:
    x: float
    y: object


class Unpackable:
    """What `bagofholding` begins to write and then fails at."""

    def __init__(self):
        self.good = 1
        self.bad = threading.Lock()

    def __digest__(self):
        return "ee" * 32


def record(name, **arguments):
    digests = {name: digest(value) for name, value in arguments.items()}
    return DigestedCall(name, digests, digest(name), {"runtime": {"walltime": 1.5}}, "m", 1)


def files(root):
    """What is in a root, but for locks."""
    return sorted(path.name for path in root.iterdir() if ".lock" not in path.name)


class TestValues:
    @quickly
    @given(values, forms)
    def test_round_trip(self, tmp_path, value, form):
        storage = ValueBagOfHoldingH5File(tmp_path / str(next(ROOTS)), **form)
        key = storage.save(value)
        assert key == digest(value)
        loaded = storage.load(key)
        assert loaded == value
        assert type(loaded) is type(value)
        assert digest(loaded) == key

    @each_layout
    @pytest.mark.parametrize("depth", [0, 1, 100])
    def test_what_scientists_keep(self, tmp_path, length, depth):
        storage = ValueBagOfHoldingH5File(tmp_path, None, length, remaining_depth=depth)
        array = np.arange(12.0).reshape(3, 4)
        table = {"z": array, "a": [Point(1.5, (1, None)), "text"], "m": {"y": 1, "b": 2}}
        loaded = storage.load(storage.save(table))
        assert list(loaded) == ["z", "a", "m"]
        assert list(loaded["m"]) == ["y", "b"]
        assert np.array_equal(loaded["z"], array)
        assert loaded["a"] == table["a"]

    def test_the_real_package_reads_and_writes_what_is_stored(self, tmp_path):
        storage = ValueBagOfHoldingH5File(tmp_path, remaining_depth=100)
        key = storage.save({"b": 1, "a": [2.5]})
        assert H5Bag(tmp_path / key).load() == {"b": 1, "a": [2.5]}
        H5Bag.save("text", tmp_path / KEY)
        assert storage.load(KEY) == "text"
        H5Bag.save(pickle.loads, tmp_path / KEY)
        assert storage.load(KEY) is pickle.loads
        grouped = ValueBagOfHoldingH5File(tmp_path / "grouped", None, 2)
        grouped.save(Point(1, [2]), KEY)
        assert H5Bag(grouped.root / "ab.h5" / KEY).load().fields == {
            "x": 1,
            "y": digest([2], typed=True),
        }
        H5Bag.save("text", grouped.root / "ab.h5" / KEY)
        assert grouped.load(KEY) == "text"

    @each_layout
    def test_keys(self, tmp_path, length):
        storage = ValueBagOfHoldingH5File(tmp_path / "root", None, length)
        assert list(storage.list()) == []
        assert not storage.contains(KEY)
        storage.evict(KEY)
        with pytest.raises(KeyError) as caught:
            storage.load(KEY)
        assert caught.value.args == (storage._path(KEY),)
        keys = [Digest("abcd" + f"{number:060x}") for number in range(3)] + [KEY]
        for key in keys:
            assert storage.save(int(key, 16), key) == key
        assert sorted(storage.list()) == sorted(keys)
        assert storage.expand("abab") == KEY
        assert storage.load("ababa") == int(KEY, 16)
        assert storage.shrink(KEY) == "abab"
        with pytest.raises(ValueError, match="ambiguous"):
            storage.load("abcd")
        storage.evict(KEY)
        assert not storage.contains(KEY)
        assert sorted(storage.list()) == keys[:3]
        for key in keys:
            storage.evict(key)
        assert files(storage.root) == []

    @each_layout
    @pytest.mark.parametrize(
        "array",
        [
            np.array(3),
            np.zeros((2, 0, 3)),
            np.array(["a", "bc"]),
            np.array(["2020-01-01"], "M8[D]"),
            np.array([1, None], object),
            np.zeros(2, [("a", "i4"), ("b", "f8")]),
            np.arange(6).reshape(2, 3).T,
        ],
        ids=str,
    )
    def test_arrays(self, tmp_path, length, array):
        storage = ValueBagOfHoldingH5File(tmp_path, None, length)
        loaded = storage.load(storage.save(array))
        assert type(loaded) is np.ndarray
        assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
        assert np.array_equal(loaded, array)

    @pytest.mark.parametrize("text", ["", " ", "é", "a\n", "\ud800", "x" * 4096, "ä" * 4096])
    def test_texts(self, tmp_path, text):
        storage = ValueBagOfHoldingH5File(tmp_path)
        storage.save(text, KEY)
        assert storage.load(KEY) == H5Bag(tmp_path / KEY).load() == text
        assert type(storage.load(KEY)) is str

    def test_small_values_take_little_space(self, tmp_path):
        storage = ValueBagOfHoldingH5File(tmp_path)
        for value in (1, 1.5, "text", None, [1, 2]):
            assert (tmp_path / storage.save(value)).stat().st_size < 3000

    @each_layout
    def test_saving_replaces(self, tmp_path, length):
        storage = ValueBagOfHoldingH5File(tmp_path, None, length)
        storage.save("old", KEY)
        storage.save([1, 2], KEY)
        assert storage.load(KEY) == [1, 2]

    def test_a_folder_that_is_called_like_a_bag(self, tmp_path):
        storage = ValueBagOfHoldingH5File(tmp_path / "x.h5")
        assert storage.load(storage.save([1])) == [1]

    @each_layout
    def test_children(self, tmp_path, length):
        storage = ValueBagOfHoldingH5File(tmp_path, None, length, remaining_depth=0)
        key = storage.save(Point([1, 2], "a"))
        assert storage.child_digests(key) == {digest([1, 2], typed=True)}
        assert storage.count_reuses()[digest([1, 2], typed=True)] == 1


class TestCalls:
    @each_layout
    def test_records_load_as_they_were(self, tmp_path, length):
        storage = CallBagOfHoldingH5File(tmp_path, None, length)
        one, two = record("f", z=1, a=2), record("g")
        keys = {storage.save(one), storage.save(two), storage.save(one)}
        assert set(storage.list()) == keys
        loaded = storage.load(one.to_lookup_key())
        assert loaded == one
        assert list(loaded.arguments) == ["z", "a"]
        assert type(loaded.result) is Digest
        assert list(storage.query(QueryCall(name="g"))) == [two]

    def test_bagofholding_loads_a_record(self, tmp_path):
        storage = CallBagOfHoldingH5File(tmp_path)
        key = storage.save(record("f", x=1))
        assert H5Bag(tmp_path / key).load() == record("f", x=1)

    def test_records_as_the_reference_writes_them(self, tmp_path):
        storage = CallBagOfHoldingH5File(tmp_path)
        key = record("f", x=1).to_lookup_key()
        H5Bag.save(record("f", x=1), tmp_path / key, version_scraping={"fleche": lambda _: "0.1"})
        with pytest.raises(ModuleNotFoundError):
            H5Bag(tmp_path / key).load()
        assert storage.load(key) == record("f", x=1)
        storage.rebag()
        assert H5Bag(tmp_path / key).load() == record("f", x=1)

    @each_layout
    def test_a_limited_cache_evicts_the_oldest(self, tmp_path, length):
        calls = CallBagOfHoldingH5File(tmp_path, None, length)
        records = [record("f", x=number) for number in (5, 2, 9, 1, 7)]
        for one in records:
            calls.save(one)
        calls.save(records[0])
        expected = [one.to_lookup_key() for one in [*records[1:], records[0]]]
        assert list(calls._list_by_age()) == expected
        assert set(calls.refix((length + 1) % 60)._list_by_age()) == set(expected)

    @each_layout
    def test_a_cache_of_bags(self, tmp_path, length):
        cache = caches.Cache(
            ValueBagOfHoldingH5File(tmp_path / "values", None, length),
            CallBagOfHoldingH5File(tmp_path / "calls", None, length),
        )
        runs = []

        def work(x):
            runs.append(x)
            return {"x": x, "squares": [x * x]}

        import fleche

        with fleche.cache(cache):
            function = cached(work)
            assert function(3) == function(3) == {"x": 3, "squares": [9]}
            assert runs == [3]
            assert function.contains(3)


class TestConfiguration:
    def test_arguments_stand_where_the_reference_has_them(self, tmp_path):
        storage = ValueBagOfHoldingH5File(tmp_path, "none", 2, 3.5, False, 7)
        assert repr(storage) == (
            f"ValueBagOfHoldingH5File(root={tmp_path!r}, version_validator='none', "
            "prefix_length=2, lock_timeout=3.5, remaining_depth=7)"
        )
        plain = CallBagOfHoldingH5File(tmp_path)
        assert (plain.version_validator, plain.prefix_length, plain.lock_timeout) == (None, 0, 1.0)
        assert ValueBagOfHoldingH5File(tmp_path).remaining_depth == 0
        with pytest.raises(AttributeError):
            storage.prefix_length = 3

    @quickly
    @given(forms)
    def test_equal_hashable_picklable_configurable(self, tmp_path, form):
        root = tmp_path / str(next(ROOTS))
        storage = ValueBagOfHoldingH5File(root, **form)
        storage.save(1)
        config = storage_to_config(storage)
        assert json.loads(json.dumps(config)) == config
        for again in (
            ValueBagOfHoldingH5File(str(root), **form),
            pickle.loads(pickle.dumps(storage)),
            copy.deepcopy(storage),
            storage_from_config(config, "value"),
        ):
            assert again == storage
            assert hash(again) == hash(storage)
            assert repr(again) == repr(storage)
            assert again.load(again.save([1])) == [1]

    def test_the_configuration_in_full(self, tmp_path):
        storage = CallBagOfHoldingH5File(tmp_path, prefix_length=2)
        assert storage.to_config() == {
            "type": "bagofholding_hdf",
            "root": str(tmp_path),
            "lock_timeout": 1.0,
            "version_validator": None,
            "prefix_length": 2,
        }
        assert storage_from_config(storage.to_config(), "call") == storage
        assert storage != CallBagOfHoldingH5File(tmp_path, prefix_length=3)

    @pytest.mark.parametrize("validator", ["semantic-patch", "", 3, "None"])
    def test_unknown_validators(self, tmp_path, validator):
        with pytest.raises(ValueError, match="version_validator must be one of 'exact'"):
            ValueBagOfHoldingH5File(tmp_path, validator)
        with pytest.raises(ValueError, match="version_validator must be one of 'exact'"):
            ValueBagOfHoldingH5File(tmp_path).rebag(validator)

    @pytest.mark.parametrize("length", ["2", -1, 65, 1.0, True])
    def test_impossible_prefix_lengths(self, tmp_path, length):
        with pytest.raises(ValueError, match=r"an integer between 0 .* and 64"):
            ValueBagOfHoldingH5File(tmp_path, prefix_length=length)
        with pytest.raises(ValueError, match=r"an integer between 0 .* and 64"):
            ValueBagOfHoldingH5File(tmp_path).refix(length)

    def test_a_missing_package_says_what_to_install(self):
        code = (
            "import sys; sys.modules['bagofholding'] = None\n"
            "from fleche.config import storage_from_config\n"
            "storage_from_config({'type': 'bagofholding_hdf', 'root': 'x'}, 'value')\n"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "pip install 'fleche[bagofholding]'" in ended.stderr.splitlines()[-1]

    def test_a_backend_of_ones_own(self, tmp_path):
        @dataclass(frozen=True)
        class Stamped(ValueMixin, BagOfHoldingH5FileBackend):
            def _to_file(self, value, path):
                super()._to_file(["stamp", value], path)

            def _from_file(self, path):
                return super()._from_file(path)[1]

        for length in (0, 2):
            storage = Stamped(tmp_path / str(length), prefix_length=length)
            assert storage.load(storage.save("x")) == "x"


class TestVersions:
    @pytest.fixture
    def stored(self, tmp_path):
        """A value that some version of numpy wrote."""

        def store(version):
            kinds = np.array([1, "x"], dtype=object)
            H5Bag.save(kinds, tmp_path / KEY, version_scraping={"numpy": lambda _: version})

        return store

    def test_every_validator(self, tmp_path, stored, caplog):
        major, minor = (int(part) for part in np.__version__.split(".")[:2])
        versions = [np.__version__, f"{major}.{minor}.99", f"{major}.{minor + 1}.0", "0.9"]
        accepted = {"exact": 1, None: 1, "semantic-minor": 2, "semantic-major": 3, "none": 4}
        for validator, number in accepted.items():
            storage = ValueBagOfHoldingH5File(tmp_path, validator)
            for place, version in enumerate(versions):
                stored(version)
                if place < number:
                    assert list(storage.load(KEY)) == [1, "x"]
                    continue
                with pytest.raises(KeyError):
                    storage.load(KEY)
                assert "another version" in caplog.text
                assert version in caplog.text

    def test_rebag(self, tmp_path, stored):
        storage = ValueBagOfHoldingH5File(tmp_path)
        stored("0.9")
        storage.save([1, 2])
        storage.rebag("exact")
        with pytest.raises(KeyError):
            storage.load(KEY)
        storage.rebag()
        assert list(storage.load(KEY)) == [1, "x"]
        assert storage.load(digest([1, 2])) == [1, 2]


class TestDamage:
    @each_layout
    @pytest.mark.parametrize(
        "value", [lambda: 1, Unpackable(), [1, {"a": Unpackable()}], "a\0b", "a" * 10 + "\0"]
    )
    def test_what_hdf5_cannot_hold(self, tmp_path, length, value):
        storage = ValueBagOfHoldingH5File(tmp_path, None, length, remaining_depth=100)
        storage.save("before", KEY)
        other = Digest(KEY[:-1] + "0")
        for key in (KEY, other):
            with pytest.raises(SaveError, match=r"cannot be put into an HDF5 bag .*cloudpickle"):
                storage.save(value, key)
        assert list(storage.list()) == [KEY]
        assert not storage.contains(other)
        assert storage.load(KEY) == "before"
        assert len(files(tmp_path)) == 1

    @pytest.mark.parametrize("content", [b"", b"garbage", b"\x89HDF\r\n\x1a\n" + b"x" * 100])
    def test_a_corrupt_file_of_one_key(self, tmp_path, content, caplog):
        storage = ValueBagOfHoldingH5File(tmp_path)
        (tmp_path / KEY).write_bytes(content)
        with pytest.raises(KeyError) as caught:
            storage.load(KEY)
        assert caught.value.args == (tmp_path / KEY,)
        assert [log.levelno for log in caplog.records] == [logging.ERROR]
        assert f"Corrupt file present in cache at path {tmp_path / KEY}" in caplog.text
        assert (tmp_path / KEY).read_bytes() == content
        storage.save(1, KEY)
        assert storage.load(KEY) == 1

    def test_every_truncation_is_a_miss_or_the_value(self, tmp_path):
        storage = CallBagOfHoldingH5File(tmp_path)
        key = storage.save(record("f", x=1))
        whole = (tmp_path / key).read_bytes()
        for length in range(0, len(whole), 97):
            (tmp_path / key).write_bytes(whole[:length])
            with pytest.raises(KeyError):
                storage.load(key)

    def test_a_corrupt_file_of_several_keys(self, tmp_path, caplog):
        storage = ValueBagOfHoldingH5File(tmp_path, None, 2)
        storage.save(1, Digest("cd" * 32))
        (tmp_path / "ab.h5").write_bytes(b"garbage")
        with pytest.raises(KeyError):
            storage.load(KEY)
        assert not storage.contains(KEY)
        caplog.clear()
        assert list(storage.list()) == ["cd" * 32]
        assert [log.levelno for log in caplog.records] == [logging.ERROR]
        with pytest.raises(SaveError):
            storage.save(1, KEY)
        assert (tmp_path / "ab.h5").read_bytes() == b"garbage"

    def test_a_broken_group(self, tmp_path):
        storage = ValueBagOfHoldingH5File(tmp_path, None, 2)
        with h5py.File(tmp_path / "ab.h5", "w") as file:
            file.create_group(KEY)
        with pytest.raises(KeyError):
            storage.load(KEY)
        storage.save(1, KEY)
        assert storage.load(KEY) == 1

    def test_a_writer_that_was_killed(self, tmp_path):
        storage = ValueBagOfHoldingH5File(tmp_path, None, 2)
        storage.save(1, KEY)
        code = (
            "import os, sys; from pathlib import Path; from fleche.storage.bags import files\n"
            "with files._opened_for_writing(Path(sys.argv[1])): os._exit(0)"
        )
        subprocess.run([sys.executable, "-c", code, tmp_path / "ab.h5"], check=True)
        assert storage.load(KEY) == 1
        with h5py.File(tmp_path / "ab.h5", "a") as file:
            file.create_group("." + KEY)
        assert list(storage.list()) == [KEY]
        storage.save(2, KEY)
        assert storage.load(KEY) == 2
        with h5py.File(tmp_path / "ab.h5") as file:
            assert list(file) == [KEY]

    def test_an_object_that_fails_to_load(self, tmp_path):
        storage = ValueBagOfHoldingH5File(tmp_path)
        H5Bag.save(Point(1, 2), tmp_path / KEY)
        with h5py.File(tmp_path / KEY, "a") as file:
            del file["object/args/i0"]
            file["object/args/i0"] = "no.such.class"
            file["object/args/i0"].attrs["content_type"] = "bagofholding.content.Global"
        with pytest.raises(KeyError):
            storage.load(KEY)

    def test_leftovers_of_dead_writers(self, tmp_path):
        for length in (0, 2):
            storage = ValueBagOfHoldingH5File(tmp_path / str(length), None, length)
            storage.save(1, KEY)
            (storage.root / "notes.txt").write_text("mine")
            assert list(storage.list()) == [KEY]
            assert list(ValueBagOfHoldingH5File(storage.root).list()) == [KEY]


class TestLayouts:
    def keys(self, storage):
        return [storage.save([number, "x"]) for number in range(5)]

    @each_layout
    def test_the_layout_of_a_root_is_found(self, tmp_path, length):
        storage = ValueBagOfHoldingH5File(tmp_path, None, length)
        keys = self.keys(storage)
        found = ValueBagOfHoldingH5File(tmp_path)
        assert found.prefix_length == length
        assert found == storage
        assert all(found.contains(key) for key in keys)
        wrong = (length + 1) % 60
        repair = rf"prefix_length={wrong} does not .*\[{length}\].* call refix\({wrong}\)"
        with pytest.raises(ValueError, match=repair):
            ValueBagOfHoldingH5File(tmp_path, prefix_length=wrong)
        ValueBagOfHoldingH5File(tmp_path, prefix_length=wrong, check_consistency=False)

    @pytest.mark.parametrize("old", LAYOUTS)
    @pytest.mark.parametrize("new", LAYOUTS)
    def test_refix(self, tmp_path, old, new):
        storage = ValueBagOfHoldingH5File(tmp_path, "none", old, 3.0, remaining_depth=1)
        keys = self.keys(storage)
        every = sorted(storage.list())
        moved = storage.refix(new)
        assert moved == ValueBagOfHoldingH5File(tmp_path, "none", None, 3.0, remaining_depth=1)
        assert moved.prefix_length == new
        assert sorted(moved.list()) == every
        assert [moved.load(key) for key in keys] == [[number, "x"] for number in range(5)]

    def test_a_mixed_root(self, tmp_path):
        for length, number in ((0, 1), (2, 2), (3, 3)):
            ValueBagOfHoldingH5File(tmp_path, None, length, 1.0, False).save(number)
        with pytest.raises(ValueError, match=r"mix prefix lengths \[0, 2, 3\].*consolidate\("):
            ValueBagOfHoldingH5File(tmp_path)
        with pytest.raises(ValueError, match=r"prefix length\(s\) \[0, 3\]"):
            ValueBagOfHoldingH5File(tmp_path, prefix_length=2)
        one = ValueBagOfHoldingH5File.consolidate(tmp_path, 1, lock_timeout=2.0)
        assert (one.prefix_length, one.lock_timeout) == (1, 2.0)
        assert sorted(one.load(key) for key in one.list()) == [1, 2, 3]
        assert ValueBagOfHoldingH5File(tmp_path, lock_timeout=2.0) == one

    @pytest.mark.parametrize("old", [0, 1])
    def test_refix_goes_on_where_it_stopped(self, tmp_path, old):
        storage = ValueBagOfHoldingH5File(tmp_path, None, old)
        keys = self.keys(storage)
        broken = Digest("ff" * 32)
        with h5py.File(storage._bag_file(broken), "a") as file:
            file.require_group(broken if old else "half")
        with pytest.raises(RuntimeError, match=r"nothing was lost.*refix\(2\)"):
            storage.refix(2)
        both = (storage, ValueBagOfHoldingH5File(tmp_path, None, 2, 1.0, False))
        for key in keys:
            assert any(one.contains(key) for one in both)
        storage.evict(broken)
        moved = storage.refix(2)
        assert all(moved.contains(key) for key in keys)
        assert ValueBagOfHoldingH5File(tmp_path) == moved

    def test_an_unreadable_file_stops_refix(self, tmp_path):
        storage = ValueBagOfHoldingH5File(tmp_path, None, 2)
        (tmp_path / "ab.h5").write_bytes(b"garbage")
        with pytest.raises(RuntimeError, match=r"ab\.h5 cannot be read"):
            storage.refix(0)
        assert (tmp_path / "ab.h5").read_bytes() == b"garbage"


class TestLocks:
    """Our locks and those of the `filelock` package are the same."""

    def test_readers_wait_warn_and_read(self, tmp_path, caplog):
        storage = ValueBagOfHoldingH5File(tmp_path, None, 2, 0.01)
        storage.save(1, KEY)
        with FileLock(tmp_path / "ab.h5.lock"):
            assert storage.load(KEY) == 1
            assert "Lock still held for" in caplog.text
            assert storage.contains(KEY)
            assert list(storage.list()) == [KEY]
        caplog.clear()
        assert storage.load(KEY) == 1
        assert not caplog.records

    def test_writers_give_up(self, tmp_path):
        storage = ValueBagOfHoldingH5File(tmp_path, None, 2, 0.01)
        storage.save(1, KEY)
        with FileLock(tmp_path / "ab.h5.lock"):
            with pytest.raises(SaveError, match=r"ab\.h5\.lock.*lock_timeout"):
                storage.save(2, KEY)
            with pytest.raises(SaveError, match="lock"):
                storage.evict(KEY)
            storage.save(3, Digest("cd" * 32))
        assert storage.load(KEY) == 1
        assert len(files(tmp_path)) == 2

    def test_others_wait_for_us(self, tmp_path):
        storage = ValueBagOfHoldingH5File(tmp_path, None, 2)
        storage.save(1, KEY)
        theirs = FileLock(tmp_path / "ab.h5.lock")
        for ours in (storage._reading(KEY), storage._writing(KEY)):
            with ours, pytest.raises(TimeoutError):
                theirs.acquire(timeout=0.01)
        with theirs:
            pass

    def test_a_write_that_is_going_on_is_a_miss(self, tmp_path):
        storage = ValueBagOfHoldingH5File(tmp_path, None, 2, 0.01)
        storage.save(1, KEY)
        with (
            FileLock(tmp_path / "ab.h5.lock"),
            h5py.File(tmp_path / "ab.h5", "a"),
            contextlib.suppress(KeyError),
        ):
            assert storage.load(KEY) == 1


WORKER = """
import sys
from fleche.storage import ValueBagOfHoldingH5File
storage = ValueBagOfHoldingH5File(sys.argv[1], None, int(sys.argv[2]), 60.0)
me = int(sys.argv[3])
for number in range(12):
    key = storage.save(["shared", number])
    assert storage.load(key) == ["shared", number]
    mine = storage.save([me, number])
    if number % 3 == 0:
        storage.evict(mine)
    assert storage.contains(key)
    list(storage.list())
"""


class TestTogether:
    @pytest.mark.parametrize("length", [0, 1])
    def test_processes(self, tmp_path, length):
        arguments = [sys.executable, "-c", WORKER, str(tmp_path), str(length)]
        running = [
            subprocess.Popen([*arguments, str(worker)], stderr=subprocess.PIPE, text=True)
            for worker in range(4)
        ]
        assert [process.communicate()[1] for process in running] == [""] * 4
        assert [process.returncode for process in running] == [0] * 4
        storage = ValueBagOfHoldingH5File(tmp_path)
        assert storage.prefix_length == length
        for number in range(12):
            assert storage.load(digest(["shared", number])) == ["shared", number]
            for worker in range(4):
                assert storage.contains(digest([worker, number])) == (number % 3 != 0)
        assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]

    @pytest.mark.parametrize("length", [0, 1])
    def test_threads(self, tmp_path, length):
        storage = ValueBagOfHoldingH5File(tmp_path, None, length, 60.0)
        errors = []

        def work(worker):
            try:
                for number in range(6):
                    key = storage.save(["shared", number])
                    assert storage.load(key) == ["shared", number]
                    storage.evict(storage.save([worker, number]))
                    list(storage.list())
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert all(storage.contains(digest(["shared", number])) for number in range(6))
        assert not any(storage.contains(digest([worker, 1])) for worker in range(6))
