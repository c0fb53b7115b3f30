"""A decorated function: a plain function that hands its calls to the core, with its helpers."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche.wrapper.calls import CachedCalls
from fleche.wrapper.helpers import helpers_of
from fleche.wrapper.options import Options
from fleche.wrapper.targets import unbound

if TYPE_CHECKING:
    from fleche.wrapper.iterated import IteratedCalls


def decorated(func: Any, options: Options) -> Any:
    """A function whose calls are cached.

    Args:
        func: any callable, or a static or class method.
        options: what it is decorated with.

    Raises:
        TypeError: if it is no callable.
        ValueError: if an option names a parameter that it does not have.
    """
    if isinstance(func, staticmethod | classmethod):
        # Decorated below, so that the descriptor still binds as it should.
        return type(func)(decorated(func.__func__, options))
    if not callable(func):
        what = type(func).__name__
        raise TypeError(
            f"fleche decorates a callable, not a {what}; its options are keyword arguments"
        )
    return _wrapper(CachedCalls(unbound(func), options))


def _entry(calls: CachedCalls) -> Callable[..., Any]:
    """What is called in the place of the function: as little as its kind allows."""
    target = calls.target
    if calls.iterated is not None:
        return _iterating(calls, calls.iterated)
    if calls.awaited is not None:

        async def awaiting(*args: Any, **kwargs: Any) -> Any:
            if target.adds():
                args, kwargs = target.positional(args), {**target.kwargs, **kwargs}
            return await calls.run_awaited(args, kwargs)

        return awaiting
    if target.adds():

        def filling(*args: Any, **kwargs: Any) -> Any:
            return calls.run(target.positional(args), {**target.kwargs, **kwargs})

        return filling

    def calling(*args: Any, **kwargs: Any) -> Any:
        return calls.run(args, kwargs)

    return calling


def _iterating(calls: CachedCalls, iterated: IteratedCalls) -> Callable[..., Any]:
    """As `_entry`, of what is iterated over."""
    target = calls.target

    def given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not target.adds():
            return calls.run, args, kwargs
        return calls.run, target.positional(args), {**target.kwargs, **kwargs}

    if inspect.isasyncgenfunction(target.function):
        from fleche.wrapper.coroutines import iterate

        async def iterating_async(*args: Any, **kwargs: Any) -> Any:
            source: Any = iterate(iterated, *given(args, kwargs))
            try:
                async for item in source:
                    if (yield item) is not None:
                        raise TypeError("what is iterated over takes nothing that is sent to it")
            finally:
                await source.aclose()

        return iterating_async
    if inspect.isgeneratorfunction(target.function):

        def iterating(*args: Any, **kwargs: Any) -> Any:
            return (yield from iterated.call(*given(args, kwargs)))

        return iterating

    def making_iterator(*args: Any, **kwargs: Any) -> Any:
        return iterated.call(*given(args, kwargs))

    return making_iterator


def _wrapper(calls: CachedCalls) -> Callable[..., Any]:
    target, version = calls.target, calls.options.version
    wrapper = _entry(calls)
    # First of its attributes: where the function is pickled by value, it is read before it goes.
    own = _core.DecoratedDigest(target.original, version)
    wrapper.__digest__ = own  # type: ignore[attr-defined]
    functools.update_wrapper(wrapper, target.function)
    if target.named is not None:
        kind = type(target.named)
        wrapper.__name__, wrapper.__qualname__ = kind.__name__, kind.__qualname__
        wrapper.__module__, wrapper.__doc__ = kind.__module__, kind.__doc__
    wrapper.__wrapped__ = target.original  # type: ignore[attr-defined]
    if version is not None:
        wrapper.__version__ = version  # type: ignore[attr-defined]
    wrapper.__digest__ = own  # type: ignore[attr-defined]
    if isinstance(wrapper.__module__, str):
        _core.note_function_module(wrapper.__module__)
    namespace = types.SimpleNamespace()
    wrapper.fleche = namespace  # type: ignore[attr-defined]

    def decorate(options: Options) -> Callable[..., Any]:
        return _wrapper(CachedCalls(target, options))

    for helper in helpers_of(calls, wrapper, decorate):
        setattr(namespace, helper.__name__, helper)
        setattr(wrapper, helper.__name__, helper)
    return wrapper
