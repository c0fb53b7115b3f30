"""Processes are killed while they write; whoever opens the store finds it whole."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.repeats import explores

from .killing import Kills
from .stores import (
    ABSENT,
    ALL_KINDS,
    CASES,
    OPERATIONS,
    PICKLED,
    STEPS,
    STEPS_OF_PICKLES,
    Expected,
    Step,
    after,
    check,
    check_left_overs,
    copy,
    pickles,
    prepare,
    verify,
)

RANDOM_KILLS = {"pickle": 300, "signed": 250, "sqlite": 250, "bags": 100, "bags of a prefix": 100}
# Before every system call of the engine a process is killed anyway: a part of these is enough, but
# where HDF5 writes files by itself.
if not explores():
    RANDOM_KILLS = {k: n if k == "bags of a prefix" else n // 3 for k, n in RANDOM_KILLS.items()}
RECORDS = range(3)


@pytest.fixture(scope="module")
def kills() -> Iterator[Kills]:
    with Kills() as process:
        yield process


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_killed_before_each_system_call(name: str, kind: str, kills: Kills, folder: Path) -> None:
    if OPERATIONS[name].writes:
        prepare(folder / "before", name, kind)
        for which in count(1):
            root = copy(folder / "before", folder / "store")
            ended = kills.ask(name=name, kind=kind, root=str(root), which=which)
            try:
                verify(root, name, kind, set(ended.done))
            except Exception as broken:
                broken.add_note(f"after a kill before system call {which}")
                raise
            if not ended.killed:
                break


def random_steps(choose: random.Random, kind: str, version: int) -> list[Step]:
    names = STEPS_OF_PICKLES if kind in PICKLED else STEPS
    picked = [(choose.choice(names), choose.choice(RECORDS)) for _ in range(4)]
    return [Step(name, number, version + place) for place, (name, number) in enumerate(picked)]


def expected_after(versions: dict[int, int | None], steps: list[Step], done: int) -> Expected:
    """What may be there once so many steps were done, and the next one perhaps."""
    for step in steps[:done]:
        versions = after(versions, step)
    perhaps = after(versions, steps[done]) if done < len(steps) else versions
    return {number: {versions[number], perhaps[number]} for number in versions}


@pytest.mark.parametrize("kind", RANDOM_KILLS)
def test_killed_at_random_moments(kind: str, kills: Kills, folder: Path) -> None:
    choose = random.Random(f"kills of {kind}")
    versions: dict[int, int | None] = dict.fromkeys(RECORDS, ABSENT)
    longest, killed, version = 20_000, 0, 0
    while killed < RANDOM_KILLS[kind]:
        steps = random_steps(choose, kind, version)
        version += len(steps)
        # More often than not it is over in time, whatever the speed of this machine.
        moment = choose.randrange(longest)
        ended = kills.ask(kind=kind, root=str(folder), steps=steps, microseconds=moment)
        if len(ended.done) > len(steps):
            longest = max(longest * 9 // 10, 500)
        elif ended.killed:
            longest = longest * 21 // 20
            killed += 1
        store = ALL_KINDS[kind](folder)
        try:
            versions = check(store, expected_after(versions, steps, len(ended.done) - 1))
            if any(step.name == "copy" for step in steps):
                check(
                    pickles(folder / "other"),
                    {number: {*range(version), ABSENT} for number in RECORDS},
                )
            check_left_overs(store)
        except Exception as broken:
            broken.add_note(f"after {len(ended.done) - 1} of {steps}, {killed} kills")
            raise
