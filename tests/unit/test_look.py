"""The pieces of pages and of what notebooks show."""

from __future__ import annotations

import datetime
import itertools
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche import Explanation, cache, fleche
from fleche.caches import BaseCache, CachePool, CacheStack
from fleche.call import Call, DigestedCall
from fleche.config import cache_from_config
from fleche.look.bars import by_period, drawn_by_period
from fleche.look.layers import Arrow, Box, drawn_in_layers
from fleche.look.markup import readable, tag
from fleche.look.tables import Column, table

EVIL = "<script>alert(1)</script>"
EVIL_ATTRIBUTE = "\" onclick='run()'"


class _Reader(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


# --- escaping ----------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=()), max_size=40)


@given(texts, texts)
def test_text_stays_text(text: str, attribute: str) -> None:
    made = tag("p", text, title=attribute)
    made.encode()
    found = _Reader(made)
    assert found.tags == ["p"]
    assert found.attributes == [("title", readable(attribute))]
    assert found.text == readable(text)


@given(st.lists(st.tuples(texts, texts), max_size=4))
def test_text_in_tables_stays_text(rows: list[tuple[str, str]]) -> None:
    found = _Reader(table([Column("a"), Column("b", True)], rows, "all"))
    assert found.text == "allab" + "".join(readable(cell) for row in rows for cell in row)
    assert found.tags.count("tr") == len(rows) + 1
    assert found.attributes.count(("scope", "row")) == len(rows)


# --- drawings ----------------------------------------------------------------------------------

dates = st.dates() | st.dates(datetime.date(2025, 1, 1), datetime.date(2026, 12, 31))


@given(st.dictionaries(dates.map(str), st.floats(0, 1e9), max_size=30))
def test_periods_lose_nothing(days: dict[str, float]) -> None:
    kind, periods = by_period(days)
    assert kind in ("day", "week", "month")
    assert sum(each.seconds for each in periods) == pytest.approx(sum(days.values()))
    assert len(periods) <= 700
    for before, after in itertools.pairwise(periods):
        assert before.last < after.first
    drawn = drawn_by_period("Time", days, "name")
    assert (drawn is not None) is any(days.values())


def test_days_that_are_none_are_left_out() -> None:
    assert by_period({EVIL: 1.0, "": 2.0, "2026-13-01": 3.0}) == ("day", [])
    assert drawn_by_period("Time", {EVIL: 1.0}, "name") is None
    damaged = {"2026-03-01": float("nan"), "2026-03-02": float("inf"), "2026-03-03": -1.0}
    drawn = drawn_by_period("Time", damaged | {"2026-03-04": 2.0}, "name")
    assert "Time: 2 s on 2026-03-04." in str(drawn)


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39), texts), max_size=80),
    texts,
)
def test_any_graph_is_drawn(number: int, ends: list[tuple[int, int, str]], name: str) -> None:
    """With circles, too, which equal contents may make."""
    boxes = {place: Box(f"{name}{place % 7}", str(place), float(place)) for place in range(number)}
    arrows = [Arrow(a % number, b % number, text) for a, b, text in ends if (a - b) % number]
    drawn = _Reader(drawn_in_layers(0, boxes, arrows, "graph", "name"))
    shown = [t for t in drawn.tags if t == "g"]
    assert 1 <= len(shown) <= number
    assert "script" not in drawn.tags


def test_many_boxes_of_a_name_are_one() -> None:
    boxes = {place: Box("relax" if place else "fit", f"k{place}", 1.0) for place in range(101)}
    arrows = [Arrow(place, 0, "energies") for place in range(1, 101)]
    found = _Reader(drawn_in_layers(0, boxes, arrows, "graph", "name"))
    assert found.tags.count("g") == 2
    assert "100 calls, 2 min" in found.text


def test_a_long_chain_is_cut_and_said() -> None:
    boxes = {place: Box("step", f"k{place}") for place in range(5000)}
    arrows = [Arrow(place + 1, place, "x") for place in range(4999)]
    found = _Reader(drawn_in_layers(0, boxes, arrows, "graph", "name"))
    assert found.tags.count("g") == 30
    assert "The first 4,970 calls of it are not drawn" in found.text


# --- notebooks ---------------------------------------------------------------------------------


def filled(held: BaseCache, number: int = 3) -> BaseCache:
    for x in range(number):
        metadata = {"runtime": {"timestart": 10.0, "timestop": 12.0 + x, "walltime": 2.0}}
        held.save(Call(f"step{x % 30}", {"x": x}, metadata, "alloys", result=[x, "a result"]))
    return held


def memory() -> BaseCache:
    return cache_from_config({"template": "memory"})


def test_caches_show_functions(store: BaseCache, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(store)
    monkeypatch.setattr(type(store), "load_value", _never)
    stacked = store if isinstance(store, CacheStack) else CacheStack((memory(), store))
    for held in (store, store.readonly(), CachePool((store,)), stacked):
        found = _Reader(held._repr_html_())
        assert "3 calls" in found.text
        assert "step1alloys12 s" in found.text
    # Whose rules would run for each call.
    assert "step1" not in store.filter(_never)._repr_html_()


def _never(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("this is not needed")


def test_little_is_shown_of_much() -> None:
    held = filled(memory(), 1500)
    for found in (_Reader(held._repr_html_()), _Reader(held.query()._repr_html_())):
        assert found.tags.count("tr") == 11
        assert len(found.text) < 2500
    assert "the first 1,000 of its calls" in held._repr_html_()
    assert "and 20 more functions" in held._repr_html_()
    assert "more than 1,000 calls" in held.query()._repr_html_()
    some = held.query(name="step3")._repr_html_()
    assert "<b>50 calls</b>" in some
    assert "and 40 more" in some
    assert "no calls" in held.query(name="nothing")._repr_html_()
    assert "no calls" in memory()._repr_html_()
    call = Call("f", {f"x{place}": place for place in range(100)}, result=list(range(10_000)))
    assert len(call._repr_html_()) < 5000
    assert "and 80 more arguments" in call._repr_html_()


def test_queries_ask_no_further_than_they_show() -> None:
    held = memory()
    asked = []

    def calls() -> Any:
        for call in filled(held).query():
            while True:
                asked.append(1)
                yield call

    from fleche.query import QueryIterator

    assert "more than 1,000 calls" in QueryIterator(calls, held)._repr_html_()
    assert len(asked) == 1001


def test_records_are_shown_without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    held = memory()
    metadata = {"tags": {"project": EVIL}, "runtime": {"timestop": 1e30, "walltime": 3.0}}
    key = held.save(Call("relax", {"x": 3, EVIL: 4}, metadata, EVIL, 7, result="relaxed"))
    monkeypatch.setattr(type(held), "load_value", _never)
    lazy = held.load(key)
    for shown in (lazy._repr_html_(), lazy.detach()._repr_html_()):
        found = _Reader(shown)
        assert "script" not in found.tags
        for said in (key[:16], f"argument {EVIL}", "version7", "took3 s", "ended?", "tags.project"):
            assert said in found.text
    assert "none yet" in DigestedCall("f", {})._repr_html_()


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_nothing_raises(tmp_path: Path) -> None:
    for call in (
        Call("f", {"x": Broken()}, result=Broken()),
        Call(EVIL, {"\ud800": "\x00"}, {"a": None, "b": {"c": Broken()}}),  # type: ignore[dict-item]
        Call(None, None),  # type: ignore[arg-type]
        DigestedCall("f", {"x": 1}, metadata=3),  # type: ignore[arg-type,dict-item]
    ):
        found = _Reader(call._repr_html_())
        found.text.encode()
        assert "script" not in found.tags
    held = filled(cache_from_config({"template": "pickle", "root": str(tmp_path)}))
    calls = held.calls.root  # type: ignore[attr-defined]
    for path in calls.iterdir():
        if path.is_file() and not path.name.startswith("."):
            path.write_bytes(b"damaged")
    assert "Cache" in held._repr_html_()
    assert held.query()._repr_html_()
    failing = filled(memory()).query().filter(_never)
    assert "AssertionError" in failing._repr_html_()


def test_explanations_say_why() -> None:
    @fleche
    def relax(x: int, kind: str) -> int:
        return x

    with cache("memory"):
        relax(1, kind="fcc")
        cached, other = relax.explain(1, kind="fcc"), relax.explain(1, kind=EVIL)
    assert ": cached as " in cached._repr_html_()
    found = _Reader(other._repr_html_())
    assert "script" not in found.tags
    assert "kind: was 'fcc', is '<script>" in found.text
    assert "beside " in found.text
    assert "not cached" in Explanation("f", False)._repr_html_()


def test_what_notebooks_show_has_no_colours() -> None:
    """They colour text themselves: on light and on dark ground."""
    held = filled(memory())
    for shown in (held, held.query(), held.query().any()):
        text = shown._repr_html_()  # type: ignore[union-attr]
        assert "background" not in text
        assert "#" not in text
        assert "color" not in text.replace("color:inherit", "")
