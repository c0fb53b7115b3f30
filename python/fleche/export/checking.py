"""Running calls of a file again, to see whether they give what it says."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fleche.caches import Cache
from fleche.call import LazyCall
from fleche.call.outcomes import Outcome, shown
from fleche.digest import Digest, digest
from fleche.export.reading import ExportFile
from fleche.lineage import Index
from fleche.state import cache as set_cache
from fleche.storage.void import CallVoid, ValueVoid

__all__ = ["Checked", "Verdict", "check_calls"]


class Verdict(StrEnum):
    """What a check of a call came to."""

    SAME = "same"
    DIFFERENT = "different"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Checked:
    """A call that was checked.

    Args:
        key: its key.
        call: the function's name with its module.
        verdict: whether it gave the same again.
        why: why not.
        seconds: how long it took, if it was run.
    """

    key: Digest
    call: str
    verdict: Verdict
    why: str = ""
    seconds: float | None = None


class _Skip(Exception):
    """A call cannot be run here."""


def check_calls(
    path: str | os.PathLike[str],
    budget: float | None = None,
    *,
    trusted: Mapping[str, bytes] | None = None,
    progress: Callable[[Iterable[LazyCall], str], Iterable[LazyCall]] = lambda calls, what: calls,
) -> list[Checked]:
    """Run the leaves of a file again, the calls whose arguments no other call in it made.

    Their functions are imported from where the reader has them; nothing is taken from a cache, and
    nothing is saved. The quickest come first; one that took longer than what is left of the budget
    is not begun. Results are compared by their typed digests.

    Args:
        path: the file.
        budget: for how many seconds to begin calls; `None`: all of them are run.
        trusted: public keys by the names of their owners; those that the user trusts, and the
            user's own, if not given.
        progress: called with the calls, and what is done; iterates over them.

    Raises:
        Refused: if the file is damaged, or not signed by somebody who is trusted.
        OSError: if it cannot be read.
    """
    with ExportFile(path, trusted) as file:
        index = Index(file.cache())
        leaves = [call for key, call in index.calls.items() if not index.inputs(key)]
        leaves.sort(key=lambda call: (_seconds_of(call) or 0.0, call.to_lookup_key()))
        ends = None if budget is None else time.monotonic() + budget
        with set_cache(Cache(ValueVoid(), CallVoid())):
            return [_check(call, ends) for call in progress(leaves, "Running calls")]


def _seconds_of(call: LazyCall) -> float | None:
    held = call.metadata.get("runtime")
    seconds = held.get("walltime") if isinstance(held, dict) else None
    return float(seconds) if isinstance(seconds, int | float) else None


def _check(call: LazyCall, ends: float | None) -> Checked:
    key, name = call.to_lookup_key(), f"{call.module}.{call.name}"
    begun: float | None = None
    try:
        if ends is not None and time.monotonic() + (_seconds_of(call) or 0.0) > ends:
            raise _Skip("the budget is used up")
        expected = _expected(call)
        function = _function_of(call)
        args, kwargs = _arguments_of(call, function)
        _check_same(call, function, args, kwargs)
        begun = time.monotonic()
        try:
            given = _run(function, args, kwargs)
        except Exception as error:
            given = error
        seconds = time.monotonic() - begun
    except _Skip as reason:
        return Checked(key, name, Verdict.SKIPPED, str(reason))
    verdict, why = _compared(expected, given)
    return Checked(key, name, verdict, why, seconds)


def _expected(call: LazyCall) -> Any:
    try:
        return call._stored_result()
    except Exception as error:
        raise _Skip(f"its result cannot be read: {error!r}") from None


def _function_of(call: LazyCall) -> Callable[..., Any]:
    if call.module in (None, "__main__") or "<" in call.name:
        raise _Skip("its function has no name that can be imported")
    try:
        found: Any = importlib.import_module(str(call.module))
        for part in call.name.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise _Skip(f"its function cannot be imported: {error!r}") from None
    if inspect.ismethod(found):
        # The class is an argument as any other.
        found = found.__func__
    if isinstance(found, type) or not callable(found):
        raise _Skip("its function cannot be called by this name")
    return found  # type: ignore[no-any-return]


def _check_same(
    call: LazyCall, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> None:
    """A function that has another version, or other code that counts, says nothing about a call."""
    key_of = getattr(getattr(function, "fleche", None), "digest", None)
    if key_of is None:
        return
    try:
        same = key_of(*args, **kwargs) == call.to_lookup_key()
    except Exception as error:
        raise _Skip(f"its key cannot be computed: {error!r}") from None
    if not same:
        raise _Skip("the function here is another one: its calls have other keys")


def _arguments_of(call: LazyCall, function: Callable[..., Any]) -> tuple[list[Any], dict[str, Any]]:
    """What the function is called with."""
    held: dict[str, Any] = {}
    for name in call.arguments:
        try:
            value = call.arguments[name]
        except Exception as error:
            raise _Skip(f"its argument {name!r} cannot be read: {error!r}") from None
        if type(value) is Digest:
            raise _Skip(f"its argument {name!r} is not in the file")
        held[name] = value
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    # Arguments that are ignored are not recorded: those after a gap go by their names.
    gap = False
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in held:
            if parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            ):
                raise _Skip(f"its argument {name!r} is not recorded")
            gap = True
            continue
        value = held.pop(name)
        if parameter.kind is parameter.VAR_KEYWORD:
            kwargs.update(value)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            if gap and value:
                raise _Skip("an argument before its *arguments is not recorded")
            args.extend(value)
        elif parameter.kind is parameter.KEYWORD_ONLY or gap:
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise _Skip(f"an argument before {name!r} is not recorded")
            kwargs[name] = value
        else:
            args.append(value)
    if held:
        raise _Skip(f"the function here has no argument {next(iter(held))!r}")
    return args, kwargs


def _run(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    given = function(*args, **kwargs)
    if inspect.isawaitable(given):

        async def awaited() -> Any:
            return await given

        return asyncio.run(awaited())
    if inspect.isasyncgen(given):

        async def items() -> list[Any]:
            return [item async for item in given]

        return asyncio.run(items())
    return [*given] if inspect.isgenerator(given) else given


def _compared(expected: Any, given: Any) -> tuple[Verdict, str]:
    error = expected.error if type(expected) is Outcome else None
    if isinstance(given, Exception) and error is None:
        return Verdict.FAILED, f"it raised {given!r}"
    if error is not None:
        if type(given) is type(error) and given.args == error.args:
            return Verdict.SAME, ""
        return Verdict.DIFFERENT, f"it raised {error!r}, and now {given!r}"
    try:
        same = digest(shown(expected), typed=True) == digest(given, typed=True)
    except Exception as failure:
        return Verdict.SKIPPED, f"its result cannot be compared: {failure!r}"
    return (Verdict.SAME, "") if same else (Verdict.DIFFERENT, "it gave another result")
