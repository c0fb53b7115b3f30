# ruff: noqa
"""Code whose digests are the same in every version of Python: `code_digests.json`."""

import dataclasses
import enum
import functools
import typing
from math import pi

K = {"a": [1, 2.5]}


def f1(x, *args, y=3, **kwargs):
    """What it does."""
    try:
        with open(x) as file:
            for line in file:
                if line and not x:
                    continue
                yield f"{line!r:>10} {y} and {x}more"
        match x:
            case {"a": [1, *rest]}:
                return rest
            case str() | int():
                return -1
    except (ValueError, KeyError) as error:
        raise RuntimeError from error
    finally:
        del y


def f2(x):
    return [a * b for a in x for b in a if b], {k: v for k, v in x}, (c for c in x), x @ x


def f3(x):
    def inner(a: int, b=1, *, c):
        return lambda d: (a, b, c, d, x)

    class Local(dict):
        y: int = 1

        def m(self):
            return super().get(self.y)

    return inner, Local, K["a"], pi


async def f4(x):
    async with x as y:
        return [await z async for z in y]


f5 = lambda x, y=2: x if y else K
f6 = [lambda x: x + 1 for _ in range(2)][0]


def f7(x):
    return f5(x) + C1(1).double() + C3.A.value


@dataclasses.dataclass
class C1:
    x: int
    y: list = dataclasses.field(default_factory=list)

    def double(self):
        return 2 * self.x


class C2(typing.NamedTuple):
    a: int
    b: str = "b"


class C3(enum.Enum):
    A = 1
    B = "b"

    def label(self):
        return self.name.lower()


class C4:
    __slots__ = ("a",)
    K = 3

    @property
    def p(self):
        return self.a

    @staticmethod
    def s(x):
        return x

    @classmethod
    def c(cls):
        return cls.K

    @functools.cached_property
    def q(self):
        return 1
