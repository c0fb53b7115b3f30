"""Find the period of a variable star, twice: the second run loads what the first one computed.

    python examples/quickstart.py && python examples/quickstart.py

The results lie in `examples/.fleche`, as `examples/fleche.toml` says; remove it to start again.
"""

from __future__ import annotations

import csv
import math
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleche import fleche

HERE = Path(__file__).resolve().parent


def read_observations(path: Path) -> tuple[list[float], list[float]]:
    """Return the days and the magnitudes of a file of observations."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [float(row["day"]) for row in rows], [float(row["magnitude"]) for row in rows]


def power(days: list[float], deviations: list[float], period: float) -> float:
    """Return how well a sine of one period fits (Lomb-Scargle)."""
    step = 2 * math.pi / period
    shift = math.atan2(
        sum(math.sin(2 * step * day) for day in days),
        sum(math.cos(2 * step * day) for day in days),
    )
    total = 0.0
    for wave in (math.sin, math.cos):
        values = [wave(step * day - shift / 2) for day in days]
        overlap = sum(a * b for a, b in zip(deviations, values, strict=True))
        total += overlap**2 / sum(value * value for value in values)
    return total


@fleche
def best_period(days: list[float], magnitudes: list[float], periods: list[float]) -> float:
    """Return the period that fits best."""
    mean = statistics.fmean(magnitudes)
    deviations = [magnitude - mean for magnitude in magnitudes]
    return max(periods, key=lambda period: power(days, deviations, period))


@fleche
def period_error(
    days: list[float], magnitudes: list[float], period: float, resamples: int = 40
) -> float:
    """Return the standard error of a period, from fits to observations drawn with replacement."""
    chance = random.Random(0)
    near = [period * (1 + step / 4000) for step in range(-20, 21)]
    found = []
    for _ in range(resamples):
        drawn = chance.choices(list(zip(days, magnitudes, strict=True)), k=len(days))
        mean = statistics.fmean(magnitude for _, magnitude in drawn)
        drawn_days = [day for day, _ in drawn]
        deviations = [magnitude - mean for _, magnitude in drawn]
        found.append(max(near, key=lambda trial: power(drawn_days, deviations, trial)))
    return statistics.stdev(found)


def show(function: Callable[..., float], *args: Any) -> float:
    """Call a cached function and print whether it computed, and how long the call took."""
    known = function.contains(*args)
    start = time.perf_counter()
    result = function(*args)
    elapsed = (time.perf_counter() - start) * 1000
    print(f"{function.__name__:12} {'loaded' if known else 'computed':8} in {elapsed:9.2f} ms")
    return result


def main() -> None:
    days, magnitudes = read_observations(HERE / "data" / "variable_star.csv")
    periods = [0.5 + 0.001 * step for step in range(5000)]
    period = show(best_period, days, magnitudes, periods)
    error = show(period_error, days, magnitudes, period)
    print(f"the star repeats every {period:.3f} +- {error:.3f} days")


if __name__ == "__main__":
    os.chdir(HERE)  # fleche.toml is searched from the working directory upwards
    main()
