"""Lineage: which calls made the arguments of a call, and which took its result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche import cache, fleche
from fleche.caches import BaseCache, CachePool, CacheStack
from fleche.call import Call, LazyCall
from fleche.config import cache_from_config
from fleche.lineage import Index, lineage_of
from fleche.lineage import index as index_module
from fleche.lineage.contents import content_of, is_telling


@pytest.fixture(params=["memory", "pickle", "dill", "sql", "sqlite", "bagofholding_hdf", "stack"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    if request.param == "stack":
        files = cache_from_config({"template": "pickle", "root": str(tmp_path / "store")})
        found: BaseCache = CacheStack((cache_from_config({"template": "memory"}), files))
    else:
        config = {"template": request.param}
        if request.param != "memory":
            config["root"] = str(tmp_path / "store")
        if request.param == "sql":
            config["values"] = "cloudpickle"
        found = cache_from_config(config)
    with cache(found):
        yield found


@dataclass
class Pair:
    left: Any
    right: Any


class Model:
    """An object that no storage takes apart."""

    def __init__(self, weights: Any) -> None:
        self.weights = weights


@fleche(hash_code=False)
def fetch(n: int) -> Any:
    return np.arange(n, dtype=float)


@fleche(hash_code=False)
def clean(raw: Any, config: Any) -> Any:
    return {"rows": raw * 2, "config": config}


@fleche(hash_code=False)
def split(table: Any) -> Any:
    rows = table["rows"]
    return rows[:5].copy(), rows[5:].copy()


@fleche(hash_code=False)
def fit(*parts: Any, seed: int = 0) -> Any:
    return Model(sum(part.sum() for part in parts) / 7)


@fleche(hash_code=False)
def report(models: Any, title: str = "") -> str:
    return f"{title}: {len(models)} models"


@fleche(hash_code=False)
def same(x: Any) -> Any:
    return x


def only(held: BaseCache, name: str) -> LazyCall:
    return held.query(name=name).only()


def names(found: dict[str, list[LazyCall]]) -> dict[str, list[str]]:
    return {argument: [call.name for call in calls] for argument, calls in found.items()}


CONFIG = {"method": "a method of a long name"}


def study() -> None:
    report({"first": fit(*split(clean(fetch(20), CONFIG)))}, title="One")


def test_inputs_are_results_whole_in_parts_and_within_containers(held: BaseCache) -> None:
    study()
    assert names(only(held, "fetch").inputs()) == {}
    assert names(only(held, "clean").inputs()) == {"raw": ["fetch"]}
    assert names(only(held, "split").inputs()) == {"table": ["clean"]}
    assert names(only(held, "fit").inputs()) == {"parts": ["split"]}
    assert names(only(held, "report").inputs()) == {"models": ["fit"]}


def test_outputs_are_the_other_way(held: BaseCache) -> None:
    study()
    taken = {call.name: [taker.name for taker in call.outputs()] for call in held.query()}
    assert taken == {
        "fetch": ["clean"],
        "clean": ["split"],
        "split": ["fit"],
        "fit": ["report"],
        "report": [],
    }


def test_the_graph_as_a_tree_dot_and_json(held: BaseCache) -> None:
    study()
    found = only(held, "report").lineage()
    keys = {call.name: str(key)[:8] for key, call in found.calls.items()}
    lines = [
        f"report {keys['report']}",
        f"└─ models: fit {keys['fit']}",
        f"   └─ parts: split {keys['split']}",
        f"      └─ table: clean {keys['clean']}",
        f"         └─ raw: fetch {keys['fetch']}",
    ]
    assert str(found) == "\n".join(lines)
    data = json.loads(found.to_json())
    assert data == found.to_dict()
    assert len(data["calls"]) == 5
    assert [edge["argument"] for edge in data["edges"]] == ["models", "parts", "table", "raw"]
    dot = found.to_dot()
    assert dot.count(" -> ") == 4
    assert '[label="raw"]' in dot
    short = only(held, "report").lineage(depth=1)
    assert [call.name for call in short.calls.values()] == ["report", "fit"]
    assert len(only(held, "report").lineage(depth=0).calls) == 1
    with pytest.raises(ValueError, match="number of steps, not -1"):
        only(held, "report").lineage(depth=-1)
    down = only(held, "fetch").lineage(outputs=True)
    assert [line.strip("└─ ").split()[0] for line in str(down).splitlines()] == [
        *("fetch", "clean", "split", "fit", "report")
    ]


def test_what_a_call_was_given_it_did_not_make(held: BaseCache) -> None:
    rows = fetch(20)
    cleaned = clean(rows, CONFIG)
    # `clean` hands the configuration on, and `same` all of it.
    same(CONFIG)
    same(cleaned)
    found = {str(call.result): call for call in held.query(name="same")}
    assert names(found[str(CONFIG)].inputs()) == {}
    assert names(found[str(cleaned)].inputs()) == {"x": ["clean"]}
    assert [call.name for call in only(held, "fetch").outputs()] == ["clean"]


def test_what_several_calls_made_comes_from_each(held: BaseCache) -> None:
    @fleche(hash_code=False)
    def other(n: int) -> Any:
        return np.arange(n, dtype=float)

    clean(fetch(20), {})
    other(20)
    assert sorted(call.name.split(".")[-1] for call in only(held, "clean").inputs()["raw"]) == [
        *("fetch", "other")
    ]


def test_small_values_join_nothing(held: BaseCache) -> None:
    for value in (0, 1, True, None, 0.5, "mean", [], [1, 2], {"a": 1}, ("x", 1.5)):
        held.save(Call("make", {"value": repr(value)}, result=value))
        held.save(Call("take", {"value": value}, result="a result of its own"))
    for call in held.query(name="take"):
        assert call.inputs() == {}
    held.save(Call("make", {"value": "a number"}, result=0.1 + 0.2))
    held.save(Call("take", {"value": 0.1 + 0.2}, result="another result"))
    joined = [call for call in held.query(name="take") if call.inputs()]
    assert [call.arguments["value"] for call in joined] == [0.1 + 0.2]


def test_calls_that_undo_each_other_end(held: BaseCache) -> None:
    held.save(Call("there", {"x": "the first text"}, result="the second text"))
    held.save(Call("back", {"x": "the second text"}, result="the first text"))
    found = only(held, "there").lineage()
    assert len(found.calls) == 2
    assert len(found.edges) == 2
    assert str(found).splitlines()[-1].endswith("...")


def test_typed_functions_and_values_that_are_not_stored(held: BaseCache) -> None:
    @fleche(hash_code=False, typed=True)
    def take(rows: Any) -> float:
        return float(rows.sum())

    take(fetch(20))
    [call] = [call for call in held.query() if call.name.endswith("take")]
    assert names(call.inputs()) == {"rows": ["fetch"]}


def damage(folder: Path, key: Any) -> None:
    [entry] = [path for path in folder.rglob("*") if key in str(path).replace("/", "")]
    entry.write_bytes(b"damaged")


def test_values_that_cannot_be_read_are_told_by_their_digests(tmp_path: Path) -> None:
    held = cache_from_config({"template": "pickle", "root": str(tmp_path)})
    with cache(held):
        split(clean(fetch(23), CONFIG))
    damage(tmp_path, only(held, "fetch").detach().result)
    damage(tmp_path, only(held, "clean").detach().result)
    assert names(only(held, "clean").inputs()) == {"raw": ["fetch"]}
    # A table as a result has another key than as an argument.
    found = only(held, "split").lineage()
    assert [call.name for call in found.calls.values()] == ["split"]
    assert found.unread > 0


def test_items_of_iterators_and_attributes_of_dataclasses(held: BaseCache) -> None:
    @fleche(hash_code=False, iterate=True)
    def give(n: int) -> Iterator[Any]:
        for start in range(n):
            yield np.arange(start, start + 20.0)

    @fleche(hash_code=False)
    def take(pair: Pair) -> str:
        return "a result"

    take(Pair([*give(3)][1], {"nothing": None}))
    [call] = [call for call in held.query() if call.name.endswith("take")]
    [maker] = call.inputs()["pair"]
    assert maker.name.endswith("give")


def test_members_of_stacks_and_pools_and_views_are_one_cache() -> None:
    first, second = (cache_from_config({"template": "memory"}) for _ in range(2))
    first.save(Call("read", {"path": "a.txt"}, result="the text of the file"))
    key = second.save(Call("count", {"text": "the text of the file"}, result=5))
    stack, pool = CacheStack((first, second)), CachePool((first, second))
    for held in (pool, stack.readonly(), stack.filter(lambda call: True), stack):
        for call in (only(held, "count"), held.load(key)):
            assert names(call.inputs()) == {"text": ["read"]}
        assert [call.name for call in only(held, "read").outputs()] == ["count"]
    assert only(second, "count").inputs() == {}


def test_chains_longer_than_the_stack() -> None:
    held = cache_from_config({"template": "memory"})
    text = "the text before the step 0"
    for step in range(1500):
        after = f"the text after the step {step}"
        held.save(Call("step", {"x": text}, result=after))
        text = after
    last = next(call for call in held.query() if call.result == text)
    assert len(last.lineage().tree().splitlines()) == 1500


def test_a_cycle_of_objects_is_not_followed_for_ever() -> None:
    loop: list[Any] = ["a text that tells something"]
    loop.append(loop)
    assert content_of(loop).digest is None


def test_what_took_long_is_kept_for_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = cache_from_config({"template": "pickle", "root": str(tmp_path / "store")})
    with cache(held):
        split(clean(fetch(25), CONFIG))
    kept = tmp_path / "fleche" / "lineage.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(index_module, "_remembered", {})
    expected = only(held, "split").lineage()
    assert not kept.exists()
    monkeypatch.setattr(index_module, "_WORTH_KEEPING", 0)
    for _ in range(2):
        index_module._remembered.clear()
        assert only(held, "split").lineage() == expected
        assert only(held, "fetch").lineage(outputs=True).tree().count("\n") == 2
        assert kept.exists()
    # The results are not read again: they may as well be gone.
    for name in ("fetch", "clean"):
        held.values.evict(only(held, name).detach().result)  # type: ignore[attr-defined]
    index_module._remembered.clear()
    assert only(held, "split").lineage() == expected
    for content in (b"", b"no database" * 100):
        kept.write_bytes(content)
        index_module._remembered.clear()
        call = only(held, "split")
        assert set(names(call.inputs())) <= {"table"}
    kept.unlink()
    kept.mkdir()
    index_module._remembered.clear()
    assert only(held, "split").inputs().keys() <= {"table"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        max_leaves=30,
    )
)
def test_whatever_is_in_a_value_is_told_by_it(value: Any) -> None:
    content = content_of(value)
    held = set(content.digests())
    assert bool(held) == is_telling(value)
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple):
        for part in parts:
            assert set(content_of(part).digests()) <= held


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_inputs_and_outputs_are_the_same_edges(steps: list[tuple[int, int]]) -> None:
    held = cache_from_config({"template": "memory"})
    for number, (given_, made) in enumerate(steps):
        arguments = {"x": [f"the long text {given_}"], "number": number}
        held.save(Call("f", arguments, result=f"the long text {made}"))
    index = Index(held)
    there, back = set(), set()
    for key in index.calls:
        there |= {(maker, key, name) for name, made in index.inputs(key).items() for maker in made}
        back |= {(key, taker, n) for taker, names in index.outputs(key).items() for n in names}
    assert there == back
    for call in index.calls.values():
        assert len(lineage_of(call, index=index).calls) <= len(index.calls)
