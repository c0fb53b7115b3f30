"""Every promise of `docs/crashes.md` names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "crashes.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[str]:
    table = PAGE.read_text().partition("## In use")[2].partition("\n## ")[0]
    return [line for line in table.splitlines() if line.startswith("| ")][2:]


def functions(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_a_test() -> None:
    assert len(rows()) > 10
    assert [row for row in rows() if not NAMED.search(row)] == []


def test_every_test_that_is_named_exists() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in NAMED.findall(PAGE.read_text())
        if not (ROOT / file).is_file() or name not in functions(ROOT / file)
    ]
    assert missing == []
