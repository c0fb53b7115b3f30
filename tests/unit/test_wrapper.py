"""What may be decorated, with which options."""

from __future__ import annotations

import functools
import inspect
import logging
import operator
import threading
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fleche import BoundWrapper, cache, fleche
from fleche.call import Call
from fleche.digest import Digest, digest

from .calls import Counted, memory_cache


@pytest.fixture(autouse=True)
def active() -> Iterable[Any]:
    held = memory_cache()
    with cache(held):
        yield held


# What a decorated function is to other tools


def documented(x: int, y: int = 2) -> float:
    """Divides."""
    return x / y


def test_a_decorated_function_is_a_function_like_the_one_it_wraps() -> None:
    f = fleche(documented)
    assert inspect.isfunction(f)
    assert f.__wrapped__ is documented
    assert (f.__name__, f.__qualname__, f.__module__, f.__doc__) == (
        documented.__name__,
        documented.__qualname__,
        documented.__module__,
        documented.__doc__,
    )
    assert inspect.signature(f) == inspect.signature(documented)
    assert digest(f) == digest(documented) == f.__digest__()


@pytest.mark.parametrize("decorate", [fleche, fleche(), fleche(None), fleche(version=3)])
def test_with_and_without_parentheses(decorate: Any) -> None:
    f = decorate(Counted(lambda x: x + 1).function)
    assert f(1) == f(1) == 2


def test_helpers_are_attributes_and_in_the_namespace() -> None:
    f = fleche(documented)
    names = ["call", "digest", "query", "load", "contains", "explain", "rerun", "bind"]
    names += ["fresh", "running", "stats", "map"]
    assert isinstance(f.fleche, types.SimpleNamespace)
    assert list(vars(f.fleche)) == names
    for name in names:
        helper = getattr(f, name)
        assert helper is getattr(f.fleche, name)
        assert helper.__name__ == name
        assert helper.__qualname__ == f"documented.{name}"
        assert helper.__module__ == documented.__module__
        assert helper.__doc__
        assert inspect.isfunction(helper)


def test_helpers_have_return_annotations_of_their_own() -> None:
    f = fleche(documented)
    returns = {name: helper.__annotations__["return"] for name, helper in vars(f.fleche).items()}
    assert returns["call"] is Call
    assert returns["digest"] is Digest
    assert returns["contains"] is bool
    assert returns["bind"] is BoundWrapper
    assert returns["load"] == returns["rerun"] == documented.__annotations__["return"]


def test_what_is_no_callable_is_refused() -> None:
    with pytest.raises(TypeError, match="decorates a callable, not a int"):
        fleche(1)


def test_a_decorated_function_may_be_decorated_again() -> None:
    counted = Counted(lambda x: -x)
    f = fleche(fleche(counted.function), version=2)
    assert f(1) == f(1) == -1
    assert f.call(1).version == 2
    assert counted.calls == 1


# Options


def test_unknown_names_are_refused_at_decoration() -> None:
    with pytest.raises(ValueError, match=r"ignore='z'.*no such parameter; it has x, y"):
        fleche(documented, ignore="z")
    with pytest.raises(ValueError, match="require='z'"):
        fleche(documented, require=["x", "z"])


def test_a_required_name_may_be_among_any_keywords() -> None:
    @fleche(require="seed")
    def f(**options: int) -> int:
        return sum(options.values())

    assert f(seed=1) == 1
    assert f.contains(seed=1)
    assert not f.contains(n=1)


def test_a_version_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match=r"version=\.\.\.\) takes a str or an int, not a object"):
        fleche(documented, version=object())


def test_versions_of_one_function_do_not_mix() -> None:
    counted = Counted(lambda x: x)
    first, second = (fleche(counted.function, version=n) for n in (1, 2))
    first(0), second(0)
    assert counted.calls == 2
    assert (first.call(0).version, second.call(0).version) == (1, 2)
    assert not hasattr(counted.function, "__version__")
    assert first.__version__ == 1


def test_the_version_comes_from_function_or_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(x: int) -> int:
        return x

    f.__version__ = "own"
    assert fleche(f).call(1).version == "own"
    assert fleche(np.sin).call(1.0).version == np.__version__
    assert fleche(len).call([]).version.startswith("3.")


@pytest.mark.parametrize(("held", "version"), [(7, 7), ((1, 2), "(1, 2)"), (types, None)])
def test_odd_package_versions(
    monkeypatch: pytest.MonkeyPatch, held: object, version: object
) -> None:
    module = types.ModuleType("odd_package")
    module.__version__ = held
    monkeypatch.setitem(__import__("sys").modules, "odd_package", module)

    def f(x: int) -> int:
        return x

    f.__module__ = "odd_package.inner"
    g = fleche(f)
    assert g.call(1).version == version
    assert g(1) == g(1) == 1


def test_what_counts_in_the_key_can_be_switched_off() -> None:
    def f(x: int) -> int:
        return x

    plain = fleche(version=1, hash_code=False)(f).call(0)
    assert (plain.module, plain.version, plain.code_digest) == (__name__, 1, None)
    bare = fleche(version=1, hash_version=False, hash_module=False)(f)
    assert (bare.call(0).module, bare.call(0).version) == (None, None)
    bare(0)
    assert bare.query(0).count() == 1
    assert fleche(hash_code=True)(f).call(0).code_digest == digest(f)


def test_a_query_finds_the_calls_of_this_version_only() -> None:
    counted = Counted(lambda x: x)
    first, second = (fleche(counted.function, version=n) for n in (1, 2))
    first(0), second(0)
    assert first.query().only().version == 1
    assert second.query(0).only().version == 2


def adder(n: int) -> Any:
    @fleche(hash_code=True)
    def add(x: int) -> int:
        return x + n

    return add


def test_hash_code_tells_closures_apart() -> None:
    assert adder(1)(10) == 11
    assert adder(2)(10) == 12
    assert adder(1).digest(10) == adder(1).digest(10) != adder(2).digest(10)


def test_hash_code_of_a_recursive_function() -> None:
    @fleche(hash_code=True)
    def fib(n: int) -> int:
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    assert fib(30) == 832040


def test_hash_code_with_something_indigestible_captured(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lock = object()

    @fleche(hash_code=True)
    def f(x: int) -> Any:
        return x if lock else None

    assert f(1) == f(1) == 1
    assert len(caplog.messages) == 2
    assert "captured variable lock: a builtins.object" in caplog.messages[0]


def test_typed_calls_count_by_type_deeply() -> None:
    counted = Counted(lambda x: [x])
    f = fleche(typed=True)(counted.function)
    for value in (1, 1.0, True, [1], [1.0], {"a": 1, "b": 2}, {"b": 2, "a": 1}):
        assert repr(f(value)) == repr(f(value)) == repr([value])
    assert counted.calls == 7
    assert f.contains(1.0)
    assert f.query(1.0).count() == 1
    assert f.load(1.0) == [1.0]


def test_untyped_calls_count_by_equality() -> None:
    counted = Counted(repr)
    f = fleche(counted.function)
    assert f(1) == f(1.0) == f(np.float64(1)) == f(np.int8(1)) == "1"
    assert f([1, {"a": 2}]) == f([1.0, {"a": 2.0}])
    assert f(True) == "True"
    assert counted.calls == 3


# Which callables


def test_lambdas_builtins_and_ufuncs() -> None:
    assert fleche(lambda x: x * 2)(4) == 8
    assert fleche(len)([1, 2]) == 2
    assert fleche(max)(1, 5, 2) == 5
    assert fleche(max).call(1, 5).arguments == {"args": (1, 5), "kwargs": {}}
    assert fleche(int)("12") == 12
    assert fleche(np.sin)(0.0) == 0.0
    assert fleche(operator.add)(1, 2) == 3


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __digest__(self) -> Digest:
        return digest(("Scale", self.factor))

    def __call__(self, x: int) -> int:
        return self.factor * x

    def times(self, x: int) -> int:
        return self.factor * x

    @classmethod
    def name(cls, x: int) -> str:
        return f"{cls.__name__}{x}"


class Named(Scale):
    pass


def test_bound_methods_of_two_receivers_do_not_mix() -> None:
    two, three = fleche(Scale(2).times), fleche(Scale(3).times)
    assert (two(5), three(5), two(5), three(5)) == (10, 15, 10, 15)
    assert two.call(5).name == "Scale.times"
    assert list(two.call(5).arguments) == ["self", "x"]
    assert list(inspect.signature(two).parameters) == ["x"]
    assert digest(two) == digest(Scale(2).times)


def test_bound_methods_of_classes_do_not_mix() -> None:
    assert fleche(Scale.name)(1) == "Scale1"
    assert fleche(Named.name)(1) == "Named1"
    assert fleche(Scale.name)(1) == "Scale1"


def test_bound_builtin_methods_do_not_mix() -> None:
    assert fleche([1, 1].count)(1) == 2
    assert fleche([1].count)(1) == 1
    assert fleche((5).__add__)(1) == 6
    assert fleche((6).__add__)(1) == 7
    assert fleche({"a": 1}.get)("a") == 1
    assert fleche({"a": 2}.get)("a") == 2


def test_partials_do_not_mix() -> None:
    runs = []

    def subtract(x: int, y: int) -> int:
        runs.append((x, y))
        return x - y

    ten, twenty = (fleche(functools.partial(subtract, n)) for n in (10, 20))
    assert (ten(1), twenty(1), ten(1)) == (9, 19, 9)
    assert runs == [(10, 1), (20, 1)]
    assert ten.load(1) == 9
    assert list(inspect.signature(ten).parameters) == ["y"]
    assert ten.query().only().result == 9


def test_partials_of_partials_and_keywords() -> None:
    def f(a: int, b: int, *, c: int = 0) -> tuple[int, int, int]:
        return a, b, c

    inner = functools.partial(f, 1, c=5)
    outer = fleche(functools.partial(inner, 2))
    assert outer() == (1, 2, 5)
    assert outer(c=6) == (1, 2, 6)
    assert outer.call(c=6).arguments == {"a": 1, "b": 2, "c": 6}
    assert outer.contains()


def test_partials_with_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    # As Python 3.14 has them; older ones take them for arguments, which nobody asks here.
    gap = getattr(functools, "Placeholder", object())
    monkeypatch.setattr(functools, "Placeholder", gap, raising=False)

    def subtract(x: int, y: int, z: int = 0) -> int:
        return x - y - z

    less_two = fleche(functools.partial(subtract, gap, 2, 0))
    assert less_two(10) == less_two(10) == 8
    assert less_two.call(10).arguments == {"x": 10, "y": 2, "z": 0}
    assert less_two.query().count() == 1
    with pytest.raises(TypeError, match="missing positional arguments in 'partial' call"):
        less_two()


def test_instances_do_not_mix_and_are_named_by_their_class() -> None:
    two, three = fleche(Scale(2)), fleche(Scale(3))
    assert (two(5), three(5), two(5)) == (10, 15, 10)
    assert two.call(5).name == two.__name__ == "Scale"
    assert list(inspect.signature(two).parameters) == ["x"]


class Silent:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, x: int) -> int:
        return x


def test_an_instance_without_digest_is_never_cached(caplog: pytest.LogCaptureFixture) -> None:
    f = fleche(Silent())
    assert f(1) == f(1) == 1
    assert "No hash for argument: 'self' of Silent (self.lock: a _thread.lock)" in caplog.text
    assert f.query().empty()


class Methods:
    factor = 3

    def __digest__(self) -> Digest:
        return digest(self.factor)

    @fleche
    def method(self, x: int) -> int:
        return self.factor * x

    @fleche
    @staticmethod
    def below_static(x: int) -> int:
        return x + 1

    @staticmethod
    @fleche
    def above_static(x: int) -> int:
        return x + 2

    @fleche
    @classmethod
    def below_class(cls, x: int) -> str:
        return f"{cls.__name__}{x}"

    @classmethod
    @fleche
    def above_class(cls, x: int) -> str:
        return f"{cls.__name__}{x}"

    @fleche
    def super_method(self, x: int) -> int:
        return x


class Child(Methods):
    @fleche
    def super_method(self, x: int) -> int:
        return super().super_method(x) + 100


def test_methods() -> None:
    one, other = Methods(), Methods()
    other.factor = 5
    assert (one.method(2), other.method(2), one.method(2)) == (6, 10, 6)
    assert one.method.call(one, 2).arguments == {"self": one, "x": 2}
    assert Methods.method.contains(other, 2)
    assert Child().super_method(1) == Child().super_method(1) == 101


@pytest.mark.parametrize("owner", [Methods, Methods()])
def test_static_methods(owner: Any) -> None:
    assert owner.below_static(1) == owner.below_static(1) == 2
    assert owner.above_static(1) == owner.above_static(1) == 3
    assert owner.above_static.contains(1)
    assert owner.below_static.contains(1)


def test_class_methods_keep_classes_apart() -> None:
    assert (Methods.below_class(1), Child.below_class(1)) == ("Methods1", "Child1")
    assert (Methods().above_class(1), Child().above_class(1)) == ("Methods1", "Child1")
    assert Child.below_class(1) == "Child1"


@fleche
@dataclass
class Point:
    x: int
    y: int = 0


def test_a_class() -> None:
    assert Point(1).x == 1
    assert Point.contains(1)
    assert Point(1) == Point(1, 0)
    assert Point(1) is not Point(1)


def test_hits_and_misses_are_told_at_level_debug(caplog):
    @fleche
    def square(x):
        return x * x

    with cache(memory_cache()):
        # Asked before, and remembered by the logger, that nobody listens.
        square(2)
        square(2)
        assert not caplog.records
        with caplog.at_level(logging.DEBUG, "fleche"):
            square(3)
            square(3)
        key = square.digest(3)
        square(3)
    told = [record.getMessage() for record in caplog.records if record.name == "fleche"]
    name = square.__qualname__
    assert told == [
        f"Cache miss for {name} with key {key}",
        f"Saving result for {name} with key {key}",
        f"Cache hit for {name} with key {key}",
    ]
