"""`fleche explain`: whether a call is cached, and if not, why."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Output
from fleche.cli.selection import literal
from fleche.cli.stores import Mistake, cache_named

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "function", metavar="MODULE:FUNCTION", help="the function; its module is imported"
    )
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="ARG",
        help="its arguments, as VALUE or NAME=VALUE; Python literals, or else texts",
    )


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.state import cache

    held = cache_named(given.cache)
    args, kwargs = _parsed(given.arguments)
    function = _function(given.function)
    with cache(held):
        try:
            found = function.explain(*args, **kwargs)
        except TypeError as error:
            raise Mistake(f"{given.function}: {error}") from None
    data = {
        "function": found.function,
        "hit": found.hit,
        "key": None if found.key is None else str(found.key),
        "reasons": [str(reason) for reason in found.reasons],
        "nearest": [str(each.key) for each in found.nearest],
    }
    output.give(data, lambda: output.line(repr(found)))
    return DONE if found.hit else FOUND


def _parsed(texts: list[str]) -> tuple[list[Any], dict[str, Any]]:
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and name.isidentifier():
            kwargs[name] = literal(value)
        elif kwargs:
            raise Mistake(f"{text!r} has no name, but comes after one that has: write it before")
        else:
            args.append(literal(text))
    return args, kwargs


def _function(name: str) -> Any:
    module_name, colon, path = name.partition(":")
    if not colon or not path or not module_name:
        raise Mistake(f"{name!r} is no function: write MODULE:FUNCTION, as in alloys.md:relax")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise Mistake(
            f"the module {module_name!r} cannot be imported ({type(error).__name__}: {error}); "
            f"run this where `import {module_name}` works"
        ) from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise Mistake(f"{module_name} has no {path!r}: {part!r} is not there") from None
    if not hasattr(found, "explain"):
        raise Mistake(f"{name} is not decorated by @fleche: its calls are not cached")
    return found


COMMAND = Command(
    help="whether a call is cached, and if not, why",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche explain alloys.md:relax Cu 3 steps=100", "the call relax('Cu', 3, steps=100)"),
        ("fleche explain alloys.md:relax -- -1", "after --, arguments may begin with a minus"),
    ),
)
