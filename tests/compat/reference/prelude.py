"""What the expressions of the differential tests refer to."""
# ruff: noqa: F401

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import math
import struct
import types
import zoneinfo

import attr
import numpy as np
import pandas as pd

from fleche import D, fleche
from fleche.call import Call
from fleche.digest import Digest, Indigestible, digest, digest_class

# --- classes ---


@dataclasses.dataclass
class Point:
    x: object
    y: object = 0


@dataclasses.dataclass(frozen=True)
class Frozen:
    b: object
    a: object = "a"


@dataclasses.dataclass
class Slotted:
    __slots__ = ("left", "right")
    left: object
    right: object


@dataclasses.dataclass
class Hidden:
    shown: object
    hidden: object = dataclasses.field(default=5, repr=False, compare=False)


@attr.s(auto_attribs=True)
class Attrs:
    x: object
    _y: object = 0


class WithDigest:
    def __init__(self, value):
        self.value = value

    def __digest__(self):
        return digest(("WithDigest", self.value))

    def method(self, x=1):
        return self.value, x

    def who(self):
        return __class__

    @classmethod
    def of(cls, value):
        return cls(value)

    @staticmethod
    def twice(value):
        return 2 * value


class SaysText(WithDigest):
    def __digest__(self):
        return str(self.value)


class Plain:
    pass


class IntSub(int):
    pass


class FloatSub(float):
    pass


class ComplexSub(complex):
    pass


class StrSub(str):
    pass


class BytesSub(bytes):
    pass


class ListSub(list):
    pass


class TupleSub(tuple):
    pass


class DictSub(dict):
    pass


class KeysOnly(dict):
    """A mapping whose view of itself differs from its items."""

    def __iter__(self):
        return iter([7])

    def __getitem__(self, key):
        return 10


Pair = collections.namedtuple("Pair", "left right")


class Colour(enum.IntEnum):
    RED = 1
    BLUE = 300


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Mode(enum.StrEnum):
    FAST = "fast"


class Kind(enum.Enum):
    SOME = "some"


class Numbers(enum.Enum):
    NONE = ()


# --- functions ---


def plain(x, /, y, *args, k, **kwargs):
    """A docstring."""
    total = [item for item in args if item > 0]
    try:
        return x + y * 2, total, k, kwargs
    except (ValueError, TypeError):
        return lambda z: z + 1


def defaults(a):
    def function(x, y=a, *, z=(a, 1)):
        return x, y, z

    return function


def closure(a, b):
    def function(x):
        return a, b, x

    return function


def everything(a, b, c):
    def function(x, y=b, *, z=c, w=1):
        return a, x, y, z, w

    return function


def recursive(a):
    def function(n):
        return a if n < 1 else function(n - 1)

    return function


def mutual(a, which):
    def even(n):
        return a if n == 0 else odd(n - 1)

    def odd(n, step=1):
        return even(n - step), odd

    return (even, odd)[which]


def three(a, which):
    def one():
        return two, a

    def two():
        return three, one

    def three():
        return one, three

    return (one, two, three)[which]


def through_list(a):
    held = [a]

    def function():
        return held

    held.append(function)
    return function


def empty_cell():
    if math.inf < 0:
        never = 1

    def function():
        return never

    return function


def wrapped(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


def answering(text):
    def function():
        return None

    function.__digest__ = lambda: text
    return function


async def coroutine(x):
    return [y async for y in x]


def generator_function(x):
    yield from x


def module(contents):
    made = types.ModuleType("made")
    made.__all__ = list(contents)
    made.__dict__.update(contents)
    return made


def object_array(items, shape):
    made = np.empty(len(items), dtype=object)
    made[:] = items
    return made.reshape(shape)


def raw_array(dtype, data, shape):
    dtype = np.dtype(dtype)
    count = math.prod(shape)
    data = (data * (count * dtype.itemsize // max(1, len(data)) + 1))[: count * dtype.itemsize]
    return np.frombuffer(data, dtype=dtype, count=count).reshape(shape)


def categories(values, of, ordered=False):
    return pd.Categorical(values, categories=pd.Index(of, dtype=object), ordered=ordered)
