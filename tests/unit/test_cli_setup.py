"""Commands about the configuration, and completion."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche.cli import toml
from fleche.cli.command import COMMANDS
from fleche.storage.raw import names_in

from .commands import run_fleche


def test_init_asks_two_questions(tmp_path: Path) -> None:
    code, out, err = run_fleche(tmp_path, "init", answers="my results\nx\n3\n")
    assert (code, out) == (0, "")
    assert "(recommended)" in err
    assert "'x' is none of them" in err
    written = (tmp_path / "fleche.toml").read_text()
    assert tomllib.loads(written)["results"]["template"] == "sql"
    assert tomllib.loads(written)["results"]["root"] == "my results"
    code, _, err = run_fleche(tmp_path, "init", "--yes")
    assert (code, "is there already" in err) == (2, True)
    assert (tmp_path / "fleche.toml").read_text() == written
    assert run_fleche(tmp_path, "config")[0] == 0
    assert run_fleche(tmp_path, "doctor")[0] == 0


@pytest.mark.parametrize(
    "template", ["sqlite", "pickle", "cloudpickle", "dill", "cbor", "sql", "bagofholding_hdf"]
)
def test_init_asks_nothing(tmp_path: Path, template: str) -> None:
    assert run_fleche(tmp_path, "init", "--yes", "--template", template, "--root", 'a "b"')[0] == 0
    script = "import fleche\n@fleche.fleche\ndef f(x):\n    return [x]\nf(1)\n"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    code, out, _ = run_fleche(tmp_path, "ls", "--json")
    assert (code, [each["function"] for each in json.loads(out)]) == (0, ["f"])
    assert (tmp_path / 'a "b"').is_dir()


def test_init_writes_nothing_unless_it_is_told(tmp_path: Path) -> None:
    assert run_fleche(tmp_path, "init")[0] == 3
    assert run_fleche(tmp_path, "init", answers="")[0] == 2
    assert not any(tmp_path.iterdir())


def test_config(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "fleche.toml").write_text(
        '[default]\nroot = true\ncache = "mine"\n[mine]\ntemplate = "memory"\n'
        '[keyed]\nvalues = {type = "pickle", root = "v", secret_key = ["00ffee"]}\n'
        'calls = {type = "sql", url = "postgresql://me:word@host/db"}\n'
    )
    (inner / "fleche.toml").write_text('[mine]\ntemplate = "pickle"\nroot = "store"\n')
    files = [str(inner / "fleche.toml"), str(tmp_path / "fleche.toml")]
    assert run_fleche(inner, "config", "--path") == (0, "\n".join(files) + "\n", "")
    _, out, _ = run_fleche(inner, "config")
    assert "00ffee" not in out
    assert ":word@" not in out
    assert f"from {files[0]}, hides that of {files[1]}" in out
    said = json.loads(run_fleche(inner, "config", "mine", "--json")[1])
    assert [each["name"] for each in said["sections"]] == ["mine"]
    assert "files written by pickle" in said["sections"][0]["means"]
    # What it prints of a section is a section.
    assert "keyed" in tomllib.loads(out.partition("\n\n")[2])
    assert not (inner / "store").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[default", "cannot be read"),
        ('[a]\ntemplate = "pickel"\nroot = "x"', "Unknown cache template 'pickel'"),
        ('[a]\ntemplate = "pickle"', "missing key 'root'"),
        ('[default]\ncache = "b"\n[a]\ntemplate = "memory"', "there is no section 'b'"),
        ('[default]\nmetadata = ["Runtimes"]', "Did you mean 'Runtime'"),
        ("[default]\nstrikt = true", "Did you mean 'strict'"),
        ("[defualt]\nstrict = true", "should it be [default]?"),
        ("a = 1", "expected a cache's table"),
    ],
)
def test_mistakes_in_files(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "fleche.toml").write_text(text)
    code, _, err = run_fleche(tmp_path, "config")
    assert code == 1
    assert said in err
    assert "fleche.toml" in err or "[defualt]" in err
    code, out, _ = run_fleche(tmp_path, "doctor")
    assert code == 1
    assert said in out


def test_no_file(tmp_path: Path) -> None:
    assert run_fleche(tmp_path, "ls")[0] == 2
    code, out, err = run_fleche(tmp_path, "config")
    assert (code, out, "fleche init" in err) == (0, "", True)


_VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b c", "d.e"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["root", "once", "x y"]), _VALUES))
def test_sections_are_read_as_they_were_written(config: dict[str, object]) -> None:
    assert tomllib.loads(toml.section("mine", config)) == {"mine": config}


@given(st.binary(max_size=200))
def test_any_bytes_are_looked_at(data: bytes) -> None:
    try:
        names = names_in(data)
    except ValueError:
        return
    assert all(isinstance(name, str) for pair in names for name in pair)


def completed(folder: Path, *words: str) -> set[str]:
    """What bash completes the last of these words to."""
    script = run_fleche(folder, "completion", "bash")[1]
    python = folder / "fleche"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -m fleche "$@"\n')
    python.chmod(0o755)
    line = " ".join(f"'{word}'" for word in (str(python), *words))
    asked = (
        f"{script}\nshopt -s extglob\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}\n_fleche\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, cwd=folder, check=True
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_completion_in_bash(tmp_path: Path) -> None:
    (tmp_path / "fleche.toml").write_text(
        '[default]\nroot = true\ncache = "mine"\n[mine]\ntemplate = "pickle"\nroot = "s"\n'
        '[many]\ntemplate = "memory"\n'
    )
    script = "import fleche\n@fleche.fleche\ndef relax(x):\n    return [x]\nrelax(1)\n"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert completed(tmp_path, "") == {*COMMANDS, "--help", "--version"}
    assert completed(tmp_path, "c") == {"check", "config", "convert", "completion"}
    assert {"--where", "--meta", "--json", "--cache"} <= completed(tmp_path, "find", "--")
    assert completed(tmp_path, "ls", "--cache", "m") == {"mine", "many"}
    assert completed(tmp_path, "evict", "--function", "") == {"relax"}
    assert completed(tmp_path, "find", "re") == {"relax"}
    assert completed(tmp_path, "convert", "--template", "s") == {"sql", "sqlite"}
    assert completed(tmp_path, "completion", "") >= {"bash", "zsh", "fish"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_completion_runs_nothing_that_stands_in_a_name(tmp_path: Path) -> None:
    (tmp_path / "fleche.toml").write_text(
        '[default]\nroot = true\n["$(touch ran)"]\ntemplate = "memory"\n[m]\ntemplate = "memory"\n'
    )
    assert "m" in completed(tmp_path, "ls", "--cache", "")
    assert not (tmp_path / "ran").exists()


def test_commands_start_fast(tmp_path: Path) -> None:
    """Nothing is imported that a command does not need."""
    code = "import sys; from fleche.cli import main; main(['ls', '--no-bytes', '--json']); print(\n"
    code += "    *({'numpy', 'h5py', 'pandas', 'rich', 'sqlalchemy', 'difflib'} & {*sys.modules}))"
    (tmp_path / "fleche.toml").write_text(
        '[default]\nroot = true\ncache = "mine"\n[mine]\ntemplate = "pickle"\nroot = "s"\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
        env={**os.environ, "PYTHONSAFEPATH": ""},
    )
    assert done.stdout.split() == ["[]"]
