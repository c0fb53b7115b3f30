"""Every single system call of every operation fails once; nothing that is promised is broken."""

from __future__ import annotations

import contextlib
import errno
import logging
from itertools import count
from pathlib import Path

import pytest

from fleche import cache, fleche
from fleche.caches import Rejected
from fleche.storage import SaveError
from tests.repeats import explores

from .stores import (
    ABSENT,
    CASES,
    HELD,
    KINDS,
    OPERATIONS,
    check_left_overs,
    copy,
    key_of,
    prepare,
    verify,
    version_in,
)
from .watching import AtCall, Failing, Interrupting, Vanishing, watched

# A full disk, a broken one, missing permissions.
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
# The operations that the others are made of.
BASIC = ("save", "save over", "evict", "compress", "read")
# Where files vanish: what is signed or compressed makes no difference.
VANISHING = ("pickle", "bags")
# What the operations say that they raise.
DOCUMENTED = (SaveError, Rejected, KeyError, OSError)


def run(name: str, kind: str, root: Path, hook: AtCall) -> set[int]:
    """Runs an operation with a hook; gives the records that are done."""
    done: set[int] = set()
    store = KINDS[kind](root)
    with contextlib.suppress(*DOCUMENTED), watched(hook):
        OPERATIONS[name].run(store, root, done.add)
    return done


@pytest.mark.parametrize("shift", range(len(ERRORS)))
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_system_call_fails(name: str, kind: str, shift: int, folder: Path) -> None:
    # What others are made of fails in every way, on pickle files; elsewhere the ways take turns.
    if shift and not explores() and (kind != "pickle" or name not in BASIC):
        return
    prepare(folder / "before", name, kind)
    for which in count(1):
        root = copy(folder / "before", folder / "store")
        failing = Failing(which, ERRORS[(which + shift) % len(ERRORS)])
        done = run(name, kind, root, failing)
        try:
            verify(root, name, kind, done)
        except Exception as broken:
            broken.add_note(f"call {which}, {failing.call}, failed by {failing.number}")
            raise
        if not failing.reached:
            break


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[1] in VANISHING])
def test_a_file_vanishes_before_a_system_call(name: str, kind: str, folder: Path) -> None:
    prepare(folder / "before", name, kind)
    for which in count(1):
        root = copy(folder / "before", folder / "store")
        vanishing = Vanishing(which)
        run(name, kind, root, vanishing)
        store = KINDS[kind](root)
        for number in HELD:
            try:
                assert version_in(store, key_of(number), number) in (0, 1, ABSENT)
            except KeyError:
                assert vanishing.reached  # A value of the record is what vanished.
        check_left_overs(store)
        if not vanishing.reached:
            break


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_an_interrupted_system_call_is_made_again(
    name: str, kind: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(folder, name, kind)
    done: set[int] = set()
    store = KINDS[kind](folder)
    with watched(Interrupting()):
        OPERATIONS[name].run(store, folder, done.add)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    verify(folder, name, kind, done)


@fleche
def decorated(number: int) -> list[object]:
    return [number, f"row {number}"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("held", [False, True])
def test_a_decorated_call_returns_its_result_with_one_warning(
    kind: str, held: bool, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for which in count(1):
        root = folder / str(which)
        failing = Failing(which, ERRORS[which % len(ERRORS)])
        with cache(KINDS[kind](root)):
            if held:
                decorated(1)
        with cache(KINDS[kind](root)):
            caplog.clear()
            with watched(failing):
                assert decorated(1) == [1, "row 1"]
            warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
            assert len(warnings) <= 1, (failing.call, [w.getMessage() for w in warnings])
            assert decorated(1) == [1, "row 1"]
        check_left_overs(KINDS[kind](root))
        if not failing.reached:
            break
