"""Sections of a `fleche.toml`, written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["section", "value"]


def section(name: str, config: Any) -> str:
    """A section, or several of one name for a list.

    >>> print(section("mine", {"values": {"type": "pickle", "root": "/data"}, "once": True}))
    [mine]
    values.type = "pickle"
    values.root = "/data"
    once = true
    <BLANKLINE>
    """
    return _section(_key(name), config)


def _section(name: str, config: Any) -> str:
    if isinstance(config, list):
        return "\n".join(f"[[{name}]]\n{_lines(each)}" for each in config)
    if not isinstance(config, Mapping):
        return f"{name} = {value(config)}\n"
    if isinstance(config.get("pool"), list):
        return _section(f"{name}.pool", config["pool"])
    return f"[{name}]\n{_lines(config)}"


def _lines(config: Mapping[str, Any], before: str = "") -> str:
    lines = []
    for key, held in config.items():
        if isinstance(held, Mapping) and held:
            lines.append(_lines(held, f"{before}{_key(key)}."))
        else:
            lines.append(f"{before}{_key(key)} = {value(held)}\n")
    return "".join(lines)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else value(name)


def value(held: Any) -> str:
    """A value, as TOML has it.

    >>> value(["a\\n", 1, True, {"b": 2.5}])
    '["a\\\\n", 1, true, {b = 2.5}]'
    """
    if isinstance(held, list | tuple):
        return f"[{', '.join(map(value, held))}]"
    if isinstance(held, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {value(each)}" for key, each in held.items()) + "}"
    return json.dumps(held, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")
