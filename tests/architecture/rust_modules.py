"""The modules of the crate and what each takes from others, as its `use` lines and paths say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src"

Module = tuple[str, ...]

_TESTS = re.compile(
    r"^#\[cfg\((?:all\()?test\b.*?\)\]\s*\n(?:mod \w+;|mod \w+ \{.*?^\})", re.M | re.S
)
_COMMENT = re.compile(r"//.*")
_PATH = re.compile(r"(?<![\w:])((?:crate|super|self)(?:::\w+)*)(::\{)?")


def modules() -> dict[Module, Path]:
    """Every module by its path, `("py", "storage", "file")`."""
    found = {}
    for file in sorted(SOURCES.rglob("*.rs")):
        parts = file.relative_to(SOURCES).with_suffix("").parts
        if parts[-1] in ("mod", "lib"):
            parts = parts[:-1]
        if parts and parts[-1] != "tests":
            found[parts] = file
    return found


def uses(module: Module, known: dict[Module, Path]) -> set[Module]:
    """The modules that a module names; its ancestors and descendants are no others."""
    text = _COMMENT.sub("", _TESTS.sub("", known[module].read_text()))
    found = set()
    for path in _paths(text):
        target = _resolved(path, module, known)
        if target[: len(module)] != module and module[: len(target)] != target:
            found.add(target)
    return found


def _paths(text: str) -> Iterator[list[str]]:
    for match in _PATH.finditer(text):
        path = match.group(1).split("::")
        if match.group(2) is None:
            yield path
            continue
        for leaf in _leaves(text[match.end() :]):
            yield [*path, *leaf.split("::")]


def _leaves(text: str) -> Iterator[str]:
    """The paths between a brace, which is open already, and its end."""
    prefixes: list[str] = [""]
    for token in re.finditer(r"[\w:*]+(?: as \w+)?|[{},]", text):
        part = token.group().partition(" as ")[0]
        if part == "{":
            continue
        if part == "}":
            prefixes.pop()
            if not prefixes:
                return
        elif part.endswith("::"):
            prefixes.append(prefixes[-1] + part)
        elif part != ",":
            yield prefixes[-1] + part


def _resolved(path: list[str], module: Module, known: dict[Module, Path]) -> Module:
    """The module that a path leads to."""
    here = list(module) if path[0] == "self" else []
    if path[0] == "super":
        here = list(module)
        while path and path[0] == "super":
            here.pop()
            path = path[1:]
    else:
        path = path[1:]
    for part in path:
        if (*here, part) not in known:
            break
        here.append(part)
    return tuple(here)


def circles(edges: dict[Module, set[Module]]) -> list[list[Module]]:
    """The strongly connected components of more than one node (Tarjan, 1972)."""
    index: dict[Module, int] = {}
    low: dict[Module, int] = {}
    stack: list[Module] = []
    found = []

    def visit(node: Module) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = [*stack[stack.index(node) :]]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in edges:
        if node not in index:
            visit(node)
    return found
