"""A parameter sweep: values in files, call records in SQLite, and what a table says of them."""

from pathlib import Path

import numpy as np
from laboratory import (
    Material,
    Opaque,
    describe,
    energy,
    fails,
    fit,
    grow,
    nothing,
    sample,
    scaled,
    total,
)
from observed import Log, drain, outcome, report, shown, table

from fleche import D, cache, meta, project, tags
from fleche.caches import Cache
from fleche.config import cache_from_config, cache_to_config, load_cache_config
from fleche.digest import digest
from fleche.metadata import Runtime
from fleche.storage import CallMemory, Sql, ValueMemory

CONFIG = """
[default]
cache = "sweep"
metadata = ["Runtime"]

[sweep]
values.type = "cloudpickle"
values.root = "store/values"
values.remaining_depth = 1
calls.type = "sql"
calls.url = "sqlite:///store/calls.db"
"""


def sweep() -> dict[str, object]:
    found: dict[str, object] = {}
    with project("alloys"):
        for temperature in (100.5, 200.5, 300.5):
            for pressure in (0.5, 1.5):
                with tags(cell=f"{temperature}/{pressure}"):
                    found[f"{temperature} {pressure}"] = shown(energy(temperature, pressure))
        with tags(cell="total"):
            found["total"] = shown(total([100.5, 200.5, 400.5]))
        found["fit"] = shown(fit(np.linspace(0.5, 2.5, 5), 2))
        found["fit quietly"] = shown(fit(np.linspace(0.5, 2.5, 5), 2, verbose=True))
    steel = Material("steel", 7.5, [1, 2, 3])
    found["describe"] = shown(describe(steel, "hot", "cold", label="ignored", alpha=1, beta=2))
    found["describe again"] = shown(describe(steel, "hot", "cold", label="x", beta=2, alpha=1))
    found["sample"] = [outcome(sample, 4, seed=3), outcome(sample, size=4, seed=3)]
    found["grow"] = [outcome(grow, [1, 2]), outcome(grow, [1, 2])]
    # A digest stands for the value that it names.
    found["scaled"] = shown(scaled(energy.query(100.5, 1.5).only().detach().result, 2.5))
    return found


def uncached() -> dict[str, object]:
    """Calls that leave no record."""
    return {
        "not given": [outcome(sample, 4), outcome(sample, 4)],
        "indigestible": outcome(grow, Opaque()),
        "nothing": [outcome(nothing, 1), outcome(nothing, 1)],
        "fails": [outcome(fails, 1), outcome(fails, 1), fails.contains(1)],
        "does not fit": outcome(energy, 1.5, 2.5, 3.5),
        "no such digest": outcome(scaled, D("ab" * 32), 1.5),
    }


def queries() -> dict[str, object]:
    active = cache()
    calls = energy.query(pressure=1.5)
    return {
        "all": {name: active.query(name=name).count() for name in ("energy", "fit", "none")},
        "by argument": [calls.count(), energy.query(100.5).count(), energy.query(9.5).count()],
        "by several": energy.query(100.5, steps=3).count(),
        "by value": describe.query(Material("steel", 7.5, [1, 2, 3])).count(),
        "by array": fit.query(np.linspace(0.5, 2.5, 5)).count(),
        "by tag": [
            energy.query(metadata={"tags": {"project": "alloys"}}).count(),
            energy.query(metadata={"tags": {"project": "others"}}).count(),
            energy.query(metadata={"tags": {"cell": None}}).count(),
            energy.query(metadata={"tags": {}, "runtime": {}}).count(),
            energy.query(metadata={"absent": {}}).count(),
            active.query(metadata={"tags": {"kind": "fit"}}).count(),
        ],
        "by result": active.query(result=fit.load(np.linspace(0.5, 2.5, 5), 2)).count(),
        "by module": active.query(module="laboratory").count(),
        "by version": active.query(version="1.2").count(),
        "only": outcome(lambda: energy.query(100.5, 0.5).only().result),
        "only of none": outcome(lambda: energy.query(9.5).only()),
        "only of many": outcome(lambda: energy.query().only()),
        "empty": [energy.query(9.5).empty(), calls.empty(), energy.query(9.5).any() is None],
        "sorted": [call.arguments["temperature"] for call in calls.sorted("temperature")],
        "reversed": [
            call.arguments["temperature"]
            for call in calls.sorted(lambda call: call.arguments["temperature"], reverse=True)
        ],
        "pieces": [calls.take(2).count(), calls.skip(1).count(), calls.take(0).empty()],
        "filter": calls.filter(lambda call: call.result["mean"] > 200).count(),
        "unique": energy.query().unique("temperature").count(),
        "groups": {
            repr(key): group.count()
            for key, group in sorted(energy.query().groupby("temperature").items())
        },
        "results": shown(list(calls.sorted("temperature").results())),
        "latest": calls.latest().name,
        "oldest of none": outcome(lambda: energy.query(9.5).oldest()),
        "both": outcome(lambda: active.query(energy.call(1.5), name="energy")),
        "indigestible": energy.query(Opaque()).count(),
    }


def tables() -> dict[str, object]:
    active = cache()
    return {
        "energy": table(energy.query().table(arguments=True, results=True)),
        "fit": table(fit.query().table("degree")),
        "some": table(energy.query().table(["steps", "absent"], shrink_keys=False)),
        "none": table(energy.query(9.5).table()),
        "describe": table(describe.query().table(True)),
        "names": sorted(active.table()["name"]),
        "columns": sorted(active.table(arguments=True).columns),
        "sorted": shown(list(energy.query().sorted("temperature").table("temperature")["name"])),
    }


def records() -> dict[str, object]:
    """One call, looked at from all sides."""
    active = cache()
    key = energy.digest(100.5, 0.5)
    lazy = active.load(key)
    call = lazy.fetch()
    short = active.shrink(key)
    return {
        "contains": [energy.contains(100.5, 0.5), energy.contains(9.5), active.contains(key)],
        "load": [outcome(energy.load, 100.5, 0.5), outcome(energy.load, 9.5)],
        "call": shown([call.name, call.module, call.version, call.arguments, call.result]),
        "same key": call.to_lookup_key() == lazy.to_lookup_key() == key,
        "prefixes": [active.expand(short) == key, active.load(short).to_lookup_key() == key],
        "no prefix": [outcome(active.expand, "ab"), outcome(active.load, "f" * 64)],
        "metadata": {name: sorted(held) for name, held in sorted(call.metadata.items())},
        "digested": shown(sorted(lazy.detach().arguments)),
        "of a live call": energy.call(100.5, 0.5).to_lookup_key() == key,
        "value": [
            outcome(active.load_value, lazy.detach().result),
            outcome(active.load_value, digest(100.5)),
        ],
    }


def changes() -> dict[str, object]:
    """What ends as it began: the store stays as the sweep left it."""
    active = cache()
    memory = Cache(ValueMemory({}, remaining_depth=1), CallMemory({}))
    energy.query(100.5).transfer(memory)
    with cache(memory):
        copied = [energy.query().count(), shown(energy(100.5, 0.5)), drain()]
    with cache(active.readonly()):
        guarded = [shown(energy(500.5)), shown(energy(100.5, 0.5)), drain()]
    with meta():
        bare = [shown(energy(600.5)), drain(), energy.query(600.5).only().metadata]
    with meta(Runtime()), tags(extra=1):
        rerun = [shown(energy.rerun(600.5)), drain()]
    found = shown([call.metadata.get("tags") for call in energy.query(600.5)])
    energy.query(600.5).evict()
    active.evict(sample.digest(4, seed=3))
    gone = [energy.contains(600.5), sample.contains(4, seed=3), outcome(active.evict, "ab" * 32)]
    again = [shown(sample(4, seed=3)), drain()]
    unreached = len(active.gc())
    return {
        "copied": copied,
        "guarded": guarded,
        "bare": bare,
        "rerun": rerun,
        "tagged": found,
        "gone": gone,
        "again": again,
        "unreached": unreached > 0,
        "still": [outcome(energy, 100.5, 0.5), drain()],
    }


def configuration() -> dict[str, object]:
    active = cache()
    config = cache_to_config(active)
    return {
        "interned": [load_cache_config() is active, load_cache_config("default") is active],
        "classes": [
            type(active).__name__,
            type(active.values).__name__,
            type(active.calls).__name__,
        ],
        "sql": isinstance(active.calls, Sql),
        "keys": [sorted(config), sorted(config["calls"])],
        "back": cache_from_config(config) == active,
    }


def main() -> None:
    Path("fleche.toml").write_text(CONFIG)
    log = Log()
    document: dict[str, object] = {"results": sweep()}
    document["computed"] = drain()
    document["twice"] = [sweep() == document["results"], drain()]
    document["uncached"] = [uncached(), drain(), log.drain()]
    document["queries"] = queries()
    document["log of queries"] = log.drain()
    document["tables"] = tables()
    document["records"] = records()
    document["changes"] = [changes(), log.drain()]
    document["configuration"] = configuration()
    report(document)


if __name__ == "__main__":
    main()
