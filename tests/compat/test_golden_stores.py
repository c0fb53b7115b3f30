"""Every call that the reference recorded hits: stores of both of its versions, of every kind."""

from __future__ import annotations

import ast
import functools
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.caches import Cache
from fleche.config import cache_from_config
from tests.recorded import unpacked
from tests.unit.calls import memory_cache
from tests.unit.schemes import scheme

DATA = Path(__file__).parents[1] / "data"
FUNCTIONS = runpy.run_path(str(DATA / "golden_functions.py"), run_name="golden_functions")
EVERY = ("pickle", "pickle-gzip", "pickle-signed", "cloudpickle-depth2", "dill-signed-gzip")
STORES = [
    *((version, name) for version in ("0.16.1", "0.22.2") for name in (*EVERY, "sqlite", "bag")),
    ("0.22.2", "bag-prefix2"),
]


class Golden:
    """A copy of a store that the reference recorded."""

    def __init__(self, folder: Path, version: str, name: str) -> None:
        root = unpacked(version, folder)
        manifest = json.loads((root / "manifest.json").read_text())
        self.recorded = manifest["stores"][name]
        self.calls = self.recorded["calls"]
        self.cache = opened(root / name, name, manifest["secret_keys"])
        self.ran: list[str] = []

    def function(self, name: str) -> Any:
        """A recorded function, counting how often it runs."""
        original: Callable[..., Any] = FUNCTIONS[name]

        @functools.wraps(original)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.ran.append(name)
            return original(*args, **kwargs)

        # By name: the reference recorded nothing of the code.
        return fleche(hash_code=False)(counted)

    def check(self, held: Cache) -> None:
        """Every recorded call hits."""
        with cache(held):
            for call in self.calls:
                function = self.function(call["function"])
                args, kwargs = map(ast.literal_eval, (call["args"], call["kwargs"]))
                assert function.contains(*args, **kwargs)
                assert function.query(*args, **kwargs).count() == 1
                assert function(*args, **kwargs) == ast.literal_eval(call["result"])
                assert function.load(*args, **kwargs) == ast.literal_eval(call["result"])
                assert held.contains(function.digest(*args, **kwargs))
        assert self.ran == []


def opened(root: Path, name: str, secret_keys: list[str]) -> Cache:
    kind = name.partition("-")[0]
    form: dict[str, Any] = {"type": kind}
    if kind == "bag":
        form = {"type": "bagofholding_hdf", "version_validator": "none"}
    if kind == "sqlite":
        form = {"type": "pickle"}
    if "signed" in name:
        form["secret_key"] = secret_keys
    calls = {**form, "root": str(root / "calls")}
    if kind == "sqlite":
        calls = {"type": "sql", "url": f"sqlite:///{root}/calls.db"}
    held = cache_from_config({"values": {**form, "root": str(root / "values")}, "calls": calls})
    assert isinstance(held, Cache)
    return held


@pytest.fixture(params=STORES, ids="-".join)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Golden:
    return Golden(tmp_path, *request.param)


def test_every_record_and_every_value_loads(golden: Golden) -> None:
    held = golden.cache
    assert sorted(held.calls.list()) == sorted(call["key"] for call in golden.calls)
    assert sorted(held.values.list()) == sorted(golden.recorded["value_keys"])
    for key in golden.recorded["value_keys"]:
        held.load_value(key)
    for call in golden.calls:
        found = held.load(call["key"])
        record = found.detach()
        assert (found.name, found.module) == (call["name"], call["module"])
        assert record.arguments == call["arguments"]
        assert record.result == call["result_digest"]
        assert sorted(found.metadata) == sorted(call["metadata_names"])
        assert found.result == ast.literal_eval(call["result"])
    assert held.query(module="golden_functions").count() == len(golden.calls)
    assert len(held.table(arguments=True, results=True)) == len(golden.calls)


def test_queries_find_every_call_that_was_never_hit(golden: Golden) -> None:
    keys = sorted(golden.cache.calls.list())
    with cache(golden.cache):
        for call in golden.calls:
            args, kwargs = map(ast.literal_eval, (call["args"], call["kwargs"]))
            result = ast.literal_eval(call["result"])
            assert golden.function(call["function"]).query(*args, **kwargs).only().result == result
            found = golden.cache.query(name=call["name"], result=result)
            assert call["result_digest"] in [each.detach().result for each in found]
    assert sorted(golden.cache.calls.list()) == keys


def test_every_call_hits_in_the_references_scheme(golden: Golden) -> None:
    with scheme("sha256"):
        golden.check(golden.cache)
    assert sorted(golden.cache.calls.list()) == sorted(call["key"] for call in golden.calls)


def test_every_call_hits_in_ours(golden: Golden) -> None:
    golden.check(golden.cache)


def test_every_call_hits_through_a_view(golden: Golden) -> None:
    keys = sorted(golden.cache.calls.list())
    with cache(golden.cache.readonly()):
        for call in golden.calls:
            args, kwargs = map(ast.literal_eval, (call["args"], call["kwargs"]))
            golden.function(call["function"])(*args, **kwargs)
    assert golden.ran == []
    assert sorted(golden.cache.calls.list()) == keys


def test_every_call_hits_after_redigest(golden: Golden) -> None:
    golden.cache.redigest()
    assert not golden.cache.calls._may_hold("sha256")
    golden.cache.gc()
    golden.check(golden.cache)


def test_every_call_hits_after_transfer(golden: Golden) -> None:
    new = memory_cache()
    golden.cache.transfer(new)
    golden.check(new)
