"""Shapes of a configuration: templates written out, and objects as TOML values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from fleche import _core
from fleche._foundation.paths import expanded_home
from fleche.config import keys
from fleche.storage.urls import quoted


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
    values: dict[str, Any] = {"type": name}
    calls: dict[str, Any] = {"type": name}
    if name == "bucket":
        # Both in one bucket, under names of their own.
        for kind, settings in (("value", values), ("call", calls)):
            known = keys.STORAGES[kind][name]
            settings |= {key: held for key, held in arguments.items() if key in known}
    if "root" in arguments:
        root = arguments["root"]
        if not isinstance(root, str):  # a path: it names no variables
            root = _core.escape_variables(os.fspath(root))
        checked = {"root": root}
        expand_places(checked, f"cache template {name!r}")
        if name == "sqlite":
            url = f"sqlite:///{_core.escape_variables(quoted(checked['root']))}/cache.db"
            values |= {"url": url} | {k: v for k, v in arguments.items() if k != "root"}
            calls |= {"type": "sql", "url": url}
            return {"values": values, "calls": calls, **limits}
        if name in ("sql", "cbor"):
            # Beside values that run no code when loaded no records that are pickles.
            calls["type"] = "sql"
            if name == "sql":
                values["type"] = arguments.get("values", "bagofholding_hdf")
            # What the variables in it stand for may need quotes.
            place = _core.escape_variables(quoted(checked["root"]))
            calls["url"] = arguments.get("url", f"sqlite:///{place}/calls.db")
        else:
            calls["root"] = os.path.join(root, "calls")
        if name == "cbor":
            values |= {key: held for key, held in arguments.items() if key != "root"}
        if values["type"] not in ("memory", "void"):  # those have no folder
            values["root"] = os.path.join(root, "values")
    return {"values": values, "calls": calls, **limits}


def expand_places(settings: dict[str, Any], what: str) -> None:
    """Replace environment variables in a storage's `root` and `url`, and look at what they are.

    Args:
        settings: The keys of a storage, changed in place.
        what: What they describe, for the error.

    Raises:
        ValueError: A variable is not set, or a root is no path of a folder.
    """
    for key in ("root", "url"):
        text = settings.get(key)
        if isinstance(text, str):
            with keys.at(f"key {key!r} of {what}"):
                settings[key] = text = _core.expand_variables(text)
                if key == "root":
                    if _core.path_or_url(text) == "url":
                        raise ValueError(f"{text!r} is a URL, not the path of a folder")
                    expanded_home(text)


def escaped_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that `expand_places` makes these of.

    >>> escaped_places({"type": "pickle", "root": "/cost in $"})
    {'type': 'pickle', 'root': '/cost in $$'}
    """
    return {
        key: _core.escape_variables(value)
        if key in ("root", "url") and isinstance(value, str)
        else value
        for key, value in settings.items()
    }


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
