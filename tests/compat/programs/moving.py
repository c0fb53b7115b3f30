"""A store of some kind, filled or looked at by whichever package runs this."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from fleche import cache, fleche
from fleche.caches import Cache
from fleche.storage import CallPickleFile, Sql, ValuePickleFile

kind, root, actions = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]


def opened() -> Cache:
    values, calls = root / "values", root / "calls"
    if kind == "signed":
        form = {"secret_key": b"key", "compress": True}
        return Cache(ValuePickleFile(values, **form), CallPickleFile(calls, **form))
    if kind in ("bag", "bags"):
        from fleche.storage import CallBagOfHoldingH5File, ValueBagOfHoldingH5File

        length = 0 if kind == "bag" else 2
        return Cache(
            ValueBagOfHoldingH5File(values, prefix_length=length),
            CallBagOfHoldingH5File(calls, prefix_length=length),
        )
    if kind == "sqlite":
        return Cache(ValuePickleFile(values), Sql(f"sqlite:///{root}/calls.db"))
    return Cache(ValuePickleFile(values), CallPickleFile(calls))


@dataclass
class Sample:
    name: str
    sizes: list[float]


ran: list[str] = []


def look(held: Cache) -> dict[str, object]:
    return {
        "keys": sorted(held.calls.list()),
        "found": sorted(repr(call.result) for call in held.query(name="measure")),
        "table": len(held.table(arguments=True, shrink_keys=False)),
        "garbage": sorted(held.gc()),
    }


@fleche(hash_code=False)  # by name, as the reference has it
def measure(sample: object, zoom: float = 1.5, *tags: str, **options: int) -> dict[str, object]:
    ran.append(repr(sample))
    return {"rows": [[zoom, len(tags)], sorted(options)], "sample": sample}


SAMPLES = [1, -2, 0.25, "text", None, [1, [2.5, {"k": (True, b"x")}]], Sample("a", [1.25, 2.75])]

documents: list[dict[str, object]] = []
for action in actions:
    held = opened()
    document: dict[str, object] = {}
    ran.clear()
    with cache(held):
        if action == "calls":
            results = [measure(sample, 2.5, "t", option=3) for sample in SAMPLES]
            document["results"] = repr(results)
        elif action == "redigest":
            held.redigest()
        elif action == "looks":
            document |= look(held)
        elif action == "evict":
            for call in held.query(name="measure"):
                held.evict(call.to_lookup_key())
    documents.append({**document, "ran": [*ran]})
print(json.dumps(documents))
