"""`fleche promote`: old records for a function that was changed and still computes the same."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche import cache, cli, fleche
from fleche.auditing import Promotion, Tolerance, promote, verify
from fleche.caches import BaseCache, Cache, CachePool, CacheStack, Rejected
from fleche.call import Call
from fleche.config import cache_from_config
from fleche.storage import CallMemory, ValueMemory

runs: list[Any] = []


def memory() -> Cache:
    return Cache(ValueMemory({}), CallMemory({}))


@pytest.fixture(params=["memory", "pickle", "sql", "sqlite", "bagofholding_hdf", "stack"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    made: BaseCache = memory()
    if request.param == "stack":
        made = CacheStack(
            (made, cache_from_config({"template": "pickle", "root": tmp_path / "store"}))
        )
    elif request.param != "memory":
        made = cache_from_config({"template": request.param, "root": tmp_path / "store"})
    with cache(made):
        yield made


def mean_of(body: str, **options: Any) -> Any:
    """The function `mean`, as an edit of its file left it."""
    names: dict[str, Any] = {"__name__": "lab.statistics", "runs": runs}
    exec(f"def mean(x, weight=1.0):\n    runs.append(x)\n    return {body}", names)
    runs.clear()
    return fleche(**{"hash_code": False, **options})(names["mean"])


def test_old_records_are_found_after_a_refactoring(store: BaseCache) -> None:
    old = mean_of("sum(x) * weight / len(x)", version=1)
    inputs = [[1, 2], [3, 4, 5], [6.5]]
    expected = [old(each) for each in inputs]
    new = mean_of("weight * sum(x) / len(x)", version=2)
    result = promote(new)
    assert (result.found, result.agreed, len(result.promoted)) == (3, 3, 3)
    assert result.refusal == ""
    runs.clear()
    assert [new(each) for each in inputs] == expected
    assert runs == []
    for each in inputs:
        record = store.load(new.digest(each))
        note = record.metadata["promoted"]
        assert (note["runs"], note["version"], note["key"]) == (3, 1, old.digest(each))
        assert record.metadata.get("runtime") == store.load(old.digest(each)).metadata.get(
            "runtime"
        )
    assert verify(store).is_sound
    # There is nothing left to be done.
    assert promote(new).refusal == "there is no record of older code or another version"


def test_records_of_other_code(store: BaseCache) -> None:
    old = mean_of("sum(x)", hash_code=True)
    old([1, 2])
    new = mean_of("sum([*x])", hash_code=True)
    assert not new.contains([1, 2])
    assert len(promote(new).promoted) == 1
    runs.clear()
    assert new([1, 2]) == 3
    assert runs == []


def test_one_disagreement_keeps_everything_as_it_is(store: BaseCache) -> None:
    old = mean_of("sum(x)", version=1)
    for each in ([1], [2], [3], [-1]):
        old(each)
    before = {call.to_lookup_key(): call.detach() for call in store.query()}
    new = mean_of("abs(sum(x))", version=2)
    result = promote(new)
    assert result.promoted == []
    [wrong] = result.disagreed
    assert wrong.key == old.digest([-1])
    assert "was -1, is 1" in result.refusal
    assert {call.to_lookup_key(): call.detach() for call in store.query()} == before


def test_a_tolerance(store: BaseCache) -> None:
    mean_of("sum(x) + 0.0", version=1)([1.0])
    new = mean_of("sum(x) + 1e-12", version=2)
    assert promote(new).promoted == []
    result = promote(new, tolerance=Tolerance(rtol=1e-9))
    assert len(result.promoted) == 1
    note = store.load(result.promoted[0]).metadata["promoted"]
    assert note["within_tolerance"] == 1
    # What was stored is what is found.
    assert new([1.0]) == 1.0


def test_the_old_records_are_replaced_if_that_is_asked_for(store: BaseCache) -> None:
    old = mean_of("sum(x)", version=1)
    old([1])
    new = mean_of("sum(x)", version=2)
    assert len(promote(new, replace=True).promoted) == 1
    assert [call.version for call in store.query()] == [2]
    assert new.load([1]) == 1


def test_a_sample_is_enough() -> None:
    with cache(memory()):
        old = mean_of("sum(x)", version=1)
        for number in range(30):
            old([number])
        new = mean_of("sum(x)", version=2)
        result = promote(new, evidence=5)
        assert len(runs) == 5
        assert (result.agreed, len(result.promoted)) == (5, 30)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 3))
def test_no_fewer_runs_than_asked_for(evidence: int, count: int, seed: int) -> None:
    with cache(memory()):
        old = mean_of("sum(x)", version=1)
        for number in range(count):
            old([number])
        new = mean_of("sum(x)", version=2)
        result = promote(new, evidence=evidence, seed=seed)
        assert result.agreed == len(runs) == min(evidence, count)
        assert len(result.promoted) == count


def test_too_few_that_can_be_run() -> None:
    store = memory()
    with cache(store):
        old = mean_of("sum(x)", version=1)
        for number in range(4):
            old([number])
        for call in [*store.query()]:
            store.values.evict(call._arguments["x"])
        result = promote(mean_of("sum(x)", version=2))
        assert result.promoted == []
        assert result.refusal == "only 0 of 4 records can be run: its argument 'x' is not stored"


def test_records_that_contradict_each_other_are_left_out() -> None:
    with cache(memory()):
        for version, body in ((1, "sum(x)"), (2, "sum(x) + 1")):
            old = mean_of(body, version=version)
            old([1])
        mean_of("sum(x)", version=1)([2])
        result = promote(mean_of("sum(x)", version=3))
        assert (result.found, result.contested, len(result.promoted)) == (3, 2, 1)


def test_other_functions_and_other_parameters_stay_out() -> None:
    store = memory()
    with cache(store):
        mean_of("sum(x)", version=1)([1])
        store.save(Call("mean", {"x": [1]}, module="lab.statistics", version=1, result=1))
        store.save(Call("mean", {"x": [1], "weight": 1.0}, module="other", version=1, result=1))
        assert promote(mean_of("sum(x)", version=2)).found == 1


def test_arguments_that_count_by_type_now_are_no_evidence() -> None:
    with cache(memory()):
        mean_of("sum(x)", version=1)([1])
        result = promote(mean_of("sum(x)", version=2, typed=True))
        assert result.promoted == []
        assert "its key is made in another way" in result.refusal


def test_methods() -> None:
    class Model:
        def __init__(self, n: int) -> None:
            self.n = n

        def method(self, x: int) -> int:
            return self.n * x

    Model.__qualname__ = "Model"
    sys.modules[__name__].Model = Model  # type: ignore[attr-defined]
    try:
        with cache(memory()):
            one, two = (fleche(hash_code=False, version=v)(Model.method) for v in (1, 2))
            one(Model(3), 4)
            assert len(promote(two).promoted) == 1
            assert two.load(Model(3), 4) == 12
    finally:
        del sys.modules[__name__].Model  # type: ignore[attr-defined]


def test_mistakes() -> None:
    with pytest.raises(TypeError, match="not decorated"):
        promote(len)
    new = mean_of("sum(x)")
    with pytest.raises(ValueError, match="evidence must be 1 or more"):
        promote(new, evidence=0)
    for read in (memory().readonly(), CachePool((memory(),))):
        with pytest.raises(Rejected, match="read-only"):
            promote(new, cache=read)
    assert promote(new, cache=memory()).to_json()["found"] == 0
    assert Promotion().disagreed == []


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleche.toml").write_text(
        '[default]\nroot = true\ncache = "mine"\n[mine]\ntemplate = "pickle"\nroot = "store"\n'
    )
    code = "from fleche import fleche\n@fleche(version={})\ndef double(x):\n    return {}\n"
    (tmp_path / "lab_of_doubles.py").write_text(code.format(1, "2 * x"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with cache(cache_from_config({"template": "pickle", "root": tmp_path / "store"})):
        importlib.import_module("lab_of_doubles").double(3)
    sys.modules.pop("lab_of_doubles")
    (tmp_path / "lab_of_doubles.py").write_text(code.format(2, "x + x  # refactored"))
    importlib.invalidate_caches()
    try:
        assert cli.main(["promote", "lab_of_doubles.double", "--evidence", "3"]) == 0
        assert "1 record promoted, as 1 run agreed" in capsys.readouterr().out
        assert cli.main(["promote", "lab_of_doubles:double", "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["found"] == 0
        assert cli.main(["promote", "lab_of_doubles.fleche"]) == 2
        assert "not decorated" in capsys.readouterr().err
        assert cli.main(["promote", "lab_of_doubles.triple"]) == 2
        assert "there is no function" in capsys.readouterr().err
    finally:
        sys.modules.pop("lab_of_doubles", None)
