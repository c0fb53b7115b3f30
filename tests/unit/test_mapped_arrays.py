"""Large buffers lie apart in their entries, and are mapped where that can be."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fleche import _core, cache, fleche
from fleche.caches import Cache
from fleche.digest import Digest, digest
from fleche.storage import CallPickleFile, ValuePickleFile

from .schemes import scheme

MAPS = sys.platform == "linux"
ARRAY = np.arange(70_000.0)
APART = b"\xfffleche\x01"


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def values() -> dict[str, Any]:
    locked = ARRAY.copy()
    locked.flags.writeable = False
    return {
        "array": ARRAY,
        "columns first": np.asfortranarray(ARRAY.reshape(100, -1)),
        "read-only": locked,
        "frame": pd.DataFrame({"a": ARRAY, "b": ARRAY.astype(int), "c": ["text"] * len(ARRAY)}),
        "bytes": ARRAY.tobytes(),
        "held": {"small": np.arange(3), "large": (ARRAY, 1)},
    }


@pytest.mark.parametrize("serializer", ["pickle", "cloudpickle", "dill"])
@pytest.mark.parametrize(
    "options",
    [{}, {"mmap": False}, {"secret_key": b"key"}, {"compress": "zstd", "secret_key": b"key"}],
    ids=str,
)
def test_values_come_back_as_they_were(
    tmp_path: Path, serializer: str, options: dict[str, Any]
) -> None:
    storage = ValuePickleFile(tmp_path, serializer=serializer, remaining_depth=9, **options)
    for name, value in values().items():
        loaded = storage.load(storage.save(value))
        assert type(loaded) is type(value)
        again = pickle.loads(pickle.dumps(loaded, 5))
        for one in (loaded, again):
            assert pickle.dumps(one, 5) == pickle.dumps(pickle.loads(pickle.dumps(value, 5)), 5)
            assert digest(one, typed=True) == digest(value, typed=True), name
    loaded = storage.load(storage.save(ARRAY))
    assert loaded.flags.writeable
    assert loaded.flags.aligned
    assert loaded.ctypes.data % 64 == 0


@pytest.mark.skipif(not MAPS, reason="maps are looked at as Linux shows them")
def test_what_is_done_to_a_result_stays_in_it(tmp_path: Path) -> None:
    storage = ValuePickleFile(tmp_path)
    key = storage.save(ARRAY)
    path = tmp_path / key
    before = path.read_bytes()
    assert before.startswith(APART)
    first, second = storage.load(key), storage.load(key)
    assert is_mapped(path)
    first[:] = 7
    assert (second == ARRAY).all()
    assert path.read_bytes() == before
    assert (storage.load(key) == ARRAY).all()
    # Replaced, converted and removed while it is mapped.
    storage.put(ARRAY + 1, key)
    storage.compress_all()
    storage.evict(key)
    assert (first == 7).all()
    assert (second == ARRAY).all()
    del first, second
    assert not is_mapped(path)


@pytest.mark.skipif(not MAPS, reason="maps are looked at as Linux shows them")
@pytest.mark.parametrize("options", [{"mmap": False}, {"compress": True}], ids=str)
def test_what_is_not_mapped(tmp_path: Path, options: dict[str, Any]) -> None:
    storage = ValuePickleFile(tmp_path, **options)
    loaded = storage.load(storage.save(ARRAY))
    loaded[0] = 1
    assert not is_mapped(tmp_path)


@pytest.mark.skipif(not MAPS, reason="maps are looked at as Linux shows them")
def test_signed_files_that_others_may_write_to_are_read(tmp_path: Path) -> None:
    storage = ValuePickleFile(tmp_path, secret_key=b"key")
    path = tmp_path / storage.save(ARRAY)
    path.chmod(0o600)
    own = storage.load(Digest(path.name))
    assert is_mapped(path)
    del own
    path.chmod(0o620)
    loaded = storage.load(Digest(path.name))
    assert (loaded == ARRAY).all()
    assert not is_mapped(path)


@pytest.mark.parametrize("keys", [(), b"key"], ids=["plain", "signed"])
def test_damaged_entries_are_misses(tmp_path: Path, keys: Any) -> None:
    storage = ValuePickleFile(tmp_path, secret_key=keys)
    key = storage.save(ARRAY)
    path = tmp_path / key
    whole = path.read_bytes()
    # Another file each time, as nothing of ours ever shortens one.
    for length in (0, 7, 8, 20, 24, 39, 41, 200, 70_000, len(whole) - 65, len(whole) - 1):
        path.unlink()
        path.write_bytes(whole[:length])
        with pytest.raises(KeyError):
            storage.load(key)
    for longer in (whole + b"x", whole[:8] + b"\xff" * 8 + whole[16:]):
        path.unlink()
        path.write_bytes(longer)
        with pytest.raises(KeyError):
            storage.load(key)
    for at in (12, 30, 60, 400, len(whole) - 100) if keys else ():
        path.unlink()
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(KeyError):
            storage.load(key)
    path.unlink()
    path.write_bytes(whole)
    assert (storage.load(key) == ARRAY).all()
    # Without keys, what was signed loads; a signature is demanded where there are keys.
    assert (ValuePickleFile(tmp_path).load(key) == ARRAY).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_has_what_its_parent_mapped(tmp_path: Path) -> None:
    storage = ValuePickleFile(tmp_path)
    loaded = storage.load(storage.save(ARRAY))
    child = os.fork()
    if child == 0:
        fine = bool((loaded == ARRAY).all())
        loaded[:] = 0
        os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (loaded == ARRAY).all()


def test_what_the_reference_reads_has_nothing_apart(tmp_path: Path) -> None:
    storage = ValuePickleFile(tmp_path)
    with scheme("sha256"):
        key = storage.save(ARRAY)
    assert (pickle.loads((tmp_path / key).read_bytes()) == ARRAY).all()
    assert (storage.load(key) == ARRAY).all()


def test_keys_of_results(tmp_path: Path) -> None:
    frame = values()["frame"]
    storage = ValuePickleFile(tmp_path / "values")
    with cache(Cache(values=storage, calls=CallPickleFile(tmp_path / "calls"))):

        @fleche
        def make(number: int) -> pd.DataFrame:
            return frame

        make(1)
        (call,) = make.query()
    today, before = _core.result_digests(frame)
    assert today == _core.result_digest(frame) == call.detach().result
    assert _core.serialised_digest(storage._handle.payload_of(today)) == today
    assert before == _core.serialised_digest(pickle.dumps(frame, 5))
    assert _core.result_digests([1, ARRAY]) == [_core.result_digest([1, ARRAY])]
