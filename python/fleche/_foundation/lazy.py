"""Names that a module takes from others which are imported only when one of them is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def names_of(
    module: str, sources: Mapping[str, str], *, logger: str | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a module that has such names.

    Args:
        module: its name.
        sources: for each name the module that it is from; a name that is a module stands for
            itself.
        logger: the name of the logger that the module has as `logger`, if it has one.

    >>> get, _ = names_of(__name__, {"Tags": "fleche.metadata"})
    >>> get("Tags").__name__
    'Tags'
    """

    def get(name: str) -> Any:
        if name == "logger" and logger is not None:
            import logging

            return logging.getLogger(logger)
        if name not in sources:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        source = importlib.import_module(sources[name])
        found = source if sources[name].endswith(f".{name}") else getattr(source, name)
        # From now on as any other name.
        vars(sys.modules[module])[name] = found
        return found

    def names() -> list[str]:
        own = () if logger is None else ("logger",)
        return sorted({*vars(sys.modules[module]), *sources, *own})

    return get, names
