"""Events of cached calls."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleche import _core, cache, events, fleche, wrap_executor
from fleche.caches import BaseCache
from fleche.config import cache_from_config
from fleche.storage import CallMemory

STORES = ("memory", "pickle", "cloudpickle", "sql", "sqlite", "bagofholding_hdf")


@pytest.fixture(params=STORES)
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
    config = {"template": request.param}
    if request.param != "memory":
        config["root"] = str(tmp_path / "store")
    if request.param == "sql":
        config["values"] = "dill"
    with cache(found := cache_from_config(config)):
        yield found


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    found: list[Any] = []
    with events.subscribe(found.append):
        yield found


@fleche
def half(x: Any) -> Any:
    if x == 0:
        raise ZeroDivisionError
    return None if x is None else x / 2


def kinds(heard: list[Any]) -> list[str]:
    return [type(event).__name__ for event in heard]


def test_what_happens_to_a_call_is_told(held: BaseCache, heard: list[Any]) -> None:
    assert half(3) == half(3) == 1.5
    assert kinds(heard) == ["Miss", "Computed", "Saved", "Hit"]
    key = half.digest(3)
    assert {(e.function, e.module, e.key) for e in heard} == {("half", __name__, key)}
    assert heard[1].seconds >= 0
    assert heard[3].seconds > 0
    assert (heard[2].bytes > 0) == (type(held.calls) is not CallMemory)  # type: ignore[attr-defined]


def test_what_fails_or_is_not_cached_is_told(held: BaseCache, heard: list[Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        half(0)
    assert kinds(heard) == ["Miss", "Failed"]
    assert isinstance(heard[1].error, ZeroDivisionError)
    heard.clear()
    half(None)
    assert kinds(heard) == ["Miss", "Computed", "Uncached"]
    assert heard[2].reason == "none"
    heard.clear()
    with pytest.raises(TypeError):
        half(object.__new__(type("Opaque", (), {"__reduce__": None})))
    assert kinds(heard) == ["Uncached"]
    assert (heard[0].reason, heard[0].key) == ("indigestible", None)


def test_an_evicted_call_is_told_by_its_whole_key(held: BaseCache, heard: list[Any]) -> None:
    half(3)
    heard.clear()
    key = half.digest(3)
    held.evict(key[:8])
    held.evict(key)  # absent by now
    assert heard == [events.Evicted("", None, key)]


def test_calls_of_methods_coroutines_and_generators_are_told(heard: list[Any]) -> None:
    class Thing:
        @fleche
        @staticmethod
        def method(x: int) -> int:
            return x

        @classmethod
        @fleche
        def made(cls, x: int) -> int:
            return x

    @fleche
    async def awaited(x: int) -> int:
        return x

    @fleche(iterate=True)
    def counted(x: int) -> Iterator[int]:
        yield from range(x)

    with cache(cache_from_config({"template": "memory"})):
        for call in (
            lambda: Thing.method(1),
            lambda: Thing.made(1),
            lambda: asyncio.run(awaited(1)),
            lambda: [*counted(2)],
        ):
            heard.clear()
            call(), call()
            assert kinds(heard) == ["Miss", "Computed", "Saved", "Hit"]


def test_a_call_that_an_executor_finds_is_told(heard: list[Any]) -> None:
    with cache(cache_from_config({"template": "memory"})):
        half(3)
        heard.clear()
        with wrap_executor(ThreadPoolExecutor(1)) as pool:
            assert pool.submit(half, 3).result() == 1.5
        assert kinds(heard) == ["Hit"]
        assert heard[0].key == half.digest(3)


def test_a_subscription_ends() -> None:
    found: list[Any] = []
    with cache(cache_from_config({"template": "memory"})):
        end = events.subscribe(found.append)
        other = events.subscribe(lambda event: None)
        half(3)
        assert len(found) == 3
        end()
        end()
        half(3)
        assert len(found) == 3
        assert _core.is_listening()
        other()
        assert not _core.is_listening()


def test_a_callback_that_fails_is_logged_once_and_disturbs_no_call(
    heard: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: events.Event) -> None:
        raise ValueError("out of order")

    with (
        cache(cache_from_config({"template": "memory"})),
        events.subscribe(fail),
        caplog.at_level(logging.WARNING, "fleche.events"),
    ):
        assert half(3) == half(3) == 1.5
    said = [record for record in caplog.records if record.name == "fleche.events"]
    assert len(said) == 1
    assert "fail" in said[0].getMessage()
    assert len(heard) == 4


def test_what_a_callback_calls_gives_no_events(heard: list[Any]) -> None:
    def count(event: events.Event) -> None:
        half(len(heard))

    with cache(cache_from_config({"template": "memory"})), events.subscribe(count):
        half(-1)
        half(-1)
    assert kinds(heard) == ["Miss", "Computed", "Saved", "Hit"]


def test_a_subscriber_can_be_called() -> None:
    with pytest.raises(TypeError, match="not a list"):
        events.subscribe([])  # type: ignore[arg-type]


def test_interrupts_in_a_callback_pass(heard: list[Any]) -> None:
    def interrupt(event: events.Event) -> None:
        raise KeyboardInterrupt

    with cache(cache_from_config({"template": "memory"})):
        with events.subscribe(interrupt), pytest.raises(KeyboardInterrupt):
            half(3)
        assert half(3) == 1.5
    assert kinds(heard)[-1] == "Saved"


PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
EXAMPLES = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_example_for_prometheus_counts_calls() -> None:
    code = compile(EXAMPLES[0], str(PAGE), "exec")
    prometheus = pytest.importorskip("prometheus_client")
    names: dict[str, Any] = {}
    exec(code, names)
    with names["subscription"], cache(cache_from_config({"template": "memory"})):
        half(3), half(3)
    text = prometheus.generate_latest().decode()
    assert 'fleche_calls_total{event="hit",function="half"} 1.0' in text
    assert 'fleche_seconds_count{function="half"} 1.0' in text


def test_the_example_for_opentelemetry_counts_calls() -> None:
    code = compile(EXAMPLES[1], str(PAGE), "exec")
    pytest.importorskip("opentelemetry.sdk.metrics")
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    names: dict[str, Any] = {}
    exec(code, names)
    with names["subscription"], cache(cache_from_config({"template": "memory"})):
        half(3), half(3)
    text = reader.get_metrics_data().to_json()
    assert '"fleche.event": "hit"' in text
    assert "fleche.computed" in text
