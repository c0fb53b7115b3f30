"""`fleche du`: what takes the room of a cache."""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleche.cli.command import DONE, Command
from fleche.cli.output import Column, Output
from fleche.cli.selection import name_of
from fleche.cli.stores import Mistake, cache_named, pairs
from fleche.cli.survey import records_of, room_of, survey_of
from fleche.look.numbers import size

if TYPE_CHECKING:
    from fleche.caches import Cache
    from fleche.digest import Digest

__all__ = ["COMMAND"]


def _run(given: argparse.Namespace, output: Output) -> int:
    found = [_measured(pair, output) for pair in pairs(cache_named(given.cache))]
    if not found:
        raise Mistake("this cache has no storages here; run this on the machine that has them")

    def show() -> None:
        for number, each in enumerate(found):
            if number:
                output.line()
            _show(each, output)

    output.give(found, show)
    return DONE


def _measured(pair: Cache, output: Output) -> dict[str, Any]:
    return _surveyed(pair, output) or _walked(pair, output)


def _surveyed(pair: Cache, output: Output) -> dict[str, Any] | None:
    """What the core tells; `None` if it cannot, or if other caches need some of the values."""
    from fleche.caches import Rejected
    from fleche.caches.garbage.users import users_of

    problem = None
    try:
        if users_of(pair)[1:]:
            return None
    except Rejected as error:
        problem = str(error)
    survey = survey_of(pair, output.progress, True)
    if survey is None:
        return None
    room = room_of(pair, survey)
    number, size, blocks = records_of(pair, survey)
    functions: dict[str, int] = {}
    for (name, module, *_), (alone, _) in zip(survey.functions(), room.functions, strict=True):
        full = name if module is None else f"{module}.{name}"
        functions[full] = functions.get(full, 0) + alone
    places = [_place(each) for each in (pair.values, pair.calls)]
    if blocks is None:
        blocks = _on_disk(places[1:])
    return {
        "places": [None if place is None else str(place) for place in places],
        "records": number,
        "record_bytes": size,
        "values": room.values,
        "value_bytes": room.bytes,
        "functions": dict(sorted(functions.items())),
        "shared_bytes": room.shared,
        "other_caches_bytes": 0,
        "orphans": room.orphans if problem is None else None,
        "orphan_bytes": room.orphan_bytes if problem is None else None,
        "orphans_unknown": problem,
        "disk_bytes": room.blocks + (blocks or 0),
    }


def _place(storage: Any) -> Any:
    from fleche.caches.garbage.places import place_of

    return place_of(storage)


def _walked(pair: Cache, output: Output) -> dict[str, Any]:
    from fleche.caches import Rejected
    from fleche.caches.garbage.users import users_of
    from fleche.call import QueryCall
    from fleche.cli.needs import Values, held_by
    from fleche.storage.sizes import sizes_of

    values = Values(pair.values)
    needs: dict[str, set[Digest]] = defaultdict(set)
    for record in output.progress(pair.calls.query(QueryCall()), "Reading records"):
        needs[name_of(record)].update(held_by(record))
    reached = {name: values.reached(keys) for name, keys in needs.items()}
    several: set[Digest] = set()
    seen: set[Digest] = set()
    for keys in reached.values():
        several |= seen & keys
        seen |= keys
    problem = None
    elsewhere: set[Digest] = set()
    try:
        for calls in users_of(pair)[1:]:
            for record in calls.query(QueryCall()):
                elsewhere.update(held_by(record))
    except Rejected as error:
        problem = str(error)
    others = values.reached(elsewhere) - seen
    records = [*pair.calls.list()]
    sizes = sizes_of(pair.calls, records)
    places = [_place(each) for each in (pair.values, pair.calls)]
    return {
        "places": [None if place is None else str(place) for place in places],
        "records": len(records),
        "record_bytes": sum(sizes.values()) if sizes or not records else None,
        "values": len(values.keys),
        "value_bytes": values.size(values.keys),
        "functions": {
            name: values.size(keys - several)
            for name, keys in sorted(reached.items(), key=lambda pair: pair[0])
        },
        "shared_bytes": values.size(several),
        "other_caches_bytes": values.size(others),
        "orphans": len(values.keys - seen - others) if problem is None else None,
        "orphan_bytes": values.size(values.keys - seen - others) if problem is None else None,
        "orphans_unknown": problem,
        "disk_bytes": _on_disk(places),
    }


def _on_disk(places: Iterable[Any]) -> int | None:
    """What the file system says that files take, with what stands beside them."""
    paths = [place for place in places if isinstance(place, Path)]
    if not paths:
        return None
    seen: set[tuple[int, int]] = set()
    return sum(_blocks(path, seen) for place in paths for path in _files(place))


def _files(place: Path) -> list[str]:
    if not place.is_dir():
        # A database, with its journal and its claims.
        return [os.path.join(place.parent, each) for each in _names(place)]
    return [os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names]


def _names(place: Path) -> list[str]:
    try:
        return [each for each in os.listdir(place.parent) if each.startswith(place.name)]
    except OSError:
        return []


def _blocks(path: str, seen: set[tuple[int, int]]) -> int:
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    if (status.st_dev, status.st_ino) in seen:
        return 0
    seen.add((status.st_dev, status.st_ino))
    return getattr(status, "st_blocks", -(-status.st_size // 512)) * 512


def _show(found: dict[str, Any], output: Output) -> None:
    output.line(", ".join(place or "in memory" for place in dict.fromkeys(found["places"])), "bold")
    rows = [
        (f"{found['records']:,} records", size(found["record_bytes"])),
        (f"{found['values']:,} values", size(found["value_bytes"])),
    ]
    functions = sorted(found["functions"].items(), key=lambda pair: (-(pair[1] or 0), pair[0]))
    rows += [(f"  of {name} alone", size(room)) for name, room in functions]
    rows.append(("  shared by functions", size(found["shared_bytes"])))
    if found["other_caches_bytes"]:
        rows.append(("  of other caches alone", size(found["other_caches_bytes"])))
    if found["orphans"] is None:
        rows.append(("  orphans", "?"))
    else:
        rows.append((f"  {found['orphans']:,} orphans", size(found["orphan_bytes"])))
    rows.append(("on disk, as the file system counts", size(found["disk_bytes"])))
    output.table([Column("what"), Column("bytes", right=True)], rows)
    if found["orphans_unknown"]:
        output.say(f"which values no call needs is unknown: {found['orphans_unknown']}")
    elif found["orphans"]:
        output.say("`fleche gc` removes the orphans, which no call needs")


COMMAND = Command(
    help="what takes the room of the cache: records, values by function, orphans",
    run=_run,
    examples=(("fleche du --cache shared", "of the section [shared]"),),
)
