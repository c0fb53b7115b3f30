"""Values that must not share a digest, and digests that must not change."""

from __future__ import annotations

import json
import numbers
import runpy
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import pytest

from fleche import _core

DATA = Path(__file__).parents[1] / "data"
SHARED = runpy.run_path(str(DATA / "digest_expressions.py"), run_name="digest_expressions")
VECTORS: dict[str, list[str]] = json.loads((DATA / "exact_digests.json").read_text("utf-8"))

evaluate: Callable[[str], Any] = SHARED["evaluate"]


@pytest.mark.parametrize("typed", [False, True], ids=["untyped", "typed"])
@pytest.mark.parametrize(("one", "other"), SHARED["CONFUSED"] + SHARED["DISTINCT"])
def test_different_values_differ(one: str, other: str, typed: bool) -> None:
    digests = {_core.digest(evaluate(text), typed=typed, scheme="exact") for text in (one, other)}
    assert len(digests) == 2


def test_enough_pairs_were_wrong_hits_of_the_reference() -> None:
    assert len(SHARED["CONFUSED"]) >= 25


@pytest.mark.parametrize("expression", SHARED["GOLDEN"])
def test_digests_never_change(expression: str) -> None:
    digests = [
        _core.digest(evaluate(expression), typed=typed, scheme="exact") for typed in (False, True)
    ]
    assert digests == VECTORS[expression], "see tests/data/make_exact_digests.py"


def test_no_two_kinds_of_values_share_a_digest() -> None:
    owners: dict[str, str] = {}
    for expression, digests in VECTORS.items():
        for digest in set(digests):
            owner = owners.setdefault(digest, expression)
            assert owner == expression or _same(owner, expression), (owner, expression)


def _same(one: str, other: str) -> bool:
    """Whether two expressions are spellings of one value."""
    left, right = evaluate(one), evaluate(other)
    if isinstance(left, numbers.Number) and isinstance(right, numbers.Number):
        return bool(left == right or (left != left and right != right))
    if isinstance(left, PurePath):
        return bool(left == right)
    return type(left) is type(right) and repr(left) == repr(right)
