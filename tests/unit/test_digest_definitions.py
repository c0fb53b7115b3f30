"""Functions, classes and modules of the user's own have the digest of what is in them."""

from __future__ import annotations

import enum
import json
import linecache
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest

from fleche import fleche
from fleche.digest import Indigestible, digest


def module(source: str, name: str = "some_module", **names: Any) -> Any:
    """A module of the user's own, with its source where tracebacks look for it."""
    made = types.ModuleType(name)
    made.__dict__.update(names)
    source = textwrap.dedent(source)
    file = f"<{name} {hash(source)}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    exec(compile(source, file, "exec", dont_inherit=True), made.__dict__)
    return made


def without_source(source: str, name: str = "some_module") -> Any:
    made = types.ModuleType(name)
    exec(compile(textwrap.dedent(source), "<string>", "exec", dont_inherit=True), made.__dict__)
    return made


DATA = Path(__file__).parents[1] / "data"
MAKERS = pytest.mark.parametrize("make", [module, without_source])


# Functions.

DIFFERENT = [
    "def f(x): return x + 1",
    "def f(x): return x + 1.0",
    "def f(x): return x - 1",
    "def f(y): return y + 1",
    "def f(x, y=1): return x + 1",
    "def f(x, y=2): return x + 1",
    "def f(x, *, y=2): return x + 1",
    "def f(x, *y): return x + 1",
    "def f(x, **y): return x + 1",
    "def f(x, /): return x + 1",
    "def f(x): yield x + 1",
    "async def f(x): return x + 1",
    "f = lambda x: x + 1 if x else 0",
    "def f(x): return f'{x}'",
    "def f(x): return f'{x!r}'",
    "def f(x): return f'{x:>3}'",
    "def f(x): return 'x'",
    "def f(x): return b'x'",
    "def f(x): return x",
    "def f(x): x",
    "def f(x):\n    def g(x: int, y=1): return x\n    return g(x)",
    "def f(x):\n    def g(x: int, y=2): return x\n    return g(x)",
    "def f(x):\n    class A: y: int = 1\n    return A",
    "def f(x):\n    class A: y: str = 1\n    return A",
    "def f(x):\n    global y\n    y = x",
    "def f(x):\n    y = x",
    "def f(x): return [y for y in x]",
    "def f(x): return [y for y in x if y]",
    "def f(x):\n    try: return x\n    except ValueError: return 1",
    "def f(x):\n    try: return x\n    except TypeError: return 1",
    "def f(x):\n    match x:\n        case 1: return 2",
    "def f(x):\n    match x:\n        case 2: return 2",
    "def f(x): return True",
    "def f(x): return 1",
    "def f(x): return 0.0",
    "def f(x): return -0.0",
    "def f(x): return (1, 2)",
    "def f(x): return [1, 2]",
    "def f(x): return x[1:2]",
    "def f(x): return x[1:2:3]",
    "def f(x): return x.a",
    "def f(x): return x.b",
    "def f(x): return x is None",
    "def f(x): return x is not None",
    "def f(x): return not x",
    "def f(x): return ~x",
]


@MAKERS
def test_functions_that_do_something_else_differ(make: Callable[[str], Any]) -> None:
    assert len({digest(make(source).f) for source in DIFFERENT}) == len(DIFFERENT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(x): return x+1", "def f(x):\n    # why\n    return (x\n        + 1)"),
        ("def f(x): return x", "def f(x):\n    'What it does.'\n    return x"),
        ("def f(x: int) -> str: return x", "def f(x): return x"),
        ("def f(x): return 'a' 'b'", "def f(x): return 'ab'"),
        ("def f(x): return 0x10", "def f(x): return 16"),
        ("def f(x): return x", "def g(x): return x\nf = g"),
        ("def f(x): return x", "\n\n\ndef other(): pass\n\ndef f(x): return x"),
        ("def f(x): return f'a{x}b' 'c'", "def f(x): return f'a{x}bc'"),
        (
            "def f(x):\n    def g(y): return y\n    return g",
            "def f(x):\n    def g(y: int):\n        'Doc.'\n        return y\n    return g",
        ),
    ],
)
def test_how_a_function_is_written_does_not_count(one: str, other: str) -> None:
    assert digest(module(one).f) == digest(module(other).f)


def test_functions_made_by_one_definition_differ_by_what_they_captured() -> None:
    def make(k: Any) -> Callable[[int], Any]:
        return lambda x: k * x

    assert digest(make(1)) == digest(make(1)) != digest(make(2))
    assert digest(make([1])) != digest(make([2]))
    with pytest.raises(Indigestible) as caught:
        digest(make(threading.Lock()))
    assert "captured variable k" in caught.value.path  # type: ignore[attr-defined]


def test_lambdas_of_one_line_are_told_from_each_other() -> None:
    made = module("fs = [lambda x: x + 1, lambda x: x + 2, lambda x: x + 1]")
    one, two, three = map(digest, made.fs)
    assert one == three != two
    made = module("fs = [(lambda x, k=k: x * k) for k in (1, 2)]")
    assert len(set(map(digest, made.fs))) == 2


@MAKERS
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("K = 1\ndef f(x): return x * K", "K = 2\ndef f(x): return x * K"),
        ("def g(x): return x\ndef f(x): return g(x)", "def g(x): return -x\ndef f(x): return g(x)"),
        (
            "def h(x): return x\ndef g(x): return h(x)\ndef f(x): return g(x)",
            "def h(x): return -x\ndef g(x): return h(x)\ndef f(x): return g(x)",
        ),
        (
            "class A:\n    k = 1\ndef f(x): return A.k",
            "class A:\n    k = 2\ndef f(x): return A.k",
        ),
        (
            "class A:\n    def k(self): return 1\ndef f(x): return A().k()",
            "class A:\n    def k(self): return 2\ndef f(x): return A().k()",
        ),
        (
            "K = {'a': [1]}\ndef f(x):\n    def g(): return K\n    return g()",
            "K = {'a': [2]}\ndef f(x):\n    def g(): return K\n    return g()",
        ),
        ("import math as m\ndef f(x): return m.pi", "import cmath as m\ndef f(x): return m.pi"),
        ("K = 1\ndef f(x): return [K for _ in x]", "K = 2\ndef f(x): return [K for _ in x]"),
        ("def f(x): return len(x)", "len = sum\ndef f(x): return len(x)"),
    ],
)
def test_globals_that_the_code_names_count(
    make: Callable[[str], Any], one: str, other: str
) -> None:
    assert digest(make(one).f) == digest(make(one).f) != digest(make(other).f)


@MAKERS
def test_other_globals_do_not_count(make: Callable[[str], Any]) -> None:
    one = make("A = 1\ndef f(x): return x")
    other = make("A = 2\ndef f(x): return x")
    assert digest(one.f) == digest(other.f)


@MAKERS
def test_globals_count_as_they_are_now(make: Callable[[str], Any]) -> None:
    made = make("K = 1\nL = [1]\ndef f(x): return x * K + len(L)")
    before = digest(made.f)
    made.K = 2
    changed = digest(made.f)
    made.K = 1
    assert digest(made.f) == before != changed
    made.L.append(2)
    assert digest(made.f) != before
    made.L.pop()
    assert digest(made.f) == before
    del made.K
    assert digest(made.f) != before


@MAKERS
def test_functions_count_as_they_are_now(make: Callable[[str], Any]) -> None:
    made = make("def g(x): return x\ndef h(x): return -x\ndef f(x): return g(x)")
    before = digest(made.f)
    made.g = made.h
    assert digest(made.f) != before
    made = make("def g(x, y=1): return x\ndef f(x): return g(x)")
    before = digest(made.f)
    made.g.__defaults__ = (2,)
    assert digest(made.f) != before


def test_a_global_without_a_digest_counts_by_its_name() -> None:
    made = module("import threading\nL = threading.Lock()\ndef f(x):\n    with L: return x")
    other = module("import threading\nL = threading.Lock()\ndef f(x):\n    with L: return x")
    assert digest(made.f) == digest(other.f)


def test_recursive_functions() -> None:
    source = "def f(n): return 1 if n < 2 else n * f(n - {})"
    assert digest(module(source.format(1)).f) == digest(module(source.format(1)).f)
    assert digest(module(source.format(1)).f) != digest(module(source.format(2)).f)
    mutual = "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - {})"
    one, other = module(mutual.format(1)), module(mutual.format(2))
    assert digest(one.even) != digest(other.even)
    # Whichever is asked for first.
    again = module(mutual.format(1))
    assert digest(again.odd) == digest(one.odd)
    assert digest(again.even) == digest(one.even)


def test_a_decorated_function_counts_with_its_version() -> None:
    def f(x: int) -> int:
        return x

    assert digest(fleche(f)) == digest(f)
    assert len({digest(fleche(version=v)(f)) for v in (1, 2, "2")} | {digest(f)}) == 4
    one = module("@fleche(version=1)\ndef g(x): return x\ndef f(x): return g(x)", fleche=fleche)
    other = module("@fleche(version=2)\ndef g(x): return x\ndef f(x): return g(x)", fleche=fleche)
    assert digest(one.f) != digest(other.f)


def test_functions_of_distributions_count_by_name() -> None:
    assert digest(json.dumps) == digest(json.dumps) != digest(json.loads)
    assert digest(np.linalg.norm) != digest(np.linalg.det)
    assert digest(textwrap.dedent) != digest(textwrap.indent)


def test_a_file_that_was_edited_is_not_what_runs(tmp_path: Path) -> None:
    file = tmp_path / "edited.py"

    def load(source: str) -> Any:
        made: dict[str, Any] = {"__name__": "edited"}
        exec(compile(source, str(file), "exec"), made)
        return made["f"]

    old, new = "def f(x): return x + 1\n", "def f(x): return x + 2\n"
    file.write_text(old)
    running = load(old)
    file.write_text(new)
    linecache.checkcache(str(file))
    stale = digest(running)
    assert stale != digest(load(new))


# Code is the same in every version of Python.


def test_code_is_the_same_in_every_process_and_version() -> None:
    # `nox -s install` runs the same on every supported Python that is found.
    program = DATA / "make_code_digests.py"
    answers = {
        subprocess.run(
            [sys.executable, str(program), "--show"],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert {json.dumps(json.loads(answer)) for answer in answers} == {
        json.dumps(json.loads((DATA / "code_digests.json").read_text("utf-8")))
    }


# Classes.


class Outer:
    @dataclass
    class Params:
        size: float

    class Kind(enum.Enum):
        A = 1


class Other:
    @dataclass
    class Params:
        size: float

    class Kind(enum.Enum):
        A = 1


def test_instances_of_two_classes_of_one_short_name_differ() -> None:
    assert digest(Outer.Params(1)) != digest(Other.Params(1))
    assert digest(Outer.Kind.A) != digest(Other.Kind.A)


def local_class(k: int) -> Any:
    class Local:
        def __init__(self) -> None:
            self.a = 1

        def scale(self, x: int) -> int:
            return k * x

    return Local


def test_a_class_without_a_name_of_its_own_counts_by_its_content() -> None:
    assert digest(local_class(1)()) == digest(local_class(1)())
    assert digest(local_class(1)()) != digest(local_class(2)())
    for base in (str, int, tuple, list, dict, frozenset):
        one, other = (type("Mine", (base,), {"k": k, "__module__": "nowhere"}) for k in (1, 2))
        assert digest(one()) != digest(other()) != digest(base())


CLASSES = [
    "class A: lr = 0.1",
    "class A: lr = 0.2",
    "class A: pass",
    "class A(int): pass",
    "class A:\n    def lr(self): return 0.1",
    "class A:\n    def lr(self): return 0.2",
    "class A:\n    @property\n    def lr(self): return 0.1",
    "class A:\n    @property\n    def lr(self): return 0.2",
    "class A:\n    @staticmethod\n    def lr(): return 0.1",
    "class A:\n    @classmethod\n    def lr(cls): return 0.1",
    "class A:\n    __slots__ = ('a',)",
    "class A:\n    __slots__ = ('b',)",
    "class B:\n    k = 1\nclass A(B): pass",
    "class B:\n    k = 2\nclass A(B): pass",
    "from dataclasses import dataclass\n@dataclass\nclass A: x: int",
    "from dataclasses import dataclass\n@dataclass\nclass A: y: int",
    "from dataclasses import dataclass\n@dataclass\nclass A: x: int = 1",
    "from dataclasses import dataclass\n@dataclass\nclass A: x: int = 2",
    "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A: x: int",
    "import attrs\n@attrs.define\nclass A: x: int",
    "import attrs\n@attrs.define\nclass A: x: int = 1",
    "import enum\nclass A(enum.Enum): X = 1",
    "import enum\nclass A(enum.Enum): X = 2",
    "import enum\nclass A(enum.Enum): Y = 1",
    "import enum\nclass A(enum.Enum):\n    X = 1\n    def f(self): return 1",
    "import enum\nclass A(enum.IntFlag): X = 1",
    "import typing\nclass A(typing.NamedTuple): x: int",
    "import typing\nclass A(typing.NamedTuple): y: int",
    "import typing\nclass A(typing.NamedTuple):\n    x: int\n    def f(self): return 1",
]


@MAKERS
def test_classes_count_by_what_is_in_them(make: Callable[[str], Any]) -> None:
    digests = [digest(make(source).A) for source in CLASSES]
    assert digests == [digest(make(source).A) for source in CLASSES]
    assert len(set(digests)) == len(CLASSES)


def test_a_class_counts_as_it_is_now() -> None:
    made = module("class A:\n    lr = 0.1\n    def f(self): return 1\n    def g(self): return 2")
    before = digest(made.A)
    made.A.lr = 0.2
    assert digest(made.A) != before
    made.A.lr = 0.1
    assert digest(made.A) == before
    made.A.more = 1
    assert digest(made.A) != before
    del made.A.more
    made.A.f = made.A.g
    assert digest(made.A) != before


def test_using_a_class_makes_no_other_one_of_it() -> None:
    made = module("class A:\n    def __init__(self): self.a = 1\n    def f(self): return self.a")
    before, instance = digest(made.A), digest(made.A())
    value = made.A()
    value.f()
    value.__reduce_ex__(4)
    assert digest(made.A) == before
    assert digest(made.A()) == instance


def test_classes_of_distributions_count_by_name() -> None:
    assert digest(np.ndarray) != digest(np.generic)
    assert digest(Path) != digest(str)
    assert digest(type(None)) == digest(type(None))


class Pair(NamedTuple):
    a: int


@attrs.define
class Attrs:
    a: int


def test_a_class_is_none_of_its_instances() -> None:
    assert len({digest(v) for v in (Pair, Pair(1), Attrs, Attrs(1), Outer.Kind, Outer.Kind.A)}) == 6


# Modules.


def test_modules_count_by_their_public_names() -> None:
    one, other = module("lr = 0.1"), module("lr = 0.1")
    assert digest(one) == digest(other)
    before = digest(one)
    one.lr = 0.2
    assert digest(one) != before
    one.lr = 0.1
    one._private = 1
    assert digest(one) == before
    one.__all__ = ["_private"]
    assert digest(one) != before
    assert digest(module("def f(x): return x")) != digest(module("def f(x): return -x"))
    assert digest(json) == digest(json) != digest(textwrap)


def test_of_a_module_that_code_names_what_it_asks_for_counts() -> None:
    def user(helpers: Any) -> Any:
        return module("def f(x): return helpers.g(x)", helpers=helpers).f

    def helpers(g: str, h: str) -> Any:
        return module(f"def g(x): return {g}\ndef h(x): return {h}")

    assert digest(user(helpers("1", "1"))) == digest(user(helpers("1", "2")))
    assert digest(user(helpers("1", "1"))) != digest(user(helpers("2", "1")))


@MAKERS
def test_a_class_that_holds_its_own_instances(make: Callable[[str], Any]) -> None:
    source = "class A:\n    def __init__(self, k): self.k = k\nA.default = A({})"
    one, other = make(source.format(1)), make(source.format(2))
    assert digest(one.A) == digest(make(source.format(1)).A) != digest(other.A)
    assert digest([one.A.default, one.A]) == digest([digest(one.A.default), digest(one.A)])
    assert digest([one.A, one.A.default]) == digest([digest(one.A), digest(one.A.default)])
