"""What may be decorated, and what it comes down to: a function, and arguments for its calls."""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Target:
    """What a decorated callable comes down to.

    A bound method, a `functools.partial` and an instance that is called compute with more than
    what they are called with: as arguments of the function below, two of them never share a call
    by mistake.
    """

    # What users decorated, and see again as `__wrapped__`.
    original: Any
    # What runs, with the arguments that the original adds to each call.
    function: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    # What gives the calls their name, module and version, if not the function.
    named: Any = None

    @property
    def identity(self) -> Any:
        return self.function if self.named is None else self.named

    def adds(self) -> bool:
        return bool(self.args or self.kwargs)

    def positional(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The positional arguments that the function gets.

        Raises:
            TypeError: if gaps are left.
        """
        filled = merged(self.args, args)
        if any(value is placeholder() for value in filled):
            raise TypeError("missing positional arguments in 'partial' call")
        return filled


def unbound(func: Any) -> Target:
    """The function below a callable, and the arguments that the callable adds to each call."""
    if type(func) is functools.partial:
        inner = unbound(func.func)
        args, kwargs = merged(inner.args, func.args), {**inner.kwargs, **func.keywords}
        return Target(func, inner.function, args, kwargs, inner.named)
    if isinstance(func, types.MethodType):
        inner = unbound(func.__func__)
        return Target(func, inner.function, (*inner.args, func.__self__), inner.kwargs, inner.named)
    receiver = getattr(func, "__self__", None)
    if isinstance(func, types.BuiltinMethodType | types.MethodWrapperType) and not (
        receiver is None or isinstance(receiver, types.ModuleType | type)
    ):
        return Target(func, getattr(type(receiver), func.__name__), (receiver,))
    if not hasattr(func, "__qualname__"):
        return Target(func, type(func).__call__, (func,), named=func)
    return Target(func, func)


def placeholder() -> Any:
    """What stands for a gap among a partial's arguments, from Python 3.14 on."""
    return getattr(functools, "Placeholder", _NO_PLACEHOLDER)


_NO_PLACEHOLDER = object()


def merged(held: tuple[Any, ...], given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments that a partial holds, gaps filled with those of a call, and the rest of these."""
    gap = placeholder()
    if not any(value is gap for value in held):
        return held + given
    rest = iter(given)
    filled = [next(rest, gap) if value is gap else value for value in held]
    return (*filled, *rest)
