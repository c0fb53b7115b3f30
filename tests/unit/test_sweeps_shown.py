"""What people see of a sweep: its progress, its table, its `repr`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleche import SweepFailed, cache, fleche, meta
from fleche.caches import BaseCache
from fleche.config import cache_from_config
from fleche.metadata import Runtime

from .calls import memory_cache

ran: list[Any] = []


@fleche
def invert(x: float) -> float:
    ran.append(x)
    return 1 / x


@pytest.fixture(autouse=True, params=["memory", "sql"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    """A cache, active."""
    ran.clear()
    config = {"template": "sql", "values": "pickle", "root": str(tmp_path / "store")}
    with cache(made := memory_cache() if request.param == "memory" else cache_from_config(config)):
        yield made


# Progress


class Terminal:
    """Where bars are shown."""

    def __init__(self) -> None:
        self.text = ""
        self.is_closed = False

    def write(self, text: str) -> int:
        if self.is_closed:
            raise ValueError("I/O operation on closed file")
        self.text += text
        return len(text)

    def flush(self) -> None:
        if self.is_closed:
            raise ValueError("I/O operation on closed file")

    def isatty(self) -> bool:
        return True

    encoding = "utf-8"


@pytest.fixture
def to_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Has standard error be a terminal, from where it is called on."""

    def show() -> Terminal:
        made = Terminal()
        monkeypatch.setattr("sys.stderr", made)
        return made

    return show


def test_a_bar_shows_hits_runs_and_failures(to_terminal: Callable[[], Terminal]) -> None:
    terminal = to_terminal()
    invert(1)
    invert.map([1, 2, 0, 4], errors="return").run()
    assert "invert:" in terminal.text
    assert "4/4" in terminal.text
    assert "1 hits, 3 runs, 1 failed" in terminal.text


def test_no_bar_where_nobody_looks_or_nothing_runs(
    to_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = to_terminal()
    invert.map([1, 2], progress=False).run()
    invert.map([1, 2]).run()
    monkeypatch.setattr(terminal, "isatty", lambda: False)
    invert.map([3, 4]).run()
    assert terminal.text == ""
    monkeypatch.setattr("sys.stderr", None)
    invert.map([5]).run()


def test_the_time_left_is_told_by_earlier_calls(
    to_terminal: Callable[[], Terminal], held: BaseCache
) -> None:
    terminal = to_terminal()
    for x in (1, 2, 4):
        invert(x)
    for call in [*held.query(name="invert")]:
        fetched = call.fetch()
        fetched.metadata = {"runtime": {"walltime": 30.0}}
        held.save(fetched)
    with meta(Runtime()):
        invert.map(range(100, 103)).run()
    assert "about 01:30 left" in terminal.text, "by other calls of the function"
    terminal.text = ""
    invert.map([1, 2, *range(10, 30)]).run()
    assert "about 10:00 left" in terminal.text, "by the hits of the sweep"
    assert "about" not in terminal.text.rpartition("\r")[2], "until one has ended"


def test_a_closed_terminal_ends_the_bar_alone(to_terminal: Callable[[], Terminal]) -> None:
    terminal = to_terminal()

    @fleche
    def closing(x: int) -> int:
        terminal.is_closed = True
        return x

    assert closing.map(range(100)).results() == [*range(100)]


def test_tqdm_is_asked_for_where_a_bar_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"pip install 'fleche\[progress\]'"):
        invert.map([1], progress=True)
    assert invert.map([1]).results() == [1]


# Tables


def test_a_table_shows_arguments_results_and_what_became_of_each(held: BaseCache) -> None:
    invert(1)
    sweep = invert.map([1, 2, 0])
    table = sweep.table()
    assert list(table["x"]) == [1, 2, 0]
    assert list(table["status"]) == ["hit", "ran", "failed"]
    assert list(table["result"])[:2] == [1.0, 0.5]
    assert table["result"].isna().tolist() == [False, False, True]
    assert [type(error).__name__ for error in table["error"]] == [
        "NoneType",
        "NoneType",
        "ZeroDivisionError",
    ]
    assert table["walltime"].notna().tolist() == [True, True, False]
    assert str(table["timestart"].dtype).startswith("datetime64")
    assert ran == [1, 2, 0]
    assert "error" not in invert.map([1, 2]).table()


def test_arguments_of_any_kind_and_name_have_a_column() -> None:
    @fleche
    def f(result: Any, status: int) -> Any:
        return result

    rows = [[1, 2], (3, 4), {"a": 1}, None]
    table = f.map(rows, range(4)).table()
    assert list(table["a_result"]) == [*list(table["result"])[:3], None] == rows
    assert list(table["a_status"]) == [0, 1, 2, 3]
    assert list(table["status"]) == ["ran"] * 4


def test_a_sweep_shows_how_far_it_is() -> None:
    sweep = invert.map([1, 0, 2])
    assert repr(sweep) == "<Sweep of invert: 3 calls; ask for .results() to run them>"
    next(iter(sweep))
    assert repr(sweep) == "<Sweep of invert: 3 calls; 0 hit, 1 ran, 0 failed, 2 missing>"
    with pytest.raises(SweepFailed):
        sweep.run()
    assert repr(sweep) == "<Sweep of invert: 3 calls; 0 hit, 2 ran, 1 failed, 0 missing>"
