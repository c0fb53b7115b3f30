"""What type checkers know of decorated functions. Checked, never run."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, assert_type

from fleche import Explanation, Ignored, Required, cache, fleche
from fleche.caches import BaseCache
from fleche.call import Call
from fleche.digest import Digest
from fleche.query import QueryIterator
from fleche.state import BoundWrapper
from fleche.sweeps import Sweep

T = TypeVar("T")


@fleche
def halve(x: int, times: int = 1) -> float:
    return float(x >> times)


assert_type(halve(1), float)
assert_type(halve(1, times=2), float)
assert_type(halve.load(1), float)
assert_type(halve.rerun(1), float)
assert_type(halve.contains(1), bool)
assert_type(halve.digest(1), Digest)
assert_type(halve.explain(1), Explanation)
assert_type(halve.fleche.explain(1, 2).hit, bool)
assert_type(halve.call(1), Call)
assert_type(halve.query(), QueryIterator)
assert_type(halve.query(times=2), QueryIterator)
assert_type(halve.bind(), BoundWrapper[float])
assert_type(halve.bind(1)(), float)
assert_type(halve.map([1, 2], times=range(3)), Sweep[float])
assert_type(halve.map([1], progress=False, errors="return").results(), list[float])
assert_type([result for _, result in halve.fleche.map([1]).as_completed()], list[float])
assert_type(halve.fleche.contains(1, 2), bool)
assert_type(halve.fleche.load(1, 2), float)
assert_type(halve.__wrapped__(1, 2), float)
halve("no number")  # E
halve()  # E
halve.load("no number")  # E
halve.explain("no number")  # E
halve.map(3)  # E
halve.map([1], errors="ignore")  # E
halve.fleche.contains(1, 2, 3)  # E
print(halve.no_such_helper)  # E


@fleche(version=2, ignore="verbose", strict=True)
def named(text: str, *, verbose: Ignored[bool] = False, seed: Required[int] = 0) -> list[str]:
    return [text] * seed


assert_type(named("a", verbose=True, seed=3), list[str])
assert_type(named.load("a", seed=3), list[str])
named("a", verbose="yes")  # E
named("a", seed=None)  # E


def doubled(ignored: Ignored[int], required: Required[str]) -> int:
    assert_type(ignored, int)
    assert_type(required, str)
    return 2 * ignored


class Model:
    @fleche
    def fit(self, steps: int) -> str:
        return str(steps)

    @fleche(version=1)
    def score(self, data: list[float], *, weight: float = 1.0) -> float:
        return weight * sum(data)

    @fleche
    @staticmethod
    def default(size: int) -> bytes:
        return bytes(size)

    @fleche
    @classmethod
    def make(cls, name: str) -> "Model":
        return cls()

    @staticmethod
    @fleche
    def other(size: int) -> bytes:
        return bytes(size)

    @classmethod
    @fleche
    def named(cls, name: str) -> "Model":
        return cls()

    @fleche
    async def fetch(self, url: str) -> bytes:
        return url.encode()


model = Model()
assert_type(model.fit(3), str)
assert_type(model.score([1.0], weight=2.0), float)
assert_type(model.fit.load(model, 3), str)
assert_type(Model.fit.map([model], steps=[1, 2]).results(), list[str])
assert_type(model.score.fleche.contains(model, [1.0]), bool)
assert_type(Model.fit(model, 3), str)
assert_type(Model.fit.load(model, 3), str)
assert_type(Model.default(3), bytes)
assert_type(Model.default.load(3), bytes)
assert_type(model.default.contains(3), bool)
assert_type(model.default(size=3), bytes)
assert_type(Model.other(3), bytes)
assert_type(model.other(3), bytes)
assert_type(Model.named(name="a"), Model)
assert_type(model.named("a"), Model)
assert_type(Model.make.load(Model, "a"), Model)
assert_type(Model.make("a"), Model)
assert_type(model.make("a"), Model)
model.fit("three")  # E
model.fit()  # E
model.fit.load(3)  # E
Model.default("three")  # E
Model.make(1)  # E


def first(items: Sequence[T]) -> T:
    return items[0]


cached_first = fleche(first)
assert_type(cached_first([1]), int)


@fleche(hash_code="deep")
def last(items: Sequence[T]) -> T:
    return items[-1]


assert_type(last(["a"]), str)


def count(kind: type[int], names: list[str]) -> int:
    return len(names)


assert_type(fleche(count)(kind=int, names=[]), int)
as_callable: Callable[[int], float] = halve


@fleche
async def fetch(url: str) -> bytes:
    return url.encode()


async def fetch_twice() -> None:
    assert_type(await fetch("a"), bytes)
    assert_type(fetch.load("a"), bytes)
    assert_type(await fetch.rerun("a"), bytes)
    assert_type(await model.fetch("a"), bytes)
    assert_type(model.fetch.load(model, "a"), bytes)
    coroutine: Coroutine[Any, Any, bytes] = fetch("a")
    assert_type(await coroutine, bytes)
    await fetch(1)  # E


assert_type(cache(), BaseCache)
