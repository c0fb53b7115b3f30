"""Files of a store that are damaged, and places where nothing can be written."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from fleche import cache, config, fleche, meta, state
from fleche.caches import Cache, Rejected
from fleche.storage import Sql

from .stores import ALL_KINDS, KEY, KINDS, check_left_overs, pickles, some_in_files
from .watching import watched


# Without metadata a call that is computed anew is recorded in the same bytes.
@pytest.fixture(autouse=True)
def no_metadata() -> Iterator[None]:
    with meta():
        yield


@fleche
def computed(number: int) -> dict[str, object]:
    return {"number": number, "rows": [f"row {number}", [number] * 3]}


def expected(number: int) -> dict[str, object]:
    return {"number": number, "rows": [f"row {number}", [number] * 3]}


def fill(store: Cache) -> None:
    with cache(store):
        for number in (1, 2):
            computed(number)
    if isinstance(store.calls, Sql):
        store.calls._store.close()


def files_of(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in files_of(root)}


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def overwritten(path: Path) -> None:
    path.write_bytes(os.urandom(max(path.stat().st_size, 10)))


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def made_a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def made_a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


DAMAGES = (
    emptied,
    truncated,
    zeroed,
    overwritten,
    made_a_folder,
    made_a_dangling_link,
    made_a_link_to_itself,
    Path.unlink,
)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_any_damaged_file_is_a_miss_and_nothing_else_is_touched(
    kind: str, damage: Callable[[Path], None], folder: Path
) -> None:
    fill(ALL_KINDS[kind](folder / "before"))
    for file in files_of(folder / "before"):
        root = folder / "store"
        shutil.copytree(folder / "before", root, symlinks=True)
        before = contents(root)
        damaged = root / file.relative_to(folder / "before")
        damage(damaged)
        if damaged.name == "calls.db":
            _check_damaged_database(root)
            continue
        store = ALL_KINDS[kind](root)
        with cache(store):
            assert [computed(1), computed(2)] == [expected(1), expected(2)]
            assert len(list(store.query(name="computed"))) <= 2
        now = contents(root)
        others = {path: bytes_ for path, bytes_ in before.items() if path != damaged}
        if kind in ("pickle", "signed"):
            assert {path: now.get(path) for path in others} == others
        else:
            assert now.keys() >= others.keys()
        if file.parent.name != ".locks" and not file.name.endswith((".h5", ".lock")):
            check_left_overs(store)
        if isinstance(store.calls, Sql):
            store.calls._store.close()
        shutil.rmtree(root)


def _check_damaged_database(root: Path) -> None:
    """The caller gets the results, where the database is opened by way of a configuration, too."""
    (root / "fleche.toml").write_text(
        f"""
        [default]
        cache = "store"
        [store]
        values = {{ type = "pickle", root = "{root}/values" }}
        calls = {{ type = "sql", url = "{root}/calls.db" }}
        """
    )
    with (
        contextlib.chdir(root),
        patch.dict(config._live_caches, clear=True),
        patch.dict(state._DEFAULTS, clear=True),
    ):
        assert [computed(1), computed(2)] == [expected(1), expected(2)]
    shutil.rmtree(root)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unreadable_file_is_a_miss(
    kind: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(KINDS[kind](folder))
    for file in files_of(folder):

        def refuse(name: str, path: Path, file: Path = file) -> int | None:
            return errno.EACCES if path == file and name in ("open", "read") else None

        store = KINDS[kind](folder)
        caplog.clear()
        with watched(refuse), cache(store):
            assert [computed(1), computed(2)] == [expected(1), expected(2)]
            assert len(list(store.query(name="computed"))) <= 2
        assert all("Traceback" not in record.getMessage() for record in caplog.records)
        assert {path.name for path in files_of(folder)} >= {file.name}


def test_any_length_of_a_pickle_is_a_value_or_a_miss(folder: Path) -> None:
    fill(pickles(folder))
    for file in files_of(folder):
        whole = file.read_bytes()
        for length in range(len(whole)):
            file.write_bytes(whole[:length])
            with cache(pickles(folder)):
                assert [computed(1), computed(2)] == [expected(1), expected(2)]
        file.write_bytes(whole)


def writing_fails(number: int) -> Callable[[str, Path], int | None]:
    """A hook by which nothing can be written."""

    def hook(name: str, path: Path) -> int | None:
        changes = name in ("write", "mkdir", "rename", "unlink", "utimens", "chmod")
        return number if changes or (name == "open" and path.suffix == ".tmp") else None

    return hook


@contextmanager
def full_disk(root: Path) -> Iterator[None]:
    with watched(writing_fails(errno.ENOSPC)):
        yield


@contextmanager
def read_only(root: Path) -> Iterator[None]:
    with watched(writing_fails(errno.EROFS)):
        yield


@contextmanager
def small_files(root: Path) -> Iterator[None]:
    """No file can grow: a write fails in the middle, whoever makes it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


#: Where the stores have their files.
FOLDERS = ("values", "calls", "calls.db-values")


@contextmanager
def roots_are_files(root: Path) -> Iterator[None]:
    for name in FOLDERS:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).write_text("no folder")
    yield


@contextmanager
def locks_are_held(root: Path) -> Iterator[None]:
    held = []
    for name in FOLDERS:
        if (root / name).is_dir():
            (root / name / ".locks").mkdir(exist_ok=True)
            for lock in "0123456789abcdef":
                file = (root / name / ".locks" / lock).open("w")
                fcntl.flock(file, fcntl.LOCK_EX)
                held.append(file)
    yield
    for file in held:
        file.close()


PLACES: tuple[Any, ...] = (full_disk, read_only, small_files, roots_are_files, locks_are_held)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_can_be_written_a_call_returns_with_one_warning(
    kind: str, place: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(KINDS[kind](folder))
    store = _impatient(KINDS[kind](folder))
    with cache(store), place(folder):
        caplog.clear()
        assert computed(3) == expected(3)
        assert [computed(1), computed(2)] == [expected(1), expected(2)]
        messages = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    calls = 3 if place is roots_are_files else 1
    assert len(messages) == calls, messages


def _impatient(store: Cache) -> Cache:
    calls = store.calls if isinstance(store.calls, Sql) else _replaced(store.calls)
    return replace(store, values=_replaced(store.values), calls=calls)


def _replaced(storage: Any) -> Any:
    with some_in_files():
        return replace(storage, lock_timeout=0)


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_gc_evicts_nothing_if_it_cannot_read_something(folder: Path, error: int) -> None:
    fill(pickles(folder))
    store = pickles(folder)
    store.values.save("needed by nobody")
    before = contents(folder)
    for file in before:
        if file.parent.name == ".locks" or file.name.startswith("."):
            continue

        def refuse(name: str, path: Path, file: Path = file) -> int | None:
            return error if name == "open" and path == file else None

        needed = file.parent.name == "calls" or len(file.read_bytes()) > 100
        with watched(refuse):
            if needed:
                with pytest.raises(Rejected, match="gc evicts nothing"):
                    store.gc()
                assert contents(folder) == before


def test_gc_evicts_nothing_with_another_secret_key(folder: Path) -> None:
    fill(pickles(folder, secret_key=KEY))
    before = contents(folder)
    with pytest.raises(Rejected, match="gc evicts nothing"):
        pickles(folder, secret_key=b"another").gc()
    assert contents(folder) == before
    assert pickles(folder, secret_key=KEY).gc() == set()


@dataclass
class Pair:
    one: list[int]
    other: list[int]


@fleche
def paired() -> Pair:
    return Pair([1], [2])


def test_gc_goes_on_without_a_class_that_is_needed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = pickles(folder)
    with cache(store):
        paired()
    before = contents(folder)
    store.values.save("needed by nobody")
    with monkeypatch.context() as patch:
        patch.delattr(sys.modules[__name__], "Pair")
        assert len(store.gc()) == 1
    assert contents(folder).keys() == before.keys()
    with cache(store):
        assert paired.load() == Pair([1], [2])


def test_gc_goes_on_past_a_torn_record(folder: Path) -> None:
    fill(pickles(folder))
    store = pickles(folder)
    record = next(iter(Path(folder / "calls").glob("?" * 64)))
    record.write_bytes(record.read_bytes()[:30])
    assert store.gc()
    with cache(store):
        assert [computed(1), computed(2)] == [expected(1), expected(2)]
