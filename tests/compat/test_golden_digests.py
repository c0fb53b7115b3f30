"""Digests that the reference gave, recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleche import _core
from fleche.call import Call
from fleche.digest import Digest, digest

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "digests.json").read_text())

pytestmark = pytest.mark.usefixtures("sha256")


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    names: dict[str, Any] = {"digest": digest, "Digest": Digest, "Call": Call}
    exec(GOLDEN["prelude"], names)
    return names


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["id"])
def test_scheme_sha256_gives_the_recorded_digest(
    case: dict[str, str], names: dict[str, Any]
) -> None:
    assert digest(eval(case["expression"], names)) == case["digest"]


def test_typed_changes_nothing(names: dict[str, Any]) -> None:
    for case in GOLDEN["cases"]:
        assert digest(eval(case["expression"], names), typed=True) == case["digest"]


def test_the_recorded_cases_are_those_of_the_scheme_only() -> None:
    # Numbers, text and containers of scheme `exact` are hashed by another function altogether.
    assert _core.digest(1, scheme="exact") != _core.digest(1, scheme="sha256")
