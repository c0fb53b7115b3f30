"""Connections and processes: forks, worker processes, the end of the program, memory."""

from __future__ import annotations

import gc
import multiprocessing
import subprocess
import sys
import textwrap
import weakref
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from fleche import cache, fleche
from fleche.remote import RemoteConnectionError, SshCache

from .conftest import Remote
from .test_faults import is_running, wait_until

# Reading standard error takes a thread, of which Python 3.12 warns where a process forks.
FORKING = "ignore:This process:DeprecationWarning"


def server_pid(served: SshCache) -> int:
    return int(served.info()["pid"])


def run(program: str, *arguments: Any) -> str:
    """What a program prints, without a word on standard error."""
    command = [
        sys.executable,
        "-W",
        "error",
        "-W",
        FORKING,
        "-c",
        textwrap.dedent(program),
        *map(repr, arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


OPEN = """
import ast, os, sys
from fleche.remote import SshCache
served = SshCache(**ast.literal_eval(sys.argv[1]))
"""


def test_a_program_that_ends_takes_the_server_along(remote: Remote) -> None:
    out = run(OPEN + "print(served.info()['pid'])", remote.settings())
    assert not is_running(int(out))


def test_a_cache_that_nobody_holds_takes_the_server_along(remote: Remote) -> None:
    served = SshCache(**remote.settings())
    pid, gone = server_pid(served), weakref.ref(served)
    del served
    gc.collect()
    assert gone() is None
    wait_until(lambda: not is_running(pid), "the server ends")


def test_a_forked_child_opens_its_own_connection(remote: Remote) -> None:
    """And leaves its parent's alone, whose server ends with the parent."""
    out = run(
        OPEN
        + """
key = served._save_value("shared")
pid = served.info()["pid"]
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    mine = served.info()["pid"]
    os.write(writer, f"{served.load_value(key)} {mine != pid}".encode())
    served.close()
    os._exit(0)
os.waitpid(child, 0)
print(os.read(reader, 100).decode(), served.info()["pid"] == pid, served.load_value(key))
""",
        remote.settings(),
    )
    assert out.split() == ["shared", "True", "True", "shared"]


def test_a_child_that_lives_on_does_not_keep_its_parents_server(remote: Remote) -> None:
    program = textwrap.dedent(
        OPEN
        + """
print(served.info()["pid"], flush=True)
if os.fork() == 0:
    os.close(1)
    os.read(0, 1)  # until the test ends
    os._exit(0)
served.close = None
os._exit(0)
"""
    )
    command = [sys.executable, "-c", program, repr(remote.settings())]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        wait_until(lambda: not is_running(pid), "the server ends")
        process.communicate()


def in_a_worker(served: SshCache, key: str) -> tuple[Any, bool]:
    return served.load_value(key), served.info()["pid"] > 0


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_worker_processes(remote: Remote, method: str) -> None:
    served = remote.cache()
    key = served._save_value([1, 2, 3])
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        found = [pool.submit(in_a_worker, served, key) for _ in range(4)]
        assert [each.result(60) for each in found] == [([1, 2, 3], True)] * 4


def test_a_bound_function_takes_the_cache_along(remote: Remote) -> None:
    import pickle

    served = remote.cache()
    with cache(served):
        bound = square.bind(5)  # type: ignore[attr-defined]
    # Worker processes are children here: their connections are their own.
    copy = pickle.loads(pickle.dumps(bound))
    assert copy() == 25
    assert served.query().only().result == 25


@fleche
def square(x: int) -> int:
    return x * x


def test_a_lost_connection_is_lost_for_copies_no_more_than_it_is(remote: Remote) -> None:
    import copy

    served = remote.cache(python="/no/such/python")
    with pytest.raises(RemoteConnectionError):
        served.info()
    mended = copy.copy(served)
    assert mended == served
    with pytest.raises(RemoteConnectionError):
        mended.info()


PEAK = """
import resource
def status(name):
    with open("/proc/self/status") as file:
        lines = file.read().splitlines()
    return [int(l.split()[1]) * 1024 for l in lines if l.startswith(name)][0]
"""
MEASURED = (
    OPEN
    + PEAK
    + """
import numpy as np
size = int(sys.argv[2])
there = "[int(l.split()[1]) * 1024 for l in open('/proc/self/status') if l.startswith('VmHWM')][0]"
class Evaluated:
    def __reduce__(self):
        return eval, (there, {})
def served_peak():
    return served.load_value(served._save_value(Evaluated()))
value = KIND
before, before_there = status("VmHWM"), served_peak()
key = served._save_value(value)
saved, saved_there = status("VmHWM"), served_peak()
del value
loaded = served.load_value(key)
assert len(loaded) and loaded[-1] == loaded[0]
print(before, saved, status("VmHWM"), before_there, saved_there, served_peak())
"""
)
KINDS = {"array": "np.ones(size // 8)", "bytes": "b'x' * size"}


@pytest.mark.parametrize("kind", KINDS)
def test_memory_for_a_large_value(remote: Remote, kind: str) -> None:
    """No end needs more than about twice the value, itself included; the sender of it no more."""
    size = 256_000_000
    remote.configure(
        '[default]\nroot = true\ncache = "c"\n[c]\nvalues = {type = "memory"}\n'
        'calls = {type = "memory"}\n'
    )
    out = run(MEASURED.replace("KIND", KINDS[kind]), remote.settings(), size)
    before, saved, loaded, before_there, saved_there, loaded_there = map(int, out.split())
    assert saved - before < 0.2 * size
    assert loaded - before < (0.2 if kind == "array" else 1.2) * size
    assert saved_there - before_there < 2.2 * size
    assert loaded_there - before_there < 2.2 * size
