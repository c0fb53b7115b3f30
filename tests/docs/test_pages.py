"""The examples in the pages run as they stand.

`pycon` sessions are doctests, `python` blocks whole scripts, `toml` is TOML. In a `console` block
`$ ` begins a command for the shell, `> ` goes on with it. What follows is what it prints on
standard output, with `...` for what differs from run to run; `[exit status N]` is its status, if
that is not 0. The `console` blocks of a page run one after the other in one folder.
"""

from __future__ import annotations

import doctest
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import fleche
from fleche.config import cache_from_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], key=lambda page: page.relative_to(ROOT)
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Return the fenced blocks of a language, each with the line it starts on."""
    text = page.read_text()
    return [
        (text.count("\n", 0, match.start(2)), match[2])
        for match in FENCE.finditer(text)
        if match[1] == language
    ]


def with_blocks(language: str) -> list[pytest.param]:
    return [
        pytest.param(page, id=str(page.relative_to(ROOT)))
        for page in PAGES
        if blocks(page, language)
    ]


@pytest.mark.parametrize("page", with_blocks("pycon"))
def test_sessions_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    names: dict[str, object] = {"__name__": "__main__"}
    report: list[str] = []
    memory = {"type": "memory"}
    with fleche.cache(cache_from_config({"values": memory, "calls": memory})):
        for line, source in blocks(page, "pycon"):
            test = parser.get_doctest(source, names, page.name, str(page), line)
            runner.run(test, out=report.append, clear_globs=False)
            names = test.globs
    assert not report, "".join(report)


@pytest.mark.parametrize("page", with_blocks("python"))
def test_scripts_run(page: Path, tmp_path: Path) -> None:
    for number, (_, source) in enumerate(blocks(page, "python")):
        folder = tmp_path / str(number)
        folder.mkdir()
        script = folder / "script.py"
        script.write_text(source)
        done = subprocess.run(
            [sys.executable, script], cwd=folder, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", with_blocks("toml"))
def test_toml_parses(page: Path) -> None:
    for _, source in blocks(page, "toml"):
        tomllib.loads(source)


STATUS = re.compile(r"\[exit status (\d+)\]\n\Z")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def commands(text: str) -> Iterator[tuple[str, str, int]]:
    """The commands of a block, each with what it prints and its exit status."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        more = 1
        while more < len(lines) and lines[more].startswith(">"):
            lines[more] = lines[more][1:].removeprefix(" ")
            more += 1
        expected = "".join(lines[more:])
        status = STATUS.search(expected)
        yield (
            "".join(lines[:more]),
            STATUS.sub("", expected),
            0 if status is None else int(status[1]),
        )


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("page", with_blocks("console"))
def test_commands_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    begin = f'fleche() {{ "{sys.executable}" -m fleche "$@"; }}; '
    begin += f'python() {{ "{sys.executable}" "$@"; }}\n'
    for line, text in blocks(page, "console"):
        for command, expected, status in commands(text):
            done = subprocess.run(
                ["bash", "-c", begin + command],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            said = f"{page.name}:{line}: {command}{done.stdout}{done.stderr}"
            assert done.returncode == status, said
            assert doctest.OutputChecker().check_output(expected, done.stdout, FLAGS), said
