"""The rules of the simulation behind docs/growth.md."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks.simulation import STORES, Outcome, Simulation, Store

SLOW = Store("slow", 1, 0.01, 0.05, 0.0)


def run(store: Store = STORES[0], **options: Any) -> Outcome:
    wanted = {"workers": 20, "calls": 10, "body": 2.0, "once": True, **options}
    return Simulation(store, **wanted).run()


@given(
    store=st.sampled_from([*STORES, SLOW]),
    workers=st.integers(1, 30),
    calls=st.integers(1, 10),
    body=st.floats(0.01, 20),
    once=st.booleans(),
    shuffled=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_every_call_is_done_and_with_once_no_other(once: bool, calls: int, **options: Any) -> None:
    outcome = run(once=once, calls=calls, **options)
    assert outcome.bodies.keys() == {*range(calls)}
    assert outcome.requests["save"] == outcome.bodies.total()
    assert outcome.requests["look"] >= options["workers"] * calls
    assert 0 < outcome.busy <= 1
    if once:
        assert outcome.duplicates == 0
        assert outcome.requests["release"] >= calls
    else:
        assert not {"claim", "release", "beat"} & outcome.requests.keys()


def test_the_same_seed_gives_the_same_run() -> None:
    assert run(shuffled=True, seed=1) == run(shuffled=True, seed=1)
    assert run(shuffled=True, seed=1) != run(shuffled=True, seed=2)


def test_nobody_waits_for_the_dead() -> None:
    outcome = run(deaths=0.2, workers=40, seed=3)
    assert outcome.bodies.keys() == {*range(10)}
    assert outcome.duplicates == 0
    assert outcome.seconds > run(workers=40, seed=3).seconds


def test_a_store_serves_no_more_than_it_can() -> None:
    """A part that is busy has all others wait: requests take their time, one after the other."""
    outcome = run(SLOW, once=False, workers=50, body=0.01)
    reads, writes = outcome.requests["look"], outcome.requests["save"]
    assert outcome.seconds >= reads * SLOW.read + writes * SLOW.write
    spread = run(replace(SLOW, parts=16), once=False, workers=50, body=0.01)
    assert spread.seconds < outcome.seconds


def test_one_worker_takes_the_sum_of_its_steps() -> None:
    store = Store("plain", 1, 0.25, 0.5, 1.0)
    outcome = run(store, workers=1, calls=3, body=1e-9, once=False)
    assert outcome.seconds == pytest.approx(3 * (0.25 + 1.0 + 0.5 + 1.0), abs=0.11)


def test_an_order_of_its_own_shares_the_work() -> None:
    alike, shuffled = run(once=True), run(once=True, shuffled=True)
    assert shuffled.seconds < alike.seconds / 2
    assert run(once=False, shuffled=True).duplicates < run(once=False).duplicates
