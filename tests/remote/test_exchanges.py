"""How often two machines speak for one operation, and how much they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleche import cache, fleche
from fleche.caches import BaseCache
from fleche.call import Call
from fleche.config import cache_from_config
from fleche.remote.connection import Connection
from fleche.remote.frames import Frame, Packed

from .conftest import Remote


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The requests that are made, each with its size in bytes."""
    requests: list[tuple[str, int]] = []
    exchange = Connection.exchange

    def noted(self: Connection, method: str, packed: Packed) -> Frame:
        requests.append((method, packed.nbytes()))
        return exchange(self, method, packed)

    monkeypatch.setattr(Connection, "exchange", noted)
    return requests


def methods(said: list[tuple[str, int]]) -> list[str]:
    """The methods that were asked for since this was called last."""
    found = [method for method, _ in said]
    said.clear()
    return found


@fleche
def total(x: Any) -> float:
    return float(np.sum(x))


def test_calls(remote: Remote, said: list[tuple[str, int]]) -> None:
    with cache(remote.cache()):
        total([1, 2])
        assert methods(said) == ["load_result", "commit"]
        total([1, 2])
        assert methods(said) == ["load_result"]


def test_a_large_argument_is_sent_once(remote: Remote, said: list[tuple[str, int]]) -> None:
    data = np.arange(100_000.0)

    @fleche
    def scaled(x: Any, factor: int) -> float:
        return float(x.sum()) * factor

    with cache(remote.cache()):
        scaled(data, 1)
        assert sum(size for _, size in said) > data.nbytes
        assert methods(said) == ["load_result", "missing", "prepare", "commit"]
        scaled(data, 2)
        assert sum(size for _, size in said) < 10_000
        assert methods(said) == ["load_result", "missing", "commit"]
    store: BaseCache = remote.store()
    assert all((call.arguments["x"] == data).all() for call in store.query())


def test_a_stack(remote: Remote, said: list[tuple[str, int]]) -> None:
    remote.store().save(Call("f", {"x": 1, "y": [2]}, module="lab", result=3))
    key = remote.store().query().only().to_lookup_key()
    stack = remote.cache().push(cache_from_config({"template": "memory"}))
    assert stack.load(key).result == 3
    assert methods(said) == ["load_record", "load_values"]
    assert stack.load(key).fetch().arguments == {"x": 1, "y": [2]}
    assert methods(said) == []


def test_queries(remote: Remote, said: list[tuple[str, int]]) -> None:
    served = remote.cache()
    cache_from_config({"template": "memory"}).transfer(served)
    for n in range(200):
        remote.store().save(Call("f", {"x": n}, result=n))
    assert served.query().any() is not None
    assert methods(said) == ["query_start"]
    assert served.query().count() == 200
    assert methods(said) == ["query_start", "query_next"]
    served.shrink(*(call.to_lookup_key() for call in remote.store().query()))
    assert methods(said) == ["shrink"]


def test_with_the_reference(
    sha256: None, remote: Remote, reference_python: Path, said: list[tuple[str, int]]
) -> None:
    text = (remote.folder / "fleche.toml").read_text()
    remote.configure(text.replace('digest = "sha256"\n', ""))
    with cache(remote.cache(python=str(reference_python))):
        total([1, 2])
        assert methods(said) == ["load", "prepare", "save_value", "save"]
        total([1, 2])
        assert methods(said) == ["load", "load_value"]
