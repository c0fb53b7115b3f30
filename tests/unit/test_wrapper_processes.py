"""Cached functions in other processes: pickled by reference and by value, spawned and forked."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cloudpickle
import dill
import pytest

from fleche import Ignored, Required, cache, fleche
from fleche.caches import Cache

from .calls import memory_cache


@pytest.fixture(autouse=True)
def active() -> Iterable[Cache]:
    held = memory_cache()
    with cache(held):
        yield held


@fleche
def by_reference(x: int) -> int:
    return x + 1


def test_pickles_by_reference() -> None:
    for module in (pickle, cloudpickle, dill):
        assert module.loads(module.dumps(by_reference)) is by_reference
    assert copy.deepcopy(by_reference) is by_reference


def loaded(function: Any) -> Any:
    return pickle.loads(cloudpickle.dumps(function))


def test_a_closure_travels_by_value() -> None:
    offset = 10

    @fleche(version=3, ignore="z", typed=True)
    def add(x: int, y: int = 2, *, w: Required[int] = 1, z: Ignored[int] = 0) -> int:
        return x + y + w + z + offset

    other = loaded(add)
    assert other is not add
    assert other(1, w=1, z=5) == 19
    assert other.digest(1, w=1) == add.digest(1, w=1)
    assert add.contains(1, w=1)
    assert add(1, w=1) == 19, "what the copy computed is found"
    assert other.call(1, w=1) == add.call(1, w=1)
    assert list(vars(other.fleche)) == list(vars(add.fleche))
    assert other.__defaults__ == add.__defaults__
    assert other.query().count() == 1


def test_a_recursive_closure_travels_by_value() -> None:
    @fleche(hash_code=True)
    def fib(n: int, low: int = 2) -> int:
        return n if n < low else fib(n - 1) + fib(n - 2)

    for start in (fib, fib.__wrapped__, fib.call, fib.fleche):
        other = loaded(start)
        if start is fib.fleche:
            assert other.digest(3) == fib.digest(3)
            other.rerun(5)
        elif start is fib.call:
            assert other(3) == fib.call(3)
        else:
            assert other(20) == 6765
    assert loaded(fib).digest(7) == fib.digest(7)


def test_functions_that_call_each_other_travel_by_value() -> None:
    @fleche
    def even(n: int) -> bool:
        return True if n == 0 else odd(n - 1)

    @fleche
    def odd(n: int, *, start: bool = False) -> bool:
        return start if n == 0 else even(n - 1)

    assert loaded(odd)(7) is True
    assert loaded(odd).digest(7) == odd.digest(7)
    assert loaded(even).digest(7) == even.digest(7)


class Receiver:
    def __init__(self, n: int) -> None:
        self.n = n

    def __digest__(self) -> Any:
        from fleche.digest import digest

        return digest(self.n)

    @fleche
    def times(self, x: int) -> int:
        return self.n * x


def test_bound_functions_travel() -> None:
    bound = loaded(by_reference.bind(4))
    assert bound() == 5
    receiver = Receiver(3)
    assert loaded(fleche(receiver.times))(2) == 6
    assert pickle.loads(pickle.dumps(receiver)).times(5) == 15


# Scripts


def run(script: str, folder: Path, *args: str) -> list[str]:
    """The lines that a script prints, which runs as `__main__`."""
    path = folder / "script.py"
    path.write_text(HEAD + textwrap.dedent(script))
    env = {**os.environ, "HOME": str(folder), "PYTHONHASHSEED": "random"}
    env.pop("XDG_CONFIG_HOME", None)
    command = [sys.executable, "-W", "error", str(path), *args]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


HEAD = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
import fleche as package
from fleche import cache, fleche, wrap_executor
from fleche.config import cache_from_config
from fleche.storage import ValuePickleFile, CallPickleFile

def files():
    here = os.path.dirname(os.path.abspath(__file__))
    return cache_from_config({
        "values": {"type": "pickle", "root": here + "/values"},
        "calls": {"type": "pickle", "root": here + "/calls"},
    })
"""


def test_a_function_of_the_main_script_hits_in_the_next_process(tmp_path: Path) -> None:
    script = """
    @fleche(hash_code=True)
    def f(x, y=[1, {"a": 2.5}]):
        print("computing")
        return {"x": x, "who": {1, 2}}

    cache(files())
    print(f((1, "two")), f.call(1).module)
    """
    first, second = run(script, tmp_path), run(script, tmp_path)
    assert first[0] == "computing"
    assert second == first[1:]
    assert "__main__" in second[0]


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_processes_of_multiprocessing(method: str, tmp_path: Path) -> None:
    script = """
    @fleche
    def f(x):
        return [x, os.getpid()]

    def work(x):
        cache(files())
        return f(x)

    if __name__ == "__main__":
        cache(files())
        mine = f(1)
        context = multiprocessing.get_context(sys.argv[1])
        with context.Pool(2) as pool:
            first = pool.map(work, [1, 2, 3])
            second = pool.map(work, [1, 2, 3])
        assert first == second == [f(1), f(2), f(3)], (first, second)
        assert first[0] == mine and mine[1] == os.getpid()
        assert first[1][1] != os.getpid()
        print(f.query().count())
    """
    assert run(script, tmp_path, method) == ["3"]


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_executors_over_processes(method: str, tmp_path: Path) -> None:
    script = """
    @fleche
    def f(x):
        return [x, os.getpid()]

    if __name__ == "__main__":
        with cache(files()), package.tags(run="A"):
            context = multiprocessing.get_context(sys.argv[1])
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                bound = [pool.submit(f.bind(n)).result() for n in range(3)]
            with wrap_executor(ProcessPoolExecutor(2, mp_context=context)) as pool:
                hits = [pool.submit(f, n) for n in range(3)]
                assert all(hit.done() for hit in hits)
                assert [hit.result() for hit in hits] == bound
                new = pool.submit(f, 9).result()
            assert new[1] != os.getpid() and f(9) == new
            print(f.query(metadata={"tags": {"run": "A"}}).count())
    """
    assert run(script, tmp_path, method) == ["4"]


def test_a_forked_child_goes_on_with_the_memory_that_it_inherits(tmp_path: Path) -> None:
    script = """
    @fleche
    def f(x):
        return [x, os.getpid()]

    def work(queue):
        queue.put((f(1), f(2)))

    if __name__ == "__main__":
        mine = f(1)
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=work, args=(queue,))
        child.start()
        one, two = queue.get()
        child.join()
        assert one == mine and two[1] == child.pid
        assert not f.contains(2)
        print("done")
    """
    assert run(script, tmp_path) == ["done"]


def test_main_functions_travel_by_value_to_workers(tmp_path: Path) -> None:
    script = """
    import cloudpickle, pickle, subprocess

    factor = 3

    @fleche(hash_code=True)
    def f(n, low=1):
        return low if n <= low else n * factor * f(n - 1)

    cache(files())
    payload = cloudpickle.dumps((f, files(), f.digest(5)))
    child = "\\n".join([
        "import pickle, sys",
        "from fleche import cache",
        "f, held, key = pickle.load(sys.stdin.buffer)",
        "cache(held)",
        "assert f.digest(5) == key, (f.digest(5), key)",
        "print(f(5))",
    ])
    done = subprocess.run([sys.executable, "-c", child], input=payload, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert f.contains(5)
    print(done.stdout.decode().strip(), f(5))
    """
    assert run(script, tmp_path) == ["9720 9720"]
