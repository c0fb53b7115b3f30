"""Prints everything public of the package: names, parameters, defaults, bases, fields."""

import dataclasses
import importlib
import inspect
import json
import logging
from types import ModuleType
from typing import Any

MODULES = (
    *("fleche", "fleche.call", "fleche.caches", "fleche.config", "fleche.digest"),
    *("fleche.executor", "fleche.metadata", "fleche.query", "fleche.remote", "fleche.security"),
    *("fleche.state", "fleche.storage", "fleche.storage.bagofholding_file", "fleche.storage.base"),
    *("fleche.storage.destructuring", "fleche.storage.file", "fleche.storage.memory"),
    *("fleche.storage.pickle_file", "fleche.storage.sql", "fleche.storage.thread_safe"),
    *("fleche.storage.void", "fleche.wrapper"),
)
OPERATORS = {
    "__call__",
    "__digest__",
    "__enter__",
    "__exit__",
    "__getitem__",
    "__iter__",
    "__len__",
}


def parameters(function: Any) -> list[str] | None:
    """The parameters with their defaults; how one may be passed follows from its mark."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    marks = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**", "KEYWORD_ONLY": "keyword "}
    shown = []
    for parameter in found:
        mark = marks.get(parameter.kind.name, "")
        # The names of the variadic ones are nobody's business.
        name = mark if mark.startswith("*") else mark + parameter.name
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        shown.append(name + default)
    return shown


def members(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dir(cls):
        if name.startswith("_") and name not in OPERATORS:
            continue
        member = inspect.getattr_static(cls, name)
        if isinstance(member, classmethod | staticmethod):
            found[name] = [type(member).__name__, *(parameters(member.__func__) or ())]
        elif callable(member):
            found[name] = ["method", *(parameters(member) or ())]
        else:
            found[name] = ["attribute"]
    return found


def described(item: Any) -> dict[str, Any]:
    """What `item` is, name by name."""
    if not inspect.isclass(item):
        return {"": ["function", *(parameters(item) or ())]}
    bases = [base.__qualname__ for base in item.__mro__[1:-1] if not base.__name__.startswith("_")]
    shown = {
        "(parameters)": parameters(item),
        "(bases)": bases,
        "(abstract)": sorted(name for name in item.__abstractmethods__)
        if inspect.isabstract(item)
        else [],
    }
    if dataclasses.is_dataclass(item):
        shown["(frozen)"] = item.__dataclass_params__.frozen
        shown["(fields)"] = [
            f"{field.name}{'' if field.init else ' not in init'}"
            for field in dataclasses.fields(item)
            if not field.name.startswith("_")
        ]
    return shown | members(item)


def surface(module: ModuleType) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dir(module):
        item = getattr(module, name)
        if name.startswith("_"):
            continue
        if isinstance(item, logging.Logger):
            found[f"{module.__name__}.{name}"] = ["logger", item.name]
        home = item.__name__ if inspect.ismodule(item) else getattr(item, "__module__", None)
        if not str(home).startswith("fleche"):
            continue
        if inspect.ismodule(item):
            found[f"{module.__name__}.{name}"] = ["module"]
        elif home == module.__name__ or module.__name__ == "fleche":
            for part, shown in described(item).items():
                found[f"{module.__name__}.{name}" + (f".{part}" if part else "")] = shown
        else:
            # Defined elsewhere, but programs import it from here.
            found[f"{module.__name__}.{name}"] = ["name"]
    return found


def reached() -> dict[str, Any]:
    """The modules that are attributes after `import fleche` alone."""
    found: dict[str, Any] = {}
    for name in MODULES:
        module: Any = importlib.import_module("fleche")
        for part in name.split(".")[1:]:
            module = getattr(module, part, None)
        if isinstance(module, ModuleType):
            found[f"{name}.(reached)"] = ["module"]
    return found


def main() -> None:
    # First of all, before anything else is imported.
    found = reached()
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        found[name] = ["module"]
        found.update(surface(module))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
