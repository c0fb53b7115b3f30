"""Cached functions, in a module that workers import."""

from typing import Any

from observed import ran

from fleche import fleche


@fleche
def doubled(x: Any) -> Any:
    ran(f"doubled {x}")
    return 2 * x


@fleche
def summed(a: int, b: int) -> int:
    ran(f"summed {a} {b}")
    return a + b


@fleche
def collected(values: Any) -> Any:
    ran("summed")
    return [repr(values)]


def plain(x: Any) -> Any:
    return ["plain", x]


def chain(x: int) -> int:
    return summed(doubled(x), 1)
