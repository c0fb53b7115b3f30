"""`docs/configuration.md` has a row for every key that the code knows, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleche.config import keys as keys
from fleche.metadata import CONFIGURABLE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    text = PAGE[re.search(rf"^#+ {re.escape(heading)}$", PAGE, re.MULTILINE).end() :]  # type: ignore[union-attr]
    table = re.search(r"(^\|.*\n)+", text, re.MULTILINE)
    assert table
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def code(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Section `[default]`", keys.DEFAULT),
        ("Keys of a cache", keys.CACHE),
        ("Keys of a local cache over a remote one", keys.TIERED),
        ('Keys of `type = "ssh"`', keys.SSH),
    ],
)
def test_keys(heading: str, expected: dict[str, keys.Key]) -> None:
    documented = {code(row[0]).pop(): row[2] for row in rows(heading)}
    assert documented.keys() == expected.keys()
    for name, key in expected.items():
        assert (documented[name] == "required") == key.required


def test_templates() -> None:
    documented = {code(row[0]).pop(): code(row[1]) for row in rows("Keys of a template")}
    assert documented == {name: set(given) for name, given in keys.TEMPLATES.items()}


def test_storage_types() -> None:
    documented = {code(row[0]).pop(): row[2] for row in rows("Storages")}
    expected = {
        name: ", ".join(f"{kind}s" for kind in ("value", "call") if name in keys.STORAGES[kind])
        for name in keys.STORAGES["value"] | keys.STORAGES["call"]
    }
    assert documented == expected


def test_storage_keys() -> None:
    documented = {
        kind: {
            name: {
                code(row[0]).pop()
                for row in rows("Keys of a storage")
                if name in code(row[1]) and not row[1].startswith(f"{others} of")
            }
            for name in names
        }
        for kind, names in keys.STORAGES.items()
        for others in (["calls"] if kind == "value" else ["values"])
    }
    expected = {
        kind: {name: set(given) for name, given in names.items()}
        for kind, names in keys.STORAGES.items()
    }
    assert documented == expected


def test_metadata() -> None:
    [meaning] = [row[3] for row in rows("Section `[default]`") if row[0] == "`metadata`"]
    assert CONFIGURABLE.keys() <= code(meaning)
