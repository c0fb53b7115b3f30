"""A client of a remote cache, which either package runs: prints what it sees as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

import fleche
from fleche.call import Call, QueryCall
from fleche.remote import SshCache

RAN: list[Any] = []


@fleche.fleche
def compute(x: Any, y: int = 2) -> Any:
    RAN.append(repr(x))
    return [x, y]


def operations(cache: SshCache) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    call = Call(
        name="f", arguments={"x": [1, "a"], "y": 2.5}, module="lab", version="1", result=(1, "b")
    )
    key = cache.save(call)
    seen["key"] = str(key)
    loaded = cache.load(key)
    record = loaded.detach()
    seen["record"] = [record.name, dict(record.arguments), record.result, record.module]
    seen["values"] = [repr(loaded.arguments["x"]), repr(loaded.result)]
    seen["contains"] = [cache.contains(key), cache.contains("00" * 32)]
    seen["expand"] = str(cache.expand(key[:16]))
    seen["shrink"] = key.startswith(str(cache.shrink(key)))
    seen["value"] = repr(cache.load_value(record.result))
    seen["queries"] = [
        cache.query(QueryCall(name="f")).count(),
        cache.query(QueryCall(name="f", arguments={"x": [1, "a"]})).count(),
        cache.query(QueryCall(name="g")).count(),
    ]
    prepared = cache.prepare(Call(name="g", arguments={"z": 7}, module="lab"))
    second = prepared.commit("late", {"tags": {"a": 1}})
    held = cache.load(second)
    seen["prepared"] = [str(second), held.result, held.arguments["z"], dict(held.metadata)]
    cache.evict(second)
    seen["evicted"] = cache.contains(second)
    try:
        cache.load(second)
    except KeyError:
        seen["missing"] = "KeyError"
    try:
        cache.load_value("00" * 32)
    except KeyError:
        seen["missing value"] = "KeyError"
    return seen


def calls(cache: SshCache, start: int) -> dict[str, Any]:
    arguments = [start, start + 0.5, f"text {start}", [start, {"a": (1, 2)}], np.arange(start + 3)]
    arguments += [np.full(50_000, start), bytes(300_000 + start)]
    with fleche.cache(cache):
        results = [repr(compute(x)) for x in arguments]
    return {"results": results, "ran": RAN}


def main() -> None:
    settings, step = json.loads(sys.argv[1]), sys.argv[2]
    settings["ssh_options"] = tuple(settings["ssh_options"])
    cache = SshCache(**settings)
    kind, _, number = step.partition(" ")
    seen = calls(cache, int(number)) if kind == "calls" else operations(cache)
    cache.close()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
