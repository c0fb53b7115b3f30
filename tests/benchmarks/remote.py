"""`python -m tests.benchmarks.remote`: caches over SSH, ours and the reference's, side by side.

Starts an `sshd` of its own on loopback; each package talks through it to a server of its own kind.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.report import quantity
from tests.compat.reference_environment import reference_python
from tests.ssh_server import SshServer, running

WORKER = Path(__file__).with_name("remote_worker.py")
CONFIG = """\
[default]
root = true
cache = "files"
[files]
values = {type = "pickle", root = "values"}
calls = {type = "pickle", root = "calls"}
"""


def times_of(python: Path, scheme: str, server: SshServer, folder: Path) -> dict[str, float]:
    """The seconds that each operation takes with the package of an interpreter."""
    folder.mkdir()
    settings = {
        "host": server.host,
        "options": server.options,
        "workdir": str(folder),
        "config": CONFIG,
    }
    environment = {**os.environ, "FLECHE_DIGEST": scheme, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [python, WORKER, json.dumps(settings)],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    """Run; the status is 1 if the reference is faster at anything."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.remote", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="turns of each package")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the seconds there")
    options = parser.parse_args()
    contestants = {
        "fleche": (Path(sys.executable), "exact"),
        "fleche sha256": (Path(sys.executable), "sha256"),
        "reference": (reference_python(), "sha256"),
    }
    best: dict[str, dict[str, float]] = {name: {} for name in contestants}
    with tempfile.TemporaryDirectory(prefix="fleche-bench-") as scratch:
        keys = Path(scratch, "sshd")
        keys.mkdir(mode=0o700)
        with running(keys) as server:
            for turn in range(options.rounds):
                for name, (python, scheme) in contestants.items():
                    folder = Path(scratch, f"{name.replace(' ', '-')}-{turn}")
                    for row, seconds in times_of(python, scheme, server, folder).items():
                        best[name][row] = min(seconds, best[name].get(row, seconds))
    print("| operation | fleche | sha256 | reference | ratio | sha256 |")
    print("| --- | --- | --- | --- | --- | --- |")
    slower = []
    for row, reference in best["reference"].items():
        ours, ours_sha256 = best["fleche"][row], best["fleche sha256"][row]
        ratios = [reference / ours, reference / ours_sha256]
        shown = [quantity(seconds, "s") for seconds in (ours, ours_sha256, reference)]
        print("|", " | ".join([row, *shown, *(f"{ratio:.2f}x" for ratio in ratios)]), "|")
        slower += [row] if min(ratios) < 1 else []
    if options.json:
        options.json.write_text(json.dumps(best, indent=1) + "\n")
    if slower:
        print("slower than the reference:", ", ".join(slower), file=sys.stderr)
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())
