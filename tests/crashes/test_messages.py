"""One message for one cause, which names it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import Cache
from fleche.config import cache_from_config

KINDS: dict[str, dict[str, Any]] = {
    "pickle": {"type": "pickle"},
    "compressed": {"type": "cloudpickle", "compress": True},
    "bag": {"type": "bagofholding_hdf"},
    "bags": {"type": "bagofholding_hdf", "prefix_length": 1},
}


def made(root: Path, kind: str) -> Cache:
    settings = KINDS[kind]
    return cache_from_config(  # type: ignore[return-value]
        {
            "values": {**settings, "root": str(root / "values")},
            "calls": {**settings, "root": str(root / "calls")},
        }
    )


@fleche(hash_code=False)
def f(x: Any) -> Any:
    return [x, [x]]


def too_long(folder: Path) -> Path:
    return folder / ("x" * 300)


def in_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "store"


CAUSES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "too long": (too_long, "File name too long"),
    "in a file": (in_a_file, "Not a directory"),
}


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_cannot_be_saved_says_so_once(
    kind: str, cause: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place, reason = CAUSES[cause]
    store = made(place(tmp_path), kind)
    for x in range(2):
        caplog.clear()
        with cache(store):
            assert f(x) == [x, [x]]
        [record] = [r for r in caplog.records if r.levelno >= logging.WARNING]
        said = record.getMessage() + str(record.exc_info and record.exc_info[1])
        assert reason in said


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize("kind", KINDS)
def test_a_lack_of_rights_is_called_so(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the system says of rights comes from its calls: here they say it to root as well."""
    from .watching import watched

    store = made(tmp_path, kind)
    with cache(store):
        f(0)

    def refuse(name: str, path: Path) -> int | None:
        import errno

        return errno.EACCES if name in ("rename", "mkdir") else None

    caplog.clear()
    with watched(refuse), cache(store):
        assert f(1) == [1, [1]]
    records = [r for r in caplog.records if r.levelno >= logging.WARNING]
    if kind == "bags":  # HDF5 writes files of several bags by itself
        assert len(records) <= 1
    else:
        [record] = records
        assert "Permission denied" in record.getMessage()
        assert "cannot be put into" not in record.getMessage()


@pytest.mark.parametrize("kind", KINDS)
def test_gc_says_once_what_is_damaged(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = made(tmp_path, kind)
    with cache(store):
        for x in range(4):
            f(x)
    store.evict(f.digest(3))
    for part in ("values", "calls"):
        path = min(p for p in (tmp_path / part).iterdir() if re.match("[0-9a-f]", p.name))
        path.write_bytes(b"")
    caplog.clear()
    store.gc()
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(said) == len(set(said))
    assert len(said) <= 6
