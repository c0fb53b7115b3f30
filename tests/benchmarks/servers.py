"""`python -m tests.benchmarks.servers [--processes N] [--seconds S]`: calls in PostgreSQL.

Processes miss and then hit, all at once, on a server of the run's own on this machine; results are
files in a folder of the run. Printed: calls a second of all, and the processors' time a call.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleche.digest import Digest
from tests.conftest import DatabaseServer, running_mariadb, running_postgresql


def work(url: str, folder: str, number: int, seconds: float) -> None:
    """What one process does: says that it is ready, waits for a line, and counts."""
    from fleche import cache, fleche
    from fleche.caches import Cache
    from fleche.storage import Sql, ValuePickleFile

    @fleche(hash_code=False, version=number)
    def double(x: int, y: int = 2) -> int:
        return x * y

    with cache(Cache(ValuePickleFile(folder), Sql(url))):
        double(-1)
        print("ready", flush=True)
        most = sys.maxsize
        for _ in ("misses", "hits"):
            sys.stdin.readline()
            calls, begun, cpu = 0, time.monotonic(), time.process_time()
            while time.monotonic() < begun + seconds and calls < most:
                double(calls)
                calls += 1
            print(json.dumps((calls, time.monotonic() - begun, time.process_time() - cpu)))
            sys.stdout.flush()
            most = calls


def measure(server: DatabaseServer, folder: Path, processes: int, seconds: float) -> None:
    """Run the processes, and print what they did."""
    url = server.new_database()
    here = [sys.executable, "-m", "tests.benchmarks.servers", "--work", url, str(folder)]
    running = [
        subprocess.Popen(
            [*here, str(number), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for what in ("misses", "hits"):
        before = cpu_of(server.process.id)
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        found = [json.loads(process.stdout.readline()) for process in running if process.stdout]
        calls = sum(count for count, _, _ in found)
        rate = sum(count / took for count, took, _ in found)
        ours, theirs = sum(cpu for *_, cpu in found), cpu_of(server.process.id) - before
        print(
            f"{server.scheme}, {processes} processes: {rate:.0f} {what}/s; CPU a call: "
            f"{1e3 * ours / calls:.2f} ms here, {1e3 * theirs / calls:.2f} ms in the server"
        )
    for process in running:
        process.communicate()


def lateness(server: DatabaseServer, waits: int = 40) -> None:
    """Print how long after the end of a computation those know of it who wait for it."""
    from fleche.storage import Sql
    from fleche.wrapper.once import Once

    url = server.new_database()
    owner, waiter = (Sql(url)._claims() for _ in range(2))
    once, late = Once("waits", True, None), []
    with ThreadPoolExecutor(1) as pool:
        for number in range(waits):
            key = Digest(f"{number:064x}")
            claim = owner.take(key)
            assert claim is not None
            waiting = pool.submit(once.wait_for_claim, waiter, None, key)  # type: ignore[arg-type]
            time.sleep(random.Random(number).uniform(0.05, 2))
            claim.release()
            begun = time.monotonic()
            taken = waiting.result()
            late.append(time.monotonic() - begun)
            assert taken is not None
            taken.release()
    typical, longest = statistics.median(late), max(late)
    known = f"{1e3 * typical:.0f} ms, {1e3 * longest:.0f} at most"
    print(f"{server.scheme}: who waits knows after {known}")


def cpu_of(server: int) -> float:
    """Seconds that a server and its children, present and past, took of the processors."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, fields = stat.parent.name, stat.read_text().rpartition(")")[2].split()
            if int(name) == server:
                ticks += sum(map(int, fields[11:15]))
            elif int(fields[1]) == server:
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.servers", description=__doc__)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--mariadb", action="store_true", help="MariaDB instead")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        url, folder, number, seconds = options.work
        work(url, folder, int(number), float(seconds))
        return
    start = running_mariadb if options.mariadb else running_postgresql
    with start() as server, tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        lateness(server)
        measure(server, Path(name), options.processes, options.seconds)


if __name__ == "__main__":
    main()
