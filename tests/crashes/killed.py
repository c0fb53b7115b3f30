"""A warm process that forks others, has them work on a store, and kills them.

It is asked by lines on its standard input, and answers by lines: how many steps the process had
done, and whether it was killed. See `Kills` in `killing.py`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .stores import ALL_KINDS, OPERATIONS, Step, fill, take
from .watching import Killing, watched


def before_call(order: dict[str, Any], done: Callable[[int], None]) -> None:
    """Runs an operation, up to a system call."""
    root = Path(order["root"])
    cache = ALL_KINDS[order["kind"]](root)
    with watched(Killing(order["which"])):
        OPERATIONS[order["name"]].run(cache, root, done)


def steps(order: dict[str, Any], done: Callable[[int], None]) -> None:
    """Takes steps, to be killed from outside."""
    root = Path(order["root"])
    cache = ALL_KINDS[order["kind"]](root)
    done(0)
    for number, step in enumerate(order["steps"], 1):
        take(cache, root, Step(*step))
        done(number)


def run(order: dict[str, Any]) -> dict[str, Any]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        work = steps if "steps" in order else before_call
        work(order, lambda number: os.write(writer, bytes([number])) and None)
        os._exit(0)
    os.close(writer)
    said = b""
    if "microseconds" in order:
        said = os.read(reader, 1)
        end = time.perf_counter() + order["microseconds"] / 1e6
        while time.perf_counter() < end:
            pass
        os.kill(child, signal.SIGKILL)
    while more := os.read(reader, 100):
        said += more
    os.close(reader)
    _, status = os.waitpid(child, 0)
    failed = os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0
    return {"done": list(said), "killed": os.WIFSIGNALED(status), "failed": failed}


def main() -> None:
    # What the forked processes need is loaded once, here.
    with tempfile.TemporaryDirectory() as folder:
        for kind in ALL_KINDS:
            fill(ALL_KINDS[kind](Path(folder) / kind))
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
