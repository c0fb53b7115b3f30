"""`fleche audit`: stored calls are run again, and compared with what is stored."""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche import cache, cli, fleche
from fleche.auditing import Audit, Tolerance, audit, verify
from fleche.auditing.comparison import agree, is_same
from fleche.auditing.sample import Candidate, sampled
from fleche.caches import BaseCache, Cache, CacheStack
from fleche.config import cache_from_config
from fleche.digest import Digest
from fleche.storage import CallMemory, Sql, ValueMemory

np = pytest.importorskip("numpy")

MODULE = """
import asyncio
import os
from dataclasses import dataclass
from typing import Annotated

from fleche import Ignored, fleche

runs = []
offset = 0.0


@fleche
def same(x, *rest, scale=1, **more):
    runs.append(x)
    return [x, rest, scale, more]


@fleche
def shifted(x):
    return x + offset


@fleche
def varying(x):
    return os.urandom(8)


@fleche(none=True)
def nothing(x):
    return None if not offset else 1


@fleche(exceptions=ValueError)
def raising(x):
    raise ValueError(f"no {x}")


@fleche
def failing(x):
    if offset:
        raise OSError("no such file")
    return x


@fleche
async def awaited(x):
    await asyncio.sleep(0)
    return x * 2


@fleche(iterate=True)
def items(x):
    yield from range(x)
    return "end"


@fleche(iterate=True)
async def async_items(x):
    for item in range(x):
        yield item


@fleche(isolate=True)
def isolated(x):
    with open("file", "w") as file:
        file.write(x)
    return sorted(os.listdir())


@fleche
def quiet(x, verbose: Annotated[bool, Ignored] = False):
    return x


@fleche
def loud(x, verbose: Annotated[bool, Ignored]):
    return x


@fleche
def outer(x):
    return same(x)


@fleche
def positional(a, b, /, c=3):
    return a, b, c


@dataclass
class Model:
    n: int

    @fleche
    def method(self, x):
        return self.n + x

    @fleche
    @classmethod
    def of_class(cls, x):
        return x

    @fleche
    @staticmethod
    def of_none(x):
        return [x]


@fleche(version=1)
def versioned(x):
    return x


def making():
    @fleche
    def within(x):
        return x

    return within
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of functions, as programs have them."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "fleche_lab.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    yield importlib.import_module("fleche_lab")
    sys.modules.pop("fleche_lab", None)


@pytest.fixture(params=["memory", "pickle", "sql", "sqlite", "bagofholding_hdf", "stack"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    made: BaseCache = Cache(ValueMemory({}), CallMemory({}))
    if request.param == "stack":
        pickles = cache_from_config({"template": "pickle", "root": tmp_path / "store"})
        made = CacheStack((made, pickles))
    elif request.param != "memory":
        config = {"template": request.param, "root": tmp_path / "store"}
        made = cache_from_config(config)
    with cache(made):
        yield made


@pytest.fixture
def memory() -> Iterator[Cache]:
    made = Cache(ValueMemory({}), CallMemory({}))
    with cache(made):
        yield made


def verdicts(found: Audit) -> dict[str, set[str]]:
    told: dict[str, set[str]] = {}
    for each in found.runs:
        told.setdefault(each.name, set()).add(str(each.verdict))
    return told


def call_everything(lab: Any) -> None:
    lab.same(1)
    lab.same(np.arange(3.0), 2, 3, scale=4, other=5)
    lab.nothing(1)
    with pytest.raises(ValueError, match="no 1"):
        lab.raising(1)
    assert asyncio.run(lab.awaited(2)) == 4
    assert [*lab.items(3)] == [0, 1, 2]

    async def collected() -> list[int]:
        return [item async for item in lab.async_items(2)]

    assert asyncio.run(collected()) == [0, 1]
    lab.isolated("text")
    lab.quiet(1, verbose=True)
    lab.positional(1, 2)
    lab.Model(1).method(2)
    lab.Model.of_class(3)
    lab.Model.of_none(4)
    lab.outer(5)


def test_what_gives_the_same_is_the_same(lab: Any, store: BaseCache) -> None:
    call_everything(lab)
    lab.runs.clear()
    found = audit(store)
    assert {*found.counts()} == {"same"}
    assert found.is_sound
    assert found.skipped == []
    # The function ran, and so did the one that another one calls.
    assert 5 in lab.runs
    assert len(lab.runs) >= 4
    assert {each.name for each in found.runs} == {call.name for call in store.query()}


def test_nothing_but_the_note_is_changed(lab: Any, store: BaseCache) -> None:
    call_everything(lab)
    before = {call.to_lookup_key(): call.detach() for call in store.query()}
    audit(store)
    audit(store)
    for key, record in before.items():
        now = store.load(key).detach()
        note = now.metadata.pop("audit")
        assert now == record
        assert (note["verdict"], note["runs"]) == ("same", 2)
        assert [verdict for _, verdict in note["earlier"]] == ["same"]
    assert {call.to_lookup_key() for call in store.query()} == {*before}
    assert store.query().filter(lambda call: call.metadata["audit"]["verdict"] == "same").count()
    assert verify(store).is_sound


def test_each_verdict(lab: Any, memory: Cache) -> None:
    lab.same(1)
    lab.shifted(1.0)
    lab.varying(1)
    lab.failing(1)
    lab.nothing(1)
    lab.offset = 1e-9
    found = audit(memory)
    assert verdicts(found) == {
        "same": {"same"},
        "shifted": {"wrong now"},
        "varying": {"different on each run"},
        "failing": {"raised"},
        "nothing": {"wrong now"},
    }
    assert not found.is_sound
    told = {each.name: each.what for each in found.runs}
    assert "was 1.0, is 1.000000001" in told["shifted"]
    assert told["failing"] == "OSError: no such file"
    close = audit(memory, tolerance=Tolerance(atol=1e-6), name="shifted")
    assert verdicts(close) == {"shifted": {"within tolerance"}}
    assert close.is_sound


def test_what_cannot_be_run_is_told(lab: Any, memory: Cache) -> None:
    lab.making()(1)
    lab.loud(2, verbose=True)
    lab.versioned(1)
    lab.versioned = fleche(version=2)(lab.versioned.__wrapped__)
    memory.values.evict(memory.load(lab.quiet.digest(lab.quiet(1)))._arguments["x"])
    found = audit(memory)
    assert {each.name: each.why for each in found.skipped} == {
        "making.<locals>.within": "it is made within another function, or a lambda",
        "versioned": "recorded for another version or code: no call hits it today",
    }
    assert {each.name: each.what for each in found.runs} == {
        "loud": "its argument 'verbose' is ignored, and not stored",
        "quiet": "its argument 'x' is not stored",
    }
    assert found.is_sound


def test_modules_and_functions_that_are_gone(lab: Any, memory: Cache) -> None:
    lab.same(1)
    lab.shifted(1.0)
    del lab.shifted
    [gone] = audit(memory).skipped
    assert gone.why == "there is no shifted in fleche_lab any longer"
    sys.modules.pop("fleche_lab")
    sys.modules["fleche_lab"] = None  # type: ignore[assignment]
    assert all("cannot be imported" in each.why for each in audit(memory).skipped)
    sys.modules["fleche_lab"] = lab


def test_a_read_only_cache_gets_no_notes(lab: Any, memory: Cache) -> None:
    lab.same(1)
    assert audit(memory.readonly()).counts() == {"same": 1}
    assert "audit" not in next(iter(memory.query())).metadata


def test_the_budget(lab: Any, memory: Cache) -> None:
    for x in range(10):
        lab.same(x)
    for call in [*memory.query()]:
        record = call.detach()
        record.metadata["runtime"] = {"timestop": 1.0, "walltime": 10.0}
        memory.save(record)
    found = audit(memory, budget=35)
    assert (len(found.runs), found.left_out) == (3, 7)
    assert len(audit(memory, budget=1000, most=4).runs) == 4
    assert len(audit(memory, budget=0).runs) == 0
    with pytest.raises(ValueError, match="budget"):
        audit(memory, budget=-1)
    with pytest.raises(ValueError, match="jobs"):
        audit(memory, jobs=0)


def test_in_processes(lab: Any, tmp_path: Path) -> None:
    store = cache_from_config({"template": "sql", "root": tmp_path, "values": "pickle"})
    with cache(store):
        for x in range(6):
            lab.same(x)
        lab.varying(1)
        found = audit(store, jobs=2)
    assert found.counts() == {"same": 6, "different on each run": 1}
    assert all("audit" in call.metadata for call in store.query())
    assert lab.runs == [*range(6)]
    assert isinstance(store, Cache)
    assert isinstance(store.calls, Sql)
    store.calls._store.close()


# The sample


@given(
    st.lists(st.tuples(st.sampled_from("fgh"), st.floats(0, 100), st.floats(0, 100)), max_size=40),
    st.integers(0, 5),
)
def test_a_sample_has_every_call_once_and_functions_in_turns(
    calls: list[tuple[str, float, float]], seed: int
) -> None:
    candidates = [
        Candidate(0, Digest(f"{number:064}"), ("m", name), seconds, ended)
        for number, (name, seconds, ended) in enumerate(calls)
    ]
    chosen = [*sampled(candidates, seed)]
    assert sorted(each.key for each in chosen) == sorted(each.key for each in candidates)
    assert [*sampled(reversed(candidates), seed)] == chosen
    kinds = len({each.function for each in candidates})
    assert len({each.function for each in chosen[:kinds]}) == kinds


def test_a_sample_is_of_all_ages_and_costs() -> None:
    candidates = [
        Candidate(0, Digest(f"{n:064}"), ("m", "f"), 1.0 if n < 97 else 500.0, float(n))
        for n in range(100)
    ]
    first = [*sampled(candidates, 0)][:6]
    assert any(each.seconds == 500.0 for each in first)
    assert {int((each.ended or 0) // 34) for each in first} == {0, 1, 2}


# Comparison


numbers = st.floats(allow_nan=True, allow_infinity=True)
nested = st.recursive(
    numbers | st.integers() | st.text(max_size=3) | st.none() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(nested, nested)
def test_the_same_agree_and_tolerance_only_adds(one: Any, other: Any) -> None:
    assert is_same(one, one)
    assert agree(one, one, Tolerance())
    if is_same(one, other):
        assert agree(one, other, Tolerance(1e-3, 1e-3))
    assert agree(one, other, Tolerance()) == is_same(one, other)


@given(st.floats(-1e6, 1e6), st.floats(-1e-9, 1e-9))
def test_small_differences_agree_wherever_they_are(number: float, by: float) -> None:
    tolerance = Tolerance(atol=1e-8)
    for wrap in (
        lambda x: x,
        lambda x: [1, {"a": (x, "text")}],
        lambda x: np.array([x, math.nan]),
        lambda x: np.float64(x),
        lambda x: {"a": np.array([[x]]), "b": complex(x, 1)},
    ):
        assert agree(wrap(number), wrap(number + by), tolerance)
        assert not agree(wrap(number), wrap(number + 1), tolerance)


def test_what_is_no_number_must_be_the_same() -> None:
    wide = Tolerance(1e9, 1e9)
    for one, other in [
        (1, 2),
        (1, 1.0),
        ("a", "b"),
        ([1.0], [1.0, 2.0]),
        ([1.0], (1.0,)),
        ({"a": 1.0}, {"b": 1.0}),
        (np.arange(3.0), np.arange(4.0)),
        (np.arange(3.0), np.arange(3.0, dtype="float32")),
        (np.arange(3), np.arange(1, 4)),
        (1.0, math.nan),
        (math.inf, -math.inf),
        (None, 1.0),
        ({1.0}, {2.0}),
    ]:
        assert not agree(one, other, wide)


def test_frames() -> None:
    pandas = pytest.importorskip("pandas")
    one = pandas.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    other = pandas.DataFrame({"a": [1.0, 2.0 + 1e-9], "b": ["x", "y"]})
    assert agree(one, other, Tolerance(rtol=1e-6))
    assert not agree(one, other, Tolerance())
    assert not agree(one, other.rename(columns={"a": "c"}), Tolerance(rtol=1e-6))


def test_a_tolerance_is_no_negative_number() -> None:
    for wrong in (-1.0, math.nan):
        with pytest.raises(ValueError, match="rtol must be 0 or more"):
            Tolerance(rtol=wrong)


# The command


def test_the_command(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleche.toml").write_text(
        '[default]\nroot = true\ncache = "mine"\n[mine]\ntemplate = "pickle"\nroot = "store"\n'
    )
    monkeypatch.chdir(tmp_path)
    with cache(cache_from_config({"template": "pickle", "root": tmp_path / "store"})):
        lab.same(1)
        lab.shifted(1.0)
        lab.making()(1)
    assert cli.main(["audit"]) == 0
    out = capsys.readouterr().out
    assert "1 call of fleche_lab.making.<locals>.within not run: it is made within" in out
    lab.offset = 1e-9
    assert cli.main(["audit", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {run["name"]: run["verdict"] for run in found["runs"]} == {
        "same": "same",
        "shifted": "wrong now",
    }
    assert cli.main(["audit", "shifted", "--atol", "1e-6", "--budget", "1m"]) == 0
    assert "within tolerance" in capsys.readouterr().out
    assert cli.main(["audit", "--budget", "soon"]) == 2
    assert "90s, 30m or 2h" in capsys.readouterr().err


def test_a_process_that_dies_ends_it(lab: Any, tmp_path: Path) -> None:
    store = cache_from_config({"template": "pickle", "root": tmp_path})
    lab_file = Path(lab.__file__)
    with cache(store):
        for x in range(3):
            lab.same(x)
        lab_file.write_text(MODULE.replace("runs.append(x)", "os._exit(3)"))
        found = audit(store, jobs=2)
    assert found.counts() == {"not run": 3}
    assert all("a process died" in each.what for each in found.runs)


def test_what_functions_print_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleche.toml").write_text(
        '[default]\nroot = true\ncache = "mine"\n[mine]\ntemplate = "pickle"\nroot = "store"\n'
    )
    (tmp_path / "fleche_loud.py").write_text(
        "from fleche import fleche\n@fleche\ndef loud(x):\n    print('hello')\n    return x\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        with cache(cache_from_config({"template": "pickle", "root": tmp_path / "store"})):
            importlib.import_module("fleche_loud").loud(1)
        capsys.readouterr()
        assert cli.main(["audit", "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["sound"]
        assert err == "hello\n"
    finally:
        sys.modules.pop("fleche_loud", None)
