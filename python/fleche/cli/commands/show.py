"""`fleche show`: what is recorded about calls, with their arguments and results."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from fleche.cli.command import DONE, FOUND, Command
from fleche.cli.output import Output
from fleche.cli.stores import cache_named, call_of, pairs
from fleche.look.numbers import duration, size, when

if TYPE_CHECKING:
    from fleche.caches import BaseCache
    from fleche.call import LazyCall
    from fleche.cli.needs import Values
    from fleche.digest import Digest

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keys", nargs="+", metavar="KEY", help="a call's key, or its beginning")
    parser.add_argument("--full", action="store_true", help="show all of the values")


def _run(given: argparse.Namespace, output: Output) -> int:
    from fleche.cli.needs import Values

    cache = cache_named(given.cache)
    calls = [call_of(cache, key) for key in given.keys]
    values = [Values(pair.values, at_once=False) for pair in pairs(cache)]
    shown = [_Shown(cache, values, call, given.full) for call in calls]

    def show() -> None:
        for number, each in enumerate(shown):
            if number:
                output.line()
            each.print(output)

    output.give([each.data for each in shown], show)
    return DONE if all(each.is_whole for each in shown) else FOUND


class _Shown:
    """A call with its values, as far as they can be loaded."""

    def __init__(self, cache: BaseCache, values: list[Values], call: LazyCall, full: bool) -> None:
        from fleche.query.filed import filed_key

        self._cache, self._values, self._full = cache, values, full
        self.call = call
        self.key = filed_key(call, cache)
        self.is_whole = True
        self.arguments = {name: self._value(held) for name, held in call._arguments.items()}
        self.result = self._value(call._result, needed=True)

    def _value(self, held: Any, needed: bool = False) -> dict[str, Any]:
        """What is known of a value: its lines, its bytes, or what is wrong with it."""
        from fleche import _core
        from fleche._foundation.messages import no_message
        from fleche.call.outcomes import Items, Outcome
        from fleche.cli.values import described
        from fleche.digest import Digest

        if not isinstance(held, Digest):
            return {"shown": described(held, self._full)}
        key = _core.storage_key(held)
        known: dict[str, Any] = {"digest": str(held), "bytes": self._size(key)}
        try:
            with no_message():
                value = self._cache.load_value(key)
        except KeyError:
            problem = self._problem(key)
            if needed or problem is not None:
                self.is_whole = False
            # Of an argument without a value the digest counts.
            return {**known, "problem": problem or "not stored: only its digest is known"}
        if type(value) is Outcome:
            value = value.error
        elif type(value) is Items:
            value = value.items
        return {**known, "shown": described(value, self._full)}

    def _size(self, key: Digest) -> int | None:
        """The bytes of a value with its parts."""
        for values in self._values:
            if key in values.keys:
                return values.size(values.reached([key]))
        return None

    def _problem(self, key: Digest) -> str | None:
        """Why a value that is there cannot be loaded; `None` if it is not there."""
        from fleche.cli.named import cannot_be_imported, names_of_value

        for values in self._values:
            if key in values.keys:
                missing = cannot_be_imported(names_of_value(values, key))
                if missing:
                    return f"cannot be loaded: {', '.join(missing)} cannot be imported here"
                return (
                    "cannot be loaded: damaged, a part of it is lost, or its signature does not "
                    "hold"
                )
        return None

    @property
    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        call = self.call
        return {
            "key": str(self.key),
            "function": call.name,
            "module": call.module,
            "version": call.version,
            "code_digest": call.code_digest,
            "arguments": self.arguments,
            "result": self.result,
            "metadata": call.metadata,
            "whole": self.is_whole,
        }

    def print(self, output: Output) -> None:
        """Print it for people."""
        call = self.call
        module = "" if call.module is None else f" of {call.module}"
        output.line(f"{call.name}{module}", "bold")
        output.line(f"  key       {self.key}")
        if call.version is not None:
            output.line(f"  version   {call.version}")
        if call.code_digest is not None:
            output.line(f"  code      {call.code_digest}")
        output.line("  arguments" if self.arguments else "  arguments none")
        for name, held in self.arguments.items():
            _print(output, f"    {name} = ", held)
        _print(output, "  result    ", self.result)
        for name, metadata in call.metadata.items():
            output.line(f"  {name}")
            for key, value in metadata.items():
                output.line(f"    {key}: {_metadatum(key, value)}")
        if not self.is_whole:
            output.line("  not whole: a call of it would compute again", "red")


def _print(output: Output, before: str, held: dict[str, Any]) -> None:
    if "problem" in held:
        output.line(f"{before}<{held['problem']}>", "red" if "cannot" in held["problem"] else "")
        return
    first, *others = held["shown"]
    room = held.get("bytes")
    output.line(f"{before}{first}" + (f"  [{size(room)}]" if room is not None else ""))
    for line in others:
        output.line(f"      {line}")


def _metadatum(key: str, value: Any) -> str:
    if isinstance(value, float) and key in ("timestart", "timestop"):
        return when(value)
    if isinstance(value, float) and key.endswith("time"):
        return duration(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


COMMAND = Command(
    help="what is recorded about calls, with their arguments and results",
    run=_run,
    arguments=_arguments,
    examples=(
        ("fleche show 3fa9c1", "the call whose key begins so"),
        ("fleche show $(fleche find relax --limit 1 --keys)", "the newest call of relax"),
    ),
)
