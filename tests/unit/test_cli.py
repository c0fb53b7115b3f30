"""The command line: what each command prints, for people and for programs, and its exit status."""

from __future__ import annotations

import functools
import io
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, cli, fleche
from fleche.cli import command, output, stores
from fleche.config import cache_from_config
from fleche.look import numbers

from .commands import run_fleche

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, which is the working directory."""
    (tmp_path / "fleche.toml").write_text(
        '[default]\nroot = true\ncache = "mine"\n'
        '[mine]\ntemplate = "pickle"\nroot = "store"\n'
        '[other]\ntemplate = "sql"\nroot = "other"\nvalues = "pickle"\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs a command in a process of its own, in the folder."""

    return functools.partial(run_fleche, folder)


@fleche(hash_code=False)
def double(x: int) -> int:
    return 2 * x


@fleche(hash_code=False)
def listed(x: int, note: str = "") -> list[Any]:
    return [x, note]


def fill(folder: Path, template: dict[str, Any] | None = None) -> None:
    config = template or {"template": "pickle", "root": folder / "store"}
    with cache(cache_from_config(config)):
        for x in range(5):
            double(x)
        listed(1, note="a note")


def test_ls(run: Run, folder: Path) -> None:
    fill(folder)
    code, out, err = run("ls")
    assert (code, err) == (0, "")
    title, *lines = out.splitlines()
    names = ["function", "module", "calls", "computation", "newest", "bytes", "shared"]
    assert title.split() == names
    assert sorted(line.split()[:3] for line in lines) == [
        ["double", __name__, "5"],
        ["listed", __name__, "1"],
    ]
    code, out, _ = run("ls", "--json")
    assert {each["function"]: each["calls"] for each in json.loads(out)} == {
        "double": 5,
        "listed": 1,
    }
    fill(folder, {"template": "sql", "root": folder / "other", "values": "pickle"})
    assert len(json.loads(run("ls", "--json", "--cache", "other")[1])) == 2


def test_mistakes_are_said(run: Run, folder: Path) -> None:
    code, out, err = run("ls", "--cache", "mien")
    assert (code, out) == (2, "")
    assert "there is no cache 'mien'" in err
    assert "Did you mean 'mine'" in err
    (folder / "fleche.toml").write_text("[default]\nroot = true\n")
    assert run("ls")[0] == 2
    (folder / "fleche.toml").write_text("[default]\nroot = true\ncache = 'a'\n[a]\nbad = 1\n")
    code, out, err = run("ls")
    assert (code, out) == (2, "")
    assert "fleche.toml" in err
    assert "Traceback" not in err


def test_every_command_says_what_it_does(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name in command.COMMANDS:
        assert name in {line.split()[0] for line in out.splitlines() if line.startswith("    ")}
        code, helped, err = run(name, "--help")
        assert (code, err) == (0, "")
        loaded = command.load(name)
        assert loaded.help.casefold() in " ".join(helped.split()).casefold()


def test_a_reader_that_has_seen_enough(run: Run, folder: Path) -> None:
    fill(folder)
    shell = f"{sys.executable} -m fleche ls --json | head -1"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True, cwd=folder)
    assert done.stdout == "[\n"
    assert "Traceback" not in done.stderr


def test_interrupts_end_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str | None) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("fleche.cli.commands.ls.cache_named", interrupted)
    assert cli.main(["ls"]) == command.INTERRUPTED


def read_terminal(descriptor: int, into: bytearray) -> None:
    """All that is written to a terminal, to the end: where nobody has it open, it is an error."""
    with os.fdopen(descriptor, "rb", buffering=0) as reader, suppress(OSError):
        while part := reader.read(65536):
            into += part


def test_tables_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With colours by `rich`; as plain text without it."""
    reader, writer = pty.openpty()
    written = bytearray()
    # A terminal hands on what is written piece by piece, and all of it only to who reads on.
    reading = threading.Thread(target=read_terminal, args=(reader, written))
    reading.start()
    with os.fdopen(writer, "w") as terminal:
        out = output.Output(False, terminal, terminal)
        out.table([output.Column("function", style="bold"), output.Column("n", right=True)], [])
        assert [*out.progress([1, 2], "Reading")] == [1, 2]
        out.line("[not markup]")
        monkeypatch.setitem(sys.modules, "rich.console", None)
        output.Output(False, terminal, terminal).line("plain")
    reading.join()
    text = written.decode()
    assert "\x1b[" in text
    assert "[not markup]" in text
    assert text.endswith("plain\r\n")


def test_json_is_all_that_is_printed() -> None:
    out = io.StringIO()
    output.Output(True, out).give({"a": Path("b")}, lambda: pytest.fail("for people"))
    assert json.loads(out.getvalue()) == {"a": "b"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[(0, "0 us"), (2e-3, "2 ms"), (1.4, "1 s"), (89, "89 s"), (95, "2 min"), (7200, "2.0 h")],
        *[(3 * 86400, "3.0 d"), (3e8, "9.5 y"), (None, "?")],
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert numbers.duration(seconds) == text


def test_calls_by_the_beginning_of_their_key(folder: Path) -> None:
    fill(folder)
    held = stores.cache_named(None)
    key = double.call(1).to_lookup_key()
    assert stores.call_of(held, key[:10]).result == 2
    with pytest.raises(stores.Mistake, match="at least 4 characters"):
        stores.call_of(held, key[:3])
    with pytest.raises(stores.Mistake, match="no call"):
        stores.call_of(held, "0" * 64)


def test_a_machine_that_cannot_be_reached(run: Run, folder: Path) -> None:
    with (folder / "fleche.toml").open("a") as file:
        file.write('[far]\ntype = "ssh"\nhost = "nowhere.invalid"\n')
    for words in (["ls"], ["find", "f"], ["report", "-o", "page.html"]):
        code, out, err = run(*words, "--cache", "far")
        assert (code, out) == (2, "")
        assert "nowhere.invalid" in err
        assert "Traceback" not in err
