"""Cached calls on executors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from fleche import state as state

__all__ = ["wrap_executor"]

_E = TypeVar("_E")

logger = logging.getLogger("fleche")


def wrap_executor(executor: _E) -> _E:
    """Make an executor's `submit` aware of cached functions.

    From then on, a call whose result is in the active cache comes back as a finished future, and
    nothing is sent. Everything else runs with the cache and metadata that are active at the time of
    submission, in whatever thread or process it lands.

    Args:
        executor: Any object with a `submit(func, *args, **kwargs)` that can be set on the
            instance; keyword-only parameters of that method stay its own. Wrapping an executor
            once more changes nothing.

    Returns:
        The same executor.

    Raises:
        AttributeError: The executor has no `submit`, or it cannot be set.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from fleche import wrap_executor
    >>> with wrap_executor(ThreadPoolExecutor(1)) as pool:
    ...     pool.submit(abs, -2).result()
    2
    """
    original: Callable[..., Any] = executor.submit  # type: ignore[attr-defined]
    if getattr(original, "__fleche_submit__", False):
        return executor

    from concurrent.futures import Future
    from functools import partial

    from fleche.state import BoundWrapper

    own_keywords = _keyword_only(original)

    def submit(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        own = {key: kwargs.pop(key) for key in own_keywords & kwargs.keys()}
        if isinstance(func, BoundWrapper):
            return original(func, *args, **kwargs, **own)
        decorated, receiver = _decorated(func)
        if decorated is None:
            return original(BoundWrapper.bind(func), *args, **kwargs, **own)
        hit, result = _look_up(decorated, (*receiver, *args), kwargs)
        if hit:
            done: Future[Any] = Future()
            done.set_result(result)
            return done
        # One argument, so that no name of the function's own meets one of the executor's.
        return original(BoundWrapper.bind(partial(func, *args, **kwargs)), **own)

    submit.__fleche_submit__ = True  # type: ignore[attr-defined]
    executor.submit = submit  # type: ignore[attr-defined]
    return executor


def _keyword_only(function: Callable[..., Any]) -> frozenset[str]:
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled ones may not tell
        return frozenset()
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def _decorated(func: Callable[..., Any]) -> tuple[Any, tuple[Any, ...]]:
    """The cached function behind `func`, or `None`, and the receiver if `func` is bound to one."""
    from types import FunctionType, MethodType

    receiver: tuple[Any, ...] = ()
    if isinstance(func, MethodType):
        # The helpers of a cached method take the receiver as their first argument.
        receiver = (func.__self__,)
        func = func.__func__
    if isinstance(func, FunctionType) and hasattr(getattr(func, "fleche", None), "load"):
        return func, receiver
    return None, ()


def _look_up(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    from fleche.digest import Indigestible

    try:
        return True, func.fleche.load._explicit(*args, **kwargs)
    except (KeyError, Indigestible):
        return False, None
    except TypeError:  # the arguments do not fit: said here, not in the worker
        raise
    except Exception:
        # The worker meets the same trouble, warns about it and computes.
        logger.debug("Looking up %s before submission failed", func.__qualname__, exc_info=True)
        return False, None
