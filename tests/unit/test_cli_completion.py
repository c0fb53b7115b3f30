"""Completion in zsh and fish, as their users see it: in real shells, on a terminal."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .commands import run_fleche

pty = pytest.importorskip("pty", reason="needs a terminal")

# A machine that is busy takes its time.
PATIENCE = 60.0

# What moves the cursor, asks the terminal, or gives colours.
CONTROL = re.compile(
    rb"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|P[^\x1b]*\x1b\\|[\[?][0-9;?>=]*[ -/]*[@-~]|[()].|.)"
    rb"|[\x07\x0f]"
)


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.process, self._file = pty.fork()
        if self.process == 0:  # pragma: no cover
            os.chdir(folder)
            os.execvpe(command[0], command, environment)
        self._shown = b""

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def wait_for(self, pattern: str) -> str:
        """What the terminal shows until this is there.

        Raises:
            AssertionError: if it does not come.
        """
        end = time.monotonic() + PATIENCE
        while True:
            shown = CONTROL.sub(b"", self._shown).decode(errors="replace")
            if (found := re.search(pattern, shown)) is not None:
                self._shown = b""
                return shown[: found.end()]
            left = end - time.monotonic()
            assert left > 0, f"{pattern!r} is not in {shown!r}"
            if select.select([self._file], [], [], left)[0]:
                more = os.read(self._file, 1 << 16)
                # fish asks what the terminal is, and waits for the answer.
                if b"\x1b[c" in more or b"\x1b[0c" in more:
                    os.write(self._file, b"\x1b[?62;c")
                if b"\x1b[6n" in more:
                    os.write(self._file, b"\x1b[1;1R")
                self._shown += more

    def close(self) -> None:
        os.close(self._file)
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, the command, and the scripts of the shells."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "fleche.toml").write_text(
        '[default]\nroot = true\ncache = "mine"\n[mine]\ntemplate = "pickle"\nroot = "s"\n'
        '[many]\ntemplate = "memory"\n'
    )
    script = "import fleche\n@fleche.fleche\ndef relax(x):\n    return [x]\nrelax(1)\n"
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True)
    command = folder / "bin" / "fleche"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m fleche "$@"\n')
    command.chmod(0o755)
    for shell, name in (
        ("zsh", "functions/_fleche"),
        ("fish", ".config/fish/completions/fleche.fish"),
    ):
        code, out, _ = run_fleche(folder, "completion", shell)
        assert code == 0
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(out)
    (folder / ".zshrc").write_text(
        "fpath=($HOME/functions $fpath)\nautoload -Uz compinit && compinit -u\n"
        "PROMPT='ready> '\nunsetopt BEEP PROMPT_SP\n"
    )
    (folder / ".config/fish/config.fish").write_text(
        "function fish_prompt\n  echo -n 'ready> '\nend\nset -g fish_greeting\n"
        "set -g fish_autosuggestion_enabled 0\n"
    )
    return folder


@pytest.fixture(scope="module", params=["zsh", "fish"])
def terminal(request: pytest.FixtureRequest, folder: Path) -> Iterator[Terminal]:
    shell = shutil.which(request.param)
    if shell is None:
        if os.environ.get("FLECHE_TESTS_SKIP_MISSING"):
            pytest.skip(f"{request.param} is not installed")
        pytest.fail(f"{request.param} is not installed, which `bash tests/run` does", pytrace=False)
    environment = {
        "HOME": str(folder),
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "TERM": "xterm",
        "LANG": "C.UTF-8",
    }
    terminal = Terminal([shell, "-i"], folder, environment)
    try:
        terminal.wait_for("ready> ")
        yield terminal
    finally:
        terminal.close()


@pytest.fixture
def complete(terminal: Terminal) -> Callable[[str], str]:
    """Types the beginning of a line and a tabulator; gives the line when it was run by `echo`."""

    def complete(line: str) -> str:
        terminal.type(f"{line}\t")
        # What the line is by then is said by the shell itself.
        terminal.type("\x01echo '[' \x05 ']'\r")
        return re.sub(r"\s+", " ", terminal.wait_for(r"\n\r*\[ [^\n]* \]")).partition("[ ")[2]

    return complete


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ("fleche conv", "fleche convert ]"),
        ("fleche find --whe", "fleche find --where ]"),
        ("fleche ls --cache mi", "fleche ls --cache mine ]"),
        ("fleche find re", "fleche find relax ]"),
        ("fleche evict --function re", "fleche evict --function relax ]"),
        ("fleche convert --template sq", "fleche convert --template sql ]"),
        ("fleche completion zs", "fleche completion zsh ]"),
    ],
)
def test_what_was_begun_is_completed(complete: Callable[[str], str], line: str, whole: str) -> None:
    assert complete(line) == whole


def test_several_are_shown(terminal: Terminal) -> None:
    terminal.type("fleche ls --cache m\t\t")
    shown = terminal.wait_for(r"(?s)many.*mine|mine.*many")
    assert "relax" not in shown
    terminal.type("\x03")
