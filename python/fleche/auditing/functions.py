"""The functions of stored calls, found by their names, and run again on stored arguments."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fleche.caches import Cache
from fleche.call import LazyCall
from fleche.call.outcomes import Items, Outcome
from fleche.digest import Digest
from fleche.state import cache as set_cache
from fleche.storage.void import CallVoid, ValueVoid
from fleche.wrapper import fleche
from fleche.wrapper.isolated import fresh_directory
from fleche.wrapper.pending import is_future

if TYPE_CHECKING:
    from fleche.wrapper.calls import CachedCalls

__all__ = ["NotRun", "arguments_of", "calls_named", "calls_of", "is_of_today", "run"]


class NotRun(Exception):
    """A call cannot be run again; its text says why."""


def calls_of(function: Any) -> CachedCalls:
    """What a function does that is decorated, or would do if it were.

    Raises:
        TypeError: if it is no function.
    """
    if isinstance(function, staticmethod | classmethod):
        function = function.__func__
    decorated: Any = function if hasattr(function, "fleche") else fleche(function)
    calls: CachedCalls = decorated.fleche.call._calls
    return calls


def calls_named(module: str | None, name: str) -> CachedCalls:
    """The function of this name, imported.

    Raises:
        NotRun: if there is none, or it cannot be imported.
    """
    if module is None:
        raise NotRun("its module is not recorded")
    if module == "__main__":
        raise NotRun("it is of a script, a notebook or a prompt")
    if "<" in name:
        raise NotRun("it is made within another function, or a lambda")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        raise NotRun(f"its module cannot be imported ({error!r})") from error
    for part in name.split("."):
        try:
            found = inspect.getattr_static(found, part)
        except AttributeError:
            raise NotRun(f"there is no {name} in {module} any longer") from None
    if isinstance(found, type):
        # So calls of instances are named.
        found = inspect.getattr_static(found, "__call__", found)
    try:
        return calls_of(found)
    except Exception as error:
        raise NotRun(f"it is no function any longer ({error})") from error


def is_of_today(calls: CachedCalls, record: Any) -> bool:
    """Whether a record is of a function as it is today: only then calls hit it."""
    _, _, version, code = calls.core.identity()
    return bool(record.version == version and record.code_digest == code)


def arguments_of(calls: CachedCalls, call: LazyCall) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a stored call, as its function takes them.

    Raises:
        NotRun: if one is not stored, or the function takes others today.
    """
    held = _values(call)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in calls.signature.parameters.items():
        if name not in held:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if parameter.default is parameter.empty:
                why = "is ignored, and not stored" if name in calls.ignored else "is new"
                raise NotRun(f"its argument {name!r} {why}")
            if name not in calls.ignored:
                raise NotRun(f"its argument {name!r} is new")
            held[name] = parameter.default
        value = held.pop(name)
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(value)
        elif parameter.kind is parameter.VAR_KEYWORD:
            named.update(value)
        elif parameter.kind is parameter.KEYWORD_ONLY:
            named[name] = value
        else:
            positional.append(value)
    if held:
        raise NotRun(f"it has no argument {min(held)!r} any longer")
    return tuple(positional), named


def _values(call: LazyCall) -> dict[str, Any]:
    held: dict[str, Any] = {}
    for name, digest in call._arguments.items():
        try:
            held[name] = call.arguments[name]
        except Exception as error:
            raise NotRun(f"its argument {name!r} cannot be read ({error})") from error
        if isinstance(digest, Digest) and held[name] is digest:
            raise NotRun(f"its argument {name!r} is not stored")
    return held


def run(calls: CachedCalls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What a function computes, in the form in which results are stored; no cache is asked, by the
    functions that it calls neither.

    Args:
        calls: the function's.
        args: its positional arguments.
        kwargs: its keyword arguments.

    Returns:
        The result; an `Outcome` for `None`, or if it raised; `Items` of what is iterated over.
    """
    with contextlib.ExitStack() as context:
        context.enter_context(set_cache(Cache(ValueVoid(), CallVoid())))
        if calls.options.isolate:
            context.enter_context(fresh_directory("audit"))
        try:
            result = calls.func(*args, **kwargs)
            if inspect.iscoroutine(result):
                result = _awaited(lambda: result)
            elif calls.options.iterate:
                result = _items(result)
            if is_future(result):
                result = result.result()
        except (Exception, SystemExit) as error:
            return Outcome(error)
    return Outcome() if result is None else result


def _items(source: Any) -> Items:
    if isinstance(source, AsyncIterator):

        async def collect() -> list[Any]:
            return [item async for item in source]

        return Items(_awaited(collect))
    items: list[Any] = []
    iterator = iter(source)
    while True:
        try:
            items.append(next(iterator))
        except StopIteration as end:
            return Items(items, end.value)


def _awaited(make: Callable[[], Any]) -> Any:
    """What a coroutine gives, in an event loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    # Loops do not run within each other.
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(context.run, asyncio.run, make()).result()
