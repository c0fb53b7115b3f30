"""One contestant at one row, in a process of its own.

Arguments: the row, the contestant, a folder, and the clock (a function of `time`). Prints `ready`;
then takes a sample for every line on standard input, and prints the number as JSON: seconds for one
run of the statement, or what the work measures.
"""

from __future__ import annotations

import json
import os
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.work import WORK, Timed

SAMPLE_SECONDS = 0.05


def sampler(work: Timed, clock: str) -> Callable[[], float]:
    """Return a function that times the statement, over as many runs as fill a sample."""
    ticks: Callable[[], float] = getattr(time, clock)
    timer = timeit.Timer(work.statement, work.setup, ticks, globals=work.names)
    number = 1
    while not work.once and timer.timeit(number) < SAMPLE_SECONDS:
        number *= 2
    return lambda: timer.timeit(number) / number


def main() -> None:
    row, contestant, folder, clock = sys.argv[1:]
    os.chdir(folder)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a contestant prints must not mix with the answers
    work = WORK[row, contestant](contestant, Path(folder))
    sample = sampler(work, clock) if isinstance(work, Timed) else work.function
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(sample()), file=answers, flush=True)


if __name__ == "__main__":
    main()
