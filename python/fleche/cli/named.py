"""What the pickles of values name, and whether it is there. Nothing of them is run."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from typing import Any

from fleche._foundation.messages import no_message
from fleche.cli.needs import Values
from fleche.digest import Digest
from fleche.storage.raw import names_in, reader

__all__ = ["cannot_be_imported", "names_of_value"]

# What gives a module names that its text does not show.
_BINDERS = frozenset({"*", "__getattr__", "globals", "vars", "setattr", "exec"})


def names_of_value(values: Values, key: Digest) -> set[tuple[str, str]]:
    """The classes and functions that a value's pickle names, with those of its parts."""
    read = reader(values.storage)
    found: set[tuple[str, str]] = set()
    if read is None:
        return found
    with no_message():
        for each in values.reached([key]):
            try:
                found |= names_in(read(each))
            except (KeyError, ValueError):
                continue
    return found


def cannot_be_imported(names: set[tuple[str, str]]) -> list[str]:
    """Those of these names whose modules are not there, or do not have them.

    No module is imported for that: the text of one that is not yet tells what is in it.

    >>> cannot_be_imported({("fractions", "Fraction"), ("fractions", "Gone"), ("no_such.b", "C")})
    ['fractions.Gone', 'no_such.b.C']
    """
    return sorted(f"{module}.{name}" for module, name in names if not _is_there(module, name))


def _is_there(module: str, name: str) -> bool:
    if module == "__main__":
        return False  # Of a script, or a notebook.
    found: Any = sys.modules.get(module)
    if found is None:
        try:
            return _is_in_source(module, name)
        except Exception:
            return True  # What cannot be told is no finding.
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None


def _is_in_source(module: str, name: str) -> bool:
    """Whether a module that is not imported is there, and binds a name somewhere."""
    top, *parts = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return False
    source = None if spec.origin is None else Path(spec.origin)
    folders = [Path(each) for each in spec.submodule_search_locations or ()]
    for part in parts:
        # Of a package the folder, and of a module whatever its ending is.
        some = [path for folder in folders for path in (folder / part, *folder.glob(f"{part}.*"))]
        there = [path for path in some if path.exists()]
        if not there:
            return not folders  # What makes its own modules, as `six` does, tells nothing.
        folders = [path for path in there if path.is_dir()]
        source = there[0] / "__init__.py" if folders else there[0]
    if source is None or source.suffix != ".py" or not source.exists():
        return True
    first = name.partition(".")[0]
    for node in ast.walk(ast.parse(source.read_bytes())):
        match node:
            case ast.ClassDef(name=bound) | ast.FunctionDef(name=bound):
                pass
            case ast.Name(id=bound) if isinstance(node.ctx, ast.Store) or bound in _BINDERS:
                pass
            case ast.alias(name=bound, asname=other):
                bound = other or bound
            case _:
                continue
        if bound == first or bound in _BINDERS:
            return True
    return False
