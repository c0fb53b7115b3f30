"""`fleche report`: what the page says, how it is read, and that nothing from a store runs in it."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleche.caches import BaseCache
from fleche.call import Call, LazyCall
from fleche.cli.functions import Function
from fleche.cli.report.ancestry import affordable, most_valuable
from fleche.cli.report.gathering import Gathered, gather
from fleche.cli.report.planned import Planned
from fleche.cli.report.sections import report_page
from fleche.config import cache_from_config
from fleche.lineage import Index, lineage_of

from .browser import Page, opened
from .commands import run_fleche

EVIL = "<script>document.title = 'run'</script>"
EVIL_NAME = '"><img src=x onerror="document.title=\'run\'">'

CONFIG = """
[default]
root = true
cache = "store"
statistics = true

[store]
template = "pickle"
root = "store"
"""

# The class is gone when the report is made.
FILL = """
import sys, types
from fleche.call import Call
from fleche.config import load_cache_config
from fleche.statistics import ledgers
from fleche.statistics.counts import Counts, Row

gone = types.ModuleType("gone")
sys.modules["gone"] = gone
exec("class Gone:\\n    def __init__(self, x): self.x = x\\n", gone.__dict__)
store = load_cache_config("store")
evil, evil_name = sys.argv[1:]

def save(name, arguments, result, seconds, module="alloys", day=1):
    stop = 1_800_000_000.0 + day * 86400
    times = {"timestart": stop - seconds, "timestop": stop, "walltime": seconds}
    call = Call(name, arguments, {"runtime": times}, module, result=result)
    return store.save(call)

lines = ["the first line of the file", "the second line of the file"]
save("load", {"path": "copper.dat"}, lines, 3.0)
relaxed = "what was relaxed of the lines"
save("relax", {"lines": lines}, relaxed, 7200.0, day=2)
save("plot", {evil: relaxed, evil_name: 1}, "drawing no. 3", 2.0, day=3)
save("gone", {"x": 1}, gone.Gone("a result of a class that is gone"), 1.0)
save(evil, {evil_name: evil}, evil, 500.0, module=evil)
ledger = ledgers.ledger_of(store)
for day, hits in (("2027-01-15", 3), ("2027-01-17", 5), (evil, 1)):
    counts = Counts(hits=hits, computed=1, seconds=3600.0)
    ledger.store.write({Row(day, "alloys", "relax"): counts}, 5)
ledger.store.write({Row("2027-01-16", evil, evil): Counts(hits=2, computed=1, seconds=60.0)}, 5)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, some of it hostile, and a report about it."""
    folder = tmp_path_factory.mktemp("reported")
    (folder / "fleche.toml").write_text(CONFIG)
    command = [sys.executable, "-c", FILL, EVIL, EVIL_NAME]
    subprocess.run(command, cwd=folder, check=True)
    code, said, _ = run_fleche(folder, "report", "-o", "report.html", "--json")
    assert code == 0
    (folder / "said.json").write_text(said)
    return folder


@pytest.fixture(scope="module")
def browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with opened(chromium, tmp_path_factory.mktemp("browser") / "profile") as page:
        yield page


@pytest.fixture
def page(browser: Page, folder: Path) -> Page:
    """The report, in a window of a usual size on light ground."""
    browser.show(prefers_color_scheme="light")
    browser.open(folder / "report.html")
    return browser


# --- the command -------------------------------------------------------------------------------


def test_what_the_command_gives(folder: Path) -> None:
    said = json.loads((folder / "said.json").read_text())
    assert (said["calls"], said["functions"]) == (5, 5)
    assert said["file"] == str(folder / "report.html")
    assert said["bytes"] == (folder / "report.html").stat().st_size < 50_000
    assert said["seconds"] == pytest.approx(7706)


def test_what_a_smaller_cache_would_drop(folder: Path) -> None:
    code, _, err = run_fleche(folder, "report", "-o", "plan.html", "--plan", "1", "--no-lineage")
    assert code == 0, err
    part = (folder / "plan.html").read_text().partition('id="plan"')[2]
    assert "alloys.relax" in part
    code, _, err = run_fleche(folder, "report", "-o", "plan.html", "--plan", "much")
    assert code == 2
    assert "much" in err


def test_a_report_takes_the_place_of_a_report_alone(folder: Path) -> None:
    other = folder / "results.csv"
    other.write_text("precious")
    for place, why in [
        ("results.csv", "is no report"),
        (".", "is no file"),
        ("nowhere/report.html", "there is no folder"),
    ]:
        code, _, said = run_fleche(folder, "report", "-o", place)
        assert code == 2
        assert why in said
    assert other.read_text() == "precious"
    (folder / "again.html").symlink_to("report.html")
    words = "report", "-o", "again.html", "--no-lineage", "--no-bytes", "--title", "Ours & theirs"
    assert run_fleche(folder, *words)[0] == 0
    text = (folder / "report.html").read_text()
    assert "<h1>Ours &amp; theirs</h1>" in text
    assert ">Lineage<" not in text
    assert ">bytes<" not in text
    assert run_fleche(folder, "report", "-o", "report.html")[0] == 0
    assert not [*folder.glob(".report*")]


def test_the_lineage_of_a_call_that_is_named(folder: Path) -> None:
    code, keys, _ = run_fleche(folder, "find", "relax", "--keys")
    assert code == 0
    words = "report", "-o", "one.html", "--json", "--lineage"
    code, said, _ = run_fleche(folder, *words, keys[:12])
    assert json.loads(said)["lineage"] == keys.strip()
    text = (folder / "one.html").read_text()
    assert "alloys.load" in text.partition('id="lineage"')[2]
    assert "alloys.plot" not in text.partition('id="lineage"')[2]
    code, _, said = run_fleche(folder, *words, "abcdef")
    assert code == 2
    assert "there is no call 'abcdef'" in said


# --- in a browser ------------------------------------------------------------------------------


def test_nothing_of_the_store_runs_and_nothing_is_asked_for(page: Page, folder: Path) -> None:
    assert page.ask("document.title") == "fleche: the cache [default]"
    assert page.requests == [(folder / "report.html").as_uri()]
    assert page.complaints == []
    # Its own script alone; names are there as text.
    assert page.ask("document.scripts.length") == 1
    assert page.ask("document.images.length") == 0
    assert EVIL in page.ask("document.querySelector('#functions').innerText")
    assert EVIL in page.ask("document.querySelector('.layers .label').textContent")


def test_it_is_read_without_scripts(browser: Page, folder: Path) -> None:
    browser.open(folder / "report.html", scripts=False)
    text = browser.ask("document.body.innerText")
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.ask("document.querySelectorAll('button').length") == 0
    days = "Time saved by hits by day, 2027-01-15 to 2027-01-17"
    for said in (f"{days}: 8.0 h in all", "alloys.relax"):
        assert said in text
    # In the lineage, too: the call that is worth most with all before it.
    assert "alloys.plot" in text.partition("with all calls before it")[2]
    assert "cannot be read here" in text


def _first_cells(page: Page) -> list[str]:
    cells = "[...document.querySelectorAll('#functions tbody th')].map((each) => each.innerText)"
    found: list[str] = page.ask(cells)
    return found


def test_the_table_is_sorted_by_keyboard(page: Page) -> None:
    assert _first_cells(page)[:2] == ["alloys.relax", f"{EVIL}.{EVIL}"]
    heads = "[...document.querySelectorAll('#functions thead th')]"
    sorts = f"{heads}.map((each) => each.getAttribute('aria-sort'))"
    assert page.ask(sorts)[:3] == [None, None, "descending"]
    reached = []
    for _ in range(20):
        page.press("Tab")
        reached.append(page.ask("document.activeElement.innerText"))
        if reached[-1].startswith("function"):
            break
    # Links, what scrolls and what opens are reached, too, and each shows that it is.
    assert {"Lineage", "The same as a table, by day"} <= {*reached}
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.ask(outline) == "solid"
    page.press("Enter")
    assert page.ask(sorts)[:3] == ["ascending", None, None]
    assert _first_cells(page)[1:] == ["alloys.gone", "alloys.load", "alloys.plot", "alloys.relax"]
    page.press("Enter")
    assert page.ask(sorts)[0] == "descending"
    assert _first_cells(page)[0] == "alloys.relax"
    page.press("Tab")
    page.press("Tab")
    page.press("Enter")
    page.press("Enter")
    assert page.ask(sorts)[:3] == [None, None, "ascending"]
    assert _first_cells(page)[0] == "alloys.gone"


def test_marks_for_those_who_do_not_see_it(page: Page) -> None:
    assert page.ask("document.documentElement.lang") == "en"
    levels = page.ask("[...document.querySelectorAll('h1,h2,h3')].map((h) => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    bare = "[...document.querySelectorAll('th')].filter((th) => !th.scope).length"
    assert page.ask(bare) == 0
    drawings = page.ask(
        "[...document.querySelectorAll('svg:not([aria-hidden])')].map((svg) => "
        "[svg.getAttribute('role'), svg.getAttribute('aria-labelledby').split(' ').map((id) => "
        "document.getElementById(id).textContent)])"
    )
    assert len(drawings) == 3
    for role, (title, text) in drawings:
        assert role == "img"
        assert len(title) > 10
        assert len(text) > 20
    names = page.ask("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(names) == len({*names})


# The contrast of each text with what is behind it, the least one with its text.
CONTRAST = """
(() => {
  const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const box = e instanceof SVGTextElement && e.parentElement.querySelector("g > rect");
      const color = rgba(box ? getComputedStyle(box).fill : getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  let least = [21, ""];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || e.closest("script,title,desc")) continue;
    const style = getComputedStyle(e);
    const drawn = e instanceof SVGElement ? style.fill : style.color;
    const [one, two] = [light(rgba(drawn)), light(ground(e))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < least[0]) least = [ratio, walk.currentNode.data];
  }
  return least;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page: Page, scheme: str) -> None:
    page.show(prefers_color_scheme=scheme)
    ratio, text = page.ask(CONTRAST)
    assert ratio >= 4.5, text
    ground = page.ask("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is (scheme == "light")
    strong = page.ask("getComputedStyle(document.querySelector('.bars rect')).fill")
    assert strong != ground


def test_narrow_windows_and_paper(page: Page, tmp_path: Path) -> None:
    page.show(width=320)
    # What is wide scrolls in itself.
    assert page.ask("document.documentElement.scrollWidth") <= 320
    page.show(width=700, media="print", prefers_color_scheme="dark")
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.ask("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.ask("document.documentElement.scrollWidth") <= 700
    assert page.ask(CONTRAST)[0] >= 4.5
    printed = page.send("Page.printToPDF")["data"]
    assert len(printed) > 10_000
    page.picture(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000


# --- what is in it -----------------------------------------------------------------------------


class Row:
    """As a plan gives it."""

    def __init__(self, function: str, calls: int, size: int, seconds: float) -> None:
        self.function, self.calls, self.bytes, self.seconds = function, calls, size, seconds


def test_a_plan_is_shown_where_there_is_one() -> None:
    rows: list[Planned] = [Row("a.relax", 12, 5_000, 7200.0), Row("a.load", 3, 2_000_000, 1.0)]
    shown = report_page("cache", "", Gathered(), plan=rows)
    part = re.sub("<[^>]*>", " ", shown.partition('id="plan"')[2])
    order = [part.index(each) for each in ("a.load", "2.0 MB", "a.relax", "5.0 kB", "2.0 h")]
    assert order == sorted(order)
    assert "Nothing has to go." in report_page("cache", "", Gathered(), plan=[])
    assert 'id="plan"' not in report_page("cache", "", Gathered())


def test_many_functions_are_cut_and_said() -> None:
    functions = [Function(f"f{number}", "m", 2, 10.0 - number / 100) for number in range(300)]
    text = report_page("cache", "", Gathered(functions))
    assert text.count('<th scope="row">') == 200
    assert "And 100 more functions: 200 calls" in text


def saved(cache: BaseCache, name: str, arguments: dict[str, Any], result: Any, took: float) -> Any:
    stop = datetime.datetime(2026, 3, 4, 12).timestamp()
    times = {"timestart": stop - took, "timestop": stop, "walltime": took}
    return cache.save(Call(name, arguments, {"runtime": times}, result=result))


def _steps(calls: Any, what: str) -> Iterator[LazyCall]:
    yield from calls


def test_every_storage_is_reported(store: BaseCache) -> None:
    text = "a text that is in the result of one call"
    saved(store, "load", {"path": EVIL}, [text, 1], 5.0)
    saved(store, "count", {"text": text}, 7, 2.0)
    found = gather(store, _steps)
    assert [each.full_name for each in found.functions] == ["load", "count"]
    assert found.bytes
    known = affordable(store, found.slowest)
    assert len(known) == 2
    index = Index(store, calls=known)
    root = most_valuable(index)
    assert root is not None
    lineage = lineage_of(index.calls[root], index=index)
    assert [call.name for call in lineage.calls.values()] == ["count", "load"]
    page = report_page("cache", "", found, lineage)
    assert EVIL not in page
    assert "Lineage of count: 2 calls in 2 steps." in page


@pytest.mark.parametrize("walltime", [float("nan"), float("inf"), 10**400, -5.0, "long", True])
def test_damaged_times_are_no_times(walltime: Any) -> None:
    cache = cache_from_config({"template": "memory"})
    times = {"timestart": 1e300, "timestop": 1e300, "walltime": walltime}
    cache.save(Call("f", {"x": 1}, {"runtime": times}, result=2))
    saved(cache, "g", {"x": 1}, 2, 3.0)
    found = gather(cache, _steps)
    assert found.calls == 2
    assert "nan" not in report_page("cache", "", found)
    assert cache.query()._repr_html_().count("<tr>") == 3


def test_an_empty_cache_has_a_page() -> None:
    cache = cache_from_config({"template": "memory"})
    found = gather(cache, _steps)
    assert (found.calls, found.seconds, found.bytes) == (0, 0, 0)
    assert most_valuable(Index(cache)) is None
    text = report_page("cache", "", found)
    assert "No calls are stored." in text


def test_what_is_shared_counts_once() -> None:
    cache = cache_from_config({"template": "memory"})
    shared, own = b"shared" * 100, b"own" * 100
    saved(cache, "f", {"x": shared}, own, 1.0)
    saved(cache, "g", {"x": shared}, own, 2.0)
    found = gather(cache, _steps)
    assert [each.name for each in found.functions] == ["g", "f"]
    assert found.bytes == found.functions[0].shared == found.functions[1].shared
    assert found.bytes is not None
    assert 900 < found.bytes < 1000
    assert found.days == {"2026-03-04": 3.0}


def test_worth_counts_all_calls_before_it_once() -> None:
    cache = cache_from_config({"template": "memory"})
    text = "the text of a file, which is long"
    saved(cache, "load", {"path": "a"}, text, 100.0)
    for name in ("one", "two"):
        saved(cache, name, {"text": text}, f"the part called {name}", 10.0)
    both = {"one": "the part called one", "two": "the part called two"}
    saved(cache, "join", both, "the parts, joined to one", 1.0)
    saved(cache, "alone", {"x": 1}, "a result that nobody took", 115.0)
    index = Index(cache)
    root = most_valuable(index)
    assert root is not None
    assert index.calls[root].name == "join"
    assert len(lineage_of(index.calls[root], index=index).calls) == 4


def test_large_values_are_not_read_for_it(tmp_path: Path) -> None:
    cache = cache_from_config({"template": "pickle", "root": str(tmp_path)})
    saved(cache, "large", {"x": 1}, os.urandom(60_000_000), 9.0)
    saved(cache, "small", {"x": 2}, "a small result", 1.0)
    calls = sorted(cache.query(), key=lambda call: call.name)
    assert [call.name for call in affordable(cache, calls)] == ["small"]
