"""`python -m fleche`: what it says, and its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fleche


def run(*words: str, folder: Path | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "fleche", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=folder,
    )
    return done.returncode, done.stdout, done.stderr


def test_without_arguments_it_explains_itself() -> None:
    code, out, err = run()
    assert (code, out) == (2, "")
    for part in ("usage: python -m fleche", "remote", "--version", "examples:"):
        assert part in err


def test_help() -> None:
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert "usage: python -m fleche" in out
    assert "run the remote cache RPC server (used by SshCache)" in out
    code, out, err = run("remote", "--help")
    assert (code, err) == (0, "")
    assert "run the cache server reading RPC frames from stdin" in out
    assert "named cache from the local fleche.toml" in " ".join(out.split())


def test_version() -> None:
    assert run("--version") == (0, f"fleche {fleche.__version__}\n", "")


def test_remote_without_serve_says_what_to_do() -> None:
    code, out, err = run("remote")
    assert (code, out) == (2, "")
    assert "nothing to do; pass --serve to run the cache server" in err


def test_mistakes() -> None:
    for words in (("nope",), ("remote", "--nope"), ("--serve",)):
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert "python -m fleche" in err


def test_a_server_without_input_ends(tmp_path: Path) -> None:
    (tmp_path / "fleche.toml").write_text('[default]\nroot = true\ncache = "memory"\n')
    assert run("remote", "--serve", folder=tmp_path) == (0, "", "")


def test_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "fleche.toml").write_text('[default]\nroot = true\ncache = "c"\n[c]\nx = 1\n')
    code, out, err = run("remote", "--serve", folder=tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith("fleche remote: ")
    assert "unknown key 'x'" in err
