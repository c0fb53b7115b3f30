"""The stored calls that are nearest to one that is not stored, and how they differ from it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from fleche import _core
from fleche._foundation.log import logger_of
from fleche.call import LazyCall, QueryCall
from fleche.differences import differences
from fleche.digest import Digest, Indigestible, digest
from fleche.wrapper.explanation import Reason
from fleche.wrapper.looking import Place, failure

if TYPE_CHECKING:
    from fleche.wrapper.explained import Lookup

logger = logger_of("fleche")

# How many calls are compared, and how many differences of each are told.
MOST = 3
MOST_DIFFERENCES = 5

_RULE = "its class, a function in it or a hook has changed since"


def calls_like(lookup: Lookup) -> list[tuple[LazyCall, Place]]:
    """The stored calls that have most in common with one, the nearest first.

    Of the function, however it was defined then; if there is none, of one that has its code.
    """
    found = _nearest(lookup, QueryCall(lookup.calls.core.identity()[0]))
    if not found and lookup.code is not None:
        found = _nearest(lookup, QueryCall(code_digest=lookup.code))
    return found


def _nearest(lookup: Lookup, pattern: QueryCall) -> list[tuple[LazyCall, Place]]:
    identity, known = lookup.calls.core.identity()[1:], _known_digests(lookup)

    def nearness(found: tuple[LazyCall, Place]) -> tuple[int, int, float]:
        call = found[0]
        held = call._arguments
        same = sum(held.get(name) in digests for name, digests in known.items())
        alike = sum(
            mine == its
            for mine, its in zip(
                identity, (call.module, call.version, call.code_digest), strict=True
            )
        )
        runtime = call.metadata.get("runtime")
        stopped = runtime.get("timestop") if isinstance(runtime, dict) else None
        return same, alike, stopped if isinstance(stopped, int | float) else 0.0

    # Of several caches, one may have what the others have.
    most = MOST * len(lookup.places)
    return heapq.nlargest(most, _stored(lookup, pattern), key=nearness)


def _known_digests(lookup: Lookup) -> dict[str, set[Digest | None]]:
    """The digests under which each argument may have been recorded."""
    others = [scheme for scheme in _core.SCHEMES if scheme != _core.scheme()]
    schemes = [each for each in others if _may_hold(lookup, each)]
    typed = lookup.calls.options.typed
    known: dict[str, set[Digest | None]] = {}
    for name, value in lookup.arguments.items():
        known[name] = {lookup.digests[name]}
        other = _digest(value, not typed)
        # A default that has none is left alone: the other scheme would use an iterator up.
        if other is not None:
            known[name] |= {other, *(_digest(value, typed, each) for each in schemes)} - {None}
    return known


def _may_hold(lookup: Lookup, scheme: str) -> bool:
    try:
        return lookup.cache._may_hold(scheme)
    except Exception:
        return False


def _stored(lookup: Lookup, pattern: QueryCall) -> Iterator[tuple[LazyCall, Place]]:
    for place in lookup.places:
        try:
            for call in place.cache.query(pattern):
                yield call, place
        except Exception:
            logger.warning("A cache failed to list its calls", exc_info=True)


def how_it_differs(lookup: Lookup, call: LazyCall) -> Iterator[Reason]:
    """What a stored call has in another way, at least one thing."""
    found = False
    for reason in islice(_all_differences(lookup, call), MOST_DIFFERENCES):
        found = True
        yield reason
    if not found:
        yield Reason("unseen", "it differs in a way that is not seen here")


def _all_differences(lookup: Lookup, call: LazyCall) -> Iterator[Reason]:
    yield from _of_function(lookup, call)
    yield from _of_parameters(lookup, call)
    for name, given in lookup.digests.items():
        held = call._arguments.get(name)
        if held is not None and held != given:
            yield from _of_argument(lookup, call, name, held)


def _of_function(lookup: Lookup, call: LazyCall) -> Iterator[Reason]:
    name, module, version, code = lookup.calls.core.identity()
    if call.name != name:
        text = f"a function of the same code is stored as {call.name}, this one is {name}"
        yield Reason("name", text, "", call.name, name)
    if call.module != module:
        text = f"module: was {call.module}, is {module}"
        yield Reason("module", text, "", call.module, module)
    if call.version != version:
        text = f"version: was {call.version!r}, is {version!r}"
        yield Reason("version", text, "", call.version, version)
    if call.code_digest != code:
        yield Reason("code", _code_text(call.code_digest, code), "", call.code_digest, code)


def _code_text(stored: str | None, given: str | None) -> str:
    if stored is None:
        return "code: counts now (hash_code), and was not recorded"
    if given is None:
        return "code: was recorded (hash_code), and does not count now"
    what = "code: it, or what it captured or names, is another"
    return f"{what} (code_digest was {stored[:8]}, is {given[:8]})"


def _of_parameters(lookup: Lookup, call: LazyCall) -> Iterator[Reason]:
    mine, its = call._arguments, lookup.digests
    gone = [name for name in mine if name not in its]
    new = [name for name in its if name not in mine]
    for name in gone:
        renamed = next((other for other in new if its[other] == mine[name]), None)
        if renamed is not None:
            new.remove(renamed)
            text = f"parameter {name} is called {renamed} now"
            yield Reason("parameter", text, renamed, name, renamed)
        else:
            why = "is ignored" if name in lookup.calls.ignored else "is gone"
            yield Reason("parameter", f"parameter {name} {why}", name, name, None)
    for name in new:
        yield Reason("parameter", f"parameter {name} is new", name, None, name)
    if set(mine) == set(its) and list(mine) != list(its):
        text = f"parameters: their order was {', '.join(mine)}, is {', '.join(its)}"
        yield Reason("parameter", text, "", tuple(mine), tuple(its))


def _of_argument(lookup: Lookup, call: LazyCall, name: str, held: Any) -> Iterator[Reason]:
    given, known = lookup.arguments[name], lookup.digests[name]
    typed = lookup.calls.options.typed
    try:
        stored = call._cache.load_value(_core.storage_key(held))
    except Exception as error:
        why = failure(error)
        lost = "is not stored" if why is None else f"cannot be read ({why})"
        text = f"{name}: is another value; the one of then {lost}"
        yield Reason("argument", text, name, held, given)
        return
    if _digest(stored, typed) == known:
        yield _of_rule(name, stored, given, held, typed)
        return
    is_left = " (its default)" if name not in lookup.passed else ""
    for each in differences(stored, given, typed=typed, root=name, most=MOST_DIFFERENCES):
        text = f"{each}{is_left if each.path == name else ''}"
        yield Reason("argument", text, each.path, each.stored, each.given)
    if held not in _all_digests(stored):
        text = f"{name}: what is stored had another digest when it was recorded, too"
        yield Reason("rule", f"{text}: {_RULE}", name, stored, given)


def _of_rule(name: str, stored: Any, given: Any, held: str, typed: bool) -> Reason:
    """An equal value that was recorded under another digest."""
    if _digest(stored, not typed) == held:
        was, now = ("not typed", "typed") if typed else ("typed", "not typed")
        return Reason("typed", f"{name}: was recorded {was}, and is {now}", name, stored, given)
    for scheme in _core.SCHEMES:
        if scheme != _core.scheme() and _digest(stored, typed, scheme) == held:
            text = f"{name}: was recorded in digest scheme {scheme}, which is {_core.scheme()} now"
            return Reason("scheme", text, name, stored, given)
    text = f"{name}: an equal value had another digest when it was recorded: {_RULE}"
    return Reason("rule", text, name, stored, given)


def _all_digests(value: Any) -> set[Digest | None]:
    """The digests that a value has today."""
    typed = {_digest(value, False), _digest(value, True)}
    return typed | {_digest(value, False, scheme) for scheme in _core.SCHEMES}


def _digest(value: Any, typed: bool, scheme: str | None = None) -> Digest | None:
    try:
        return digest(value, typed=typed) if scheme is None else _core.digest(value, scheme=scheme)
    except Indigestible:
        return None
