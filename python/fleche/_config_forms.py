"""Shapes of a configuration: templates written out, and objects as TOML values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from fleche import _config_keys as keys


def expand_template(d: Mapping[str, Any]) -> dict[str, Any]:
    """Write a cache that is given by a template out, with `values` and `calls`.

    Args:
        d: A table with `template`, the arguments of that template, and any of `keys.LIMITS`.

    Raises:
        ValueError: The template is unknown, or its arguments do not fit.

    >>> expand_template({"template": "pickle", "root": "/data", "max_size": 9})["calls"]
    {'type': 'pickle', 'root': '/data/calls'}
    """
    limits = {key: value for key, value in d.items() if key in keys.LIMITS}
    arguments = {key: value for key, value in d.items() if key not in {"template", *limits}}
    name = d["template"]
    if not isinstance(name, str) or name not in keys.TEMPLATES:
        raise ValueError(f"Unknown cache template {name!r}; choose from {sorted(keys.TEMPLATES)}")
    try:
        keys.check(arguments, keys.TEMPLATES[name], f"cache template {name!r}")
    except ValueError as error:
        raise ValueError(
            f"Invalid arguments for cache template {name!r}: {error}. Use an explicit "
            f"'values'/'calls' config for anything the template doesn't cover."
        ) from None
    values = {"type": name}
    calls = {"type": name}
    if "root" in arguments:
        root = os.fspath(arguments["root"])
        if name == "sql":
            values["type"] = arguments.get("values", "bagofholding_hdf")
            from fleche.storage.sql import quoted

            calls["url"] = arguments.get("url", f"sqlite:///{quoted(root)}/calls.db")
        else:
            calls["root"] = os.path.join(root, "calls")
        if values["type"] not in ("memory", "void"):  # those have no folder
            values["root"] = os.path.join(root, "values")
    return {"values": values, "calls": calls, **limits}


def toml_value(value: Any) -> Any:
    """Give `value` as TOML has it.

    Raises:
        ValueError: There is no such form.

    >>> from pathlib import PurePosixPath
    >>> toml_value((PurePosixPath("/data"), 1))
    ['/data', 1]
    """
    if isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)):
        return [toml_value(item) for item in value]
    if isinstance(value, Mapping):
        return {key: toml_value(item) for key, item in value.items()}
    raise ValueError(f"a {type(value).__name__} has no form in TOML")


def non_default_fields(obj: Any, names: Iterable[str]) -> dict[str, Any]:
    """Give those of a dataclass's fields that differ from their defaults, as TOML values.

    >>> from fleche.metadata import Tags
    >>> non_default_fields(Tags({"a": 1}), ["tags", "name"])
    {'tags': {'a': 1}}
    """
    import dataclasses

    return {
        f.name: toml_value(getattr(obj, f.name))
        for f in dataclasses.fields(obj)
        if f.name in names and getattr(obj, f.name) != f.default
    }
