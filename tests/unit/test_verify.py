"""`fleche verify`: every kind of damage is found and told apart, and nothing in healthy stores."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import logging
import os
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleche import cache, cli, fleche
from fleche.auditing import Kind, Report, verify
from fleche.caches import BaseCache, Cache, CachePool, CacheStack, Rejected
from fleche.call import Call
from fleche.config import cache_from_config
from fleche.digest import Digest, digest
from fleche.storage import CallMemory, Sql, ValueMemory
from fleche.storage.destructuring import DigestedIterable
from tests.unit.schemes import scheme

np = pytest.importorskip("numpy")

PICKLE: dict[str, Any] = {"type": "pickle"}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pickle": (PICKLE, PICKLE),
    "compressed": ({**PICKLE, "compress": True},) * 2,
    "signed": ({**PICKLE, "secret_key": ["aa"]},) * 2,
    "cloudpickle": ({"type": "cloudpickle"},) * 2,
    "bag": ({"type": "bagofholding_hdf"},) * 2,
    "bags": ({"type": "bagofholding_hdf", "prefix_length": 1},) * 2,
    "sqlite": (PICKLE, {"type": "sql"}),
}
SIGNED = KINDS["signed"]


def opened(folder: Path, kind: str) -> Cache:
    values, calls = KINDS[kind]
    place = "url" if calls["type"] == "sql" else "root"
    return cache_from_config(  # type: ignore[return-value]
        {
            "values": {"root": str(folder / "values"), **values},
            "calls": {place: str(folder / "calls"), **calls},
        }
    )


def closed(store: Cache) -> None:
    if isinstance(store.calls, Sql):
        store.calls._store.close()


@dataclasses.dataclass
class Circle:
    radius: float
    names: list[str]


@fleche(hash_code=False)
def f(x: Any) -> Any:
    return [x, {"twice": [x, x]}, "text", 2.5]


ARGUMENTS = [1, "text", [1, [2, [3.5]]], Circle(1.5, ["a"]), np.arange(6.0), {"a": (1, b"b")}]


def fill(store: BaseCache) -> None:
    with cache(store):
        for argument in ARGUMENTS:
            f(argument)


def file_of(store: Any, key: str) -> Path:
    return Path(store._bag_file(key) if hasattr(store, "_bag_file") else store.root / key)


@pytest.fixture(params=[*KINDS, "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    made = (
        Cache(ValueMemory({}), CallMemory({}))
        if request.param == "memory"
        else opened(tmp_path, request.param)
    )
    fill(made)
    return made


def kinds(report: Report) -> list[str]:
    return sorted(str(problem.kind) for problem in report.problems)


# Healthy stores


@pytest.mark.parametrize("quick", [False, True])
def test_nothing_is_wrong_with_a_healthy_store(
    store: Cache, quick: bool, caplog: pytest.LogCaptureFixture
) -> None:
    report = verify(store, quick=quick)
    assert report.problems == []
    assert report.is_sound
    assert report.records == len(ARGUMENTS)
    assert report.values == len({*store.values.list()})
    assert report.orphans == (None if quick else [])
    assert report.notes == []
    assert caplog.messages == []


def test_nothing_is_changed(tmp_path: Path) -> None:
    made = opened(tmp_path, "pickle")
    fill(made)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    verify(made)
    verify(made, quick=True)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    assert verify(opened(tmp_path / "new", "pickle")).to_json()["records"] == 0


def test_stores_of_the_other_scheme(tmp_path: Path) -> None:
    made = opened(tmp_path, "pickle")
    with scheme("sha256"):
        fill(made)
    assert verify(made).problems == []


def test_views_stacks_and_pools(tmp_path: Path) -> None:
    first, second = Cache(ValueMemory({}), CallMemory({})), opened(tmp_path, "pickle")
    fill(second)
    file_of(second.values, digest("text")).write_bytes(b"")
    for each in (
        CacheStack((first, second)),
        CachePool((first, second)),
        second.readonly(),
        second.filter(lambda call: True),
    ):
        report = verify(each)
        assert kinds(report) == ["damaged"]
    # In a stack, a value may be in any of its caches.
    second.values.evict(digest("text"))
    first.values.save("text")
    assert verify(CacheStack((first, second))).problems == []


def test_the_active_cache(store: Cache) -> None:
    with cache(store):
        assert verify().records == len(ARGUMENTS)


# Each kind of damage


def result_of(made: Cache, argument: Any) -> Digest:
    return made.load(f.digest(argument))._result  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b"x" * 50),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to("nowhere")),
    ],
)
@pytest.mark.parametrize("kind", ["pickle", "compressed", "signed", "bag"])
@pytest.mark.parametrize("quick", [False, True])
def test_a_damaged_value(
    kind: str, damage: Callable[[Path], object], quick: bool, tmp_path: Path
) -> None:
    made = opened(tmp_path, kind)
    fill(made)
    key = result_of(made, 1)
    damage(file_of(made.values, key))
    report = verify(made, quick=quick)
    found = [problem for problem in report.problems if problem.key == key]
    if quick and kind == "bag" and not found:
        pytest.skip("what is in a bag is not looked at")
    assert not report.is_sound
    [problem] = found
    assert problem.calls == (f.digest(1),)
    assert str(problem.kind) in ("damaged", "missing", "not signed", "wrong signature") or (
        problem.kind is Kind.UNREACHABLE and file_of(made.values, key).is_dir()
    )


@pytest.mark.parametrize("quick", [False, True])
def test_a_lost_result_and_a_lost_argument(store: Cache, quick: bool) -> None:
    store.values.evict(digest([1, [2, [3.5]]]))
    store.values.evict(result_of(store, "text"))
    report = verify(store, quick=quick)
    assert kinds(report) == ["argument not stored", "missing"]
    assert not report.is_sound
    certain = {problem.kind: problem.is_certain for problem in report.problems}
    assert certain == {Kind.MISSING: True, Kind.ARGUMENT: False}
    assert [problem.calls for problem in report.problems if problem.is_certain] == [
        (f.digest("text"),)
    ]


def test_a_lost_piece(store: Cache) -> None:
    with cache(store):
        f("whole")
    piece = digest({"twice": ["whole", "whole"]}, typed=True)
    assert store.values.contains(piece)
    store.values.evict(piece)
    [problem] = verify(store).problems
    assert (problem.kind, problem.key) == (Kind.MISSING, piece)


def test_keys_of_pieces_that_are_none(store: Cache) -> None:
    key = result_of(store, 1)
    pieces = DigestedIterable([Digest("g" * 64)])
    store.values.put(pieces, key)  # type: ignore[attr-defined]
    [problem] = [each for each in verify(store).problems if each.key == key]
    assert problem.kind is Kind.DAMAGED
    assert key in verify(store, repair=True).repaired
    assert verify(store).is_sound


def test_pieces_without_what_holds_them(store: Cache, caplog: pytest.LogCaptureFixture) -> None:
    key = result_of(store, 1)
    broken = object.__new__(DigestedIterable)
    broken.__dict__["item_"] = []
    store.values.put(broken, key)  # type: ignore[attr-defined]
    [problem] = [each for each in verify(store).problems if each.key == key]
    assert problem.kind is Kind.DAMAGED
    # `gc` goes on, and leaves alone what it may need, or says what is in its way.
    with contextlib.suppress(Rejected):
        store.gc()
    assert store.values.contains(key)
    assert verify(store, repair=True).repaired
    assert verify(store).is_sound


def test_pieces_that_were_exchanged(store: Cache) -> None:
    key, piece = result_of(store, 1), digest([1, 1], typed=True)
    pieces = DigestedIterable([piece, Digest("0" * 64)])
    store.values.put(pieces, key)  # type: ignore[attr-defined]
    assert kinds(verify(store)) == ["missing", "wrong content"]


def test_an_argument_that_cannot_be_stored_is_no_damage(tmp_path: Path) -> None:
    made = opened(tmp_path, "pickle")
    with cache(made):
        f_of_one = fleche(hash_code=False)(lambda g: 1)
        f_of_one(lambda: 1)
    report = verify(made)
    assert kinds(report) == ["argument not stored"]
    assert report.is_sound


def test_values_that_changed_places(store: Cache) -> None:
    one, other = digest(1), digest("text")
    for key, value in ((one, "text"), (other, 1)):
        store.values.save(value, key)
    report = verify(store)
    assert kinds(report) == ["wrong content"] * 2
    assert {problem.key for problem in report.problems} == {one, other}


def test_records_that_changed_places(store: Cache) -> None:
    if isinstance(store.calls, Sql):
        pytest.skip("a record is several rows")
    records = [store.calls.load(f.digest(x)) for x in (1, "text")]
    for record, x in zip(records, ("text", 1), strict=True):
        store.calls.put(record, f.digest(x))  # type: ignore[attr-defined]
    assert kinds(verify(store)) == ["misfiled"] * 2
    report = verify(store, repair=True)
    assert len(report.repaired) == 2
    assert verify(store).problems == []


def test_signatures(tmp_path: Path) -> None:
    made = opened(tmp_path, "signed")
    fill(made)
    unsigned = opened(tmp_path / "plain", "pickle")
    fill(unsigned)
    key, other = result_of(made, 1), result_of(made, "text")
    path = file_of(made.values, key)
    path.write_bytes(path.read_bytes()[:-64] + b"0" * 64)
    shutil.copy(file_of(unsigned.values, other), file_of(made.values, other))
    for quick in (False, True):
        report = verify(made, quick=quick)
        found = {problem.key: problem.kind for problem in report.problems}
        assert found == {key: Kind.FORGED, other: Kind.UNSIGNED}
    # It may be another key's: nothing is evicted.
    assert verify(made, repair=True).repaired == []
    assert made.values.contains(key)


def test_nothing_is_unpickled_that_is_not_signed(tmp_path: Path) -> None:
    made = opened(tmp_path, "signed")
    fill(made)
    mark = tmp_path / "mark"
    evil = f"cposix\nsystem\n(Vtouch {mark}\ntR.".encode()
    for storage in (made.values, made.calls):
        for key in [*storage.list()]:
            file_of(storage, key).write_bytes(evil)
    report = verify(made)
    assert {problem.kind for problem in report.problems} <= {Kind.UNSIGNED, Kind.FORGED}
    assert not mark.exists()


def test_signed_files_opened_without_a_key(tmp_path: Path) -> None:
    fill(opened(tmp_path, "signed"))
    assert verify(opened(tmp_path, "pickle")).problems == []


def test_a_class_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = types.ModuleType("fleche_shapes")
    monkeypatch.setitem(sys.modules, "fleche_shapes", module)
    module.Square = dataclasses.make_dataclass(  # type: ignore[attr-defined]
        "Square", [("a", list)], namespace={"__module__": "fleche_shapes"}
    )
    module.Square.__module__ = "fleche_shapes"
    made = opened(tmp_path, "pickle")
    with cache(made):
        f(module.Square([1, [2]]))
    square = module.Square
    del module.Square
    report = verify(made, repair=True)
    assert {problem.kind for problem in report.problems} == {Kind.CLASS}
    assert not report.is_sound
    # What it may need is no garbage, and it may come back.
    assert report.orphans == []
    assert report.repaired == []
    assert caplog.messages == []
    module.Square = square  # type: ignore[attr-defined]
    assert verify(made).problems == []


def test_a_digest_that_changed_with_its_class_is_doubtful(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def __digest__(self) -> str:
            return str(digest(self.name))

    Named.__qualname__ = "Named"
    monkeypatch.setattr(sys.modules[__name__], "Named", Named, raising=False)
    made = opened(tmp_path, "pickle")
    with cache(made):
        f(Named("a"))
    assert verify(made).problems == []
    monkeypatch.setattr(Named, "__digest__", lambda self: str(digest(self.name + "!")))
    report = verify(made)
    assert Kind.CHANGED in {problem.kind for problem in report.problems}
    assert report.is_sound
    assert verify(made, repair=True).repaired == []


@pytest.mark.parametrize("kind", ["bags", "sqlite"])
def test_a_file_of_several_entries(kind: str, tmp_path: Path) -> None:
    made = opened(tmp_path, kind)
    fill(made)
    closed(made)
    if kind == "bags":
        path = file_of(made.values, digest("text"))
        path.write_bytes(b"x" * path.stat().st_size)
        assert Kind.FILE in {problem.kind for problem in verify(made).problems}
        return
    path = tmp_path / "calls"
    data = bytearray(path.read_bytes())
    for place in range(4096, len(data), 64):
        data[place : place + 8] = b"\xff" * 8
    path.write_bytes(data)
    with contextlib.suppress(OSError):  # which says so, too
        assert not verify(opened(tmp_path, kind)).is_sound


def test_orphans_and_leftovers(tmp_path: Path) -> None:
    made = opened(tmp_path, "pickle")
    fill(made)
    orphan = made.values.save(["nobody", ["needs"]])
    left = tmp_path / "values" / f".{digest(1)}.00000001-1-1.tmp"
    left.write_bytes(b"half")
    report = verify(made)
    assert report.orphans is not None
    assert orphan in report.orphans
    assert {*report.orphans} == {*made.gc()}
    assert report.leftovers == [str(left)]
    assert report.is_sound


def test_an_orphan_without_all_of_its_pieces_is_no_damage(store: Cache) -> None:
    argument = [1, [2, [3.5]]]
    store.evict(f.digest(argument))
    store.values.evict(digest([3.5], typed=True))
    report = verify(store)
    assert report.problems == []
    assert report.orphans is not None
    assert digest(argument) in report.orphans


def test_values_of_other_caches_are_no_orphans(tmp_path: Path) -> None:
    first = opened(tmp_path, "pickle")
    fill(first)
    other = Cache(first.values, opened(tmp_path / "other", "pickle").calls)
    other.save(Call("g", {"x": "only here"}, result=[1, "only here"]))
    assert verify(first).orphans == []


@pytest.mark.parametrize("name", ["type", "path", "relative"])
def test_a_damaged_note_of_who_needs_the_values(name: str, tmp_path: Path) -> None:
    made = opened(tmp_path, "pickle")
    fill(made)
    [note] = (tmp_path / "values").glob(".fleche-user-*")
    note.write_text(note.read_text().replace(f'"{name}"', f'"_{name}"'))
    report = verify(made)
    assert report.problems == []
    assert report.orphans is None
    assert "cannot be read" in report.notes[0]
    made.values.save("garbage")
    with pytest.raises(Rejected, match="cannot be read"):
        made.gc()


# Repair


@pytest.mark.parametrize("kind", KINDS)
def test_repair_leaves_a_sound_store(kind: str, tmp_path: Path) -> None:
    made = opened(tmp_path, kind)
    fill(made)
    whole = f.digest("text")
    made.values.save("other", digest(1))  # not what its key says
    made.values.evict(result_of(made, [1, [2, [3.5]]]))
    if kind == "pickle":
        file_of(made.calls, f.digest(ARGUMENTS[-1])).write_bytes(b"x")
    report = verify(made, repair=True)
    assert not report.is_sound
    assert {digest(1), f.digest([1, [2, [3.5]]])} <= {*report.repaired}
    after = verify(made)
    assert after.is_sound
    assert made.load(whole).result == f.__wrapped__("text")
    with cache(made):
        for argument in ARGUMENTS:
            assert digest(f(argument)) == digest(f.__wrapped__(argument))
    assert verify(made).is_sound


def test_what_is_only_read_is_not_repaired(tmp_path: Path) -> None:
    made = opened(tmp_path, "pickle")
    fill(made)
    file_of(made.values, digest(1)).write_bytes(b"")
    report = verify(made.readonly(), repair=True)
    assert report.repaired == []
    assert "only read" in report.notes[0]
    assert made.values.contains(digest(1))


# Whatever happens to files


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """A healthy store of each kind, closed, and what is in it."""
    folders = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        made = opened(folder, kind)
        fill(made)
        expected = content(made)
        closed(made)
        # Its values are not noted as needed by what is still there.
        folders[kind] = folder.rename(folder.with_name(f"{kind}-whole")), expected
    return folders


def content(made: Cache) -> dict[str, Any]:
    """What calls give, as far as they are there: results, and arguments."""
    found: dict[str, Any] = {}
    for argument in ARGUMENTS:
        key = f.digest(argument)
        try:
            call = made.load(key)
            if call.to_lookup_key() != key:  # which is no hit
                continue
            found[key] = digest(call.result, typed=True), digest(call.arguments["x"])
        except KeyError:
            continue
    return found


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_damage_is_reported_or_harmless(
    whole: dict[str, tuple[Path, dict[str, Any]]], kind: str, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name, quiet():
        root = Path(name) / "store"
        before, expected = whole[kind]
        shutil.copytree(before, root)
        files = sorted(p for p in root.rglob("*") if p.is_file() and ".locks" not in p.parts)
        path = data.draw(st.sampled_from(files), "file")
        held = path.read_bytes()
        how = data.draw(st.sampled_from(["flip", "cut", "swap", "delete", "zero"]), "damage")
        if how == "delete":
            path.unlink()
        elif how == "swap":
            other = data.draw(st.sampled_from(files), "other")
            moved = other.read_bytes()
            other.write_bytes(held)
            path.write_bytes(moved)
        elif held:
            place = data.draw(st.integers(0, len(held) - 1), "place")
            if how == "flip":
                changed = bytearray(held)
                changed[place] ^= 1 << data.draw(st.integers(0, 7), "bit")
                path.write_bytes(changed)
            elif how == "cut":
                path.write_bytes(held[:place])
            else:
                path.write_bytes(held[:place] + bytes(len(held) - place))
        try:
            made = opened(root, kind)
        except (OSError, ValueError):
            return  # It is not even opened, and says why.
        report = verify(made)
        is_told = bool(report.problems or report.orphans or report.notes or report.unproven)
        assert is_told or content(made) == expected
        closed(made)


# The command


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    (tmp_path / "fleche.toml").write_text(
        '[default]\nroot = true\ncache = "mine"\n[mine]\n'
        'values = { type = "pickle", root = "values" }\n'
        'calls = { type = "pickle", root = "calls" }\n'
    )
    monkeypatch.chdir(tmp_path)
    made = opened(tmp_path, "pickle")
    fill(made)
    return made


def test_the_command(configured: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    file_of(configured.values, digest("text")).write_bytes(b"")
    assert cli.main(["verify", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [problem["key"] for problem in found["problems"]] == [digest("text")]
    assert cli.main(["verify", "--quick"]) == 1
    out = capsys.readouterr().out
    assert digest("text") in out
    assert "damaged" in out
    assert cli.main(["verify", "--repair"]) == 3
    assert configured.values.contains(digest("text"))
    assert "--yes" in capsys.readouterr().err
    assert cli.main(["verify", "--repair", "--yes"]) == 1
    assert not configured.values.contains(digest("text"))
    assert cli.main(["verify"]) == 0
    assert os.listdir(configured.values.root)  # type: ignore[attr-defined]


def test_compressed_bytes_that_are_cut(tmp_path: Path) -> None:
    made = opened(tmp_path, "compressed")
    fill(made)
    path = file_of(made.values, digest("text"))
    assert gzip.decompress(path.read_bytes())
    path.write_bytes(path.read_bytes()[:-4])
    assert kinds(verify(made, quick=True)) == ["damaged"]
