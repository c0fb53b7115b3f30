"""The text of functions, found without running anything."""

from __future__ import annotations

import ast
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import TypeAlias

__all__ = ["is_same_code", "source_of"]

_Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def source_of(module: str | None, name: str) -> str | None:
    """The source text of a function with its decorators, where it can be found.

    Args:
        module: the function's module; it is not imported.
        name: its qualified name.

    >>> print(source_of("fleche.export.sources", "source_of").splitlines()[0])
    def source_of(module: str | None, name: str) -> str | None:
    """
    path = None if module is None else _file_of(module)
    if path is None:
        return None
    try:
        with tokenize.open(path) as file:
            text = file.read()
        node: ast.AST = ast.parse(text)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    for part in name.split("."):
        if part == "<locals>":
            continue
        found = [held for held in _definitions(node) if held.name == part]
        if not found:
            return None
        # Of several definitions the last one counts.
        node = found[-1]
    if not isinstance(node, _Definition):
        return None
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno]) + "\n"


def is_same_code(text: str, other: str) -> bool:
    """Whether two texts of functions say the same, but for comments, layout and docstrings.

    >>> is_same_code("def f(x):\\n    return x  # as it is\\n", "def f(x): return x")
    True
    """
    try:
        return _tree_of(text) == _tree_of(other)
    except (SyntaxError, ValueError, RecursionError):
        return text == other


def _tree_of(text: str) -> str:
    tree = ast.parse(textwrap.dedent(text))
    for node in ast.walk(tree):
        if isinstance(node, _Definition) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _definitions(node: ast.AST) -> Iterator[_Definition]:
    """The functions and classes that are defined in a node, not those within these."""
    for held in ast.iter_child_nodes(node):
        if isinstance(held, _Definition):
            yield held
        else:
            yield from _definitions(held)


def _file_of(module: str) -> str | None:
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if isinstance(loaded, str):
        return loaded if loaded.endswith(".py") else None
    path, origin = None, None
    # `find_spec` of a module in a package would run the package.
    for part in _prefixes(module):
        spec = PathFinder.find_spec(part, path)
        if spec is None:
            return None
        path, origin = spec.submodule_search_locations, spec.origin
    return origin if origin is not None and origin.endswith(".py") else None


def _prefixes(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]
