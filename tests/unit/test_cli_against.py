"""`fleche doctor --against`: values, and the packages that they need."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import numpy
import pytest

from fleche.caches import Cache
from fleche.cli.against import check_against
from fleche.cli.requirements import Requirement, read
from fleche.storage import CallPickleFile, ValuePickleFile

from .commands import run_fleche

VERSION = importlib.metadata.version("numpy")


@pytest.fixture
def filled(tmp_path: Path) -> Cache:
    values = ValuePickleFile(tmp_path / "values")
    values.save(numpy.arange(100_000))
    values.save([1, "text"])
    return Cache(values=values, calls=CallPickleFile(tmp_path / "calls"))


def told(filled: Cache, text: str | None, folder: Path) -> list[str]:
    wanted = None
    if text is not None:
        (folder / "wanted.txt").write_text(text)
        wanted = read(folder / "wanted.txt")
    return [f"{each.level}: {each.text}" for each in check_against(filled, wanted)]


def test_what_fits(filled: Cache, tmp_path: Path) -> None:
    for text in (None, "numpy", f"numpy == {VERSION}  # pinned", "pandas>=1"):
        assert told(filled, text, tmp_path) == ["ok: 2 values looked at, all fit"]


def test_other_versions_and_missing_packages(filled: Cache, tmp_path: Path) -> None:
    (said,) = told(filled, "numpy<1.2,>=1.1", tmp_path)
    assert said.startswith(
        f"note: 1 value of 2 is pickled by numpy {VERSION}; required is numpy<1.2"
    )
    (said,) = told(filled, "six", tmp_path)
    assert said.startswith("problem: 1 value of 2 needs numpy, which is not among the requirements")
    for path in (tmp_path / "values").glob("[0-9a-f]*"):
        os.utime(path, (0, 0))
    (said,) = told(filled, None, tmp_path)
    assert said.startswith("note: 1 value of 2 is pickled by numpy as it was before ")


def test_classes_that_are_gone_and_damage(filled: Cache, tmp_path: Path) -> None:
    paths = [*(tmp_path / "values").glob("[0-9a-f]*")]
    paths[0].write_bytes(b"\x80\x04cno_such_package\nClass\n)\x81.")
    paths[1].write_bytes(b"\x80\x04K")
    damaged, gone = told(filled, None, tmp_path)
    assert damaged.startswith("problem: 1 value of 2 is damaged")
    assert gone.startswith("problem: 1 value of 2 needs no_such_package.Class, which cannot be imp")


def test_files_of_requirements(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("\ufeffSix ; python_version > '3'\n-r all.txt\n")
    (tmp_path / "all.txt").write_text(
        "-r base.txt\n# note\n--index-url https://index.example\n\n"
        "Foo_Bar[x,y]>=1, <2 \\\n  # more\n"
        "tool @ https://example.org/tool.whl\nexact==1.0 --hash=sha256:00\n"
    )
    found = read(tmp_path / "all.txt")
    assert [*map(str, found.values())] == ["six", "foo-bar>=1,<2", "tool", "exact==1.0"]
    (tmp_path / "bad.txt").write_text("six\n./local\n")
    with pytest.raises(ValueError, match=r"bad\.txt, line 2: '\./local' names no package"):
        read(tmp_path / "bad.txt")


@pytest.mark.parametrize(
    ("clause", "admitted", "refused"),
    [
        ("==1.0", "1.0.0 1 1.0", "1.0.1 1.0rc1 1.0.post1"),
        ("~=1.4.2", "1.4.2 1.4.9", "1.5 1.4.1 2"),
        ("!=1.*", "2.0 0.9", "1.0 1.5"),
        (">1.0", "1.0.1 2 1.0.post1", "1.0 1.0rc1 0.9"),
        ("<2", "1.9 2rc1", "2 2.0 2.1"),
        ("===1.0+local", "1.0+local", "1.0"),
    ],
)
def test_versions(clause: str, admitted: str, refused: str, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(f"package{clause}")
    (wanted,) = read(tmp_path / "one.txt").values()
    assert isinstance(wanted, Requirement)
    assert all(map(wanted.admits, admitted.split()))
    assert not any(map(wanted.admits, refused.split()))


def test_the_command(filled: Cache, tmp_path: Path) -> None:
    config = '[default]\nroot = true\ncache = "c"\n[c]\n'
    config += (
        'values = {type = "pickle", root = "values"}\ncalls = {type = "pickle", root = "calls"}\n'
    )
    (tmp_path / "fleche.toml").write_text(config)
    (tmp_path / "new.txt").write_text("six\n")
    status, out, _ = run_fleche(tmp_path, "doctor", "--against", "new.txt")
    assert status == 1
    assert "needs numpy" in out
    status, _, said = run_fleche(tmp_path, "doctor", "--against", "none.txt")
    assert status == 2
    assert "none.txt" in said
