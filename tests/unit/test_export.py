"""Handing calls on: files that are whole and of somebody who is trusted, or refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleche import _core, cache, fleche
from fleche.caches import BaseCache, CacheStack, Rejected
from fleche.call import Call
from fleche.config import cache_from_config
from fleche.digest import digest
from fleche.export import (
    ExportFile,
    Refused,
    SigningKey,
    Untrusted,
    check_calls,
    export_calls,
    import_calls,
    keys,
)
from fleche.export.checking import Verdict
from fleche.export.format import message_of, to_json
from fleche.export.sources import source_of
from tests.unit.schemes import scheme as digest_scheme

KEY = SigningKey.generate()
TRUSTED = {"ada": KEY.public}
RUN: list[str] = []

TEMPLATES = [
    "memory",
    "pickle",
    "cloudpickle",
    "sql",
    "sqlite",
    "bagofholding_hdf",
    "signed",
    "stack",
]


def store(template: str, root: Path) -> BaseCache:
    if template == "stack":
        return CacheStack((store("memory", root), store("pickle", root)))
    if template == "signed":
        signed = {"type": "pickle", "secret_key": "00ff", "compress": True}
        return cache_from_config(
            {
                "values": {**signed, "root": str(root / "values")},
                "calls": {**signed, "root": str(root / "calls")},
            }
        )
    config: dict[str, Any] = {"template": template}
    if template != "memory":
        config["root"] = str(root)
    if template == "sql":
        config["values"] = "dill"
    return cache_from_config(config)


@fleche(hash_code=False)
def fetch(n: int) -> Any:
    RUN.append("fetch")
    return np.arange(n, dtype=float)


@fleche(hash_code=False)
def frame(rows: Any) -> Any:
    RUN.append("frame")
    return pd.DataFrame({"x": rows, "name": [str(row) for row in rows]})


@fleche(hash_code=False, exceptions=ValueError, none=True)
def fussy(x: Any) -> Any:
    RUN.append("fussy")
    if x is None:
        return None
    raise ValueError(x)


@fleche(hash_code=False, iterate=True)
def items(n: int) -> Iterator[int]:
    RUN.append("items")
    yield from range(n)


@fleche(hash_code=False, typed=True)
def typed(x: Any, *more: Any, **named: Any) -> Any:
    RUN.append("typed")
    return [x, *more, named]


def study() -> list[Any]:
    with pytest.raises(ValueError, match="no"):
        fussy("no")
    return [
        fetch(20),
        frame(fetch(20)),
        fussy(None),
        [*items(3)],
        typed(1.0, 2, key={"a": [1]}),
        typed(1, 2, key={"a": [1]}),
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def file(folder: Path) -> Path:
    """What a study came to, in a file that ada signed."""
    with cache(store("pickle", folder / "theirs")):
        study()
        export_calls(cache().query(), folder / "study.fleche", key=KEY)
    return folder / "study.fleche"


def content(held: BaseCache) -> dict[str, Any]:
    """What a cache holds: typed digests, and `repr` for what has none."""

    def told(value: Any) -> str:
        try:
            return str(digest(value, typed=True))
        except TypeError:
            return repr(value)

    return {
        call.to_lookup_key(): (
            call.name,
            [(name, told(value)) for name, value in call.arguments.items()],
            told(call.result),
            call.metadata,
        )
        for call in held.query()
    }


@pytest.mark.parametrize("source", TEMPLATES)
def test_from_any_storage_to_any_other_calls_hit(source: str, folder: Path) -> None:
    mine = store(source, folder / "mine")
    with cache(mine):
        before = [digest(value, typed=True) for value in study()]
    export_calls(mine.query(), folder / "study.fleche", key=KEY)
    held = content(mine)
    for target in TEMPLATES:
        theirs = store(target, folder / target)
        done = import_calls(folder / "study.fleche", theirs, trusted=TRUSTED)
        assert (done.signer, done.taken, done.present, done.failed) == ("ada", 7, 0, {}), target
        RUN.clear()
        with cache(theirs):
            after = study()
        assert RUN == [], target
        assert [digest(value, typed=True) for value in after] == before, target
        assert content(theirs) == held, target


def test_what_is_there_is_left_alone_and_the_rest_is_taken(file: Path, folder: Path) -> None:
    theirs = store("pickle", folder / "other")
    with cache(theirs):
        fetch(20)
    before = theirs.query(name="fetch").only().metadata
    done = import_calls(file, theirs, trusted=TRUSTED)
    assert (done.taken, done.present) == (6, 1)
    assert theirs.query(name="fetch").only().metadata == before
    again = import_calls(file, theirs, trusted=TRUSTED)
    assert (again.taken, again.present) == (0, 7)


def test_an_interrupted_import_goes_on(file: Path, folder: Path) -> None:
    theirs = store("pickle", folder / "other")

    def stopping(keys: Any, what: str) -> Any:
        yield from list(keys)[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_calls(file, theirs, trusted=TRUSTED, progress=stopping)
    assert theirs.query().count() == 3
    assert import_calls(file, theirs, trusted=TRUSTED).taken == 4


def test_the_same_calls_make_the_same_file(folder: Path) -> None:
    held = store("pickle", folder / "store")
    with cache(held):
        study()
    for name in ("one", "two"):
        export_calls(held.query(), folder / name, key=KEY, title="a study")
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()


def test_lineage_goes_along(folder: Path) -> None:
    held = store("sql", folder / "store")
    with cache(held):
        frame(fetch(20))
        fetch(30)
    calls = held.query(name="frame")
    assert len(export_calls(calls, folder / "alone", key=KEY).calls) == 1
    done = export_calls(calls, folder / "both", key=KEY, with_lineage=True, query=["frame"])
    assert (len(done.asked), len(done.calls)) == (1, 2)
    with ExportFile(folder / "both", TRUSTED) as file:
        assert file.manifest["query"] == ["frame"]
        [[maker, taker, argument]] = file.manifest["lineage"]
        assert (file.records[maker].name, file.records[taker].name) == ("fetch", "frame")
        assert argument == "rows"
        assert file.manifest["environment"]["packages"]["numpy"] == np.__version__


def test_a_file_is_a_cache_that_is_only_read(file: Path) -> None:
    RUN.clear()
    with ExportFile(file, TRUSTED) as opened, cache(opened.cache()):
        study()
        assert RUN == []
        fetch(21)
        with pytest.raises(Rejected):
            cache().save(Call("f", {}, result=1))
    assert RUN == ["fetch"]


def test_the_text_of_functions_and_the_crate(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        code = archive.read(f"code/{__name__}.typed.py").decode()
        crate = json.loads(archive.read("ro-crate-metadata.json"))
        members = {*archive.namelist()} - {"manifest.json", "signature.json"}
    assert code.startswith("@fleche(hash_code=False, typed=True)\ndef typed(")
    assert code.endswith("return [x, *more, named]\n")
    graph = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(graph) == len(crate["@graph"])
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert graph["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = graph["./"]
    assert {"name", "description", "datePublished"} <= root.keys()
    assert {part["@id"] for part in root["hasPart"]} == members - {"ro-crate-metadata.json"}
    # Everything that is named is described.
    for entity in crate["@graph"]:
        for name in ("object", "result", "hasPart", "mentions"):
            assert {held["@id"] for held in entity.get(name, [])} <= graph.keys()
    assert sum(entity["@type"] == "CreateAction" for entity in crate["@graph"]) == 7


def test_sources_are_found_without_running_anything(folder: Path, monkeypatch: Any) -> None:
    package = folder / "never_run"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError\n")
    (package / "inner.py").write_text("class A:\n    @x\n    def f(self):\n        pass\n")
    monkeypatch.syspath_prepend(str(folder))
    assert source_of("never_run.inner", "A.f") == "    @x\n    def f(self):\n        pass\n"
    for module, name in (("never_run.inner", "A.g"), ("never_run.none", "f"), (None, "f")):
        assert source_of(module, name) is None
    assert "never_run" not in sys.modules


# Who is trusted.


def unpickled(what: str) -> str:
    RUN.append("unpickled")
    return what


class Boom:
    """What would run if it were unpickled."""

    def __reduce__(self) -> Any:
        return unpickled, ("a value",)


def test_nothing_of_a_stranger_is_unpickled(folder: Path) -> None:
    mine = store("memory", folder)
    mine.save(Call("f", {"x": "an argument"}, result="a result"))
    stranger = SigningKey.generate()
    export_calls(mine.query(), folder / "file", key=stranger)
    # As one would make it who wants to run code.
    rewritten(folder / "file", stranger, lambda held: {
        name: pickle.dumps(Boom()) if name.startswith("values/") else content
        for name, content in held.items()
    })  # fmt: skip
    RUN.clear()
    theirs = store("pickle", folder / "theirs")
    with pytest.raises(Untrusted, match="--trust NAME ed25519:") as caught:
        import_calls(folder / "file", theirs, trusted=TRUSTED)
    assert caught.value.public == stranger.public
    assert keys.fingerprint(stranger.public) in str(caught.value)
    with pytest.raises(Untrusted):
        import_calls(folder / "file", theirs)
    assert RUN == []
    assert theirs.query().count() == 0
    # Who is trusted may run code: that is what trust is.
    import_calls(folder / "file", theirs, trusted={"eve": stranger.public})
    assert "unpickled" in RUN


def test_the_user_trusts_the_own_key_and_those_that_were_named(folder: Path) -> None:
    mine = store("memory", folder)
    mine.save(Call("f", {"x": 1}, result=2))
    with pytest.raises(FileNotFoundError, match="fleche key"):
        export_calls(mine.query(), folder / "mine")
    assert [*folder.iterdir()] == []
    own, made = keys.make_key()
    assert made
    assert keys.make_key() == (own, False)
    export_calls(mine.query(), folder / "mine")
    assert import_calls(folder / "mine", store("memory", folder)).signer == "you"
    export_calls(mine.query(), folder / "hers", key=KEY)
    with pytest.raises(Untrusted):
        ExportFile(folder / "hers")
    keys.trust("ada", KEY.public)
    keys.trust("ada", KEY.public)
    assert keys.trusted_keys() == TRUSTED
    assert import_calls(folder / "hers", store("memory", folder)).signer == "ada"
    with pytest.raises(ValueError, match="another key already"):
        keys.trust("ada", own.public)
    for name in ("", "../ada", ".hidden", "a/b", "a" * 65):
        with pytest.raises(ValueError, match="cannot be the name of a key"):
            keys.trust(name, own.public)
    keys.untrust("ada")
    with pytest.raises(ValueError, match="no trusted key"):
        keys.untrust("ada")
    with pytest.raises(Untrusted):
        ExportFile(folder / "hers")


def test_nobody_else_may_read_the_key(folder: Path) -> None:
    keys.make_key()
    path = keys.key_folder() / "signing.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.key_folder().stat().st_mode) == 0o700
    path.chmod(0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        keys.own_key()
    path.chmod(0o600)
    path.write_bytes(b"no key")
    with pytest.raises(ValueError, match="holds no key"):
        keys.own_key()
    assert os.listdir(keys.key_folder()) == ["signing.key"]


@pytest.mark.parametrize("text", ["", "ed25519:", "ed25519:00", "rsa:" + "0" * 64, "g" * 64])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no public key"):
        keys.read_public(text)


# Files that are not what they were.


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: list[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, held in members:
            archive.writestr(name, held)


def rewritten(
    path: Path,
    key: SigningKey,
    change: Callable[[dict[str, bytes]], dict[str, bytes]] = lambda held: held,
    manifest: Callable[[dict[str, Any]], None] = lambda data: None,
) -> None:
    """Change a file, and sign it again."""
    import hashlib

    held = members_of(path)
    data = json.loads(held.pop("manifest.json"))
    del held["signature.json"]
    held = change(held)
    data["members"] = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in held.items()
    }
    manifest(data)
    whole = to_json(data)
    signature = {
        "public_key": keys.shown_public(key.public),
        "signature": key.sign(message_of(whole)).hex(),
    }
    ends = [("manifest.json", whole), ("signature.json", to_json(signature))]
    write(path, [*held.items(), *ends])


def is_refused(path: Path, why: str, folder: Path) -> None:
    theirs = store("pickle", folder / "refusing")
    RUN.clear()
    with pytest.raises(Refused, match=why):
        import_calls(path, theirs, trusted=TRUSTED)
    assert theirs.query().count() == 0
    assert [*theirs.values.list()] == []  # type: ignore[attr-defined]
    assert RUN == []


def test_changed_members_are_refused(file: Path, folder: Path) -> None:
    held = members_of(file)
    for name in held:
        changed = {**held, name: held[name][:-1] + bytes([held[name][-1] ^ 1])}
        write(file, [*changed.items()])
        is_refused(file, "refused", folder)
        write(file, [(other, held[other]) for other in held if other != name])
        is_refused(file, "missing|it has no", folder)
    write(file, [*held.items(), ("values/" + "0" * 64 + ".pickle", b"more")])
    is_refused(file, "is not signed", folder)
    write(file, [*held.items(), ("../../evil.py", b"more")])
    is_refused(file, "is not signed", folder)
    with pytest.warns(UserWarning, match="Duplicate name"):
        write(file, [*held.items(), ("manifest.json", held["manifest.json"])])
    is_refused(file, "several members of one name", folder)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "values/x.pickle", "code/../a.py", "x"])
def test_names_that_no_such_file_has_are_refused_even_signed(
    name: str, file: Path, folder: Path
) -> None:
    rewritten(file, KEY, lambda held: {**held, name: b"content"})
    is_refused(file, "a member that no such file has", folder)


def test_bombs_are_refused(file: Path, folder: Path) -> None:
    held = members_of(file)
    name = next(name for name in held if name.startswith("values/"))
    write(file, [*{**held, name: bytes(1 << 26)}.items()])
    is_refused(file, "is not as long as was signed", folder)
    write(file, [*{**held, "signature.json": b" " * (1 << 26)}.items()])
    is_refused(file, "longer than it may be", folder)


def test_records_that_are_none_are_refused(file: Path, folder: Path) -> None:
    whole = file.read_bytes()

    def with_record(change: Callable[[dict[str, Any]], Any]) -> None:
        def changed(held: dict[str, bytes]) -> dict[str, bytes]:
            name = next(name for name in held if name.startswith("records/"))
            data = json.loads(held[name])
            change(data)
            return {**held, name: to_json(data)}

        file.write_bytes(whole)
        rewritten(file, KEY, changed)

    def renamed(data: dict[str, Any]) -> None:
        data["name"] = "another"

    def lost(data: dict[str, Any]) -> None:
        data["result"] = "0" * 64

    with_record(renamed)
    is_refused(file, "is the record of", folder)
    with_record(lost)
    is_refused(file, "it has no result of", folder)
    wrong = {"result": None, "arguments": 1, "name": [], "metadata": 1, "version": 1.5}
    for field, value in wrong.items():
        with_record(lambda data, field=field, value=value: data.update({field: value}))
        is_refused(file, "is no record", folder)


def test_other_formats_versions_and_schemes_are_refused(file: Path, folder: Path) -> None:
    whole = file.read_bytes()
    for field, value, why in (
        ("format", "other", "is of the format 'other'"),
        ("version", 2, "a newer fleche may read it"),
        ("scheme", "sha256", "FLECHE_DIGEST=sha256"),
        ("members", [], "names no members"),
        ("members", {"ro-crate-metadata.json": 1}, "does not say what"),
    ):
        file.write_bytes(whole)
        rewritten(file, KEY, manifest=lambda data, f=field, v=value: data.update({f: v}))
        is_refused(file, why, folder)


def test_what_is_no_file_of_this_kind_is_refused(folder: Path) -> None:
    path = folder / "file"
    for held in (b"", b"text", pickle.dumps(Boom())):
        path.write_bytes(held)
        is_refused(path, "is damaged, or no export file", folder)
    write(path, [("a", b"")])
    is_refused(path, "not made by `fleche export`", folder)
    with pytest.raises(FileNotFoundError):
        ExportFile(folder / "none", TRUSTED)


def changes(length: int) -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """Ways to damage bytes."""
    # The directory of the archive stands at its end.
    places = st.integers(0, length - 1) | st.integers(length - 3000, length - 1)

    def flipped(place: int, with_: int) -> Callable[[bytes], bytes]:
        def flip(held: bytes) -> bytes:
            there = bytes(byte ^ with_ for byte in held[place : place + 1])
            return held[:place] + there + held[place + 1 :]

        return flip

    def cut(start: int, count: int) -> Callable[[bytes], bytes]:
        return lambda held: held[:start] + held[start + count :]

    def moved(start: int, to: int, count: int) -> Callable[[bytes], bytes]:
        def move(held: bytes) -> bytes:
            return held[:to] + held[start : start + count] + held[to + count :]

        return move

    counts = st.integers(1, 2000)
    return st.one_of(
        st.builds(flipped, places, st.integers(1, 255)),
        st.builds(cut, places, counts),
        st.builds(lambda place: lambda held: held[:place], places),
        st.builds(moved, places, places, counts),
        st.builds(lambda more: lambda held: held + more, st.binary(min_size=1, max_size=100)),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_gives_what_was_signed(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole, expected = WHOLE.get("study") or WHOLE.setdefault("study", made(tmp_path_factory))
    change = data.draw(st.lists(changes(len(whole)), min_size=1, max_size=3))
    damaged = whole
    for one in change:
        damaged = one(damaged)
    path = tmp_path_factory.getbasetemp() / "damaged.fleche"
    path.write_bytes(damaged)
    theirs = store("memory", path)
    try:
        import_calls(path, theirs, trusted=TRUSTED)
    except Refused:
        assert theirs.query().count() == 0
    else:
        assert content(theirs) == expected
    path.unlink()


WHOLE: dict[str, tuple[bytes, dict[str, Any]]] = {}


def made(factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, Any]]:
    held = store("memory", Path())
    with cache(held):
        study()
    path = factory.mktemp("whole") / "file"
    export_calls(held.query(), path, key=KEY)
    return path.read_bytes(), content(held)


def test_a_file_that_changes_after_the_check_is_noticed(file: Path, folder: Path) -> None:
    held = members_of(file)
    opened = ExportFile(file, TRUSTED)
    name = next(name for name in held if name.startswith("values/"))
    place = file.read_bytes().find(name.encode())
    with open(file, "r+b") as other:
        other.seek(place + len(name))
        other.write(b"\0" * 8)
    with opened, pytest.raises(Refused):
        opened.load_value(name[len("values/") : -len(".pickle")])


# What cannot be handed on.


def test_what_cannot_be_pickled_is_left_out_and_told(folder: Path, caplog: Any) -> None:
    held = store("memory", folder)
    held.save(Call("good", {"x": 1}, result=2))
    held.save(Call("gone", {"x": 1}, result="a result that is gone"))
    held.values.evict(held.query(name="gone").only().detach().result)  # type: ignore[attr-defined]
    done = export_calls(held.query(), folder / "file", key=KEY)
    assert len(done.calls) == 1
    [why] = done.left_out.values()
    assert why.startswith("the call gone")
    assert "left out" in caplog.text
    with pytest.raises(ValueError, match="nothing to hand on: the call gone"):
        export_calls(held.query(name="gone"), folder / "none", key=KEY)
    with pytest.raises(ValueError, match="no call matches"):
        export_calls([], folder / "none", key=KEY)
    assert sorted(path.name for path in folder.iterdir()) == ["file"]


def test_of_arguments_that_are_not_stored_the_digests_are_handed_on(folder: Path) -> None:
    held = store("memory", folder)
    with cache(held):
        frame(fetch(20))
    call = held.query(name="frame").only()
    held.values.evict(call.detach().arguments["rows"])  # type: ignore[attr-defined]
    done = export_calls([call], folder / "file", key=KEY)
    assert [why.partition(":")[0] for why in done.left_out.values()] == [
        f"the argument rows of frame {call.to_lookup_key()[:8]}"
    ]
    theirs = store("pickle", folder / "theirs")
    assert import_calls(folder / "file", theirs, trusted=TRUSTED).taken == 1
    with cache(theirs):
        assert frame.contains(np.arange(20, dtype=float))


def test_calls_of_other_code_are_not_taken(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(folder))
    module = folder / "handed_module.py"
    module.write_text('def f(x):\n    """What it does."""\n    return x  # as it is\n')
    held = store("memory", folder)
    held.save(Call("f", {"x": 1}, module="handed_module", result=1))
    held.save(Call("g", {"x": 1}, module="handed_module", result=1))
    export_calls(held.query(), folder / "file", key=KEY)

    def taken(text: str, **options: bool) -> int:
        module.write_text(text)
        done = import_calls(folder / "file", store("memory", folder), trusted=TRUSTED, **options)
        assert all("any_code=True" in why for why in done.failed.values())
        assert done.taken + len(done.failed) == 2
        return done.taken

    assert taken("import os\n\ndef f(x): return x\n") == 2
    assert taken("def g(x): return x\n") == 2
    assert taken("def f(x): return x + 1\n") == 1
    assert taken("def f(x): return x + 1\n", any_code=True) == 2
    assert "handed_module" not in sys.modules


def test_a_cache_that_takes_nothing_says_so(file: Path, folder: Path) -> None:
    with pytest.raises(Rejected):
        import_calls(file, store("memory", folder).readonly(), trusted=TRUSTED)


class Named:
    """What is told by a text that is no digest, as scheme `sha256` takes it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __digest__(self) -> str:
        return f"named {self.name}"


@fleche(hash_code=False)
def named(x: Named) -> Named:
    RUN.append("named")
    return Named(x.name + "!")


@pytest.mark.parametrize("scheme", ["exact", "sha256"])
def test_either_scheme(scheme: str, folder: Path) -> None:
    mine, theirs = store("pickle", folder / "mine"), store("sql", folder / "theirs")
    with digest_scheme(scheme):
        with cache(mine):
            named(Named("one"))
        export_calls(mine.query(), folder / "file", key=KEY)
        import_calls(folder / "file", theirs, trusted=TRUSTED)
        RUN.clear()
        with cache(theirs):
            assert named(Named("one")).name == "one!"
        assert RUN == []
        other = "exact" if scheme == "sha256" else "sha256"
    with digest_scheme(other), pytest.raises(Refused, match=f"FLECHE_DIGEST={scheme}"):
        ExportFile(folder / "file", TRUSTED)


# Running it again.

MODULE = """
from fleche import fleche
import time

@fleche
def stable(x, /, *more, scale=1.5, **named):
    return [x, more, scale, named]

@fleche
def unstable(x):
    return time.monotonic_ns()

@fleche
def raising(x):
    raise ValueError(x)

@fleche
async def awaited(x):
    return x * "a long text"

@fleche(exceptions=ValueError)
def kept(x):
    raise ValueError(x)

@fleche
def after(x):
    return x + ["the end of it"]

@fleche(iterate=True)
def items(n):
    yield from range(n)

class Study:
    def __init__(self, k):
        self.k = k

    @fleche
    def method(self, x):
        return [self.k, x]

    @fleche
    @classmethod
    def of_class(cls, x):
        return [cls.__name__, x]

@fleche(ignore="verbose")
def quiet(verbose=False, *, x):
    return x
"""


def test_check_runs_the_leaves_again(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (folder / "checked_module.py").write_text(MODULE)
    import asyncio

    import checked_module as module  # type: ignore[import-not-found]

    held = store("memory", folder)
    with cache(held):
        first = module.stable("a long argument", 2, scale=2, more="named")
        module.after(first)
        module.unstable(1)
        asyncio.run(module.awaited(3))
        [*module.items(4)]
        module.Study(3).method(1)
        module.Study.of_class(2)
        module.quiet(True, x=1)
        held.save(Call("Study", {"k": 1}, module="checked_module", result=1))
        with pytest.raises(ValueError, match="5"):
            module.kept(5)
        held.save(Call("raising", {"x": 1}, module="checked_module", result=1))
        held.save(Call("gone", {"x": 1}, module="checked_module", result=1))
        held.save(Call("f", {"x": 1}, module="__main__", result=1))
        held.save(Call("f.<locals>.g", {"x": 1}, module="checked_module", result=1))
        held.save(Call("stable", {"y": 1}, module="checked_module", result=1))
    done = export_calls(held.query(), folder / "file", key=KEY)
    assert len(done.calls) == 15
    with cache(store("memory", folder)) as _:
        checked = check_calls(folder / "file", trusted=TRUSTED)
        assert cache().query().count() == 0
    found = {each.call.partition(".")[2]: each.verdict.value for each in checked}
    found.pop("stable")
    assert found == {
        "awaited": "same",
        "items": "same",
        "kept": "same",
        "unstable": "different",
        "raising": "failed",
        "gone": "skipped",
        "f": "skipped",
        "f.<locals>.g": "skipped",
        "Study": "skipped",
        "Study.method": "same",
        "Study.of_class": "same",
        "quiet": "same",
    }
    stable = sorted(each.verdict for each in checked if each.call.endswith(".stable"))
    assert stable == [Verdict.SAME, Verdict.SKIPPED]
    # It is another function by now: that says nothing about the file.
    monkeypatch.setattr(module, "unstable", fleche(version=2)(module.unstable.__wrapped__))
    checked = check_calls(folder / "file", trusted=TRUSTED)
    [why] = [each.why for each in checked if each.call.endswith("unstable")]
    assert "another one" in why
    assert {each.verdict for each in check_calls(folder / "file", 0, trusted=TRUSTED)} == {
        Verdict.SKIPPED
    }
    del sys.modules["checked_module"]


# The commands.


def test_the_commands_from_one_user_to_another(folder: Path) -> None:
    for user, template in (("ada", "pickle"), ("bob", "sql")):
        (folder / user).mkdir()
        values = '\nvalues = "cloudpickle"' if template == "sql" else ""
        (folder / user / "fleche.toml").write_text(
            f'[default]\nroot = true\ncache = "mine"\n[mine]\ntemplate = "{template}"\n'
            f'root = "store"{values}\n'
        )
        (folder / user / "study.py").write_text(
            textwrap.dedent(
                """
                from fleche import fleche

                @fleche
                def fetch(n):
                    print("computing")
                    return [f"row {i}" for i in range(n)]

                @fleche
                def plot(rows, style="solid"):
                    print("computing")
                    return {"rows": len(rows), "style": style}

                def main():
                    plot(fetch(20))
                """
            )
        )

    def run(user: str, *words: str) -> tuple[int, str, str]:
        program = ["-c", words[1]] if words[0] == "python" else ["-m", "fleche", *words]
        done = subprocess.run(
            [sys.executable, *program],
            cwd=folder / user,
            env={**os.environ, "XDG_CONFIG_HOME": str(folder / user / "config")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    main = "import study; study.main()"
    assert run("ada", "python", main) == (0, "computing\ncomputing\n", "")
    code, out, err = run("ada", "lineage", "plot")
    assert (code, out) == (2, "")
    code, out, err = run("ada", "export", "-o", "figure3.fleche", "plot")
    assert (code, out) == (2, "")
    assert "`fleche key` makes one" in err
    code, public, err = run("ada", "key")
    assert (code, "made a key" in err) == (0, True)
    assert run("ada", "key", "--json")[1].startswith('{\n  "public_key": "ed25519:')
    code, out, err = run("ada", "export", "-o", "figure3.fleche", "--with-lineage", "study.plot")
    assert (code, err) == (0, "")
    assert out.startswith("figure3.fleche: 2 calls, ")
    code, out, _ = run("ada", "export", "-o", "all.fleche", "*", "--json")
    data = json.loads(out)
    assert (code, len(data["calls"]), data["left_out"]) == (0, 2, {})
    key = data["calls"][0]
    assert run("ada", "export", "-o", "one.fleche", key[:10])[0] == 0
    code, out, err = run("ada", "export", "-o", "none.fleche", "unknown")
    assert (code, out) == (2, "")
    assert "no function is called 'unknown'" in err
    code, out, _ = run("ada", "lineage", key)
    assert (code, len(out.splitlines()) in (1, 2)) == (0, True)
    assert run("ada", "lineage", key, "--dot")[1].startswith("digraph lineage {")
    assert json.loads(run("ada", "lineage", key, "--json", "--outputs")[1])["root"] == key

    shutil.copy(folder / "ada" / "figure3.fleche", folder / "bob")
    code, out, err = run("bob", "import", "figure3.fleche")
    assert (code, out) == (2, "")
    assert f"`fleche key --trust NAME {public.strip()}`" in err
    assert run("bob", "ls")[1].splitlines()[1:] == []
    code, out, _ = run("bob", "key", "--trust", "ada", public.strip())
    assert code == 0
    assert "ada" in run("bob", "key", "--list")[1]
    code, out, err = run("bob", "import", "figure3.fleche")
    assert (code, out, err) == (0, "2 calls taken, 0 there already; signed by ada\n", "")
    assert run("bob", "python", main) == (0, "", "")
    code, out, err = run("bob", "check", "figure3.fleche", "--budget", "10m")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "1 leaf call, 1 run, 1 the same"
    assert run("bob", "check", "figure3.fleche", "--budget", "soon")[0] == 2
    code, out, err = run("bob", "key", "--remove", "ada")
    assert code == 0
    assert run("bob", "import", "figure3.fleche")[0] == 2


def test_a_signature_of_the_core_is_a_message_and_a_key() -> None:
    signature = KEY.sign(b"message")
    assert _core.is_signed_by(KEY.public, b"message", signature)
    assert not _core.is_signed_by(SigningKey.generate().public, b"message", signature)
    assert not _core.is_signed_by(b"", b"message", signature)
    with pytest.raises(ValueError, match="no Ed25519 key"):
        SigningKey(b"no key")
    assert repr(KEY) == "SigningKey()"
