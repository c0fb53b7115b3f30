"""`python -m tests.benchmarks [--only TEXT] [--json FILE]`: run the rows and print the table."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.report import as_json, machine, table
from tests.benchmarks.rows import ROWS
from tests.benchmarks.run import Bench, run
from tests.compat.reference_environment import reference_python

OURS = Path(sys.executable)


def main() -> int:
    """Run; the status is 1 when a contestant was missing or failed, not when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", help="only rows whose name holds TEXT")
    parser.add_argument("--rounds", type=int, help="turns of each contestant")
    parser.add_argument("--cpu", action="store_true", help="count processor time, not wall time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    options = parser.parse_args()
    rows = [row for row in ROWS if (options.only or "") in row.name]
    if not rows:
        parser.error(f"no row holds {options.only!r}; there are {', '.join(r.name for r in ROWS)}")

    pythons = {name: OURS for row in rows for name in row.contestants if name != "reference"}
    pythons["reference"] = reference_python()
    results = []
    with tempfile.TemporaryDirectory(prefix="fleche-bench-") as scratch:
        clock = "process_time" if options.cpu else "perf_counter"
        bench = Bench(pythons, Path(scratch), options.rounds, clock)
        for row in rows:
            print(f"{row.title} ...", file=sys.stderr, flush=True)
            results.append(run(row, bench))
    print("\n" + table(results) + "\n")
    print(", ".join(f"{name}: {value}" for name, value in machine().items()))
    if options.json:
        options.json.write_text(json.dumps(as_json(results, pythons), indent=1) + "\n")
    return int(any(set(result.row.contestants) - set(result.samples) for result in results))


if __name__ == "__main__":
    sys.exit(main())
