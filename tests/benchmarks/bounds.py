"""A save into a full cache against one into an empty cache, on files and on SQLite.

    python tests/benchmarks/bounds.py --calls 1000000 --folder DIR

Fills a store with so many records, whose values are shared, has the account made, and saves. Times
are of this process's own computing (user and system), as others may use the machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from fleche import _core
from fleche.caches import BoundedCache
from fleche.call import Call, DigestedCall
from fleche.config import cache_from_config
from fleche.digest import digest

# So many saves at a time.
TURN = 25

# How many calls share a value of the filling.
SHARED = 1000


def pair(kind: str, folder: Path) -> dict[str, Any]:
    more = {"values": "pickle"} if kind == "sql" else {}
    return {"template": kind, "root": str(folder), **more}


def fill(cache: Any, number: int, whole: int) -> None:
    """Store records: `whole` calls as they are saved, which go first; then the fast way, their
    values once for many of them."""
    saves(cache, 3 * 10**9, whole)
    values = [cache.values.save(f"shared {each} " * 30) for each in range(number // SHARED + 1)]
    for each in range(number - whole):
        cache.calls.save(
            DigestedCall(
                "fill",
                {"x": digest(each), "y": values[each // SHARED]},
                values[each // SHARED],
                {"runtime": {"walltime": 1.0 + each % 7, "timestop": 1e9 + each}},
                "bench",
            )
        )


def saves(cache: Any, begin: int, number: int) -> tuple[float, float]:
    """Microseconds for a save, of this process and by the clock (median)."""
    took = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    for each in range(begin, begin + number):
        call = Call(
            "save",
            {"x": each, "y": f"{each} " * 30},
            {"runtime": {"walltime": 1.0, "timestop": time.time()}},
            "bench",
            result=f"result {each} " * 50,
        )
        started = time.perf_counter()
        cache.save(call)
        took.append(time.perf_counter() - started)
    after = resource.getrusage(resource.RUSAGE_SELF)
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return own / number * 1e6, sorted(took)[number // 2] * 1e6


def measure(kind: str, calls: int, number: int, policy: str, folder: Path) -> dict[str, Any]:
    limits = {"evict": policy, "max_size": calls}
    empty = cache_from_config({**pair(kind, folder / "empty"), **limits})
    saves(empty, 0, 20)
    full = folder / f"full-{kind}"
    plain = cache_from_config(pair(kind, full))
    if not (full / "filled").exists():
        fill(plain, calls, number + 50)
        (full / "filled").touch()
    made = cache_from_config({**pair(kind, full), **limits})
    assert isinstance(made, BoundedCache)
    started = time.perf_counter()
    made.enforce()
    begun = time.perf_counter() - started
    saves(made, 10**9, 20)
    there = made._keeper._ledger
    assert there is not None
    assert there.room()[0] >= calls
    # In turns, as the machine may be busy with other things now and then.
    turns = [
        (saves(empty, 20 + begin, TURN), saves(made, 10**9 + 20 + begin, TURN))
        for begin in range(0, number, TURN)
    ]
    of_empty, of_full = (
        [statistics.median(turn[which][each] for turn in turns) for each in (0, 1)]
        for which in (0, 1)
    )
    assert there.room()[0] == calls
    again = cache_from_config({**pair(kind, full), **limits})
    started = time.perf_counter()
    saves(again, 2 * 10**9, 1)
    return {
        "storage": kind,
        "policy": policy,
        "calls": calls,
        "account made (s)": round(begun, 1),
        "empty (us)": [round(each) for each in of_empty],
        "full (us)": [round(each) for each in of_full],
        "ratio": [round(of_full[each] / of_empty[each], 2) for each in (0, 1)],
        "first save of a process (ms)": round((time.perf_counter() - started) * 1e3, 1),
        "account (MB)": round(os.stat(made._keeper.path or "").st_size / 1e6, 1),
        "memory (MB)": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "core": _core.VERSION,
    }


def main() -> None:
    os.environ["FLECHE_STATISTICS"] = "0"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--saves", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where the stores are made, and left")
    parser.add_argument("--kind", choices=["pickle", "sql", "sqlite"], action="append")
    parser.add_argument("--policy", action="append")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    logging.basicConfig()
    for kind in given.kind or ["pickle", "sqlite"]:
        for policy in given.policy or ["oldest"]:
            found = measure(kind, given.calls, given.saves, policy, folder)
            print(json.dumps(found), flush=True)
            shutil.rmtree(folder / "empty")
    if given.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
