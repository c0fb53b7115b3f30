"""Call storages know which digest schemes their keys are of."""

from __future__ import annotations

import errno
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from fleche import _core
from fleche.call import Call
from fleche.storage import (
    CallBucket,
    CallMemory,
    CallMixin,
    CallPickleFile,
    CallStorage,
    CallVoid,
    Sql,
)
from fleche.storage.memory import MemoryBackend
from tests.unit.schemes import scheme
from tests.unit.test_call_storages import KINDS, PERSISTENT, finish, made

MARKS = (".fleche-exact", ".fleche-sha256")
SHARED = [kind for kind in KINDS if kind != "sqlite in memory"]
FILES = [kind for kind in PERSISTENT if kind not in ("sqlite", "postgresql", "mariadb", "bucket")]


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CallStorage]:
    storage = made(request.param, tmp_path, request)
    yield storage
    finish(storage)


def held(storage: CallStorage) -> set[str]:
    return {name for name in ("exact", "sha256") if storage._may_hold(name)}


def save(storage: CallStorage, in_scheme: str, x: int = 1) -> str:
    with scheme(in_scheme):
        return storage.save(Call("f", {"x": x}, result=1).digest())


def forget(storage: CallStorage) -> None:
    """Takes the marks away, as a store has none that the reference filled."""
    if isinstance(storage, CallMemory):
        del storage.__dict__["_schemes"]
    elif isinstance(storage, Sql):
        import sqlalchemy

        engine = sqlalchemy.create_engine(
            getattr(storage._store, "_url", storage.url), poolclass=sqlalchemy.NullPool
        )
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("DELETE FROM fleche_schemes"))
    elif isinstance(storage, CallBucket):
        shutil.rmtree(Path(unquote(urlsplit(storage.url).path)) / "m", ignore_errors=True)
        vars(storage).pop("_schemes", None)
    else:
        for mark in storage.root.glob(".fleche-*"):  # type: ignore[attr-defined]
            mark.unlink()


def test_a_new_one_has_the_schemes_that_wrote_to_it(storage: CallStorage) -> None:
    assert held(storage) == set()
    save(storage, "exact")
    assert held(storage) == {"exact"}
    save(storage, "sha256")
    assert held(storage) == {"exact", "sha256"}


@pytest.mark.parametrize("storage", SHARED, indirect=True)
def test_one_that_others_filled_may_have_keys_of_any_scheme(storage: CallStorage) -> None:
    save(storage, "sha256")
    forget(storage)
    assert held(storage) == {"exact", "sha256"}
    save(storage, "exact", 2)
    assert held(storage) == {"exact", "sha256"}


@pytest.mark.parametrize("storage", SHARED, indirect=True)
def test_an_empty_one_without_marks_is_new(storage: CallStorage) -> None:
    storage.evict(save(storage, "sha256"))
    forget(storage)
    assert held(storage) == set()
    save(storage, "exact")
    assert held(storage) == {"exact"}


def test_one_scheme_may_be_left(storage: CallStorage) -> None:
    save(storage, "exact")
    save(storage, "sha256")
    storage._hold_only_scheme()
    assert held(storage) == {"exact"}
    # What is written in the other one afterwards is noted again.
    save(storage, "sha256")
    assert held(storage) == {"exact", "sha256"}


@pytest.mark.parametrize("kind", PERSISTENT)
def test_everybody_sees_the_same(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    storage = made(kind, tmp_path, request)
    save(storage, "exact")
    other = pickle.loads(pickle.dumps(storage))
    assert held(other) == {"exact"}
    save(other, "sha256")
    assert held(storage) == {"exact", "sha256"}
    finish(other)
    finish(storage)


@pytest.mark.parametrize("kind", FILES)
def test_marks_are_no_entries(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    storage = made(kind, tmp_path, request)
    key = save(storage, "exact")
    assert list(storage.list()) == [key]
    names = {path.name for path in storage.root.glob(".fleche-*")}  # type: ignore[attr-defined]
    assert names == {".fleche-exact"}
    assert (storage.root / ".fleche-exact").read_bytes() == b""  # type: ignore[attr-defined]


@pytest.mark.parametrize("damage", ["directory", "dangling link"])
def test_a_damaged_mark_says_nothing(tmp_path: Path, damage: str) -> None:
    storage = CallPickleFile(tmp_path / "calls")
    save(storage, "exact")
    mark = storage.root / ".fleche-exact"
    mark.unlink()
    if damage == "directory":
        mark.mkdir()
    else:
        mark.symlink_to(tmp_path / "nowhere")
    assert held(storage) == {"exact", "sha256"}
    key = save(storage, "exact", 2)
    assert storage.contains(key)


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO])
def test_a_mark_that_cannot_be_made_is_no_reason_not_to_save(tmp_path: Path, error: int) -> None:
    storage = CallPickleFile(tmp_path / "calls")
    storage.root.mkdir()

    def fail(call: str, path: Path) -> int | None:
        return error if call in ("open", "mkdir") and path.name in MARKS else None

    _core.watch_system_calls(fail)
    try:
        key = save(storage, "exact")
    finally:
        _core.watch_system_calls(None)
    assert storage.contains(key)
    assert held(storage) == {"exact", "sha256"}


def test_marks_that_are_in_the_way_are_no_reason_not_to_save(tmp_path: Path) -> None:
    storage = CallPickleFile(tmp_path / "calls")
    storage.root.mkdir()
    (storage.root / ".fleche-sha256").mkdir()
    (storage.root / ".fleche-exact").mkdir()
    assert storage.contains(save(storage, "exact"))


def test_a_callers_dictionary_may_hold_anything() -> None:
    storage = CallMemory({})
    key = save(storage, "sha256")
    assert held(storage) == {"sha256"}
    other = CallMemory(dict(storage.storage))
    assert held(other) == {"exact", "sha256"}
    assert held(pickle.loads(pickle.dumps(storage))) == {"sha256"}
    other.evict(key)
    save(other, "exact")
    assert held(other) == {"exact"}


def test_of_storages_of_users_nothing_is_known() -> None:
    class Own(MemoryBackend, CallMixin):
        __hash__ = object.__hash__

    assert held(Own({})) == {"exact", "sha256"}
    assert held(CallVoid()) == set()
