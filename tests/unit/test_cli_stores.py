"""Commands on stores of every template, through processes of their own."""

from __future__ import annotations

import functools
import json
import operator
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .commands import run_fleche

TEMPLATES = ["pickle", "cloudpickle", "dill", "sql", "sqlite", "bagofholding_hdf"]

ALLOYS = """
import dataclasses
from fleche import fleche

@dataclasses.dataclass
class Lattice:
    kind: str
    a: float

@fleche
def relax(x, kind="fcc"):
    return [float(x), ["a long text in a part of its own " * 9, x]]

@fleche
def lattice(a):
    return Lattice("fcc", a)

def plain(x):
    return x
"""

FILL = """
import sys
import alloys
from fleche import cache, tags

with cache(sys.argv[1]):
    with tags(project="alloys", number=3):
        for x in range(3):
            alloys.relax(x)
    alloys.relax(7, kind="bcc")
    alloys.lattice(2)
"""

CONFIG = """
[default]
root = true
cache = "pickle"
metadata = ["Runtime", "Environment"]

[signed]
values = {type = "pickle", root = "signed/values", secret_key = ["00ff"], compress = true}
calls = {type = "pickle", root = "signed/calls", secret_key = ["00ff"]}

[database]
template = "sql"
root = "database"
values = "pickle"

[looked-at]
template = "pickle"
root = "pickle"
read_only = true

[[layers]]
template = "memory"

[[layers]]
template = "pickle"
root = "pickle"
""" + "".join(f'\n[{name}]\ntemplate = "{name}"\nroot = "{name}"\n' for name in TEMPLATES)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of each template."""
    folder = tmp_path_factory.mktemp("filled")
    fill(folder, *TEMPLATES, "signed", "database")
    return folder


def fill(folder: Path, *names: str) -> None:
    (folder / "alloys.py").write_text(ALLOYS)
    (folder / "fleche.toml").write_text(CONFIG)
    (folder / "fill.py").write_text(FILL)
    for name in names:
        subprocess.run([sys.executable, "fill.py", name], cwd=folder, check=True)


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    """A copy of it, which may be changed."""
    copy = tmp_path / "copy"
    shutil.copytree(filled, copy)
    return copy


def running(folder: Path) -> Run:
    return functools.partial(run_fleche, folder)


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs a command in a process of its own, in a folder that may be changed."""
    return running(folder)


@pytest.fixture
def look(filled: Path) -> Run:
    """Runs a command that changes nothing."""
    return running(filled)


def data(done: tuple[int, str, str], code: int = 0) -> Any:
    assert (done[0], done[2]) == (code, "")
    return json.loads(done[1])


@pytest.mark.parametrize("name", [*TEMPLATES, "signed"])
def test_looking(look: Run, name: str) -> None:
    """What `ls`, `find`, `show` and `du` say of a store."""
    listed = {each["function"]: each for each in data(look("ls", "--json", "--cache", name))}
    assert {each: listed[each]["calls"] for each in listed} == {"relax": 4, "lattice": 1}
    assert listed["relax"]["bytes"] > 0
    assert listed["relax"]["shared_bytes"] > 0  # the argument 2
    found = data(look("find", "relax", "--where", "x=1", "--json", "--cache", name))
    assert [each["function"] for each in found] == ["relax"]
    (shown,) = data(look("show", found[0]["key"][:12], "--json", "--cache", name))
    assert shown["whole"]
    assert shown["arguments"]["x"]["shown"] == ["1"]
    assert shown["result"]["shown"][0].startswith("[1.0, [")
    assert shown["metadata"]["tags"] == {"project": "alloys", "number": 3}
    (used,) = data(look("du", "--json", "--cache", name))
    assert used["records"] == 5
    assert used["orphans"] == 0
    parts = [*used["functions"].values(), used["shared_bytes"]]
    assert sum(parts) == used["value_bytes"] <= used["disk_bytes"]
    assert used["record_bytes"] > 0


@pytest.mark.parametrize("name", ["pickle", "cloudpickle", "database", "signed", "looked-at"])
def test_the_core_tells_the_same_as_a_walk(
    filled: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fleche.cli import functions
    from fleche.cli.commands import du
    from fleche.cli.output import Output
    from fleche.cli.stores import cache_named, pairs

    monkeypatch.chdir(filled)
    cache, output = cache_named(name), Output(True)
    for with_bytes in (True, False):
        surveyed = functions._surveyed(cache, output.progress, with_bytes)
        walked = functions.walked(cache, output.progress, with_bytes)
        assert surveyed is not None
        assert surveyed[1] == walked[1]
        assert surveyed[0]
        by_name = operator.attrgetter("name")
        found = (sorted(each[0], key=by_name) for each in (surveyed, walked))
        for one, other in zip(*found, strict=True):
            one.keys = other.keys
            assert one == other
    (pair,) = pairs(cache)
    assert du._surveyed(pair, output) == du._walked(pair, output)


# What serialises values is not asked where they are removed.
@pytest.mark.parametrize("name", ["pickle", "sql", "bagofholding_hdf"])
def test_removing(tmp_path: Path, name: str) -> None:
    # Not in a copy, whose values the original may need, too.
    fill(tmp_path, name)
    run = running(tmp_path)
    words = ("--function", "alloys.rel*", "--where", "kind=fcc", "--cache", name)
    code, out, err = run("evict", *words)
    assert (code, err) == (3, "would evict 3 calls; --yes does it\n")
    assert out.count("relax") == 3
    assert run("evict", *words, "--yes")[0] == 0
    assert run("evict", *words)[0] == 1
    assert len(data(run("find", "--json", "--cache", name))) == 2
    before = data(run("gc", "--json", "--cache", name), 3)
    (used,) = data(run("du", "--json", "--cache", name))
    assert before["values"] == used["orphans"] > 0
    assert before["bytes"] == used["orphan_bytes"]
    assert data(run("gc", "--json", "--yes", "--cache", name)) == {**before, "done": True}
    assert data(run("gc", "--json", "--cache", name))["values"] == 0
    key = data(run("find", "lattice", "--json", "--cache", name))[0]["key"]
    assert data(run("show", key[:8], "--json", "--cache", name))[0]["whole"]
    assert run("evict", key[:8], "--yes", "--cache", name)[0] == 0
    assert run("show", key[:8], "--cache", name)[0] == 2


@pytest.mark.parametrize("name", TEMPLATES)
def test_converting(run: Run, folder: Path, name: str) -> None:
    """Everything is there in the new form, and what is there already is skipped."""
    words = ("--cache", name, "--template", "sql" if name == "pickle" else "pickle")
    words += ("--root", "new", "--compress", "--remaining-depth", "1")
    code, out, err = run("convert", *words)
    assert (code, err.splitlines()[0]) == (0, "copied 5 calls")
    (folder / "fleche.toml").write_text(CONFIG + out)
    (used,) = data(run("du", "--json", "--cache", "converted"))
    assert used["records"] == 5
    again = data(run("convert", *words, "--json"))
    assert (again["copied"], again["skipped"], again["failed"]) == (0, 5, {})
    # Calls are hits there.
    code, out, _ = run("explain", "alloys:relax", "7", "kind=bcc", "--cache", "converted")
    assert (code, out.split(" as ")[0]) == (0, "relax: cached")
    assert data(run("find", "--json", "--cache", name)) == data(
        run("find", "--json", "--cache", "converted")
    )


def test_a_conversion_that_was_stopped_goes_on(run: Run, folder: Path) -> None:
    assert run("transfer", "--to", "signed", "--cache", "layers")[0] == 0
    words = ("convert", "--template", "pickle", "--root", "new")
    assert run(*words)[0] == 0
    # As if it had been stopped between values and records, and between records.
    records = sorted((folder / "new" / "calls").glob("[0-9a-f]*"))
    records[0].unlink()
    done = data(run(*words, "--json"))
    assert (done["copied"], done["skipped"]) == (1, 4)


@pytest.mark.parametrize("name", ["pickle", "database", "signed", "dill", "layers"])
def test_nothing_is_unpickled_to_be_copied_or_collected(run: Run, folder: Path, name: str) -> None:
    """The classes are gone; what is compressed and signed is so anew."""
    (folder / "alloys.py").write_text("raise SystemExit('code of the store was run')")
    template = "dill" if name == "dill" else "pickle"
    words = ("--template", template, "--root", "new", "--compress", "--cache", name)
    code, out, err = run("convert", *words)
    assert (code, err.splitlines()[0]) == (0, "copied 5 calls")
    (folder / "fleche.toml").write_text(CONFIG + out)
    target = ("--cache", "converted")
    used, before = (data(run("du", "--json", *of))[-1] for of in (target, ("--cache", name)))
    assert (used["values"], used["orphans"]) == (before["values"], 0)
    for path in (folder / "new").glob("*/[0-9a-f]*"):
        assert path.read_bytes().startswith(b"\x1f\x8b")
    if name != "dill":
        assert run("transfer", "--to", "signed", *target)[0] == 0
    assert run("evict", "--function", "relax", "--where", "x=1", "--yes", *target)[0] == 0
    collected = data(run("gc", "--json", "--yes", *target))
    (left,) = data(run("du", "--json", *target))
    assert 0 < collected["values"] == used["values"] - left["values"]
    assert left["orphans"] == 0
    # With the classes, they are hits.
    (folder / "alloys.py").write_text(ALLOYS)
    for call in ("alloys:lattice", "2"), ("alloys:relax", "7", "kind=bcc"):
        assert run("explain", *call, *target)[1].split(" as ")[0].endswith(": cached")
    assert data(run("verify", "--json", *target))["problems"] == []
    assert data(run("verify", "--json", "--cache", "signed"))["problems"] == []


def test_pickles_become_cbor(run: Run, folder: Path) -> None:
    words = ("convert", "--template", "cbor", "--root", "data", "--allow", "alloys.*")
    done = data(run(*words, "--json"))
    assert (done["copied"], done["failed"]) == (5, {})
    found = [*(folder / "data" / "values").glob("[0-9a-f]*")]
    # Each is CBOR by its own first bytes (RFC 8949, 3.4.6).
    assert {path.read_bytes()[:3] for path in found} == {b"\xd9\xd9\xf7"}
    code, _, err = run("convert", "--template", "sql", "--root", "x", "--allow", "a.*")
    assert (code, "--template cbor" in err) == (2, True)


def test_a_lost_piece_is_told_and_not_copied_around(run: Run, folder: Path) -> None:
    for path in (folder / "pickle" / "values").glob("[0-9a-f]*"):
        if b"a long text in a part" in path.read_bytes():
            path.unlink()
            break
    code, out, _ = run("convert", "--template", "sql", "--root", "new", "--json")
    done = json.loads(out)
    assert (code, done["copied"], len(done["failed"])) == (1, 1, 4)


def test_a_copy_that_is_interrupted_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fleche.cli import copying, main

    monkeypatch.chdir(folder)
    words = ["convert", "--template", "sql", "--root", "new"]
    store, left = copying._OfBytes._store, [2]

    def interrupted(self: Any, pickles: Any) -> None:
        if not left[0]:
            store(self, dict([*pickles.items()][:1]))
            raise KeyboardInterrupt
        left[0] -= 1
        store(self, pickles)

    with monkeypatch.context() as patch:
        patch.setattr(copying._OfBytes, "_store", interrupted)
        assert main([*words]) == 130
    (folder / "alloys.py").unlink()
    run = running(folder)
    done = data(run("convert", "--template", "sql", "--root", "new", "--json"))
    assert (done["copied"], done["skipped"], done["failed"]) == (3, 2, {})


def test_what_cannot_be_copied_is_said(run: Run, folder: Path) -> None:
    (folder / "alloys.py").write_text(ALLOYS.replace("class Lattice", "class Other"))
    words = ("--template", "sql", "--root", "new", "--remaining-depth", "1", "--json")
    code, out, _ = run("convert", *words)
    done = json.loads(out)
    assert (code, done["copied"], len(done["failed"])) == (1, 4, 1)
    assert run("transfer", "--to", "pickle")[0] == 2
    assert run("transfer", "--to", "looked-at")[0] == 2
    assert run("convert", "--template", "pickle", "--root", "pickle")[0] == 2
    assert run("convert", "--template", "bagofholding_hdf", "--root", "b", "--compress")[0] == 2


@pytest.mark.parametrize(
    ("words", "number"),
    [
        *[(["relax"], 4), (["alloys.*"], 5), (["nothing"], 0), (["re?ax"], 4)],
        *[(["--where", "x"], 4), (["--where", "x=7"], 1), (["--where", "kind=bcc"], 1)],
        *[(["--where", "kind='bcc'"], 1), (["--where", "x=1", "--where", "kind=bcc"], 0)],
        *[(["--where", "x=None"], 0), (["--meta", "tags.project=alloys"], 3)],
        *[(["--meta", "tags.number=3"], 3), (["--meta", "tags"], 3), (["--meta", "tags.no"], 0)],
        *[(["--newer", "1d"], 5), (["--newer", "2001-01-01"], 5), (["--older", "1d"], 0)],
        *[(["--older", "0s"], 5), (["--slower", "1h"], 0), (["--limit", "2"], 2)],
        (["-f", "relax", "-f", "lattice", "--limit", "9"], 5),
    ],
)
def test_choosing(look: Run, words: list[str], number: int) -> None:
    found = data(look("find", "--json", *words), 0 if number else 1)
    assert len(found) == number
    assert found == sorted(found, key=lambda each: each["stopped"], reverse=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["find", "--newer", "soon"], "--newer 'soon' is no time"),
        (["find", "--slower", "3 parsecs"], "--slower '3 parsecs' is no time"),
        (["find", "--where", "3=x"], "--where '3=x' is no argument"),
        (["find", "--meta", ".x"], "--meta '.x' is no metadata"),
        (["find", "--limit", "-1"], "'-1' is no whole number"),
        (["evict"], "say which calls"),
        (["evict", "abcd", "--older", "1d"], "not both"),
        (["show", "0" * 64], "there is no call"),
        (["show", "ab"], "at least 4 characters"),
        (["gc", "--cache", "looked-at"], "read-only"),
        (["convert", "--template", "sql"], "needs --root"),
        (["explain", "alloys"], "write MODULE:FUNCTION"),
        (["explain", "alloys:plain", "1"], "not decorated"),
        (["explain", "alloys:gone", "1"], "'gone' is not there"),
        (["explain", "no_module:f"], "cannot be imported"),
        (["explain", "alloys:relax"], "missing a required argument"),
        (["explain", "alloys:relax", "x=1", "2"], "write it before"),
    ],
)
def test_mistakes(look: Run, words: list[str], said: str) -> None:
    code, out, err = look(*words)
    assert (code, out) == (2, "")
    assert said in err


def test_keys_for_a_pipe(look: Run) -> None:
    code, out, _ = look("find", "relax", "--keys")
    assert (code, [len(line) for line in out.splitlines()]) == (0, [64] * 4)
    code, shown, _ = look("show", *out.split())
    assert (code, shown.count("relax of alloys")) == (0, 4)


def test_explaining(look: Run) -> None:
    assert look("explain", "alloys:relax", "1")[0] == 0
    code, out, _ = look("explain", "alloys:relax", "1", "kind=hcp")
    assert (code, "kind: was 'fcc', is 'hcp'" in out) == (1, True)
    assert data(look("explain", "alloys:relax", "1", "--json"))["hit"]


def test_a_class_that_is_gone(run: Run, folder: Path) -> None:
    key = data(run("find", "lattice", "--json"))[0]["key"]
    (folder / "alloys.py").write_text(ALLOYS.replace("class Lattice", "class Other"))
    for _ in range(2):
        code, out, _ = run("show", key)
        assert code == 1
        assert "a = 2" in out
        assert "alloys.Lattice cannot be imported here" in out
        code, out, _ = run("doctor")
        assert code == 1
        assert "alloys.Lattice cannot be imported here" in out
        assert data(run("du", "--json"))[0]["orphans"] == 0
        (folder / "alloys.py").unlink(missing_ok=True)


def test_a_record_that_cannot_be_read(run: Run, folder: Path) -> None:
    key = data(run("find", "lattice", "--json"))[0]["key"]
    (folder / "pickle" / "calls" / key).write_bytes(b"no pickle")
    code, _, err = run("show", key[:10])
    assert code == 2
    assert f"the record of {key} cannot be read" in err
    code, out, _ = run("doctor")
    assert code == 1
    assert "1 record of 5 cannot be read" in out
    assert run("evict", key[:10], "--yes")[0] == 0
    assert run("doctor")[0] == 0


def test_a_damaged_value(run: Run, folder: Path) -> None:
    values = (folder / "signed" / "values").glob("[0-9a-f]*")
    value = max(values, key=lambda path: path.stat().st_size)
    value.write_bytes(b"\x80\x04\x8c\x02os\x8c\x06getcwd\x93)R.")  # without a signature
    code, out, _ = run("doctor", "--cache", "signed")
    assert code == 1
    assert value.name in out
    keys = run("find", "--keys", "--cache", "signed")[1].split()
    code, out, _ = run("show", *keys, "--cache", "signed")
    assert code == 1
    assert "its signature does not hold" in out
    # What it would have run gives the folder's name.
    assert not any(str(folder) in line for line in out.splitlines() if "cwd" not in line)


def test_doctor_changes_nothing(run: Run, folder: Path) -> None:
    left = folder / "pickle" / "values" / f".{'0' * 64}.0000-1-0.tmp"
    left.touch()
    running_calls = folder / "pickle" / "calls" / ".fleche-running"
    running_calls.mkdir()
    note = {"host": "n1", "process": 1, "thread": "t", "since": 1.0, "waits_for": None}
    (running_calls / f"{'1' * 64}.holder").write_text(json.dumps(note))
    code, out, err = run("doctor")
    assert (code, err) == (0, "no problem found\n")
    assert "1 temporary file" in out
    assert "1 claim of processes that died" in out
    assert [each["level"] for each in data(run("doctor", "--json"))].count("problem") == 0
    assert run("doctor", "--cache", "layers")[0] == 0


def test_a_place_that_is_out_of_reach(run: Run, folder: Path) -> None:
    (folder / "file").touch()
    text = '\n[away]\ntemplate = "pickle"\nroot = "file/below"\n'
    (folder / "fleche.toml").write_text(CONFIG + text)
    code, out, _ = run("doctor", "--cache", "away")
    assert code == 1
    assert "cannot be made" in out
