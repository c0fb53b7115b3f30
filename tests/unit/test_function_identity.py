"""Which function it is whose calls are cached: by its name, or else by what it does."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from fleche import cache, fleche
from fleche.config import cache_from_config
from fleche.digest import Indigestible


def importable(x: int) -> int:
    return x


K = 1


def with_global(x: int) -> int:
    return x * K


def code_of(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return fleche(**options)(function).call(*args or (1,)).code_digest


def test_importable_functions_count_by_name() -> None:
    assert code_of(importable) is None
    assert code_of(np.mean) is None
    assert code_of(importable, hash_code=False) is None
    assert code_of(importable, hash_code=True) is not None
    assert code_of(lambda x: x, hash_code=False) is None
    assert code_of(lambda x: x) is not None


def test_what_counts_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def codes() -> list[Any]:
        return [code_of(with_global, hash_code=how) for how in (None, True, "deep", False)]

    before = codes()
    monkeypatch.setattr(sys.modules[__name__], "K", 2)
    after = codes()
    assert [one == other for one, other in zip(before, after, strict=True)] == [
        *(True, True, False, True)
    ]
    assert before[1] != before[2]


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="hash_code='shallow'"):
        fleche(hash_code="shallow")  # type: ignore[call-overload]


def test_captured_variables_and_globals_count_as_they_are_at_the_call() -> None:
    ran = []
    k = 1
    table = {"a": 1}

    @fleche
    def f(x: int) -> int:
        ran.append(x)
        return x * k + table["a"]

    assert [f(1), f(1)] == [2, 2]
    k = 2
    assert [f(1), f(1)] == [3, 3]
    table["a"] = 5
    assert [f(1), f(1)] == [7, 7]
    k, table["a"] = 1, 1
    assert f(1) == 2
    assert len(ran) == 3


def test_methods_and_helpers_agree_with_the_call() -> None:
    k = 1

    @fleche
    def f(x: int) -> int:
        return x * k

    f(2)
    assert f.contains(2)
    assert f.load(2) == 2
    assert f.query(2).only().result == 2
    assert cache().contains(f.digest(2))
    assert f.call(2).to_lookup_key() == f.digest(2)
    k = 3
    assert not f.contains(2)
    assert f.query(2).empty()
    with pytest.raises(KeyError):
        f.load(2)


@pytest.mark.parametrize("count", ["ran.append(x)", "stats['n'] += 1", "self.calls += 1"])
def test_counters_do_not_count(count: str) -> None:
    class Self:
        calls = 0

    ran: list[int] = []
    names: dict[str, Any] = {"ran": ran, "stats": {"n": 0}, "self": Self(), "fleche": fleche}
    exec(f"def f(x):\n    {count}\n    return x", names)
    f = fleche(names["f"])
    if count != "ran.append(x)":
        # Without source only the plainest forms are seen; the tests below have some.
        return
    f(1)
    f(1)
    assert ran == [1]


def test_counters_that_are_captured_do_not_count() -> None:
    class Self:
        def __init__(self) -> None:
            self.calls, self.seen, self.k, self.lock = 0, [], 2, threading.Lock()

    ran, stats, self, n = [], {"n": 0, "m": 0}, Self(), 0

    @fleche
    def f(x: int) -> int:
        nonlocal n
        ran.append(x)
        stats["n"] += 1
        stats["m"] = stats.get("m", 0) + 1
        n = n + 1
        self.calls += 1
        self.seen.append(x)
        return x * self.k

    assert [f(1), f(1), f(2)] == [2, 2, 4]
    assert (len(ran), stats, n, self.calls, self.seen) == (2, {"n": 2, "m": 2}, 2, 2, [1, 2])
    self.k = 3
    assert f(1) == 3


def test_what_is_read_counts() -> None:
    ran: list[int] = []

    @fleche
    def f(x: int) -> int:
        ran.append(x)
        return len(ran)

    assert [f(1), f(1)] == [1, 2]


def test_something_captured_without_a_digest(caplog: pytest.LogCaptureFixture) -> None:
    def make(k: int, **options: Any) -> Any:
        lock = threading.Lock()

        @fleche(**options)
        def f(x: int) -> int:
            with lock:
                return k * x

        return f

    held = cache_from_config({"template": "memory"})
    for options in ({}, {"hash_code": True}, {"hash_code": "deep"}):
        caplog.clear()
        with cache(held):
            assert (make(1, **options)(10), make(2, **options)(10)) == (10, 20)
        assert "captured variable lock: a _thread.lock" in caplog.text
        assert len(caplog.records) == 2
    assert held.query().empty()
    with pytest.raises(Indigestible):
        make(1).digest(1)


def test_a_global_without_a_digest_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    names: dict[str, Any] = {"LOCK": threading.Lock()}
    exec("def f(x):\n    with LOCK: return x", names)
    f = fleche(names["f"])
    assert [f(1), f(1), f(2)] == [1, 1, 2]
    [message] = [record.getMessage() for record in caplog.records]
    assert "globals that have no digest: LOCK" in message
    assert f.contains(1)


def test_a_decorated_function_within_another() -> None:
    def outer(version: int) -> Any:
        @fleche(version=version)
        def inner(x: int) -> int:
            return x * version

        @fleche
        def f(x: int) -> int:
            return inner(x)

        return f

    assert (outer(1)(1), outer(2)(1)) == (1, 2)


# Programs.


class Folder:
    """A folder with a store, and scripts that are run in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "fleche.toml").write_text(
            '[default]\ncache = "r"\n[r]\ntemplate = "cloudpickle"\nroot = "store"\n'
        )
        self.seed = 0

    def run(self, source: str, name: str = "script.py", by: str = "file") -> tuple[str, int]:
        """What a script prints, and how often it says that it ran."""
        self.seed += 1
        script = self.path / name
        script.write_text(textwrap.dedent(source))
        command = {"file": [name], "-m": ["-m", script.stem], "-c": ["-c", script.read_text()]}[by]
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.path,
            capture_output=True,
            text=True,
            check=False,
            env={
                "PYTHONHASHSEED": str(self.seed),
                "HOME": str(self.path),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), done.stderr.count("ran\n")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


LOAD = """
    import sys
    from fleche import fleche
    K = {k}
    def helper(): return K
    @fleche
    def load(x=1):
        {comment}
        print("ran", file=sys.stderr)
        return helper(), {data!r}
    print(load())
"""


@pytest.mark.parametrize("by", ["file", "-m", "-c"])
def test_two_scripts_of_one_folder(folder: Folder, by: str) -> None:
    one = LOAD.format(k=1, data="a", comment="pass")
    other = LOAD.format(k=1, data="b", comment="pass")
    assert folder.run(one, "a.py", by) == ("(1, 'a')", 1)
    assert folder.run(other, "b.py", by) == ("(1, 'b')", 1)
    assert folder.run(one, "a.py", by) == ("(1, 'a')", 0)
    assert folder.run(other, "b.py", by) == ("(1, 'b')", 0)
    assert folder.run(LOAD.format(k=2, data="a", comment="pass"), "a.py", by) == ("(2, 'a')", 1)


def test_comments_and_places_do_not_count(folder: Folder) -> None:
    script = textwrap.dedent(LOAD.format(k=1, data="a", comment="pass"))
    assert folder.run(script) == ("(1, 'a')", 1)
    commented = textwrap.dedent(LOAD.format(k=1, data="a", comment="pass  # why"))
    assert folder.run("# new\n\n" + commented) == ("(1, 'a')", 0)


def test_a_script_and_the_processes_that_it_spawns(folder: Folder) -> None:
    source = """
        import multiprocessing, sys
        from concurrent.futures import ProcessPoolExecutor
        from dataclasses import dataclass
        from fleche import fleche
        @dataclass
        class Point:
            x: int
            def double(self): return 2 * self.x
        @fleche
        def f(point):
            print("ran", file=sys.stderr)
            return point.double()
        if __name__ == "__main__":
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                print(pool.submit(f, Point(1)).result(), f(Point(1)), f(Point(2)))
                print(pool.submit(f, Point(2)).result())
    """
    assert folder.run(source) == ("2 2 4\n4", 2)
    assert folder.run(source) == ("2 2 4\n4", 0)


def test_a_changed_class_of_a_script_is_another_one(folder: Folder) -> None:
    source = """
        import sys
        from fleche import fleche
        class Model:
            def __init__(self, w): self.w = w
            def predict(self, x): return self.w {} x
        @fleche
        def f(model, x):
            print("ran", file=sys.stderr)
            return model.predict(x)
        print(f(Model(3), 4))
    """
    assert folder.run(source.format("*")) == ("12", 1)
    assert folder.run(source.format("*")) == ("12", 0)
    assert folder.run(source.format("+")) == ("7", 1)


def test_by_value_and_back(folder: Folder) -> None:
    # What a worker stored that has no source of the function is found by the script.
    source = """
        import cloudpickle, pickle, subprocess, sys
        from fleche import fleche
        K = 5
        class Model:
            def __init__(self, w): self.w = w
            def predict(self): return self.w * K
        def helper(model): return model.predict()
        @fleche
        def f(model):
            print("ran", file=sys.stderr)
            return helper(model)
        f.digest(Model(2))
        open("call", "wb").write(cloudpickle.dumps((f, Model(2))))
        worker = "import pickle; f, model = pickle.load(open('call', 'rb')); print(f(model))"
        print(subprocess.check_output([sys.executable, "-c", worker], text=True).strip())
        print(f(Model(2)))
    """
    # The worker ran it.
    assert folder.run(source) == ("10\n10", 1)


def test_objects_of_a_scripts_classes_are_of_its_next_runs_classes(folder: Folder) -> None:
    source = """
        import enum, sys
        from dataclasses import dataclass
        from fleche import cache, fleche
        from fleche.config import cache_from_config
        if {template!r} == "cloudpickle":
            class Color(enum.Enum):
                RED = 1
                def label(self): return {label!r}
        else:
            # dill cannot read an enumeration that it wrote by value.
            class Color:
                def label(self): return {label!r}
                def __eq__(self, other): return type(other) is Color
        def red(): return Color.RED if hasattr(Color, "RED") else Color()
        @dataclass
        class Point:
            x: int
        class Outer:
            class Inner:
                def __init__(self, a): self.a = a
                def __eq__(self, other): return isinstance(other, Outer.Inner) and self.a == other.a
        @fleche(hash_code=False)
        def make(x):
            print("ran", file=sys.stderr)
            return [red(), Point(x), {{"k": Outer.Inner(x)}}]
        with cache(cache_from_config({{"template": {template!r}, "root": {template!r}}})):
            color, point, held = make(1)
            same = color == red(), point == Point(1), held["k"] == Outer.Inner(1)
            print(*same, color.label())
    """
    for template in ("cloudpickle", "dill"):
        script = source.format(label="red", template=template)
        assert folder.run(script) == ("True True True red", 1)
        assert folder.run(script) == ("True True True red", 0)
        if template == "dill":
            # It takes along only classes that have no name in the script.
            continue
        # Another definition: what was stored comes with its own.
        changed = source.format(label="blue", template=template)
        assert folder.run(changed) == ("False True True red", 0)
        assert folder.run(script) == ("True True True red", 0)


def test_a_pickled_function_keeps_its_identity() -> None:
    k = 3

    @fleche
    def f(x: int) -> int:
        return x * k

    with cache(cache_from_config({"template": "memory"})):
        other = cloudpickle.loads(cloudpickle.dumps(f))
        assert other(2) == 6
        assert f.contains(2)


# Strict.


@pytest.fixture(params=["decorator", "environment", "configuration"])
def strictly(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    from fleche.wrapper import strictness

    strictness.strict_by_default.cache_clear()
    monkeypatch.delenv("FLECHE_STRICT", raising=False)
    if request.param == "environment":
        monkeypatch.setenv("FLECHE_STRICT", "1")
    if request.param == "configuration":
        (tmp_path / "fleche.toml").write_text("[default]\nstrict = true\n")
        monkeypatch.chdir(tmp_path)
    yield fleche(strict=True) if request.param == "decorator" else fleche
    strictness.strict_by_default.cache_clear()


def test_strict_raises_what_would_be_a_warning(
    strictly: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with cache(cache_from_config({"template": "memory"})):
        with pytest.raises(Indigestible) as caught:
            strictly(importable)(threading.Lock())
        assert "No hash for argument: 'x' of importable" in caught.value.__notes__[0]
        lock = threading.Lock()
        with pytest.raises(Indigestible):
            strictly(lambda x: lock)(1)
        with pytest.raises(Exception, match="None"):
            strictly(lambda x: None)(1)
        with pytest.raises(Exception, match="cannot"):
            strictly(lambda x: (y for y in [1]))(1)
        assert strictly(importable)(1) == 1
    assert not caplog.records


def test_strict_refuses_a_changed_argument(strictly: Any) -> None:
    def change(x: list[int], y: int) -> int:
        x.append(y)
        return y

    held = cache_from_config({"template": "memory"})
    with cache(held), pytest.raises(ValueError, match=r"change changed its argument 'x'"):
        strictly(change)([1], 2)
    assert held.query().empty()


def test_strict_may_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from fleche.wrapper import strictness

    strictness.strict_by_default.cache_clear()
    monkeypatch.setenv("FLECHE_STRICT", "1")
    assert fleche(strict=False)(importable)(threading.Lock()) is not None
    monkeypatch.setenv("FLECHE_STRICT", "maybe")
    strictness.strict_by_default.cache_clear()
    with pytest.raises(ValueError, match="FLECHE_STRICT='maybe'"):
        fleche(importable)(threading.Lock())
    strictness.strict_by_default.cache_clear()
