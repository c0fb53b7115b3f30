"""Small programs that a user could write, generated: all decorate a function of the same name, and
each behaves differently from the others or shares its results by right."""

# ruff: noqa: E501, UP031

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

HEAD = """\
import functools, collections, enum, types, dataclasses, operator, typing, itertools, math, abc
from dataclasses import dataclass, field
from fleche import fleche

def out(*values):
    for value in values:
        print(type(value).__name__, value)

"""


@dataclass(frozen=True)
class Program:
    """A script.

    Args:
        name: of which kind it is.
        source: its text.
        runs: how many calls run the first time; those of the second time, in another process, all
            hit.
        pure: whether what it prints does not depend on what its calls leave behind: a hit does not
            leave it.
    """

    name: str
    source: str
    runs: int | None = None
    pure: bool = True


# What a function gets at: what makes it, the expression, and what is done with it (`V`).
SHOWN = "(type(V).__name__, repr(V))"
TEXT = "'|'.join(map(str, V))"
CALLED = "V(x)"
METHOD = "V.go(x)"
MADE = "V(2).go(x)"

CONSTANTS = [
    ("", constant, SHOWN)
    for constant in (
        "1", "2", "1.0", "True", "'1'", "b'1'", "(1,)", "[1]", "[1.0]", "{1}", "frozenset([1])",
        "None", "...", "-0.0", "0.0", "0", "float('nan')", "{'a': 1}", "{'a': 2}", "{'b': 1}",
        "{1: 2}", "{1.0: 2}", "[]", "()", "{}", "set()", "''", "b''", "bytearray(b'1')", "range(3)",
        "slice(1)", "1j", "collections.OrderedDict(a=1, b=2)",
        "collections.OrderedDict(b=2, a=1)", "collections.Counter('aab')", "collections.deque([1])",
        "collections.deque([1], 3)", "collections.defaultdict(int, a=1)", "types.SimpleNamespace(a=1)",
        "types.SimpleNamespace(a=2)", "[[1], [2]]", "[[1, 2]]", "('a', 'b')", "('ab',)", "'a' * 5000",
        "'b' * 5000", "2**70", "ValueError('a')", "ValueError('b')", "KeyError('a')", "int", "float",
        "list[int]", "list[str]", "types.MappingProxyType({'a': 1})", "operator.itemgetter(1)",
    )
]  # fmt: skip

FUNCTIONS = [
    (setup, "g", CALLED)
    for setup in (
        "def g(y): return y + 1",
        "def g(y): return y + 2",
        "def g(y): return y + 1.0",
        "g = lambda y: y + 3",
        "g = lambda y: y + 4",
        "g, h = lambda y: y * 5, lambda y: y * 6",
        "h, g = lambda y: y * 5, lambda y: y * 6",
        "def g(y, k=7): return y + k",
        "def g(y, k=8): return y + k",
        "def g(y, *, k=9): return y + k",
        "def g(y, *, k=10): return y + k",
        "def g(y, k=[11]): return y + k[0]",
        "def g(y, k=[12]): return y + k[0]",
        "k = 13\ndef g(y): return y + k",
        "k = 14\ndef g(y): return y + k",
        "k = {'a': 15}\ndef g(y): return y + k['a']",
        "k = {'a': 16}\ndef g(y): return y + k['a']",
        "def h(y): return y + 17\ndef g(y): return h(y)",
        "def h(y): return y + 18\ndef g(y): return h(y)",
        "def i(y): return y + 19\ndef h(y): return i(y)\ndef g(y): return h(y)",
        "def i(y): return y + 20\ndef h(y): return i(y)\ndef g(y): return h(y)",
        "def make(k):\n    def g(y): return y + k\n    return g\ng = make(21)",
        "def make(k):\n    def g(y): return y + k\n    return g\ng = make(22)",
        "def make(k):\n    def g(y):\n        def h(): return y + k\n        return h()\n    return g\ng = make(23)",
        "def make(k):\n    def g(y):\n        def h(): return y + k\n        return h()\n    return g\ng = make(24)",
        "def make(k): return lambda y: y + k\ng = make(25)",
        "def make(k): return lambda y: y + k\ng = make(26)",
        "g = functools.partial(operator.add, 27)",
        "g = functools.partial(operator.add, 28)",
        "g = functools.partial(lambda y, k: y + k, k=29)",
        "g = functools.partial(lambda y, k: y + k, k=30)",
        "@functools.lru_cache\ndef g(y): return y + 31",
        "@functools.lru_cache\ndef g(y): return y + 32",
        "@functools.cache\ndef g(y): return y + 33",
        "def wrap(h):\n    @functools.wraps(h)\n    def g(*a): return h(*a) + 34\n    return g\n@wrap\ndef g(y): return y",
        "def wrap(h):\n    @functools.wraps(h)\n    def g(*a): return h(*a) + 35\n    return g\n@wrap\ndef g(y): return y",
        "def wrap(h):\n    @functools.wraps(h)\n    def g(*a): return h(*a) + 35\n    return g\n@wrap\ndef g(y): return y + 1",
        "def plus(k):\n    def wrap(h):\n        return lambda y: h(y) + k\n    return wrap\n@plus(37)\ndef g(y): return y",
        "def plus(k):\n    def wrap(h):\n        return lambda y: h(y) + k\n    return wrap\n@plus(38)\ndef g(y): return y",
        "@functools.singledispatch\ndef g(y): return 39\n@g.register\ndef _(y: int): return 40",
        "@functools.singledispatch\ndef g(y): return 39\n@g.register\ndef _(y: int): return 41",
        "@functools.singledispatch\ndef g(y): return 42\n@g.register\ndef _(y: str): return 41",
        "@fleche(version=1)\ndef g(y): return y + 43",
        "@fleche(version=2)\ndef g(y): return y + 44",
        "@fleche\ndef g(y): return y + 45",
        "def g(y):\n    while y < 100: y += 46\n    return y",
        "def g(y):\n    for k in range(3):\n        if k == 1: continue\n        y += k\n    return y",
        "def g(y):\n    for k in range(3):\n        if k == 1: break\n        y += k\n    return y",
        "def g(y): return 1 if y == 0 else y * g(y - 1)",
        "def g(y): return 2 if y == 0 else y * g(y - 1)",
        "def even(y): return y == 0 or odd(y - 1)\ndef odd(y): return y != 0 and even(y - 1)\ng = even",
        "def even(y): return y == 0 or odd(y - 1)\ndef odd(y): return y != 0 and even(y - 1)\ng = odd",
        "def h(y):\n    for k in range(y): yield k * 47\ndef g(y): return list(h(y))",
        "def h(y):\n    for k in range(y): yield k * 48\ndef g(y): return list(h(y))",
        "def g(y):\n    k = 0\n    def h():\n        nonlocal k\n        k += 49\n        return k\n    h()\n    return h() + y",
        "def g(y):\n    k = 0\n    def h():\n        nonlocal k\n        k += 50\n        return k\n    h()\n    return h() + y",
        "def g(y):\n    import math\n    return math.floor(y + 51.5)",
        "def g(y):\n    from math import ceil\n    return ceil(y + 52.5)",
        "def g(y):\n    from math import floor as ceil\n    return ceil(y + 52.5)",
        "SCALE = object()\ndef g(y, k=SCALE): return (k is SCALE, y, 53)",
        "SCALE = object()\ndef g(y, k=SCALE): return (k is SCALE, y, 54)",
        "g = [lambda y: y + 55, lambda y: y + 56][0]",
        "g = [lambda y: y + 55, lambda y: y + 56][1]",
        "OPS = {'a': lambda y: y + 57}\ndef g(y): return OPS['a'](y)",
        "OPS = {'a': lambda y: y + 58}\ndef g(y): return OPS['a'](y)",
        "def g(y): return g.k + y\ng.k = 59",
        "def g(y): return g.k + y\ng.k = 60",
        "def h(): pass\nh.k = 61\ndef g(y): return h.k + y",
        "def h(): pass\nh.k = 62\ndef g(y): return h.k + y",
        "def g(y):\n    try: return 1 // (y - y)\n    except ZeroDivisionError: return 63",
        "def g(y):\n    try: return 1 // (y - y)\n    except ZeroDivisionError: return 64",
        "def g(y): return f'{y:>65}'",
        "def g(y): return f'{y:<66}'",
        "def g(y): return f'{y!r:67}'",
        "def g(y): return [k for k in range(y) if k % 2]",
        "def g(y): return [k for k in range(y) if not k % 2]",
        "def g(y): return {k: -k for k in range(y)}",
        "def g(y):\n    match y:\n        case 3: return 68\n        case _: return 69",
        "def g(y):\n    match y:\n        case 4: return 68\n        case _: return 69",
        "def g(y):\n    class A:\n        k = 70\n    return A.k",
        "def g(y):\n    class A:\n        k = 71\n    return A.k",
        "def g(y): return (k := y + 72)",
        "def g(*y): return y",
        "def g(**y): return y\ng = functools.partial(lambda g, y: g(a=y), g)",
        "def g(y, /, z=73): return y + z",
        "exec('def g(y): return y + 74')",
        "exec('def g(y): return y + 75')",
        "exec('k = 76\\ndef g(y): return y + k')",
        "g = eval('lambda y: y + 77')",
        "g = eval('lambda y: y + 78')",
        "import random\ndef g(y): return random.Random(y).random()",
        "import random\ndef g(y): return random.Random(y + 1).random()",
        "m = types.ModuleType('m')\nm.k = 79\ndef g(y): return m.k + y",
        "m = types.ModuleType('m')\nm.k = 80\ndef g(y): return m.k + y",
        "class A:\n    def __call__(self, y): return y + 81\ng = A()",
        "class A:\n    def __call__(self, y): return y + 82\ng = A()",
        "class A:\n    def go(self, y): return y + 83\ng = A().go",
        "class A:\n    def go(self, y): return y + 84\ng = A().go",
        "class A:\n    def __init__(self, k): self.k = k\n    def go(self, y): return y + self.k\ng = A(85).go",
        "class A:\n    def __init__(self, k): self.k = k\n    def go(self, y): return y + self.k\ng = A(86).go",
        "class A:\n    @classmethod\n    def go(cls, y): return y + cls.k\n    k = 87\ng = A.go",
        "class A:\n    @classmethod\n    def go(cls, y): return y + cls.k\n    k = 88\ng = A.go",
        "class A:\n    @staticmethod\n    def go(y): return y + 89\ng = A.go",
        "class A:\n    @staticmethod\n    def go(y): return y + 90\ng = A.go",
    )
]  # fmt: skip

CLASSES = [
    (setup, "A", MADE)
    for setup in (
        "class A:\n    def __init__(self, k): self.k = k\n    def go(self, y): return self.k + y + 1",
        "class A:\n    def __init__(self, k): self.k = k\n    def go(self, y): return self.k + y + 2",
        "class A:\n    def __init__(self, k): self.k = k + 3\n    def go(self, y): return self.k + y",
        "class B:\n    def go(self, y): return y + 4\nclass A(B):\n    def __init__(self, k): pass",
        "class B:\n    def go(self, y): return y + 5\nclass A(B):\n    def __init__(self, k): pass",
        "class B:\n    def go(self, y): return y + 6\nclass A(B):\n    def __init__(self, k): pass\n    def go(self, y): return super().go(y)",
        "class B:\n    def go(self, y): return y + 7\nclass A(B):\n    def __init__(self, k): pass\n    def go(self, y): return super().go(y)",
        "class B:\n    k = 8\nclass A(B):\n    def __init__(self, k): pass\n    def go(self, y): return y + self.k",
        "class B:\n    k = 9\nclass A(B):\n    def __init__(self, k): pass\n    def go(self, y): return y + self.k",
        "class M(type):\n    @property\n    def k(cls): return 10\nclass A(metaclass=M):\n    def __init__(self, k): pass\n    def go(self, y): return y + type(self).k",
        "class M(type):\n    @property\n    def k(cls): return 11\nclass A(metaclass=M):\n    def __init__(self, k): pass\n    def go(self, y): return y + type(self).k",
        "@dataclass\nclass A:\n    a: int\n    b: int = 12\n    def go(self, y): return self, self.b + y",
        "@dataclass\nclass A:\n    a: int\n    b: int = 13\n    def go(self, y): return self, self.b + y",
        "@dataclass\nclass A:\n    a: int\n    b: list = field(default_factory=lambda: [14])\n    def go(self, y): return self, y",
        "@dataclass\nclass A:\n    a: int\n    b: list = field(default_factory=lambda: [15])\n    def go(self, y): return self, y",
        "@dataclass\nclass A:\n    a: int\n    b: int = field(default=15, repr=False)\n    def go(self, y): return repr(self), y",
        "@dataclass\nclass A:\n    a: int\n    b: int = field(default=15, metadata={'u': 1})\n    def go(self, y): return self.__dataclass_fields__['b'].metadata['u'], y",
        "@dataclass\nclass A:\n    a: int\n    b: int = field(default=15, metadata={'u': 2})\n    def go(self, y): return self.__dataclass_fields__['b'].metadata['u'], y",
        "@dataclass\nclass A:\n    a: int\n    def go(self, y): return self < A(y)\n    __lt__ = lambda self, other: self.a > other.a",
        "@dataclass(order=True)\nclass A:\n    a: int\n    def go(self, y): return self < A(y)",
        "@dataclass\nclass A:\n    a: int\n    def __post_init__(self): self.a += 16\n    def go(self, y): return self.a",
        "@dataclass\nclass A:\n    a: int\n    def __post_init__(self): self.a += 17\n    def go(self, y): return self.a",
        "import attrs\n@attrs.define\nclass A:\n    a: int\n    b: int = 18\n    def go(self, y): return str(self)",
        "import attrs\n@attrs.define\nclass A:\n    a: int\n    b: int = 19\n    def go(self, y): return str(self)",
        "import attrs\n@attrs.define\nclass A:\n    a: int = attrs.field(converter=lambda a: a + 20)\n    def go(self, y): return str(self)",
        "import attrs\n@attrs.define\nclass A:\n    a: int = attrs.field(converter=lambda a: a + 21)\n    def go(self, y): return str(self)",
        "import attrs\n@attrs.define\nclass A:\n    a: int\n    b: int = attrs.Factory(lambda: 22)\n    def go(self, y): return str(self)",
        "import attrs\n@attrs.define\nclass A:\n    a: int\n    b: int = attrs.Factory(lambda: 23)\n    def go(self, y): return str(self)",
        "class A(enum.Enum):\n    R = 1\n    G = 2\n    def go(self, y): return self.name, y",
        "class A(enum.Enum):\n    R = 2\n    G = 1\n    def go(self, y): return self.name, y",
        "class A(enum.Enum):\n    R = 1\n    G = 2\n    def go(self, y): return self.value, y",
        "class A(enum.Enum):\n    R = 1\n    G = 3\n    @classmethod\n    def _missing_(cls, value): return cls.R\n    def go(self, y): return self.name, y",
        "class A(enum.Enum):\n    R = 1\n    G = 3\n    @classmethod\n    def _missing_(cls, value): return cls.G\n    def go(self, y): return self.name, y",
        "class A(enum.IntFlag):\n    R = 1\n    G = 2\n    def go(self, y): return int(self), y",
        "class A(typing.NamedTuple):\n    a: int\n    b: int = 24\n    def go(self, y): return self, y",
        "class A(typing.NamedTuple):\n    a: int\n    b: int = 25\n    def go(self, y): return self, y",
        "class A(collections.namedtuple('A', 'a b', defaults=[26])):\n    def go(self, y): return self, y",
        "class A(collections.namedtuple('A', 'a b', defaults=[27])):\n    def go(self, y): return self, y",
        "class A(int):\n    def go(self, y): return self + y + 28",
        "class A(int):\n    def go(self, y): return self + y + 29",
        "class A(int):\n    def __new__(cls, k): return super().__new__(cls, k + 30)\n    def go(self, y): return self + y",
        "class A(int):\n    def __new__(cls, k): return super().__new__(cls, k + 31)\n    def go(self, y): return self + y",
        "class A:\n    __slots__ = ('k',)\n    def __init__(self, k): self.k = k\n    def go(self, y): return self.__slots__, y",
        "class A:\n    __slots__ = ('k', 'l')\n    def __init__(self, k): self.k = k\n    def go(self, y): return self.__slots__, y",
        "class A:\n    def __init__(self, k): self.k = k\n    @property\n    def l(self): return self.k + 32\n    def go(self, y): return self.l",
        "class A:\n    def __init__(self, k): self.k = k\n    @property\n    def l(self): return self.k + 33\n    def go(self, y): return self.l",
        "class A:\n    def __init__(self, k): self.k = k\n    @functools.cached_property\n    def l(self): return self.k + 34\n    def go(self, y): return self.l",
        "class A:\n    def __init__(self, k): self.k = k\n    @functools.cached_property\n    def l(self): return self.k + 35\n    def go(self, y): return self.l",
        "class A:\n    def __init__(self, k): self.k = k\n    @functools.lru_cache\n    def l(self): return self.k + 36\n    def go(self, y): return self.l()",
        "class A:\n    def __init__(self, k): self.k = k\n    @functools.lru_cache\n    def l(self): return self.k + 37\n    def go(self, y): return self.l()",
        "class A:\n    def __init__(self, k): self.k = k\n    @functools.singledispatchmethod\n    def go(self, y): return 38\n    @go.register\n    def _(self, y: int): return 39",
        "class A:\n    def __init__(self, k): self.k = k\n    @functools.singledispatchmethod\n    def go(self, y): return 38\n    @go.register\n    def _(self, y: int): return 40",
        "class D:\n    def __get__(self, o, c): return 41\nclass A:\n    k = D()\n    def __init__(self, k): pass\n    def go(self, y): return self.k",
        "class D:\n    def __get__(self, o, c): return 42\nclass A:\n    k = D()\n    def __init__(self, k): pass\n    def go(self, y): return self.k",
        "class A:\n    def __init__(self, k): pass\n    def __getattr__(self, name): return lambda y: y + 43",
        "class A:\n    def __init__(self, k): pass\n    def __getattr__(self, name): return lambda y: y + 44",
        "def make(l):\n    class A:\n        def __init__(self, k): pass\n        def go(self, y): return l\n    return A\nA = make(45)",
        "def make(l):\n    class A:\n        def __init__(self, k): pass\n        def go(self, y): return l\n    return A\nA = make(46)",
        "A = type('A', (), {'__init__': lambda self, k: None, 'go': lambda self, y: y + 47})",
        "A = type('A', (), {'__init__': lambda self, k: None, 'go': lambda self, y: y + 48})",
        "A = dataclasses.make_dataclass('A', ['a', ('b', int, 49)], namespace={'go': lambda self, y: self.b})",
        "A = dataclasses.make_dataclass('A', ['a', ('b', int, 50)], namespace={'go': lambda self, y: self.b})",
        "class A:\n    k: int = 51\n    def __init__(self, k): pass\n    def go(self, y): return list(A.__annotations__)",
        "class A:\n    l: int\n    k: int = 51\n    def __init__(self, k): pass\n    def go(self, y): return list(A.__annotations__)",
        "class A:\n    count = 0\n    def __init__(self, k): A.count += 1\n    def go(self, y): return 52",
        "class P(abc.ABC):\n    @abc.abstractmethod\n    def go(self, y): ...\nclass A(P):\n    def __init__(self, k): pass\n    def go(self, y): return 53",
        "class A:\n    def __init__(self, k): pass\n    class B:\n        k = 54\n    def go(self, y): return self.B.k",
        "class A:\n    def __init__(self, k): pass\n    class B:\n        k = 55\n    def go(self, y): return self.B.k",
        "class A:\n    def __init__(self, k): pass\n    def __init_subclass__(cls, k=0): cls.k = k\nclass A(A, k=56):\n    def go(self, y): return self.k",
        "class A:\n    def __init__(self, k): pass\n    def __init_subclass__(cls, k=0): cls.k = k\nclass A(A, k=57):\n    def go(self, y): return self.k",
        "T = typing.TypeVar('T')\nclass A(typing.Generic[T]):\n    def __init__(self, k): pass\n    def go(self, y): return 58",
        "class A:\n    def __init__(self, k): self.__k = 59\n    def go(self, y): return self.__k",
        "class A:\n    def __init__(self, k): self.__k = 60\n    def go(self, y): return self.__k",
        "class B:\n    def go(self, y): return 61\nclass C:\n    def go(self, y): return 62\nclass A(B, C):\n    def __init__(self, k): pass",
        "class B:\n    def go(self, y): return 61\nclass C:\n    def go(self, y): return 62\nclass A(C, B):\n    def __init__(self, k): pass",
    )
]  # fmt: skip

INSTANCES = [
    (setup + "\nobj = A(2)", "obj", METHOD) for setup, _, _ in CLASSES
] + [
    ("class A:\n    def __init__(self, k): self.k = k\n    def go(self, y): return self.k + y\nobj = A(%d)" % k, "obj", METHOD)
    for k in (1, 2)
]  # fmt: skip

MODULES = [
    (f"m = types.ModuleType('m')\nexec({text!r}, m.__dict__)", "m", METHOD)
    for text in (
        "def go(y): return y + 1",
        "def go(y): return y + 2",
        "k = 3\ndef go(y): return y + k",
        "k = 4\ndef go(y): return y + k",
        "_k = 5\ndef go(y): return y + _k",
        "_k = 6\ndef go(y): return y + _k",
        "def h(y): return 7\ndef go(y): return h(y)",
        "def h(y): return 8\ndef go(y): return h(y)",
        "def __getattr__(name): return lambda y: 9",
        "def __getattr__(name): return lambda y: 10",
    )
]

#: Arguments that are equal share their results.
EQUAL = "1.0", "[1.0]", "{1.0: 2}", "0.0", "-0.0"
ARGUMENTS = {
    "argument", "keyword", "in a list", "in a dict", "default", "keyword default", "self", "partial",
}  # fmt: skip

#: How a function gets at it.
ACCESSES = {
    "global": "VALUE = $E\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[VALUE]\nout(f(3))",
    "argument": "@fleche\ndef f(v, x):\n    ran.append(x)\n    return $U[v]\nout(f($E, 3))",
    "keyword": "@fleche\ndef f(x, **more):\n    ran.append(x)\n    return $U[more['v']]\nout(f(3, v=$E))",
    "in a list": "@fleche\ndef f(v, x):\n    ran.append(x)\n    return $U[v[0]]\nout(f([$E], 3))",
    "in a dict": "@fleche\ndef f(v, x):\n    ran.append(x)\n    return $U[v['a']]\nout(f({'a': $E}, 3))",
    "default": "@fleche\ndef f(x, v=$E):\n    ran.append(x)\n    return $U[v]\nout(f(3))",
    "keyword default": "@fleche\ndef f(x, *, v=$E):\n    ran.append(x)\n    return $U[v]\nout(f(3))",
    "closure": "def make(v):\n    @fleche\n    def f(x):\n        ran.append(x)\n        return $U[v]\n    return f\nout(make($E)(3))",
    "inner": "def make(v):\n    @fleche\n    def f(x):\n        ran.append(x)\n        def g(): return $U[v]\n        return g()\n    return f\nout(make($E)(3))",
    "helper": "VALUE = $E\ndef helper(x): return $U[VALUE]\n@fleche\ndef f(x):\n    ran.append(x)\n    return helper(x)\nout(f(3))",
    "helper of helper": "VALUE = $E\ndef g(x): return $U[VALUE]\ndef helper(x): return g(x)\n@fleche\ndef f(x):\n    ran.append(x)\n    return helper(x)\nout(f(3))".replace("g(x)", "g_(x)"),
    "helper's default": "def helper(x, v=$E): return $U[v]\n@fleche\ndef f(x):\n    ran.append(x)\n    return helper(x)\nout(f(3))",
    "lambda": "VALUE = $E\nf = fleche(lambda x: (ran.append(x), $U[VALUE])[1])\nout(f(3))",
    "class attribute": "class K:\n    v = staticmethod($E) if callable($E) and not isinstance($E, type) else $E\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[K.v]\nout(f(3))",
    "instance attribute": "class K: pass\nk = K()\nk.v = $E\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[k.v]\nout(f(3))",
    "self": "class K:\n    def __init__(self, v): self.v = v\n    @fleche\n    def f(self, x):\n        ran.append(x)\n        return $U[self.v]\nout(K($E).f(3))",
    "classmethod": "class K:\n    v = [$E]\n    @classmethod\n    @fleche\n    def f(cls, x):\n        ran.append(x)\n        return $U[cls.v[0]]\nout(K.f(3))",
    "staticmethod": "VALUE = $E\nclass K:\n    @staticmethod\n    @fleche\n    def f(x):\n        ran.append(x)\n        return $U[VALUE]\nout(K.f(3))",
    "table": "TABLE = {'a': $E}\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[TABLE['a']]\nout(f(3))",
    "tuple": "TABLE = (1, $E)\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[TABLE[1]]\nout(f(3))",
    "partial": "def g_(v, x): return $U[v]\n@fleche\ndef f(fn, x):\n    ran.append(x)\n    return fn(x)\nout(f(functools.partial(g_, $E), 3))",
    "decorator": "def with_(v):\n    def wrap(fn):\n        @functools.wraps(fn)\n        def inner(x):\n            return fn(x, $U[v])\n        return inner\n    return wrap\n@fleche\n@with_($E)\ndef f(x, u):\n    ran.append(x)\n    return u\nout(f(3))",
    "module": "mod = types.ModuleType('mod')\nmod.v = $E\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[mod.v]\nout(f(3))",
    "module argument": "mod = types.ModuleType('mod')\nmod.v = $E\n@fleche\ndef f(m, x):\n    ran.append(x)\n    return $U[m.v]\nout(f(mod, 3))",
    "loop": "VALUES = [$E]\n@fleche\ndef f(x):\n    ran.append(x)\n    return [$U[v] for v in VALUES]\nout(f(3))",
    "generator": "VALUE = $E\ndef g_(x):\n    yield $U[VALUE]\n@fleche\ndef f(x):\n    ran.append(x)\n    return list(g_(x))\nout(f(3))",
    "function attribute": "def h_(): pass\nh_.v = $E\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[h_.v]\nout(f(3))",
}  # fmt: skip


def filled(template: str, setup: str, expression: str, use: str) -> str:
    """A program from an access and a value."""
    text = template.replace("$E", expression)
    while "$U[" in text:
        start = text.index("$U[")
        depth, end = 1, start + 3
        while depth:
            depth += {"[": 1, "]": -1}.get(text[end], 0)
            end += 1
        path = text[start + 3 : end - 1]
        # A function under test whose result is shown by its text: what it returns may be of a class
        # of its own.
        shown = f"str({use.replace('V', path)})"
        text = text[:start] + shown + text[end:]
    return HEAD + setup + "\n" + text + "\n"


def combined() -> Iterator[Program]:
    """Every value in every way of getting at it."""
    for values in (CONSTANTS, FUNCTIONS, CLASSES, INSTANCES, MODULES):
        for setup, expression, use in values:
            for access, template in ACCESSES.items():
                if access in ARGUMENTS and expression in EQUAL:
                    continue
                name = f"{access}: {setup or expression}"
                before, _, call = template.rpartition("\n")
                twice = f"{before}\n{call}\n{call}"
                # Some values are changed by being used.
                runs = None if "A.count" in setup else 1
                yield Program(name, filled(twice, setup, expression, use), runs)


#: A value that changes in a running program, by what changes it.
CHANGES = {
    "rebound": "VALUE = $A\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[VALUE]\nout(f(3))\n$S\nVALUE = $B\nout(f(3))",
    "in a list": "VALUE = [$A]\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[VALUE[0]]\nout(f(3))\n$S\nVALUE[0] = $B\nout(f(3))",
    "helper": "VALUE = $A\ndef h_(x): return $U[VALUE]\n@fleche\ndef f(x):\n    ran.append(x)\n    return h_(x)\nout(f(3))\n$S\nVALUE = $B\nout(f(3))",
    "cell": "def make(v):\n    def change(w):\n        nonlocal v\n        v = w\n    @fleche\n    def f(x):\n        ran.append(x)\n        return $U[v]\n    return f, change\nf, change = make($A)\nout(f(3))\n$S\nchange($B)\nout(f(3))",
    "module": "mod = types.ModuleType('mod')\nmod.v = $A\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[mod.v]\nout(f(3))\n$S\nmod.v = $B\nout(f(3))",
    "module in a whole": "mod = types.ModuleType('mod')\nmod.v = $A\ndef h_(m, x): return $U[m.v]\n@fleche\ndef f(x):\n    ran.append(x)\n    return h_(mod, x)\nout(f(3))\n$S\nmod.v = $B\nout(f(3))",
    "class attribute": "class K: v = [$A]\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[K.v[0]]\nout(f(3))\n$S\nK.v = [$B]\nout(f(3))",
    "in a class attribute": "class K: v = [$A]\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[K.v[0]]\nout(f(3))\n$S\nK.v[0] = $B\nout(f(3))",
    "instance": "class K: pass\nk = K()\nk.v = $A\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[k.v]\nout(f(3))\n$S\nk.v = $B\nout(f(3))",
    "argument": "@fleche\ndef f(v, x):\n    ran.append(x)\n    return $U[v[0]]\nv = [$A]\nout(f(v, 3))\n$S\nv[0] = $B\nout(f(v, 3))",
    "default": "@fleche\ndef f(x, v=[$A]):\n    ran.append(x)\n    return $U[v[0]]\nd = f.__defaults__[0] if hasattr(f, '__defaults__') and f.__defaults__ else f.__wrapped__.__defaults__[0]\nout(f(3))\n$S\nd[0] = $B\nout(f(3))",
    "helper's default": "def h_(x, v=[$A]): return $U[v[0]]\n@fleche\ndef f(x):\n    ran.append(x)\n    return h_(x)\nout(f(3))\n$S\nh_.__defaults__[0][0] = $B\nout(f(3))",
    "helper's defaults": "def h_(x, v=$A): return $U[v]\n@fleche\ndef f(x):\n    ran.append(x)\n    return h_(x)\nout(f(3))\n$S\nh_.__defaults__ = ($B,)\nout(f(3))",
    "helper's keyword default": "def h_(x, *, v=$A): return $U[v]\n@fleche\ndef f(x):\n    ran.append(x)\n    return h_(x)\nout(f(3))\n$S\nh_.__kwdefaults__['v'] = $B\nout(f(3))",
    "function attribute": "def h_(): pass\nh_.v = $A\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[h_.v]\nout(f(3))\n$S\nh_.v = $B\nout(f(3))",
    "monkeypatched": "class K:\n    def go(self, x): return $U[VALUE]\nVALUE = $A\n@fleche\ndef f(x):\n    ran.append(x)\n    return K().go(x)\nout(f(3))\n$S\nWALUE = $B\nK.go = lambda self, x: $U[WALUE]\nout(f(3))",
    "partial": "def h_(v, x): return $U[v[0]]\nv = [$A]\np = functools.partial(h_, v)\n@fleche\ndef f(x):\n    ran.append(x)\n    return p(x)\nout(f(3))\n$S\nv[0] = $B\nout(f(3))",
    "code": "A_ = $A\ndef h_(x): return $U[A_]\n@fleche\ndef f(x):\n    ran.append(x)\n    return h_(x)\nout(f(3))\n$S\nB_ = $B\ndef i_(x): return $U[B_]\nh_.__code__ = i_.__code__\nout(f(3))",
    "bases": "class B_:\n    def go(self, x): return $U[VALUE]\nVALUE = $A\nclass K(B_): pass\n@fleche\ndef f(x):\n    ran.append(x)\n    return K().go(x)\nout(f(3))\n$S\nWALUE = $B\nclass C_:\n    def go(self, x): return $U[WALUE]\nK.__bases__ = (C_,)\nout(f(3))",
    "deleted": "import builtins\nbuiltins.SHADOWED = $A\n@fleche\ndef f(x):\n    ran.append(x)\n    return $U[SHADOWED]\nout(f(3))\n$S\nSHADOWED = $B\nout(f(3))",
}  # fmt: skip


def changing(chance: random.Random, count: int) -> Iterator[Program]:
    """Programs in which something changes between two calls."""
    kinds = [CONSTANTS, FUNCTIONS, CLASSES, INSTANCES, MODULES]
    for change, template in CHANGES.items():
        for _ in range(count):
            values = chance.choice(kinds)
            one, other = chance.sample(values, 2)
            setup, before, use = one
            text = template.replace("$A", before).replace("$B", other[1]).replace("$S", other[0])
            name = f"{change}: {setup or before} -> {other[0] or other[1]}"
            yield Program(name, filled(text, setup, "", use))


#: Programs of which each is of a kind of its own, with the number of calls that run in it.
SPECIAL = {
    # What is counted or noted, and read by nobody, decides nothing.
    "global counter": (1, "n = 0\n@fleche\ndef f(x):\n    global n\n    ran.append(x)\n    n += 1\n    return x\nout(f(3), f(3), f(3))"),
    "global counter, the long way": (1, "n = 0\n@fleche\ndef f(x):\n    global n\n    ran.append(x)\n    n = n + 1\n    return x + 1\nout(f(3), f(3))"),
    "counts by name": (2, "stats = {'n': 0}\n@fleche\ndef f(x):\n    ran.append(x)\n    stats['n'] += 1\n    return x + 2\nout(f(3), f(4), f(3), f(4))"),
    "counts by get": (2, "stats = {}\n@fleche\ndef f(x):\n    ran.append(x)\n    stats[x] = stats.get(x, 0) + 1\n    return x + 3\nout(f(3), f(4), f(3), f(4))"),
    "counter": (2, "stats = collections.Counter()\n@fleche\ndef f(x):\n    ran.append(x)\n    stats[x] += 1\n    return x + 4\nout(f(3), f(4), f(3), f(4))"),
    "counts in a closure": (2, "def make():\n    n = 0\n    @fleche\n    def f(x):\n        nonlocal n\n        ran.append(x)\n        n += 1\n        return x + 5\n    return f\nf = make()\nout(f(3), f(4), f(3), f(4))"),
    "counts in an instance": (2, "class State: calls = 0\nstate = State()\n@fleche\ndef f(x):\n    ran.append(x)\n    state.calls += 1\n    return x + 6\nout(f(3), f(4), f(3), f(4))"),
    "counts in a namespace": (2, "state = types.SimpleNamespace(calls=0, k=7)\n@fleche\ndef f(x):\n    ran.append(x)\n    state.calls += 1\n    return x + state.k\nout(f(3), f(4), f(3), f(4))"),
    "counts of a function": (2, "@fleche\ndef f(x):\n    ran.append(x)\n    f.calls += 1\n    return x + 8\nf.calls = 0\nout(f(3), f(4), f(3), f(4))"),
    "counts of a helper": (2, "def h(x):\n    h.calls += 1\n    return x + 9\nh.calls = 0\n@fleche\ndef f(x):\n    ran.append(x)\n    return h(x)\nout(f(3), f(4), f(3), f(4))"),
    "counts in a lock": (2, "import threading\nlock, stats = threading.Lock(), {'n': 0}\n@fleche\ndef f(x):\n    ran.append(x)\n    with lock: stats['n'] += 1\n    return x + 10\nout(f(3), f(4), f(3), f(4))"),
    "counts, if not there": (2, "stats = {}\n@fleche\ndef f(x):\n    ran.append(x)\n    try: stats[x] += 1\n    except KeyError: stats[x] = 1\n    return x + 11\nout(f(3), f(4), f(3), f(4))"),
    "notes in a lambda": (2, "f = fleche(lambda x: ran.append(x) or x + 12)\nout(f(3), f(4), f(3), f(4))"),
    "notes in an expression": (2, "f = fleche(lambda x: [ran.append(x), x + 13][1])\nout(f(3), f(4), f(3), f(4))"),
    "notes without source": (2, "exec('''def f(x):\n    ran.append(x)\n    return x + 14''')\nf = fleche(f)\nout(f(3), f(4), f(3), f(4))"),
    "notes in a set": (2, "seen = set()\n@fleche\ndef f(x):\n    ran.append(x)\n    seen.add(x)\n    return x + 15\nout(f(3), f(4), f(3), f(4))"),
    "notes in a default": (2, "def h(x, log=[]):\n    return x + 16\n@fleche\ndef f(x):\n    ran.append(x)\n    return h(x)\nout(f(3), f(4), f(3), f(4))"),
    # What fails if something is not there reads it.
    "removed": (2, "todo = [3]\n@fleche\ndef f(x):\n    ran.append(x)\n    try: todo.remove(x)\n    except ValueError: return 'not there'\n    return 'there'\nout(f(3), f(3))"),
    "deleted": (2, "todo = {3: 1}\n@fleche\ndef f(x):\n    ran.append(x)\n    try: del todo[x]\n    except KeyError: return 'not there'\n    return 'there'\nout(f(3), f(3))"),
    "popped": (2, "todo = {3: 1}\n@fleche\ndef f(x):\n    ran.append(x)\n    try: todo.pop(x)\n    except KeyError: return 'not there'\n    return 'there'\nout(f(3), f(3))"),
    "counted or not": (2, "stats = {}\n@fleche\ndef f(x):\n    ran.append(x)\n    try: stats[x] += 1\n    except KeyError: return 'not there'\n    return 'there'\nout(f(3))\nstats[3] = 1\nout(f(3))"),
    "suppressed": (2, "import contextlib\nstats = {}\n@fleche\ndef f(x):\n    ran.append(x)\n    with contextlib.suppress(KeyError):\n        stats[x] += 1\n        return 'there'\n    return 'not there'\nout(f(3))\nstats[3] = 1\nout(f(3))"),
    # What is read decides.
    "counted and returned": (3, "n = 0\n@fleche\ndef f(x):\n    global n\n    ran.append(x)\n    n += 1\n    return n\nout(f(3), f(3), f(3))"),
    "noted and returned": (2, "log = []\n@fleche\ndef f(x):\n    ran.append(x)\n    log.append(x)\n    return list(log)\nout(f(3), f(3))"),
    "setter": (2, "class S:\n    k = 0\n    def set(self, k): self.k = k\ns = S()\n@fleche\ndef f(x):\n    ran.append(x)\n    return s.k + x\nout(f(3))\ns.set(5)\nout(f(3))"),
    # Definitions that are made again.
    "redefined function": (2, "@fleche\ndef f(x):\n    ran.append(x)\n    return x + 17\nout(f(3))\n@fleche\ndef f(x):\n    ran.append(x)\n    return x + 18\nout(f(3), f(3))"),
    "redefined helper": (2, "def h(x): return x + 19\n@fleche\ndef f(x):\n    ran.append(x)\n    return h(x)\nout(f(3))\ndef h(x): return x + 20\nout(f(3), f(3))"),
    "redefined class": (2, "class A:\n    k = 21\n@fleche\ndef f(a, x):\n    ran.append(x)\n    return a.k + x\nout(f(A(), 3))\nclass A:\n    k = 22\nout(f(A(), 3), f(A(), 3))"),
    "redefined the same way": (1, "def h(x): return x + 23\n@fleche\ndef f(x):\n    ran.append(x)\n    return h(x)\nout(f(3))\ndef h(x): return x + 23\n@fleche\ndef f(x):\n    ran.append(x)\n    return h(x)\nout(f(3))"),
    "patched and put back": (2, "def h(x): return x + 24\n@fleche\ndef f(x):\n    ran.append(x)\n    return h(x)\nout(f(3))\nold, h = h, lambda x: x + 25\nout(f(3))\nh = old\nout(f(3))"),
    "patched library": (2, "import math\n@fleche\ndef f(x):\n    ran.append(x)\n    return math.floor(x) + 26\nout(f(3))\nold, math.floor = math.floor, lambda x: 0\ntry: out(f(3))\nfinally: math.floor = old\nout(f(3))"),
    "lambdas of one line": (2, "a, b = fleche(lambda x: ran.append(x) or x + 27), fleche(lambda x: ran.append(x) or x + 28)\nout(a(3), b(3), a(3), b(3))"),
    "lambdas of a loop": (3, "fs = [fleche(lambda x, k=k: ran.append(x) or x * k) for k in range(3)]\nout(*[f(3) for f in fs], *[f(3) for f in fs])"),
    "closures of a loop": (3, "def make(k):\n    @fleche\n    def f(x):\n        ran.append(x)\n        return x ** k\n    return f\nout(*[make(k)(3) for k in range(3)], *[make(k)(3) for k in range(3)])"),
    "late binding": (1, "fs = []\nfor k in range(3):\n    fs.append(fleche(lambda x: ran.append(x) or x - k))\nout(*[f(3) for f in fs])"),
    # Recursion.
    "recursion": (6, "@fleche\ndef f(x):\n    ran.append(x)\n    return 1 if x < 2 else f(x - 1) + f(x - 2)\nout(f(5), f(5))"),
    "mutual recursion": (6, "@fleche\ndef f(x):\n    ran.append(x)\n    return x == 0 or g(x - 1)\n@fleche\ndef g(x):\n    ran.append(x)\n    return x != 0 and f(x - 1)\nout(f(5), f(5))"),
    "recursion by a table": (1, "def num(e): return e\ndef add(e): return ev(e[1]) + ev(e[2])\ndef mul(e): return ev(e[1]) * ev(e[2])\nOPS = {int: num, tuple: lambda e: {'+': add, '*': mul}[e[0]](e)}\ndef ev(e): return OPS[type(e)](e)\n@fleche\ndef f(e):\n    ran.append(e)\n    return ev(e)\nout(f(('+', 1, ('*', 2, 3))), f(('+', 1, ('*', 2, 3))))"),
    "classes that know each other": (1, "class A:\n    def go(self, x): return B().go(x - 1) if x else 29\nclass B:\n    def go(self, x): return C().go(x - 1) if x else 30\nclass C:\n    def go(self, x): return A().go(x - 1) if x else 31\n    def other(self): return B()\n@fleche\ndef f(x):\n    ran.append(x)\n    return A().go(x)\nout(f(3), f(3))"),
    "registry": (1, "REGISTRY = {}\ndef register(fn):\n    REGISTRY[fn.__name__] = fn\n    return fn\n@register\ndef a(x): return x + 32\n@register\ndef b(x): return REGISTRY['a'](x)\n@fleche\ndef f(x):\n    ran.append(x)\n    return REGISTRY['b'](x)\nout(f(3), f(3))"),
    "subclasses that register themselves": (1, "class P:\n    known = {}\n    def __init_subclass__(cls): P.known[cls.__name__] = cls\nclass A(P):\n    def go(self, x): return x + 33\n@fleche\ndef f(x):\n    ran.append(x)\n    return P.known['A']().go(x)\nout(f(3), f(3))"),
    "tree": (2, "class Node:\n    def __init__(self, k, parent=None):\n        self.k, self.parent, self.children = k, parent, []\n        if parent: parent.children.append(self)\ndef tree(k):\n    root = Node(1)\n    a, b = Node(k, root), Node(3, root)\n    Node(4, a)\n    return root\n@fleche\ndef f(t):\n    ran.append(1)\n    return sum(c.k for c in t.children) + 34\nout(f(tree(2)), f(tree(3)), f(tree(2)))"),
    # Methods.
    "method": (2, "class A:\n    def __init__(self, k): self.k = k\n    @fleche\n    def f(self, x):\n        ran.append(x)\n        return self.k + x + 35\nout(A(1).f(3), A(2).f(3), A(1).f(3))"),
    "method that counts": (2, "class A:\n    calls = 0\n    def __init__(self, k): self.k = k\n    @fleche\n    def f(self, x):\n        ran.append(x)\n        return self.k + x + 36\n    def g(self, x):\n        self.calls += 1\n        return self.f(x)\nout(A(1).g(3), A(2).g(3), A(1).g(3))"),
    "super": (2, "class A:\n    def go(self, x): return x + 37\nclass B(A):\n    @fleche\n    def go(self, x):\n        ran.append(x)\n        return super().go(x)\nout(B().go(3), B().go(3))\nA.go = lambda self, x: x + 38\nout(B().go(3))"),
    "super in a class method": (2, "class A:\n    @classmethod\n    def go(cls, x): return x + 39\nclass B(A):\n    @classmethod\n    @fleche\n    def go(cls, x):\n        ran.append(x)\n        return super().go(x)\nout(B.go(3), B.go(3))\nA.go = classmethod(lambda cls, x: x + 40)\nout(B.go(3))"),
    "class by its cell": (2, "class A:\n    k = 41\n    @staticmethod\n    @fleche\n    def go(x):\n        ran.append(x)\n        return __class__.k + x\nout(A.go(3), A.go(3))\nA.k = 42\nout(A.go(3))"),
    "methods of one name": (2, "class A:\n    @fleche\n    def f(self, x):\n        ran.append(x)\n        return x + 43\nclass B:\n    @fleche\n    def f(self, x):\n        ran.append(x)\n        return x + 44\nout(A().f(3), B().f(3), A().f(3))"),
    # Arguments.
    "mutated argument": (2, "@fleche\ndef f(v):\n    ran.append(1)\n    return sum(v) + 45\nv = [1]\nout(f(v))\nv.append(2)\nout(f(v), f([1, 2]))"),
    "mutated instance": (2, "class A: pass\n@fleche\ndef f(a):\n    ran.append(1)\n    return a.k + 46\na = A()\na.k = 1\nout(f(a))\na.k = 2\nout(f(a))\nb = A()\nb.k = 2\nout(f(b))"),
    "typed dicts": (2, "class A(typing.TypedDict):\n    a: int\nclass B(typing.TypedDict):\n    b: int\nB.__name__ = B.__qualname__ = 'A'\n@fleche\ndef f(c):\n    ran.append(1)\n    return sorted(c.__annotations__) + [47]\nout(f(A), f(B), f(A))"),
    "protocols": (2, "def make(k):\n    class A(typing.Protocol):\n        __annotations__ = {k: int}\n    return A\n@fleche\ndef f(c):\n    ran.append(1)\n    return sorted(c.__annotations__) + [48]\nout(f(make('a')), f(make('b')), f(make('a')))"),
    "field types": (2, "def make(t): return dataclasses.make_dataclass('A', [('a', t)])\n@fleche\ndef f(c):\n    ran.append(1)\n    return [x.type.__name__ for x in dataclasses.fields(c)] + [49]\nout(f(make(int)), f(make(str)), f(make(int)))"),
    "docstrings of classes": (1, "def make():\n    class A:\n        '''Says something.'''\n        k = 50\n    return A\n@fleche\ndef f(c):\n    ran.append(1)\n    return c.k\nout(f(make()), f(make()))"),
    "enumerations": (4, "E = enum.Enum('E', 'A B')\nF = enum.Enum('E', 'B A')\n@fleche\ndef f(e):\n    ran.append(1)\n    return e.value + 51\nout(f(E.A), f(F.A), f(E.B), f(F['B']), f(E.A))"),
    "named tuples": (2, "A, B = collections.namedtuple('A', 'a b'), collections.namedtuple('A', 'b a')\n@fleche\ndef f(v):\n    ran.append(1)\n    return v.a + 52\nout(f(A(1, 2)), f(B(1, 2)), f(A(1, 2)))"),
    "partials": (2, "def h(k, x): return k + x\n@fleche\ndef f(g):\n    ran.append(1)\n    return g(53)\nout(f(functools.partial(h, 1)), f(functools.partial(h, 2)), f(functools.partial(h, 1)))"),
    "bound methods": (2, "class A:\n    def __init__(self, k): self.k = k\n    def go(self, x): return self.k + x\n@fleche\ndef f(g):\n    ran.append(1)\n    return g(54)\nout(f(A(1).go), f(A(2).go), f(A(1).go))"),
    "dispatched": (2, "@functools.singledispatch\ndef g(x): return 'any'\n@fleche\ndef f(x):\n    ran.append(1)\n    return g(x), 55\nout(f(3), f(3))\n@g.register\ndef _(x: int): return 'int'\nout(f(3), f(3))"),
    "cached helper": (1, "@functools.lru_cache\ndef g(x): return x + 56\n@fleche\ndef f(x):\n    ran.append(1)\n    return g(x)\nout(f(3), g(3), f(3))"),
    "memo of a helper": (1, "memo = {}\ndef g(x):\n    if x not in memo: memo[x] = x + 57\n    return memo[x]\n@fleche\ndef f(x):\n    ran.append(1)\n    return g(x)\nout(f(3))"),
    "cached property": (1, "class A:\n    def __init__(self, k): self.k = k\n    @functools.cached_property\n    def l(self): return self.k + 58\n@fleche\ndef f(a):\n    ran.append(1)\n    return a.l\na = A(1)\nout(f(a), a.l, f(a))"),
    "imports inside": (1, "@fleche\ndef f(x):\n    ran.append(1)\n    import math\n    from collections import OrderedDict as O\n    return math.floor(x), dict(O(a=59))\nout(f(3.5), f(3.5))"),
    "generators": (1, "def g(n):\n    for k in range(n): yield k + 60\n@fleche\ndef f(n):\n    ran.append(1)\n    return list(g(n))\nout(f(3), f(3))"),
    "wrapper that adds an argument": (1, "def wrap(fn):\n    @functools.wraps(fn)\n    def inner(x): return fn(61, x)\n    return inner\n@fleche\n@wrap\ndef f(k, x):\n    ran.append(1)\n    return k + x\nout(f(3), f(3))"),
    "wrapper that passes on": (1, "def wrap(fn):\n    @functools.wraps(fn)\n    def inner(*args, **kwargs): return fn(*args, **kwargs) + 62\n    return inner\n@fleche\n@wrap\ndef f(x, k=1):\n    ran.append(1)\n    return k + x\nout(f(3), f(x=3), f(3, 1))"),
    "decorated twice": (2, "@fleche(version=1)\ndef h(x):\n    return x + 63\n@fleche\ndef f(x):\n    ran.append(1)\n    return h(x)\nout(f(3))\n@fleche(version=2)\ndef h(x):\n    return x + 64\nout(f(3))"),
    "sentinel": (2, "MISSING = object()\n@fleche\ndef f(x=MISSING):\n    ran.append(1)\n    return 'none' if x is MISSING else x + 65\nout(f(), f(3), f(), f(3))"),
    "asynchronous": (1, "import asyncio\nasync def g(x): return x + 66\n@fleche\ndef f(x):\n    ran.append(1)\n    return asyncio.run(g(x))\nout(f(3), f(3))"),
    "global by its module": (1, "import sys\nK = 67\n@fleche\ndef f(x):\n    ran.append(1)\n    return sys.modules[__name__].K + x\nout(f(3))"),
    "walrus": (1, "@fleche\ndef f(x):\n    ran.append(1)\n    return (k := x + 68) and k\nout(f(3), f(3))"),
    "global that comes later": (2, "@fleche\ndef f(x):\n    ran.append(1)\n    try: return LATER + x\n    except NameError: return 'not yet'\nout(f(3))\nLATER = 69\nout(f(3))"),
    "shadowed builtin": (2, "@fleche\ndef f(x):\n    ran.append(1)\n    return len(x) + 70\nout(f('abc'))\nlen = lambda x: 0\nout(f('abc'))"),
    "comprehension": (2, "K = 71\n@fleche\ndef f(x):\n    ran.append(1)\n    return [K + y for y in x]\nout(f([1]))\nK = 72\nout(f([1]))"),
    "class in a function": (2, "K = 73\n@fleche\ndef f(x):\n    ran.append(1)\n    class A:\n        k = K\n        def go(self): return self.k + x\n    return A().go()\nout(f(3))\nK = 74\nout(f(3))"),
    "default of an inner function": (2, "K = 75\n@fleche\ndef f(x):\n    ran.append(1)\n    def g(k=K): return k + x\n    return g()\nout(f(3))\nK = 76\nout(f(3))"),
    "global of a decorator inside": (2, "def deco(g): return lambda: g() + 1\n@fleche\ndef f(x):\n    ran.append(1)\n    @deco\n    def g(): return x + 77\n    return g()\nout(f(3))\ndef deco(g): return lambda: g() + 2\nout(f(3))"),
    "format of an f-string": (2, "W = 5\n@fleche\ndef f(x):\n    ran.append(1)\n    return f'{x:>{W}}'\nout(f(3))\nW = 6\nout(f(3))"),
    "star of a global": (2, "ARGS = (1, 2)\n@fleche\ndef f(x):\n    ran.append(1)\n    return sum([*ARGS, x]) + 78\nout(f(3))\nARGS = (1, 3)\nout(f(3))"),
    # What a function imports when it runs.
    "import inside": (2, "import os\nopen(os.path.join(os.path.dirname(__file__), 'inside_1.py'), 'w').write('K = 81\\ndef g(): return K')\n@fleche\ndef f(x):\n    ran.append(1)\n    import inside_1\n    return inside_1.g() + x\nout(f(3), f(3))\nimport inside_1\ninside_1.K = 82\nout(f(3))"),
    "import of a name inside": (2, "import os\nopen(os.path.join(os.path.dirname(__file__), 'inside_2.py'), 'w').write('K = 83\\ndef g(): return K')\n@fleche\ndef f(x):\n    ran.append(1)\n    from inside_2 import g\n    return g() + x\nout(f(3), f(3))\nimport inside_2\ninside_2.K = 84\nout(f(3))"),
    "optional import inside": (1, "@fleche\ndef f(x):\n    ran.append(1)\n    try: import not_there_at_all\n    except ImportError: return x + 85\nout(f(3), f(3))"),
    # Objects that have what they are asked for.
    "attributes of a dictionary": (2, "class Config(dict):\n    __getattr__ = dict.__getitem__\ncfg = Config(k=1)\n@fleche\ndef f(x):\n    ran.append(1)\n    return cfg.k + x + 86\nout(f(3), f(3))\ncfg['k'] = 2\nout(f(3))"),
    "dictionary as an argument": (2, "class Config(dict):\n    __getattr__ = dict.__getitem__\n@fleche\ndef f(c):\n    ran.append(1)\n    return c.k + 87\nout(f(Config(k=1)), f(Config(k=2)), f(Config(k=1)))"),
    "many classes": (1, "for i in range(40): exec(f'class N{i}:\\n    def go(self, d): return sum(c().go(d - 1) for c in ALL) if d else {i}')\nALL = [globals()[f'N{i}'] for i in range(40)]\n@fleche\ndef f(d):\n    ran.append(1)\n    return N0().go(d) + 88\nout(f(1), f(1))"),
    "many functions": (1, "exec('\\n'.join(f'def g{i}(x): return {i} if x <= 0 else ' + ' + '.join(f'g{j}(x - 1)' for j in range(30)) for i in range(30)))\n@fleche\ndef f(d):\n    ran.append(1)\n    return g0(d) + 89\nout(f(1), f(1))"),
    "matched": (2, "class P:\n    __match_args__ = ('a', 'b')\n    def __init__(self, a, b): self.a, self.b = a, b\n@fleche\ndef f(p):\n    ran.append(1)\n    match p:\n        case P(a, 2): return a + 79\n        case _: return 'no'\nout(f(P(1, 2)))\nP.__match_args__ = ('b', 'a')\nout(f(P(1, 2)))"),
}  # fmt: skip


IMPURE = {"removed", "deleted", "popped", "counted and returned", "noted and returned"}


#: What is used up by being used cannot be told: all run, in every process.
CONSUMED = {
    "iterator": "it = iter(range(5))\n@fleche\ndef f(x):\n    return next(it) + x\nout(f(3), f(3), f(3))",
    "count": "c = itertools.count()\n@fleche\ndef f(x):\n    return next(c) + x\nout(f(3), f(3), f(3))",
    "count of a helper": "def h(x, c=itertools.count()): return next(c) + x\n@fleche\ndef f(x):\n    return h(x)\nout(f(3), f(3), f(3))",
    "captured generator": "def make(g):\n    @fleche\n    def f(x): return next(g) + x\n    return f\nf = make(i * i for i in range(9))\nout(f(3), f(3), f(3))",
    "random numbers": "import random\nr = random.Random(1)\n@fleche\ndef f(x): return r.random() + x\nout(f(3), f(3), f(3))",
}  # fmt: skip


def special() -> Iterator[Program]:
    for name, (runs, text) in SPECIAL.items():
        yield Program(name, HEAD + text + "\n", runs, name not in IMPURE)
    for name, text in CONSUMED.items():
        yield Program(name, HEAD + text + "\n")
