"""One computation for all who want it, through a bucket alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleche.config import cache_from_config
from fleche.storage.claims import Unclaimable
from tests.buckets.proxy import proxy_before
from tests.s3_servers import S3Server

KEY = "ab" * 32

# Each process has a local folder of its own over the one bucket.
PROGRAM = textwrap.dedent(
    """
    import json, os, sys, time
    from fleche import cache, fleche
    from fleche.config import cache_from_config

    # What differs between the processes is no global variable: that would be part of the key.
    @fleche(once=True)
    def slow(x):
        notes, name = sys.argv[2:]
        with open(os.path.join(notes, f"began-{x}-{name}"), "w"):
            pass
        if os.path.exists(os.path.join(notes, f"die-{x}")):
            os.unlink(os.path.join(notes, f"die-{x}"))
            os.kill(os.getpid(), 9)
        time.sleep(0.3)
        with open(os.path.join(notes, f"ended-{x}-{name}"), "w"):
            pass
        return -x

    with cache(cache_from_config(json.loads(sys.argv[1]))):
        assert [slow(x) for x in range(4)] == [0, -1, -2, -3]
    """
)


def _claims(settings: dict[str, Any], **more: Any) -> Any:
    """Claims that share nothing with others but the bucket."""
    return cache_from_config({"template": "bucket", **settings, **more})._claims()


def test_a_claim_is_had_by_one(seaweedfs: S3Server) -> None:
    settings = {"url": f"s3://{seaweedfs.new_bucket()}", "endpoint": seaweedfs.endpoint}
    mine, other = _claims(settings), _claims(settings)
    claim = mine.take(KEY)
    assert claim is not None
    assert other.take(KEY) is None
    assert other.holder(KEY).process == mine.holder(KEY).process
    claim.wait_for("cd" * 32)
    assert other.holder(KEY).waits_for == "cd" * 32
    claim.release()
    assert other.holder(KEY) is None
    taken = other.take(KEY)
    assert taken is not None
    assert taken.dead is None
    taken.release()


def test_a_claim_is_taken_over_when_its_owner_died(on_seaweedfs: dict[str, Any]) -> None:
    mine = _claims(on_seaweedfs, lease=0.5)
    claim = mine.take(KEY)
    other = _claims(on_seaweedfs, lease=0.5)
    begun = time.monotonic()
    # Three leases long it stays its owner's.
    assert other.take(KEY, 1.5) is None
    assert time.monotonic() - begun >= 1.5
    # As if it had died: nobody renews it.
    mine.drop(claim)
    taken = other.take(KEY, 30)
    assert taken.dead == claim._holder
    # Who comes back finds that it is gone, and takes nothing from anybody.
    claim.release()
    assert mine.take(KEY) is None
    taken.release()


@pytest.fixture
def lying(moto: S3Server) -> Iterator[dict[str, Any]]:
    """A server that ignores conditions: the proxy takes them away."""
    with proxy_before(moto.port) as proxy:
        proxy.drops = ("if-none-match", "if-match")
        yield {"url": f"s3://{moto.new_bucket()}", "endpoint": proxy.endpoint}


def test_a_server_that_ignores_conditions_is_refused(lying: dict[str, Any]) -> None:
    with pytest.raises(Unclaimable, match="no conditional writes") as raised:
        _claims(lying).take(KEY)
    assert lying["url"] in str(raised.value)


def test_processes_compute_each_call_once_though_owners_are_killed(
    on_seaweedfs: dict[str, Any], tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    for x in (1, 3):
        (notes / f"die-{x}").touch()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    processes = []
    for number in range(8):
        config = {
            "local": {"template": "pickle", "root": str(tmp_path / f"local{number}")},
            "remote": {"template": "bucket", **on_seaweedfs, "lease": 2.0},
        }
        command = [sys.executable, str(program), json.dumps(config), str(notes), str(number)]
        processes.append(
            subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        )
    ends = [process.communicate(timeout=120)[1] for process in processes]
    killed = [process.returncode for process in processes].count(-signal.SIGKILL)
    assert killed == 2, ends
    assert [process.returncode for process in processes].count(0) == 6, ends
    assert "whoever else computes" not in "".join(ends), ends
    for x in range(4):
        assert len([*notes.glob(f"ended-{x}-*")]) == 1
    began = {x: len([*notes.glob(f"began-{x}-*")]) for x in range(4)}
    assert began == {0: 1, 1: 2, 2: 1, 3: 2}
