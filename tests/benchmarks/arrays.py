"""`python -m tests.benchmarks.arrays [MB ...]`: large arrays beside peers and numpy, as Markdown.

Each contestant saves an array of random numbers, and gets it back: at once, and touched wholly. All
take turns in one run; the least of several times counts. Files lie in the page cache. What a save
takes of memory is measured in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.report import machine

SIZES = (1, 64, 1000)
TURNS = 5


class Contestant(NamedTuple):
    """How something saves an array in a folder, and loads it."""

    save: Callable[[Any, Path], None]
    load: Callable[[Path], Any]


def of_fleche(template: str, **options: Any) -> Contestant:
    from fleche.caches import Cache
    from fleche.config import cache_from_config

    keys: dict[Path, Any] = {}

    def cache(folder: Path) -> Cache:
        config = {"template": template, "root": str(folder)}
        found: Cache = cache_from_config(config | options)  # type: ignore[assignment]
        return found

    def save(array: Any, folder: Path) -> None:
        keys[folder] = cache(folder).values.save(array)

    return Contestant(save, lambda folder: cache(folder).values.load(keys[folder]))


def of_joblib(mmap_mode: str | None) -> Contestant:
    import joblib

    def load(folder: Path) -> Any:
        return joblib.load(folder / "array", mmap_mode=mmap_mode)

    return Contestant(lambda array, folder: joblib.dump(array, folder / "array"), load)


def of_numpy(mmap_mode: str | None) -> Contestant:
    def load(folder: Path) -> Any:
        return np.load(folder / "array.npy", mmap_mode=mmap_mode)  # type: ignore[call-overload]

    return Contestant(lambda array, folder: np.save(folder / "array.npy", array), load)


def of_marimo() -> Contestant:
    import marimo

    arrays: dict[str, Any] = {}

    def made(name: str) -> Any:
        return arrays[name]

    def cached(folder: Path) -> Any:
        return marimo.persistent_cache(made, save_path=str(folder), pin_modules=False)

    def save(array: Any, folder: Path) -> None:
        arrays[folder.name] = array
        cached(folder)(folder.name)

    return Contestant(save, lambda folder: cached(folder)(folder.name))


def contestants() -> dict[str, Contestant]:
    """By name; floors last."""
    return {
        "`pickle`": of_fleche("pickle"),
        "`sqlite`": of_fleche("sqlite"),
        "`pickle`, `mmap = false`": of_fleche_read(),
        "joblib": of_joblib(None),
        'joblib, `mmap_mode="c"`': of_joblib("c"),
        "marimo": of_marimo(),
        "`np.save`, `np.load`": of_numpy(None),
        '`np.load(mmap_mode="c")`': of_numpy("c"),
    }


def of_fleche_read() -> Contestant:
    from fleche.storage import ValuePickleFile

    keys: dict[Path, Any] = {}

    def save(array: Any, folder: Path) -> None:
        keys[folder] = ValuePickleFile(folder).save(array)

    return Contestant(save, lambda folder: ValuePickleFile(folder, mmap=False).load(keys[folder]))


class Times(NamedTuple):
    """Seconds, and bytes over the array's own."""

    save: float
    load: float
    touched: float


def once(contestant: Contestant, array: Any) -> Times:
    with tempfile.TemporaryDirectory(prefix="fleche-arrays-") as name:
        folder = Path(name)
        start = time.perf_counter()
        contestant.save(array, folder)
        saved = time.perf_counter()
        found = contestant.load(folder)
        loaded = time.perf_counter()
        found.sum()
        touched = time.perf_counter()
        assert np.array_equal(found, array)
        del found
        return Times(saved - start, loaded - saved, touched - saved)


PEAK = """
import resource, sys, tempfile
from pathlib import Path
import numpy as np
from tests.benchmarks.arrays import contestants
contestant = contestants()[sys.argv[1]]
array = np.random.default_rng(0).random(int(sys.argv[2]) * 125_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with tempfile.TemporaryDirectory(prefix="fleche-arrays-") as folder:
    contestant.save(array, Path(folder))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(1 + (after - before) * 1024 / array.nbytes)
"""


def peak(name: str, megabytes: int) -> float:
    """The memory that a save takes, by that of the array."""
    order = [sys.executable, "-c", PEAK, name, str(megabytes)]
    return float(subprocess.run(order, check=True, capture_output=True, text=True).stdout)


def shown(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    for megabytes in sizes:
        array = np.random.default_rng(0).random(megabytes * 125_000)
        competing = contestants()
        best: dict[str, Times] = {}
        for _ in range(TURNS):
            for name, contestant in competing.items():
                taken = once(contestant, array)
                before = best.get(name, taken)
                best[name] = Times(*map(min, taken, before))
        print(f"\n{megabytes} MB:\n")
        print("| | save | load | load, and look at all of it | memory of a save |")
        print("| --- | --- | --- | --- | --- |")
        for name, times in best.items():
            memory = f"{peak(name, megabytes):.2f}" if megabytes > 10 else ""
            print(f"| {name} | {' | '.join(map(shown, times))} | {memory} |")
    print("\n" + ", ".join(f"{name}: {value}" for name, value in machine().items()))


if __name__ == "__main__":
    main()
