"""`fleche.metadata`: what each kind gathers."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fleche
from fleche.call import Call
from fleche.metadata import CONFIGURABLE, Environment, Git, MetaData, Runtime, Tags, configurable

CALL = Call("f", {})


def gathered(metadata: MetaData) -> dict[str, Any]:
    pre = metadata.pre(CALL)
    values = {**pre, **metadata.post(pre, CALL)}
    assert json.loads(json.dumps(values)) == values
    assert values.keys() <= metadata.keys.keys()
    return values


def git(*args: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=b@c"]
    subprocess.run(["git", *identity, *args], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git("init", "-b", "trunk")
    return tmp_path


class TestRuntime:
    def test_values(self) -> None:
        values = gathered(Runtime())
        assert list(values) == ["timestart", "cputime", "systime", "timestop", "walltime"]
        assert all(type(value) is float for value in values.values())
        assert values["walltime"] == values["timestop"] - values["timestart"] >= 0

    def test_counts_own_work(self) -> None:
        runtime = Runtime()
        pre = runtime.pre(CALL)
        while (post := runtime.post(pre, CALL))["cputime"] + post["systime"] < 0.02:
            sum(range(10_000))
        assert post["walltime"] >= 0.01

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows counts no finished children")
    def test_counts_finished_children(self) -> None:
        runtime = Runtime()
        own = os.times()
        pre = runtime.pre(CALL)
        work = "import time\nwhile time.process_time() < 0.3: pass"
        subprocess.run([sys.executable, "-c", work], check=True)
        post = runtime.post(pre, CALL)
        spent_here = os.times().user + os.times().system - own.user - own.system
        assert post["cputime"] + post["systime"] >= 0.2 + spent_here


class TestEnvironment:
    def test_values(self) -> None:
        assert gathered(Environment()) == {
            "hostname": socket.gethostname(),
            "username": gathered(Environment())["username"],
            "cwd": os.getcwd(),
            "fleche_version": fleche.__version__,
            "python_version": platform.python_version(),
        }

    def test_a_user_that_no_database_knows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            monkeypatch.delenv(name, raising=False)

        def unknown() -> str:
            raise KeyError("getpwuid(): uid not found")

        monkeypatch.setattr("getpass.getuser", unknown)
        assert gathered(Environment())["username"] == str(os.getuid())

    def test_a_removed_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "gone"
        folder.mkdir()
        monkeypatch.chdir(folder)
        folder.rmdir()
        assert gathered(Environment())["cwd"] == ""


class TestGit:
    NOTHING = dict.fromkeys(["root", "commit", "branch", "dirty"])

    def test_outside_a_repository(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        assert gathered(Git()) == self.NOTHING

    def test_without_git(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(repository / "nothing here"))
        assert gathered(Git()) == self.NOTHING

    def test_before_the_first_commit(self, repository: Path) -> None:
        expected = {**self.NOTHING, "root": str(repository.resolve()), "dirty": False}
        assert gathered(Git()) == expected

    def test_states(self, repository: Path) -> None:
        (repository / "a").write_text("1")
        git("add", "a")
        git("commit", "-m", "first")
        clean = gathered(Git())
        assert (clean["branch"], clean["dirty"]) == ("trunk", False)
        assert len(clean["commit"]) == 40
        (repository / "b").write_text("untracked")
        assert gathered(Git()) == {**clean, "dirty": True}
        git("add", "b")
        git("commit", "-m", "second")
        assert gathered(Git())["commit"] != clean["commit"]
        (repository / "a").write_text("2")
        assert gathered(Git())["dirty"] is True
        git("checkout", "a")
        git("checkout", "--detach")
        assert gathered(Git())["branch"] == "HEAD"

    def test_from_a_folder_inside(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (repository / "sub").mkdir()
        monkeypatch.chdir(repository / "sub")
        assert gathered(Git())["root"] == str(repository.resolve())


class TestTags:
    def test_values(self) -> None:
        tags = Tags({"a": 1, "b": ["x"]})
        assert gathered(tags) == {"a": 1, "b": ["x"]}
        assert tags.keys == {"a": int, "b": list}
        assert repr(tags) == "Tags(tags={'a': 1, 'b': ['x']}, name='tags')"
        assert tags == Tags({"a": 1, "b": ["x"]})

    def test_the_record_does_not_share_the_dict(self) -> None:
        tags = Tags({"a": 1})
        tags.pre(CALL)["b"] = 2
        assert tags.tags == {"a": 1}


class TestOwn:
    def test_defaults(self) -> None:
        class Own(MetaData):
            name = "own"

        assert gathered(Own()) == {}
        assert Own().keys == {}

    def test_configurable_sets_the_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(CONFIGURABLE, "Own", MetaData)

        class Own(MetaData):
            name = "other"

        assert configurable(Own) is Own
        assert Own.name == "own"
        assert CONFIGURABLE["Own"] is Own

    def test_built_in(self) -> None:
        assert {"Runtime": Runtime, "Environment": Environment, "Git": Git} == CONFIGURABLE
        assert [m.name for m in (Runtime, Environment, Git)] == ["runtime", "environment", "git"]
