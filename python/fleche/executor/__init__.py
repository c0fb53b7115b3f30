"""Cached calls on executors.

`futures` knows futures of several kinds, here is what `submit` becomes. It may import the decorator
and what is below.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from fleche import state as state
from fleche._foundation.log import logger_of
from fleche.wrapper.targets import merged

__all__ = ["wrap_executor"]

_E = TypeVar("_E")

logger = logger_of("fleche")


def wrap_executor(executor: _E) -> _E:
    """Make an executor's `submit` aware of cached functions.

    From then on, a call whose result is in the active cache comes back as a finished future, and
    nothing is sent. Everything else runs with the cache and metadata that are active at the time of
    submission, in whatever thread or process it lands.

    Futures among the arguments of a cached function, in plain containers too, stand for their
    results: the call is looked up and submitted when all of them are done. Submitting never waits.

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

    from concurrent.futures import Executor

    submit = _Submit(executor, original)
    executor.submit = submit  # type: ignore[attr-defined]
    if isinstance(executor, Executor):
        executor.shutdown = submit.before(executor.shutdown)  # type: ignore[method-assign]
    return executor


def own_submit(executor: Any) -> Callable[..., Any]:
    """An executor's own `submit`, also of one that was wrapped, for calls that are all different.

    Args:
        executor: any object with a `submit(func, *args, **kwargs)`.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with wrap_executor(ThreadPoolExecutor(1)) as pool:
    ...     own_submit(pool)(abs, -2).result()
    2
    """
    submit: Callable[..., Any] = executor.submit
    if isinstance(submit, _Submit):
        submit = submit._original
    if "pure" not in _keyword_only(submit):
        return submit
    from functools import partial

    # A client of dask's, which else takes the digests of function and arguments.
    return partial(submit, pure=False)


class _Submit:
    """The `submit` of an executor that was wrapped."""

    __fleche_submit__ = True

    def __init__(self, executor: Any, original: Callable[..., Any]) -> None:
        self._original = original
        self._own_keywords = _keyword_only(original)
        # Futures that the executor itself looks for among the arguments.
        self._theirs = _own_futures(executor)
        # What is to be submitted when its arguments are done.
        self._waiting: set[Any] = set()

    def __call__(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        from functools import partial

        from fleche.executor.futures import Known, futures_in, itself

        own = {key: kwargs.pop(key) for key in self._own_keywords & kwargs.keys()}
        bound = isinstance(func, state.BoundWrapper)
        call = _cached_call(getattr(func, "func", None) if bound else func, args, kwargs)
        if call is None:
            return self._original(_bound(func), *args, **kwargs, **own)
        has_theirs = self._theirs is not None and any(futures_in(call, self._theirs))
        if not bound and not has_theirs:
            hit, result = _look_up(*call)
            if hit and self._theirs is None:
                return Known(result)
            if hit:
                return self._original(itself, result, **{**own, "pure": False})
        if futures := [*futures_in(call)]:
            return self._later(futures, func, call, own)
        if has_theirs:
            function, *arguments = call
            return self._original(_bound(func, partial(_spread, function)), *arguments, **own)
        if bound:
            return self._original(func, *args, **kwargs, **own)
        # One argument, so that no name of the function's own meets one of the executor's.
        return self._original(_bound(partial(func, *args, **kwargs)), **own)

    def _later(self, futures: list[Any], func: Any, call: Any, own: dict[str, Any]) -> Any:
        """The future of a call that is submitted when the futures among its arguments are done."""
        from concurrent.futures import BrokenExecutor

        from fleche.executor.futures import Known, Later, with_results

        function, *arguments = call
        if isinstance(func, state.BoundWrapper):
            function = _bound(func, function)

        def go() -> Any:
            args, kwargs = map(with_results, arguments)
            try:
                return self(function, *args, **kwargs, **own)
            except BrokenExecutor:
                raise
            except RuntimeError:
                # Shut down meanwhile; what was submitted before that runs all the same.
                return Known(function(*args, **kwargs))

        later = Later(futures, go)
        self._waiting.add(later)
        later.add_done_callback(self._waiting.discard)
        return later

    def before(self, shutdown: Callable[..., None]) -> Callable[..., None]:
        """An executor's `shutdown` that waits for what is submitted later, too."""

        def patient(wait: bool = True, **options: Any) -> None:
            from concurrent.futures import wait as wait_for

            if options.get("cancel_futures"):
                for later in tuple(self._waiting):
                    later.cancel()
            while wait and (left := tuple(self._waiting)):
                wait_for(left)
            shutdown(wait, **options)

        return patient


def _bound(func: Any, instead: Any = None) -> Any:
    """A callable with the cache and metadata of here, or with those that it is bound to, which
    another one may get."""
    if not isinstance(func, state.BoundWrapper):
        return state.BoundWrapper.bind(func if instead is None else instead)
    return func if instead is None else state.BoundWrapper(instead, func.cache, func.meta)


def _spread(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


def _own_futures(executor: Any) -> Any:
    """The class of an executor's futures, if it is one that others of them are no match for."""
    distributed = sys.modules.get("distributed")
    client = getattr(distributed, "Client", None)
    return getattr(distributed, "Future", None) if client and isinstance(executor, client) else None


def _keyword_only(function: Callable[..., Any]) -> frozenset[str]:
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled ones may not tell
        return frozenset()
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def _cached_call(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]] | None:
    """The cached function behind `func`, if there is one, and the arguments that it gets."""
    from functools import partial
    from inspect import CO_COROUTINE
    from types import FunctionType, MethodType

    while type(func) is partial:
        args, kwargs = merged(func.args, args), {**func.keywords, **kwargs}
        func = func.func
    if isinstance(func, MethodType):
        # The helpers of a cached method take the receiver as their first argument.
        args, func = (func.__self__, *args), func.__func__
    if isinstance(func, FunctionType) and hasattr(getattr(func, "fleche", None), "load"):
        # A call of a coroutine function gives a coroutine, whatever the cache holds.
        return None if func.__code__.co_flags & CO_COROUTINE else (func, args, kwargs)
    return None


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
