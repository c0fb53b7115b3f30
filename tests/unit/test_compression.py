"""By what entries are compressed, and how hard that tries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleche.config import storage_from_config, storage_to_config
from fleche.storage import ValuePickleFile

MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
VALUES = ["text" * 100, list(range(2000)), b"bytes" * 100_000, b"\0" * 3_000_000, {"a": None}]


@pytest.mark.parametrize("keys", [(), b"key"], ids=["plain", "signed"])
@pytest.mark.parametrize("method", MAGIC)
def test_each_reads_what_any_wrote(tmp_path: Path, method: str, keys: Any) -> None:
    writer = ValuePickleFile(tmp_path, compress=method, compress_level=1, secret_key=keys)
    readers = [ValuePickleFile(tmp_path, compress=c, secret_key=keys) for c in (False, *MAGIC)]
    for value in VALUES:
        key = writer.save(value)
        assert (tmp_path / key).read_bytes().startswith(MAGIC[method])
        assert all(reader.load(key) == value for reader in readers)
    readers[0].decompress_all()
    assert not any((tmp_path / key).read_bytes().startswith(MAGIC[method]) for key in writer.list())
    writer.compress_all()
    for key in writer.list():
        path = tmp_path / key
        whole = path.read_bytes()
        assert whole.startswith(MAGIC[method])
        for cut in (4, 12, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:cut])
            with pytest.raises(KeyError):
                writer.load(key)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compress": "lzma"}, "it is 'gzip' or 'zstd'"),
        ({"compress": "zstd", "compress_level": 20}, "integers from 1 to 19"),
        ({"compress": True, "compress_level": 0}, "'gzip' are the integers from 1 to 9"),
        ({"compress_level": 3}, "nothing is compressed"),
    ],
    ids=str,
)
def test_slips(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ValuePickleFile(tmp_path, **options)


def test_configured(tmp_path: Path) -> None:
    config = {"type": "pickle", "root": str(tmp_path), "compress": "zstd", "compress_level": 9}
    config |= {"lock_timeout": 1.0, "remaining_depth": 0, "mmap": False}
    storage = storage_from_config(config, "value")
    assert storage_to_config(storage) == config
    assert (storage.compress, storage.compress_level, storage.mmap) == ("zstd", 9, False)  # type: ignore[attr-defined]


def test_what_says_more_than_it_holds(tmp_path: Path) -> None:
    storage = ValuePickleFile(tmp_path, compress="zstd")
    key = storage.save("text")
    # A frame of one byte that says that it is of 2^60.
    frame = MAGIC["zstd"] + b"\xe0" + (1 << 60).to_bytes(8, "little") + b"\x03\0\0" + b"\x09\0\0x"
    for padding in (b"", b"\x50\x2a\x4d\x18" + (70_000).to_bytes(4, "little") + bytes(70_000)):
        (tmp_path / key).write_bytes(frame + padding)
        with pytest.raises(KeyError):
            storage.load(key)
