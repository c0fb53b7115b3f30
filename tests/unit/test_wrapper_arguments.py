"""Arguments of cached calls, and the helpers of cached functions."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import pytest

import fleche as package
from fleche import BoundWrapper, Ignored, Required, cache, fleche, wrap_executor
from fleche.call import Call, QueryCall
from fleche.digest import Indigestible
from fleche.query import QueryIterator

from .calls import Counted, memory_cache


@pytest.fixture(autouse=True)
def active() -> Iterable[Any]:
    held = memory_cache()
    with cache(held):
        yield held


def documented(x: int, y: int = 2) -> float:
    """Divides."""
    return x / y


# Parameters


def test_every_kind_of_parameter() -> None:
    counted = []

    @fleche
    def f(a: int, /, b: int, c: int = 3, *rest: int, d: int, e: int = 5, **more: int) -> Any:
        counted.append(1)
        return a, b, c, rest, d, e, more

    assert f(1, 2, d=4) == f(1, b=2, c=3, d=4, e=5) == (1, 2, 3, (), 4, 5, {})
    assert f(1, 2, 3, 9, d=4, z=1, a=7) == (1, 2, 3, (9,), 4, 5, {"z": 1, "a": 7})
    assert len(counted) == 2
    assert f.call(1, 2, 3, 9, d=4, a=7).arguments == {
        "a": 1,
        "b": 2,
        "c": 3,
        "rest": (9,),
        "d": 4,
        "e": 5,
        "more": {"a": 7},
    }


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"nope": 1}), ((1,), {"x": 2})],
)
def test_arguments_that_do_not_fit(args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    f = fleche(documented)
    with pytest.raises(TypeError) as ours:
        f(*args, **kwargs)
    with pytest.raises(TypeError) as python:
        documented(*args, **kwargs)
    assert str(ours.value) == str(python.value)
    for helper in (f.call, f.digest, f.load, f.contains):
        with pytest.raises(TypeError):
            helper(*args, **kwargs)


def test_a_positional_only_name_is_free_for_keywords() -> None:
    @fleche
    def f(x: int, /, **more: int) -> Any:
        return x, more

    assert f(1, x=2) == f(1, x=2) == (1, {"x": 2})


def test_a_mutable_default_counts_as_it_is_at_the_call() -> None:
    @fleche
    def f(held: list[int] = []) -> int:  # noqa: B006 (on purpose)
        held.append(len(held))
        return len(held)

    assert [f(), f(), f()] == [1, 2, 3]
    assert f.query().count() == 3


@pytest.mark.parametrize(
    "annotation",
    [
        Ignored,
        Ignored[int],
        Annotated[int, Ignored],
        Annotated[int, "text", Ignored],
        "Ignored[int]",
    ],
)
def test_ignored_arguments(annotation: Any) -> None:
    def f(x: int, noise: Any = 0) -> int:
        return x

    f.__annotations__["noise"] = annotation
    g = fleche(f)
    assert g(1, noise=object()) == g(1) == 1
    assert list(g.call(1, noise=2).arguments) == ["x"]
    assert g.query().only().arguments.keys() == {"x"}


def test_ignored_by_name_and_for_variable_arguments() -> None:
    @fleche(ignore=("x", "rest"))
    def f(x: Any, y: int, *rest: Any, **more: Ignored[Any]) -> int:
        return y

    assert f(object(), 1, object(), z=object()) == 1
    assert list(f.call(0, 1, 2, z=3).arguments) == ["y"]


@pytest.mark.parametrize(
    "annotation", [Required, Required[int], Annotated[int, Required], "Required[int]"]
)
def test_required_arguments(annotation: Any, caplog: pytest.LogCaptureFixture) -> None:
    def f(x: int, seed: Any = 0) -> int:
        return x + seed

    f.__annotations__["seed"] = annotation
    g = fleche(f)
    assert g(1) == 1
    assert "Missing required keyword arguments for caching: ['seed']" in caplog.text
    assert g.query().empty()
    assert g(1, 0) == g(1, seed=0) == 1
    assert g.query().count() == 1
    caplog.clear()
    assert g.rerun(1) == 1
    assert "Missing required" in caplog.text


def test_required_on_a_positional_only_parameter_warns_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @fleche
    def f(x: Required[int], /) -> int:
        return x

    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "'x' is marked as Required but is positional-only" in record.getMessage()
    assert f(1) == 1


def test_one_unknown_name_does_not_hide_the_other_markers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def f(x: NoSuch, noise: Ignored[int] = 0, other: NoSuch[Ignored] = 0) -> int:  # noqa: F821
        return noise

    g = fleche(f)
    assert g(1, noise=1) == g(1, noise=2) == 1
    assert "parameter 'other'" in caplog.text


# Helpers


def test_helpers_do_not_run_the_function() -> None:
    counted = Counted(lambda x: x * 2)
    f = fleche(counted.function)
    assert not f.contains(1)
    with pytest.raises(KeyError) as missing:
        f.load(1)
    assert missing.value.args == (f.digest(1),)
    assert f.call(1).to_lookup_key() == f.digest(1)
    assert counted.calls == 0
    assert f(1) == f.load(1) == 2
    assert f.contains(1)
    assert isinstance(f.query(1), QueryIterator)
    assert f.query(1).only().result == 2
    assert f.query(2).empty()
    assert f.query().count() == 1


def test_helpers_raise_what_is_indigestible(caplog: pytest.LogCaptureFixture) -> None:
    f = fleche(documented)
    for helper in (f.digest, f.contains, f.load):
        with pytest.raises(Indigestible):
            helper(object())
    assert f.query(object()).empty()


def test_query_by_metadata() -> None:
    f = fleche(documented)
    with package.tags(sample="A"):
        f(1)
    with package.tags(sample="B"):
        f(2)
    assert f.query(metadata={"tags": {"sample": "A"}}).only().arguments["x"] == 1
    assert f.query(metadata={"runtime": {}}).count() == 2


PARAMETERS = [
    *("self", "cls", "args", "kwargs", "func", "function", "key", "cache", "metadata", "call"),
    *("template", "name", "module", "version", "arguments", "result", "typed", "value", "doc"),
    *("required", "as_they_are", "scheme", "digests", "error", "fn", "timeout", "meta", "wrapper"),
]


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("form", ["{}, other=1", "*, {}=0", "{}=0", "{}, /, **more", "**{}"])
def test_a_parameter_may_have_any_name(name: str, form: str) -> None:
    names: dict[str, Any] = {}
    exec(f"def f({form.format(name)}): return [1]", names)
    f = fleche(names["f"])
    given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {name: {"a": [1]}})
    if "/" in form:
        given = (({"a": [1]},), {"key": 1, "cache": 2})
    args, kwargs = given
    assert not f.contains(*args, **kwargs)
    f.bind(*args, **kwargs)()
    assert f.contains(*args, **kwargs)
    assert f.load(*args, **kwargs) == f.rerun(*args, **kwargs) == f(*args, **kwargs) == [1]
    assert f.call(*args, **kwargs).arguments == Call.from_call(f, *args, **kwargs).arguments
    assert f.call(*args, **kwargs).to_lookup_key() == f.digest(*args, **kwargs)
    if form != "**{}" or name != "metadata":
        assert f.query(*args, **kwargs).count() == 1
        assert "/" in form or f.query(*args, **{**kwargs, name: "other"}).empty()
        assert QueryCall.from_call(f, *args, **kwargs).matches(f.query().only())
    with wrap_executor(ThreadPoolExecutor(1)) as pool:
        assert pool.submit(f, *args, **kwargs).result() == [1]
    assert f.query().count() == 1


def test_rerun_replaces_it_and_what_it_calls() -> None:
    runs: list[str] = []

    @fleche(hash_code=False)
    def inner(x: int) -> int:
        runs.append("inner")
        return len(runs)

    @fleche(hash_code=False)
    def outer(x: int) -> list[int]:
        runs.append("outer")
        return [inner(x), inner(x)]

    assert outer(1) == [2, 2]
    assert outer(1) == [2, 2]
    assert outer.rerun(1) == [4, 5]
    assert outer(1) == [4, 5]
    assert inner(1) == 5
    assert runs == ["outer", "inner", "outer", "inner", "inner"]


def test_bind_carries_cache_and_metadata() -> None:
    f = fleche(documented)
    with package.tags(sample="A"):
        bound = f.bind(6, y=3)
    assert isinstance(bound, BoundWrapper)
    with cache("void"):
        assert bound() == 2.0
    assert f.query(metadata={"tags": {"sample": "A"}}).only().result == 2.0
    assert f.bind().func is f
