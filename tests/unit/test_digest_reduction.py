"""Objects of any class that pickles have the digest of their reduction."""

from __future__ import annotations

import argparse
import asyncio
import copyreg
import functools
import io
import itertools
import operator
import pickle
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleche import cache, fleche
from fleche.caches import Cache
from fleche.digest import Digest, Indigestible, digest
from fleche.storage import CallMemory, ValueMemory


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: Any) -> None:
        self.a = a


class Own:
    """Pickles what it is made of, and leaves out the rest."""

    def __init__(self, a: Any) -> None:
        self.a, self.lock = a, threading.Lock()

    def __reduce__(self) -> Any:
        return Own, (self.a,)


class Stateful:
    def __init__(self, a: Any) -> None:
        self.a, self.cache = a, threading.Lock()

    def __getstate__(self) -> Any:
        return {"a": self.a}


class Kept(list[Any]):
    """A list with more, and its own way of being made again."""

    def __init__(self, items: Any, unit: str) -> None:
        super().__init__(items)
        self.unit = unit


@dataclass
class WithLock:
    a: Any
    lock: Any = field(default_factory=threading.Lock, compare=False)


@attrs.define
class AttrsWithLock:
    a: Any
    lock: Any = attrs.field(factory=threading.Lock, eq=False)


@dataclass
class OwnWay:
    a: Any
    lock: Any = field(default_factory=threading.Lock)

    def __getstate__(self) -> Any:
        return {"a": self.a}


class Registered:
    def __init__(self, a: Any) -> None:
        self.a, self.lock = a, threading.Lock()


copyreg.pickle(Registered, lambda value: (Registered, (value.a,)))

MAKERS: list[Callable[[Any], Any]] = [
    lambda a: Plain(a=a),
    Slotted,
    Own,
    Stateful,
    lambda a: Kept([a], "m"),
    WithLock,
    AttrsWithLock,
    OwnWay,
    Registered,
    lambda a: argparse.Namespace(a=a),
    lambda a: ValueError(a),
    operator.itemgetter,
    lambda a: operator.attrgetter(str(a)),
    lambda a: operator.methodcaller("get", a),
    lambda a: functools.partial(print, a),
    lambda a: np.poly1d([1, 2, int(a)]),
]


@pytest.mark.parametrize("make", MAKERS)
def test_what_an_object_is_made_of_counts(make: Callable[[Any], Any]) -> None:
    assert digest(make(1)) == digest(make(1)) != digest(make(2))
    assert digest([make(1)]) != digest([make(2)])


def test_an_object_is_none_of_its_parts() -> None:
    values = [Plain(a=1), Slotted(1), Own(1), Stateful(1), {"a": 1}, argparse.Namespace(a=1), 1]
    assert len({digest(value) for value in values}) == len(values)


@given(st.dictionaries(st.sampled_from("abcd"), st.integers() | st.text(max_size=3)))
def test_attributes_count_in_any_order(attributes: dict[str, Any]) -> None:
    backwards = dict(reversed(attributes.items()))
    assert digest(Plain(**attributes)) == digest(Plain(**backwards))
    loaded = pickle.loads(pickle.dumps(Plain(**attributes)))
    assert digest(loaded) == digest(Plain(**attributes))
    assert digest(Plain(**attributes)) != digest(Plain(**attributes, more=1))


def test_a_child_counts_as_its_digest() -> None:
    assert digest(Plain(a=digest([1, 2]))) == digest(Plain(a=[1, 2]))


def test_types_of_numbers_count_where_they_are_asked_for() -> None:
    assert digest(Plain(a=1)) == digest(Plain(a=1.0))
    assert digest(Plain(a=1), typed=True) != digest(Plain(a=1.0), typed=True)


def tree(leaf: Any) -> Plain:
    root = Plain(children=[], leaf=leaf)
    for name in "ab":
        root.children.append(Plain(parent=root, name=name))
    return root


def test_objects_that_refer_to_each_other() -> None:
    assert digest(tree(1)) == digest(tree(1)) != digest(tree(2))
    child = tree(1).children[0]
    assert digest(child) == digest(tree(1).children[0]) != digest(tree(1).children[1])
    # A container digests the same whether its children are values or their digests.
    root = tree(1)
    assert digest([root, root.children[0]]) == digest([digest(root), digest(root.children[0])])
    assert digest(pickle.loads(pickle.dumps(root))) == digest(root)


def test_two_different_cycles_differ() -> None:
    def ring(length: int) -> Plain:
        nodes = [Plain() for _ in range(length)]
        for one, other in zip(nodes, nodes[1:] + nodes[:1], strict=True):
            one.next = other
        return nodes[0]

    assert len({digest(ring(length)) for length in (1, 2, 3)}) == 3


def test_what_nobody_can_follow_ends() -> None:
    nodes = [Plain(number=number) for number in range(40)]
    for node in nodes:
        node.all = nodes
    with pytest.raises(Indigestible):
        digest(nodes[0])


def test_shared_objects_are_walked_once() -> None:
    value = Plain(a=1)
    for _ in range(200):
        value = Plain(one=value, other=value)
    assert digest(value) == digest(value)


def test_using_an_object_makes_no_other_one_of_it() -> None:
    class Model:
        def __init__(self, a: int) -> None:
            self.a = a

        @functools.cached_property
        def square(self) -> int:
            return self.a**2

    @dataclass
    class Record:
        a: int

        @functools.cached_property
        def square(self) -> int:
            return self.a**2

    for make in (Model, Record):
        fresh, used = make(3), make(3)
        assert used.square == 9
        assert digest(fresh) == digest(used) != digest(make(4))


def test_lru_caches_are_what_they_wrap() -> None:
    assert digest(functools.lru_cache(len)) == digest(len) != digest(functools.lru_cache(abs))

    def double(x: int) -> int:
        return 2 * x

    cached = functools.cache(double)
    cached(1)
    assert digest(cached) == digest(double)


def test_generic_aliases() -> None:
    assert digest(list[int]) == digest(list[int]) != digest(list[str])
    assert digest(dict[str, list[int]]) != digest(dict[str, list[str]])


def test_ordered_dicts_of_another_order_differ() -> None:
    one, other = OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)
    assert digest(one) != digest(other)
    assert digest(dict(one)) == digest(dict(other))


class Closed:
    def __reduce__(self) -> Any:
        raise TypeError("no")


def generate() -> Iterator[int]:
    yield 1


async def wait() -> None:
    """Something to wait for."""


@pytest.mark.parametrize(
    "make",
    [
        object,
        threading.Lock,
        threading.Event,
        generate,
        Closed,
        io.BytesIO,
        io.StringIO,
        lambda: iter([1]),
        lambda: iter({1: 2}),
        lambda: map(len, []),
        lambda: zip([], strict=True),
        lambda: itertools.count(),
        lambda: itertools.chain([1]),
        asyncio.Lock,
        asyncio.Event,
        random.SystemRandom,
        lambda: open(__file__),  # noqa: SIM115
    ],
)
def test_what_has_no_content_is_refused(make: Callable[[], Any]) -> None:
    value = make()
    try:
        for held in (value, [value], Plain(a=value)):
            with pytest.raises(Indigestible):
                digest(held)
    finally:
        if isinstance(value, io.TextIOWrapper):
            value.close()


def test_coroutines_are_refused() -> None:
    coroutine = wait()
    with pytest.raises(Indigestible):
        digest(coroutine)
    coroutine.close()


def test_nothing_is_taken_from_an_iterator() -> None:
    numbers = iter([1, 2])
    with pytest.raises(Indigestible):
        digest(Plain(a=[numbers]))
    assert list(numbers) == [1, 2]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Plain(model=Plain(lock=threading.Lock())), ".model.lock"),
        ({"a": [1, 2, Plain(b=threading.Lock())]}, "['a'][2].b"),
        (WithLock(a=Slotted(object())), ".a.a"),
        ((1, {2: threading.Lock()}), "[1][2]"),
        ({threading.Lock()}, "[...]"),
    ],
)
def test_an_error_says_where(value: Any, path: str) -> None:
    with pytest.raises(Indigestible) as caught:
        digest(value)
    assert caught.value.path == path  # type: ignore[attr-defined]


def test_a_warning_says_where_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    @fleche
    def f(cfg: Any) -> int:
        return 1

    assert f(Plain(model=Plain(lock=threading.Lock()))) == 1
    [warning] = [record.getMessage() for record in caplog.records]
    assert "'cfg' of test_a_warning_says_where_and_what_to_do.<locals>.f" in warning
    assert "cfg.model.lock: a _thread.lock" in warning
    assert "__digest__ or a hook" in warning


def test_a_field_that_is_not_compared_counts_where_it_can() -> None:
    assert digest(WithLock(1, 2)) != digest(WithLock(1, 3))
    assert digest(WithLock(1)) == digest(WithLock(1))

    @dataclass
    class Compared:
        lock: Any = field(default_factory=threading.Lock)

    with pytest.raises(Indigestible):
        digest(Compared())


# Generators of random numbers.

GENERATORS: list[Callable[[], Any]] = [
    lambda: np.random.default_rng(0),
    lambda: np.random.RandomState(0),
    lambda: np.random.PCG64(0),
    lambda: random.Random(0),
]


@pytest.mark.parametrize("make", GENERATORS)
@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: [x], lambda x: Plain(a={"b": x}), lambda x: WithLock(1, x)]
)
def test_a_call_that_gets_a_generator_runs(
    make: Callable[[], Any], wrap: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    ran = []

    @fleche
    def f(x: Any) -> int:
        ran.append(x)
        return 1

    assert f(wrap(make())) == f(wrap(make())) == 1
    assert len(ran) == 2
    assert f.query().empty()
    assert "pass a seed" in caplog.text
    # It has a digest, though.
    assert isinstance(digest(make()), Digest)
    assert digest(make()) == digest(make())


def test_seeds_are_values() -> None:
    ran = []

    @fleche
    def f(x: Any) -> int:
        ran.append(1)
        return 1

    for _ in range(2):
        assert f(np.random.SeedSequence(5)) == 1
    assert len(ran) == 1


def test_a_generator_of_the_functions_own_is_none_of_its_arguments() -> None:
    generator = np.random.default_rng(0)
    ran = []

    @fleche
    def f(x: int) -> float:
        ran.append(x)
        return float(generator.normal())

    assert f(1) != f(1)
    assert len(ran) == 2


# Defaults.

MISSING = object()


def test_a_default_without_digest_is_that_default() -> None:
    ran = []

    @fleche
    def get(x: int, default: Any = MISSING, *, other: Any = MISSING) -> int:
        ran.append((default, other))
        return x

    assert get(1) == get(1) == get(1, MISSING) == get(1, other=MISSING)
    assert len(ran) == 1
    assert get.contains(1)
    get(1, None)
    get(1, 2)
    assert len(ran) == 3
    get(1, object())
    get(1, object())
    assert len(ran) == 5


def test_a_default_generator_is_a_generator() -> None:
    ran = []

    @fleche
    def draw(rng: Any = np.random.default_rng(0)) -> float:  # noqa: B008
        ran.append(1)
        return float(rng.normal())

    assert draw() != draw()
    assert len(ran) == 2


def test_functions_of_numpy_are_cached() -> None:
    mean = fleche(np.mean)
    assert mean(np.arange(3.0)) == 1.0
    assert mean.contains(np.arange(3.0))


def test_a_class_without_a_module() -> None:
    # As sympy makes of a function that is not defined.
    nowhere = type("Nowhere", (Plain,), {"__module__": None})
    assert digest(nowhere(a=1)) == digest(nowhere(a=1)) != digest(nowhere(a=2))
    held = fleche(lambda a: [nowhere(a=a)])
    with cache(Cache(ValueMemory({}), CallMemory({}))):
        assert held(1)[0].a == held(1)[0].a == 1
        assert held.contains(1)
