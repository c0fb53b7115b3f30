"""Several caches that save into the same values: `gc` of one leaves what the others need."""

from __future__ import annotations

import errno
import gc
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleche import _core, cache, fleche
from fleche.caches import Cache, CacheStack, Rejected
from fleche.call import Call
from fleche.config import cache_from_config
from fleche.digest import digest
from fleche.storage import CallMemory, CallPickleFile, Sql, ValueMemory, ValuePickleFile
from tests.forks import in_child

VALUES: dict[str, dict[str, Any]] = {
    "pickle": {"type": "pickle"},
    "compressed": {"type": "cloudpickle", "compress": True},
    "signed": {"type": "pickle", "secret_key": ["aa"]},
    "bag": {"type": "bagofholding_hdf"},
    "bags": {"type": "bagofholding_hdf", "prefix_length": 1},
}
CALLS: dict[str, dict[str, Any]] = {
    "pickle": {"type": "pickle"},
    "compressed": {"type": "pickle", "compress": True},
    "signed": {"type": "pickle", "secret_key": ["aa"]},
    "dill": {"type": "dill"},
    "bag": {"type": "bagofholding_hdf"},
    "sql": {"type": "sql"},
}


def made(folder: Path, number: int, values: str = "pickle", calls: str = "pickle") -> Cache:
    """A cache of its own calls, and the values of all."""
    place = folder / f"calls{number}"
    where = {"url": f"{place}.db"} if calls == "sql" else {"root": place}
    return cache_from_config(  # type: ignore[return-value]
        {
            "values": {"root": folder / "values", **VALUES[values]},
            "calls": {**where, **CALLS[calls]},
        }
    )


def saved(store: Cache, number: int) -> Any:
    return store.save(Call("f", {"x": [number, [number]]}, result=[[number], number]))


@pytest.mark.parametrize(
    "kinds", [*[(v, "pickle") for v in VALUES], *[("pickle", c) for c in CALLS]]
)
def test_gc_knows_of_the_calls_of_other_caches(kinds: tuple[str, str], tmp_path: Path) -> None:
    mine = made(tmp_path, 1, *kinds)
    saved(mine, 1)
    in_child(lambda: saved(made(tmp_path, 2, *kinds), 2))
    mine.evict(saved(mine, 3))
    # Calls of a kind that has no other way to its keys than the cache that collects.
    garbage = mine.gc()
    assert digest([3, [3]]) in garbage
    (found,) = made(tmp_path, 2, *kinds).query()
    assert found.result == [[2], 2]
    assert found.arguments["x"] == [2, [2]]
    assert mine.gc() == set()


@pytest.mark.parametrize("kind", ["memory", "files", "databases"])
def test_gc_knows_of_other_caches_in_the_process(kind: str, tmp_path: Path) -> None:
    if kind == "files":
        values: Any = ValuePickleFile(tmp_path / "values")
        mine, other = Cache(values, CallMemory({})), Cache(values, CallMemory({}))
    elif kind == "databases":
        values = ValuePickleFile(tmp_path / "values")
        mine, other = Cache(values, Sql()), Cache(ValuePickleFile(tmp_path / "values"), Sql())
    else:
        held: dict[Any, Any] = {}
        mine = Cache(ValueMemory(held), CallMemory({}))
        other = Cache(ValueMemory(held), CallMemory({}))
    saved(other, 2)
    mine.evict(saved(mine, 1))
    assert digest([1, [1]]) in mine.gc()
    assert [call.result for call in other.query()] == [[[2], 2]]
    calls = other.calls
    del other
    # The records are still there.
    assert mine.gc() == set()
    del calls
    gc.collect()
    assert bool(mine.gc())


def test_gc_waits_for_processes_with_records_in_memory(tmp_path: Path) -> None:
    mine = made(tmp_path, 1)
    mine.evict(saved(mine, 1))
    # Saves, and goes on until its input ends.
    other = subprocess.Popen(
        [sys.executable, "-c", _SAVES_TO_MEMORY, str(tmp_path / "values")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "saved\n"
        with pytest.raises(Rejected, match=rf"process {other.pid} .*needs these values"):
            mine.gc()
        # It may be killed: nobody takes its note back.
        other.kill()
    assert digest([1, [1]]) in mine.gc()
    assert not [*(tmp_path / "values").glob(".fleche-*er-*")][1:]


_SAVES_TO_MEMORY = """
import sys
from fleche.caches import Cache
from fleche.call import Call
from fleche.storage import CallMemory, ValuePickleFile
held = Cache(ValuePickleFile(sys.argv[1]), CallMemory({}))
held.save(Call("f", {"x": [2, [2]]}, result=[[2], 2]))
print("saved", flush=True)
sys.stdin.read()
"""


def test_records_in_memory_that_cannot_be_asked_for_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note whose lock another user has, or that has none, stops a collection."""
    mine = made(tmp_path, 1)
    mine.evict(saved(mine, 1))
    text = '{"type": "memory", "process": 1, "host": "elsewhere"}'
    (tmp_path / "values" / ".fleche-user-0123456789abcdef").write_text(text)
    (tmp_path / "values" / ".fleche-holder-0123456789abcdef").touch()

    class NoLock:
        is_held = False

        def release(self) -> None: ...

    with monkeypatch.context() as patched:
        patched.setattr(_core, "lock_file", lambda *_: NoLock())
        with pytest.raises(Rejected, match="process 1 on elsewhere, needs these values"):
            mine.gc()
    assert digest([1, [1]]) in mine.gc()


def test_records_in_memory_take_their_note_with_them(tmp_path: Path) -> None:
    values = ValuePickleFile(tmp_path / "values")
    held = [Cache(values, CallMemory({}))]
    saved(held[0], 1)
    notes = [*(tmp_path / "values").glob(".fleche-*er-*")]
    assert len(notes) == 2
    # A forked child's records are its own; its end, by `os._exit`, takes nothing back.
    in_child(lambda: (saved(held[0], 2), None)[1])
    held.clear()
    gc.collect()
    (left,) = (tmp_path / "values").glob(".fleche-user-*")
    assert left not in notes
    made(tmp_path, 3).gc()
    assert not [*(tmp_path / "values").glob(".fleche-*er-*")]


def test_members_of_a_stack_and_decorated_calls_are_noted(tmp_path: Path) -> None:
    stack = CacheStack((made(tmp_path, 1), cache_from_config({"template": "memory"})))
    f = fleche(lambda x: [x])
    with cache(stack):
        f(1)
    with cache(made(tmp_path, 2)):
        f(2)
    redigested = made(tmp_path, 3)
    saved(redigested, 3)
    redigested.redigest()
    notes = sorted((tmp_path / "values").glob(".fleche-user-*"))
    assert len(notes) == 3
    assert all(str(tmp_path) in note.read_text() for note in notes)


def test_what_is_out_of_reach_stops_a_collection(tmp_path: Path) -> None:
    mine = made(tmp_path, 1)
    mine.evict(saved(mine, 1))
    in_child(lambda: saved(made(tmp_path, 2), 2))
    shutil.move(tmp_path / "calls2", tmp_path / "elsewhere")
    with pytest.raises(
        Rejected, match=r"gc evicts nothing: .*calls2', where nothing is"
    ) as refused:
        mine.gc()
    assert str(tmp_path / "values" / ".fleche-user-") in str(refused.value)
    (tmp_path / "calls2").write_text("no folder")
    with pytest.raises(Rejected, match="calls2"):
        mine.gc()
    (tmp_path / "calls2").unlink()
    shutil.move(tmp_path / "elsewhere", tmp_path / "calls2")
    assert digest([1, [1]]) in mine.gc()
    shutil.rmtree(tmp_path / "calls2")
    mine.shares_values_with()
    assert digest([2, [2]]) in mine.gc()


def test_a_note_that_cannot_be_read_stops_a_collection(tmp_path: Path) -> None:
    mine = made(tmp_path, 1)
    mine.evict(saved(mine, 1))
    note = tmp_path / "values" / ".fleche-user-0123456789abcdef"
    for text in ("", "{}", "[1]", '{"type": "no such", "path": "/", "relative": ".."}'):
        note.write_text(text)
        with pytest.raises(Rejected, match="0123456789abcdef"):
            mine.gc()
    note.unlink()
    assert mine.gc()


def test_a_database_of_others_is_out_of_reach(tmp_path: Path) -> None:
    mine = made(tmp_path, 1)
    mine.evict(saved(mine, 1))
    note = '{"type": "sql", "url": "postgresql://me:***@host/calls"}'
    (tmp_path / "values" / ".fleche-user-0123456789abcdef").write_text(note)
    with pytest.raises(Rejected, match=r"in the database postgresql://me:\*\*\*@host/calls"):
        mine.gc()


def test_a_store_that_was_moved_or_copied_knows_itself(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    saved(made(folder, 1), 1)
    saved(made(folder, 2), 2)
    gc.collect()
    folder.rename(tmp_path / "moved")
    moved = made(tmp_path / "moved", 1)
    moved.evict(saved(moved, 3))
    assert digest([3, [3]]) in moved.gc()
    assert [call.result for call in made(tmp_path / "moved", 2).query()] == [[[2], 2]]


def test_secret_keys_are_in_no_note(tmp_path: Path) -> None:
    saved(made(tmp_path, 1, "signed", "signed"), 1)
    for note in (tmp_path / "values").glob(".fleche-user*"):
        assert '"aa"' not in note.read_text()


def test_a_cache_that_cannot_be_noted_saves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = made(tmp_path, 1)
    assert mine._user is not None
    note = tmp_path / "values" / f".fleche-user-{mine._user[0]}"
    f = fleche(lambda x: x)

    def refuse(name: str, path: Path) -> int | None:
        return errno.ENOSPC if name == "rename" and path == note else None

    _core.watch_system_calls(refuse)  # type: ignore[attr-defined]
    try:
        with cache(mine):
            assert f(1) == 1
            assert not f.contains(1)
    finally:
        _core.watch_system_calls(None)  # type: ignore[attr-defined]
    [said] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert str(note) in said
    with cache(mine):
        assert f(1) == 1
        assert f.contains(1)


# Stores whose users were not noted


def without_notes(folder: Path) -> None:
    for note in (folder / "values").glob(".fleche-user*"):
        note.unlink()


@pytest.mark.parametrize("kind", ["pickle", "compressed", "signed", "bag"])
def test_values_of_older_stores_are_set_aside_and_come_back(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_child(lambda: saved(made(tmp_path, 1, kind), 1))
    in_child(lambda: saved(made(tmp_path, 2, kind), 2))
    without_notes(tmp_path)
    mine = made(tmp_path, 1, kind)
    with caplog.at_level(logging.INFO):
        garbage = mine.gc()
    assert digest([2, [2]]) in garbage
    assert "shares_values_with" in caplog.text
    assert not garbage & set(mine.values.list())

    def the_other_is_whole() -> None:
        (found,) = made(tmp_path, 2, kind).query()
        assert found.result == [[2], 2]
        assert found.arguments["x"] == [2, [2]]

    # Somebody whom nobody noted comes back.
    in_child(the_other_is_whole)
    assert mine.gc() == garbage
    mine.shares_values_with(made(tmp_path, 2, kind))
    assert mine.gc() == set()
    in_child(the_other_is_whole)
    mine.shares_values_with()
    assert mine.gc() == garbage
    assert list((tmp_path / "values" / ".fleche-aside").glob("*")) == []


def test_garbage_set_aside_is_removed_once_all_is_known(tmp_path: Path) -> None:
    mine = made(tmp_path, 1)
    mine.evict(saved(mine, 1))
    without_notes(tmp_path)
    garbage = mine.gc()
    aside = tmp_path / "values" / ".fleche-aside"
    assert {path.name for path in aside.iterdir()} == garbage
    mine.shares_values_with()
    assert mine.gc() == garbage
    assert list(aside.iterdir()) == []
    assert mine.gc() == set()


def test_files_of_several_bags_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = made(tmp_path, 1, "bags")
    mine.evict(saved(mine, 1))
    without_notes(tmp_path)
    assert mine.gc() == set()
    assert "shares_values_with" in caplog.text
    mine.shares_values_with()
    assert digest([1, [1]]) in mine.gc()


def test_much_that_is_set_aside_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fleche.caches.garbage import collect as _gc

    monkeypatch.setattr(_gc, "_WORTH_SAYING", 100)
    mine = made(tmp_path, 1)
    mine.evict(mine.save(Call("f", {}, result="x" * 200)))
    without_notes(tmp_path)
    mine.gc()
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_a_new_store_asks_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "values").mkdir()
    with caplog.at_level(logging.INFO, "fleche.cache"), cache(made(tmp_path, 1)):
        mine = made(tmp_path, 1)
        f = fleche(lambda x: [x])
        with cache(mine):
            f(1)
        mine.evict(f.digest(1))
        mine.values.save("garbage")
        assert digest("garbage") in mine.gc()
        assert not list((tmp_path / "values").glob("[0-9a-f]*"))
    assert caplog.text == ""


def test_what_was_saved_without_a_cache_may_be_anybodys(tmp_path: Path) -> None:
    mine = made(tmp_path, 1)
    mine.values.save(["without", "a cache"])
    assert digest(["without", "a cache"]) in mine.gc()
    assert mine.values.load(digest(["without", "a cache"])) == ["without", "a cache"]


def test_records_among_the_values_are_no_garbage(tmp_path: Path) -> None:
    """Another cache has its calls where this one has its values."""
    mine = made(tmp_path, 1)
    saved(mine, 1)
    code = """
from fleche.call import Call
from fleche.caches import Cache
from fleche.storage import CallPickleFile, ValuePickleFile
store = Cache(ValuePickleFile("other"), CallPickleFile("values"))
store.save(Call("g", {}, result=2))
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    with pytest.raises(Rejected, match=r"gc evicts nothing: .*values' holds records"):
        mine.gc()
    assert CallPickleFile(tmp_path / "values").list()
