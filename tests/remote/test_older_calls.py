"""Stores that the reference filled, on another machine."""

from __future__ import annotations

from fleche import cache, fleche
from fleche.config import cache_from_config
from tests.unit.schemes import scheme

from .conftest import Remote

ran: list[float] = []


@fleche
def half(x: float) -> float:
    ran.append(x)
    return x / 2


def fill(remote: Remote) -> None:
    """Calls under the reference's keys."""
    ran.clear()
    with scheme("sha256"), cache(remote.store()):
        half(3.0)
        half(-1.0)


def test_calls_are_found_and_filed_anew(remote: Remote) -> None:
    fill(remote)
    served = remote.cache()
    with cache(served):
        assert half.contains(3.0)
        assert half(3.0) == half.load(3.0) == 1.5
        assert half(-2) == -1.0
        assert served.contains(half.digest(3.0))
    assert ran == [3.0, -1.0, -2]
    assert remote.store().query(arguments={"x": 3.0}).count() == 1


def test_a_stack_copies_them(remote: Remote) -> None:
    fill(remote)
    base = cache_from_config({"template": "memory"})
    with cache(remote.cache().push(base)):
        assert half(3.0) == 1.5
        assert base.contains(half.digest(3.0))
    assert ran == [3.0, -1.0]


def test_a_server_says_what_its_keys_may_be_of(remote: Remote) -> None:
    served = remote.cache()
    assert served.info()["schemes"] == []
    assert not served._may_hold("sha256")
    with cache(served):
        half(5.0)
    assert remote.cache().info()["schemes"] == ["exact"]
