"""Statistics that last."""

from __future__ import annotations

import collections
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fleche as package
from fleche import _core, cache, config, events, fleche
from fleche.caches import BaseCache
from fleche.cli import main
from fleche.config import cache_from_config
from fleche.statistics import flushing
from fleche.statistics.counts import Counts, Row, Rows, add
from fleche.statistics.files import StatisticsFile
from fleche.statistics.tallies import enabled
from fleche.storage import CallMemory

STORES = ("memory", "pickle", "cloudpickle", "sql", "sqlite", "bagofholding_hdf")


def made(kind: str, folder: Path) -> BaseCache:
    config = {"template": kind}
    if kind != "memory":
        config["root"] = str(folder)
    if kind == "sql":
        config["values"] = "dill"
    return cache_from_config(config)


@pytest.fixture(params=STORES)
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    with cache(found := made(request.param, tmp_path / "store")):
        yield found


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[BaseCache]:
    with cache(found := made("pickle", tmp_path / "store")):
        yield found


@pytest.fixture(autouse=True)
def _written_by_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is written in the middle of a test, but by the test."""
    monkeypatch.setattr(flushing, "INTERVAL", 3600)
    monkeypatch.delenv("FLECHE_STATISTICS", raising=False)
    _core.write_statistics_in(3600)
    enabled.cache_clear()
    yield
    _core.write_statistics_in(3600)
    enabled.cache_clear()


@fleche
def half(x: Any) -> Any:
    return None if x is None else x / 2


@fleche
def raising(x: int) -> None:
    raise ValueError(x)


def written(folder: Path) -> Rows:
    rows: Rows = {}
    for path in folder.rglob(".*statistics"):
        add(rows, StatisticsFile(path).read().items())
    return rows


def hits_written(folder: Path) -> int:
    return sum(counts.hits for counts in written(folder).values())


def test_calls_are_counted(held: BaseCache) -> None:
    for x in (1, 2, 1, 1):
        half(x)
    half(None)
    with pytest.raises(ValueError, match="7"):
        raising(7)
    found = package.stats()
    assert (found.hits, found.misses, found.computed, found.failed) == (2, 4, 3, 1)
    assert found.hit_rate == pytest.approx(1 / 3)
    assert found.uncached == {"none": 1}
    own = half.stats()
    assert (own.hits, own.misses) == (2, 3)
    assert own.seconds_saved == pytest.approx(2 * own.seconds_computed / 3)
    assert (own.bytes > 0) == (type(held.calls) is not CallMemory)  # type: ignore[attr-defined]
    assert [*found.by_function()] in (
        [f"{__name__}.half", f"{__name__}.raising"],
        [f"{__name__}.raising", f"{__name__}.half"],
    )
    assert found.by_function()[f"{__name__}.raising"].failed == 1
    (day,) = found.by_day().values()
    assert repr(day) == repr(found)


@pytest.mark.parametrize("kind", STORES[1:])
def test_statistics_outlive_the_process(kind: str, tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from tests.unit.test_statistics import cache, half, made
        with cache(made({kind!r}, Path({str(tmp_path)!r}))):
            half(1), half(1), half(int(sys.argv[1]))
    """)
    for x in ("2", "3"):
        subprocess.run([sys.executable, "-c", program, x], check=True, timeout=60)
    with cache(made(kind, tmp_path)):
        half(1)
        found = half.stats()
    assert (found.hits, found.misses) == (4, 3)
    assert found.bytes > 0


def test_what_is_only_read_gets_no_file(tmp_path: Path) -> None:
    store = made("pickle", tmp_path)
    with cache(store):
        half(1)
        package.statistics.ledgers.ledger_of(store).clear()
    reading = made("pickle", tmp_path).readonly()
    with cache(reading):
        half(1)
        assert half.stats().hits == 1
    flushing.flush()
    assert written(tmp_path) == {}
    assert not [*tmp_path.rglob(".*statistics*")]


def test_a_view_shows_what_others_wrote_too(stored: BaseCache, tmp_path: Path) -> None:
    half(1), half(1)
    with cache(stored.readonly()):
        half(1)
        assert half.stats().hits == 2
    assert half.stats().hits == 2
    flushing.flush()
    assert half.stats().hits == 2
    assert hits_written(tmp_path) == 1


def test_a_stack_counts_in_its_first_cache(tmp_path: Path) -> None:
    first, second = made("pickle", tmp_path / "a"), made("pickle", tmp_path / "b")
    with cache(second):
        half(1)
    with cache(second.push(first)):
        half(1)
        assert half.stats().hits == 1
    assert package.stats(first).hits == 1
    assert package.stats(second).hits == 0


@pytest.mark.parametrize("last", ["hit", "miss", "none", "raises"])
def test_the_call_that_finds_it_is_time_writes(
    last: str, stored: BaseCache, tmp_path: Path
) -> None:
    before = threading.active_count()
    half(1), half(1)
    assert written(tmp_path) == {}
    _core.write_statistics_in(0)
    if last == "raises":
        with pytest.raises(ValueError, match="7"):
            raising(7)
    else:
        half({"hit": 1, "miss": 2, "none": None}[last])
    found = Counts()
    for counts in written(tmp_path).values():
        found += counts
    assert (found.hits, found.misses) == ((2, 1) if last == "hit" else (1, 2))
    half(1)
    assert hits_written(tmp_path) == found.hits
    assert threading.active_count() == before


def test_nothing_is_lost_of_a_result_if_writing_is_interrupted(
    stored: BaseCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: StatisticsFile, line: bytes) -> None:
        raise KeyboardInterrupt

    half(1)
    with monkeypatch.context() as patch:
        patch.setattr(StatisticsFile, "_append", interrupted)
        _core.write_statistics_in(0)
        with pytest.raises(KeyboardInterrupt):
            half(2)
    assert half.query(2).count() == 1
    _core.write_statistics_in(0)
    half(2)
    assert half.stats().misses == 2
    assert hits_written(tmp_path) == 1


def test_a_removed_store_is_not_brought_back(tmp_path: Path) -> None:
    for kind in ("pickle", "sql"):
        with cache(found := made(kind, tmp_path / kind)):
            half(1), half(1)
            where = found.calls._place()  # type: ignore[attr-defined]
            shutil.rmtree(tmp_path / kind)
            if kind == "sql":
                (tmp_path / kind / "calls").mkdir(parents=True)
            flushing._end()
            assert not where.exists()
            assert not [*tmp_path.rglob("*statistics*")]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes a second user")
def test_who_only_reads_somebody_else_s_store_leaves_nothing(
    stored: BaseCache, tmp_path: Path
) -> None:
    half(1)
    package.statistics.ledgers.ledger_of(stored).clear()
    folder = stored.calls._place()  # type: ignore[attr-defined]
    os.chown(folder, 4242, 4242)
    half(1)
    flushing.flush()
    assert written(tmp_path) == {}
    assert half.stats().hits == 1
    half(2)
    flushing.flush()
    assert hits_written(tmp_path) == 1


def test_what_cannot_be_written_waits(
    stored: BaseCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: StatisticsFile, line: bytes) -> None:
        raise OSError("no space left")

    half(1), half(1)
    with monkeypatch.context() as patch:
        patch.setattr(StatisticsFile, "_append", full)
        flushing.flush()
        assert half.stats().hits == 1
    assert written(tmp_path) == {}
    flushing.flush()
    flushing.flush()
    assert hits_written(tmp_path) == 1
    assert half.stats().hits == 1


def test_a_store_whose_folder_is_gone_disturbs_no_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with cache(made("pickle", tmp_path / "file" / "store")):
        assert half(1) == 0.5
        flushing.flush()


def test_they_are_turned_off(
    held: BaseCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("FLECHE_STATISTICS", "0")
    enabled.cache_clear()
    try:
        half(1), half(1), half(None)
        assert not package.stats().hits
        flushing.flush()
        assert written(tmp_path) == {}
        monkeypatch.setenv("FLECHE_STATISTICS", "maybe")
        enabled.cache_clear()
        assert enabled()
        assert "FLECHE_STATISTICS='maybe': expected 1 or 0" in caplog.text
    finally:
        enabled.cache_clear()


def test_the_configuration_turns_them_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fleche.toml").write_text("[default]\nstatistics = false\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLECHE_STATISTICS", raising=False)
    enabled.cache_clear()
    try:
        assert not enabled()
    finally:
        enabled.cache_clear()


def test_days_and_odd_arguments(stored: BaseCache) -> None:
    half(1), half(1)
    ledger = package.statistics.ledgers.ledger_of(stored)
    with ledger._lock:
        add(ledger._rows, [(Row("2001-02-03", __name__, "half"), Counts(hits=100))])
    assert package.stats().hits == 101
    assert package.stats(days=1).hits == half.stats(days=7).hits == 1
    assert package.stats(days=10**9).hits == 101
    assert next(iter(package.stats().by_day())) == "2001-02-03"
    with pytest.raises(ValueError, match="days=0"):
        package.stats(days=0)
    with pytest.raises(TypeError, match="not a int"):
        package.stats(5)  # type: ignore[arg-type]


def test_time_saved_is_known_of_calls_that_nobody_counted(stored: BaseCache) -> None:
    half(1)
    package.statistics.ledgers.ledger_of(stored).clear()
    half(1)
    (record,) = half.query(1)
    walltime = record.metadata["runtime"]["walltime"]
    assert half.stats().seconds_saved == pytest.approx(walltime)


def test_notebooks_show_a_table(stored: BaseCache) -> None:
    @fleche
    def made_here(x: int) -> int:
        return x

    made_here(1)
    shown = package.stats()._repr_html_()
    assert "&lt;locals&gt;" in shown
    assert shown.count("<tr>") == 3


# --- several processes -----------------------------------------------------------------------


def _hit(number: int) -> int:
    for _ in range(number):
        half(1)
    return number


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_a_pool_are_counted(
    method: str, stored: BaseCache, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    half(1)
    _hit(2)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, context) as pool:
        bound = package.BoundWrapper.bind(_hit)
        assert sum(pool.map(bound, [3] * 10)) == 30
    assert half.stats().hits == 32
    assert half.stats().misses == 1
    assert not [each for each in recwarn if "multi-threaded" in str(each.message)]


def test_a_forked_child_begins_at_zero(stored: BaseCache, tmp_path: Path) -> None:
    half(1)
    _hit(4)
    child = os.fork()
    if child == 0:
        half(1)
        flushing.flush()
        os._exit(half.stats().hits)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    flushing.flush()
    assert hits_written(tmp_path) == 5


ROW = Row("2001-02-03", "m", "f")

WRITER = """
import sys
from pathlib import Path
from fleche.statistics import files
from fleche.statistics.counts import Counts, Row
files._GROWTH = 300
file = files.StatisticsFile(Path(sys.argv[1]))
row = Row("2001-02-03", "m", "f")
for _ in range(int(sys.argv[2])):
    if file.write({row: Counts(hits=1), Row("2001-02-03", "m", "g"): Counts(misses=2)}, 60):
        print("1", end="", flush=True)
"""


@settings(max_examples=5, deadline=None)
@given(kills=st.lists(st.integers(1, 60), min_size=1, max_size=2), others=st.integers(1, 40))
def test_of_several_writers_nothing_is_lost_or_counted_twice(
    kills: list[int], others: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("kills") / "statistics"

    def begin(number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WRITER, str(path), str(number)]
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    whole, killed = begin(others), [begin(100_000) for _ in kills]
    said = []
    for each, number in zip(killed, kills, strict=True):
        assert each.stdout is not None
        first = each.stdout.read(number)
        each.send_signal(signal.SIGKILL)
        said.append(len(first) + len(each.stdout.read()))
        each.wait(60)
        each.stdout.close()
    assert whole.communicate(timeout=60)[0] == b"1" * others
    found = StatisticsFile(path).read()
    # The one that a killed process was at may be there or not.
    assert others + sum(said) <= found[ROW].hits <= others + sum(said) + len(kills)
    assert found[Row("2001-02-03", "m", "g")].misses == 2 * found[ROW].hits


@settings(max_examples=50, deadline=None)
@given(
    parts=st.lists(
        st.dictionaries(
            st.builds(
                Row,
                st.dates().map(str),
                st.none() | st.text(max_size=3),
                st.text(max_size=3),
            ),
            st.builds(
                Counts,
                st.dictionaries(st.sampled_from(["none", "when"]), st.integers(1, 9)),
                hits=st.integers(1, 10**6),
                bytes=st.integers(0, 10**12),
            ),
            max_size=3,
        ),
        max_size=6,
    ),
    cut=st.integers(0, 40),
)
def test_a_file_gives_what_was_written(
    parts: list[Rows], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("file") / "statistics"
    file, expected = StatisticsFile(path), {}
    for part in parts:
        assert file.write(part, 1)
        add(expected, part.items())
        # What a killed process left.
        with path.open("ab") as half_written:
            half_written.write(b'[["2001-02-03","m","f",{"hits":3}'[:cut])
        file._add_up()
    numbers = {row: counts.hits for row, counts in expected.items()}
    assert {row: counts.hits for row, counts in file.read().items()} == numbers
    assert {row: c.uncached for row, c in file.read().items()} == {
        row: c.uncached for row, c in expected.items()
    }


def test_the_file_stays_small(tmp_path: Path) -> None:
    file = StatisticsFile(tmp_path / "statistics")
    for number in range(3000):
        file.write({Row(f"2001-02-{number % 9 + 10}", "module", "function"): Counts(hits=1)}, 1)
    assert (tmp_path / "statistics").stat().st_size < 100_000
    assert sum(counts.hits for counts in file.read().values()) == 3000
    assert sorted(os.listdir(tmp_path)) == ["statistics", "statistics.lock"]


# --- the command -----------------------------------------------------------------------------


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BaseCache]:
    (tmp_path / "fleche.toml").write_text(
        "[default]\ncache = 'work'\nroot = true\n[work]\ntemplate = 'pickle'\nroot = 'store'\n"
    )
    monkeypatch.chdir(tmp_path)
    with cache(found := config.load_cache_config("work")):
        yield found


def test_the_command_shows_tables(
    configured: BaseCache, capsys: pytest.CaptureFixture[str]
) -> None:
    half(1), half(1), half(None)
    assert main(["stats"]) == 0
    shown = capsys.readouterr().out
    assert f"{__name__}.half" in shown
    assert "1 hit, 2 not found" in shown
    assert "1 call not cached: none" in shown
    assert main(["stats", "--json", "--days", "3"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["hits"], data["misses"]) == (1, 2)
    assert data["by_function"][f"{__name__}.half"]["hits"] == 1
    assert [day["misses"] for day in data["by_day"].values()] == [2]


def test_the_command_shows_an_empty_store(
    configured: BaseCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stats"]) == 0
    assert "0 hits" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["stats", "--days", "0"])
    assert "give 1 for today" in capsys.readouterr().err


@fleche
def chained(x: Any) -> Any:
    # No CBOR holds it; what `half` gives it does.
    return collections.ChainMap({"x": x})


@pytest.mark.parametrize("is_told", [False, True], ids=["core", "python"])
def test_what_cbor_cannot_hold_is_counted(is_told: bool, tmp_path: Path) -> None:
    config = {"template": "cbor", "root": str(tmp_path), "fallback": "pickle", "secret_key": "00"}
    with cache(cache_from_config(config)), contextlib.ExitStack() as stack:
        if is_told:
            # Such calls are made in Python.
            stack.enter_context(events.subscribe(lambda event: None))
        half(1), half(1)
        chained(3), chained(3), chained(4)
        found = package.stats()
        assert found.pickled == found.to_dict()["pickled"] == 2
        assert (chained.stats().pickled, half.stats().pickled) == (2, 0)
        assert "2 pickled" in repr(found)
    flushing.flush()
    assert sum(counts.pickled for counts in written(tmp_path).values()) == 2


def test_the_command_tells_what_was_pickled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fleche.toml").write_text(
        '[default]\nroot = true\ncache = "work"\n[work]\ntemplate = "cbor"\nroot = "store"\n'
        'fallback = "pickle"\nsecret_key = "00"\n'
    )
    monkeypatch.chdir(tmp_path)
    with cache("work"):
        chained(3)
    flushing.flush()
    assert main(["stats"]) == 0
    assert "1 value pickled, as CBOR could not hold" in capsys.readouterr().out


# --- database servers ------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_statistics_in_a_database_last(
    server: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fleche.statistics import databases

    url = request.getfixturevalue(server).new_database()
    config = {
        "values": {"type": "pickle", "root": str(tmp_path)},
        "calls": {"type": "sql", "url": url},
    }
    with cache(found := cache_from_config(config)):
        assert package.stats().hits == 0
        half(1), half(1)
        flushing.flush()
        assert half.stats().hits == 1
        monkeypatch.setattr(databases, "_MOST", 3)
        for _ in range(6):
            half(1)
            flushing.flush()
        ledger = package.statistics.ledgers.ledger_of(found)
        ledger.clear()
        assert (half.stats().hits, half.stats().misses) == (7, 1)
        _close(found)


def _close(cache: Any) -> None:
    cache.calls._store.close()
