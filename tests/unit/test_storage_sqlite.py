"""Calls and values in one SQLite database."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from fleche import _core, cache, fleche, meta
from fleche.caches import Cache
from fleche.config import cache_from_config, storage_from_config, storage_to_config
from fleche.metadata import Tags
from fleche.storage import SaveError, Sql, ValuePickleFile, ValueSqlite

from .commands import run_fleche

LARGE = b"x" * 100_000


@fleche(hash_code=False)
def f(x: Any) -> Any:
    return [x, "result"]


def opened(root: Path) -> Cache:
    return cache_from_config({"template": "sqlite", "root": str(root)})  # type: ignore[return-value]


def rows(root: Path, statement: str) -> list[Any]:
    """What another program sees, in a process of its own."""
    code = (
        "import json, sqlite3, sys; "
        "print(json.dumps(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall()))"
    )
    order = [sys.executable, "-c", code, str(root / "cache.db"), statement]
    found: list[Any] = json.loads(subprocess.run(order, capture_output=True, check=True).stdout)
    return found


def test_a_call_is_one_transaction(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with cache(store):
        f(0)
        said = rows(tmp_path, "PRAGMA data_version")
        assert len(said) == 1
        f(1)
    assert rows(tmp_path, "SELECT count(*) FROM calls") == [[2]]
    # Its argument, its result and the record; the result "result" is shared.
    assert rows(tmp_path, "SELECT count(*) FROM fleche_values WHERE data IS NOT NULL") == [[4]]


def test_large_values_are_files_that_the_database_names(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with cache(store):
        assert f(LARGE) == [LARGE, "result"]
        assert f.contains(LARGE)
        assert f(LARGE) == [LARGE, "result"]
    [[name]] = rows(tmp_path, "SELECT file FROM fleche_values WHERE data IS NULL")
    # The folder is one of pickle files, like any other.
    assert ValuePickleFile(tmp_path / "cache.db-values").load(name) == LARGE
    assert name in store.values.list()
    store.query(name="f").evict()
    assert name in store.gc()
    assert not (tmp_path / "cache.db-values" / name).exists()
    assert rows(tmp_path, "SELECT count(*) FROM fleche_values") == [[0]]


def test_a_database_of_before_gets_the_table_of_values(tmp_path: Path) -> None:
    before = Cache(ValuePickleFile(tmp_path / "values"), Sql(str(tmp_path / "cache.db")))
    with cache(before):
        f(1)
    assert rows(tmp_path, "SELECT name FROM sqlite_schema WHERE name = 'fleche_values'") == []
    store = opened(tmp_path)
    with cache(store):
        assert not list(store.values.list())
        assert f(1) == [1, "result"]
        assert f(2) == [2, "result"]
    assert len(list(before.calls.list())) == 2
    assert len(rows(tmp_path, "SELECT * FROM calls")) == 2
    assert {call.result[0] for call in store.query(name="f")} == {1, 2}


def test_a_file_without_a_row_is_an_entry(tmp_path: Path) -> None:
    values = ValueSqlite(tmp_path / "cache.db")
    key = ValuePickleFile(values.root).save(LARGE)
    assert values.contains(key)
    assert values.load(key[:12]) == LARGE
    assert [*values.list()] == [key]
    values.evict(key)
    assert not values.contains(key)


def test_a_row_whose_file_is_gone_is_a_miss_that_saving_mends(tmp_path: Path) -> None:
    values = ValueSqlite(tmp_path / "cache.db")
    key = values.save(LARGE)
    (values.root / key).unlink()
    assert not values.contains(key)
    with pytest.raises(KeyError):
        values.load(key)
    assert values.save(LARGE) == key
    assert values.load(key) == LARGE


def test_an_unknown_serializer_is_a_miss_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = ValueSqlite(tmp_path / "cache.db")
    key = values.save([1])
    values._handle.close()
    with closing(sqlite3.connect(tmp_path / "cache.db")) as other, other:
        other.execute("UPDATE fleche_values SET serializer = 'later'")
    with pytest.raises(KeyError), caplog.at_level(logging.WARNING):
        values.load(key)
    assert "serializer that this version does not know" in caplog.text
    assert values.contains(key)


def test_signed_rows_that_were_changed_are_misses(tmp_path: Path) -> None:
    values = ValueSqlite(tmp_path / "cache.db", secret_key=b"key")
    key = values.save([1])
    values._handle.close()
    with closing(sqlite3.connect(tmp_path / "cache.db")) as other, other:
        other.execute("UPDATE fleche_values SET data = replace(data, x'4b01', x'4b02')")
    with pytest.raises(KeyError, match="signature"):
        values.load(key)


def test_rows_and_files_are_compressed(tmp_path: Path) -> None:
    values = ValueSqlite(tmp_path / "cache.db")
    keys = [values.save(value) for value in (b"y" * 9_000, LARGE)]
    before = values._sizes(keys)
    values.compress_all()
    assert all(values._sizes(keys)[key] < before[key] / 9 for key in keys)
    assert [values.load(key) for key in keys] == [b"y" * 9_000, LARGE]
    values.decompress_all()
    assert values._sizes(keys) == before


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_by_what_and_how_hard(tmp_path: Path, compress: str) -> None:
    values = ValueSqlite(tmp_path / "cache.db", compress=compress, compress_level=9)
    for value in (b"y" * 9_000, LARGE):
        key = values.save(value)
        assert values.load(key) == value
        assert values._sizes([key])[key] < 300
    again = storage_from_config(storage_to_config(values), "value")
    assert again == values
    assert [*again.list()] == [*values.list()]


def test_large_arrays_are_mapped(tmp_path: Path) -> None:
    array = np.arange(100_000.0)
    for mmap, mapped in ((True, True), (False, False)):
        values = ValueSqlite(tmp_path / f"{mmap}.db", mmap=mmap)
        key = values.save({"a": array})
        found = values.load(key)["a"]
        maps = Path("/proc/self/maps")
        if maps.exists():
            assert (f"{mmap}.db-values" in maps.read_text()) == mapped
        found[0] = 7
        assert (values.load(key)["a"] == array).all()


@dataclass
class Point:
    x: int
    y: Any


def test_values_as_cbor(tmp_path: Path) -> None:
    given = {
        "template": "sqlite",
        "root": str(tmp_path),
        "serializer": "cbor",
        "allow": ["tests.*"],
    }
    store = cache_from_config(given)
    points = [Point(1, {"a": (1, 2)}), Point(2, np.arange(20_000))]
    with cache(store):
        assert f(points)[0][0] == points[0]
        found = f(points)[0]
    assert found[0] == points[0]
    assert (found[1].y == points[1].y).all()
    assert rows(tmp_path, "SELECT DISTINCT serializer FROM fleche_values") == [["cbor"]]
    assert storage_from_config(storage_to_config(store.values), "value") == store.values
    with pytest.raises(SaveError, match="cbor cannot hold the function"):
        store.values.save([opened])


def test_cbor_does_not_unpickle_and_pickle_reads_no_cbor(tmp_path: Path) -> None:
    pickles = ValueSqlite(tmp_path / "cache.db")
    cbor = ValueSqlite(tmp_path / "cache.db", serializer="cbor")
    for mine, other, name in ((pickles, cbor, "pickle"), (cbor, pickles, "cbor")):
        key = mine.save([name])
        with pytest.raises(KeyError, match=f"serializer = '{name}'"):
            other.load(key)
        assert mine.load(key) == [name]


def test_keys_of_cbor_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow and fallback are of serializer = 'cbor'"):
        ValueSqlite(tmp_path / "cache.db", allow=["mine.*"])
    with pytest.raises(ValueError, match="secret key"):
        ValueSqlite(tmp_path / "cache.db", serializer="cbor", fallback="pickle")
    signed = ValueSqlite(
        tmp_path / "cache.db", serializer="cbor", fallback="pickle", secret_key=b"key"
    )
    assert signed.load(signed.save(slice(1, 2))) == slice(1, 2)


def test_an_error_of_measuring_begins_with_the_path(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    storage = ValueSqlite(path)
    storage.save("a" * 300)
    storage._handle.close()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(OSError, match=f"cannot read values in the database {re.escape(str(path))}"):
        _core.Survey().measure(storage._handle)


@pytest.mark.parametrize("url", [":memory:", "postgresql://host/db", ""])
def test_only_files_hold_values(url: str) -> None:
    with pytest.raises(ValueError, match=r"SQLite|empty"):
        ValueSqlite(url)


def test_a_copy_of_a_store_in_use(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    text = '[default]\nroot = true\ncache = "a"\n[a]\ntemplate = "sqlite"\nroot = "store"\n'
    (tmp_path / "fleche.toml").write_text(text)
    with cache(store):
        f(1)
        f(LARGE)
        code, out, err = run_fleche(tmp_path, "backup", "copy", "--json")
        assert code == 0, err
        f(2)
    names = [Path(name).name for name in json.loads(out)["files"]]
    assert names == ["cache.db", "cache.db-values"]
    copied = opened(tmp_path / "copy")
    with cache(copied):
        assert f.contains(1)
        assert f.contains(LARGE)
        assert not f.contains(2)
        assert f(LARGE) == [LARGE, "result"]
    assert copied.gc() == set()
    code, _, err = run_fleche(tmp_path, "backup", "copy")
    assert code == 2
    assert "there already" in err


@pytest.mark.parametrize("largest", [10, 1 << 14])
def test_what_is_saved_with_more_metadata_is_whole(tmp_path: Path, largest: int) -> None:
    with patch.object(ValueSqlite, "_largest", largest):
        store = opened(tmp_path)
    with cache(store), meta(Tags({"a": 1})):
        assert f([[1], [2]]) == f([[1], [2]])
        [call] = store.query(name="f")
        assert call.arguments["x"] == [[1], [2]]
