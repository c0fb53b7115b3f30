"""Patterns of calls, and whether a call or its record fits one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from fleche import _core
from fleche._foundation.log import logger_of
from fleche.call.profile import FunctionProfile, Version, bind
from fleche.call.records import Call, DigestedCall, LazyCall
from fleche.digest import Digest, digest

logger = logger_of("fleche.query")

StrQueryType: TypeAlias = Digest | str | None
AnyQueryType: TypeAlias = Digest | Any | None


@dataclass
class QueryCall:
    """A pattern of calls: fields that are `None` match everything.

    Args:
        name: the function's `__qualname__`, or its digest.
        arguments: values or digests by parameter; `None` as a value: the argument is present.
        metadata: by the metadata's name; `{}`: it is present; `None` as a value: the key is.
        module: the function's module.
        version: the function's version.
        code_digest: the digest of the function's code.
        result: a value or its digest.

    >>> QueryCall("f", {"x": 1}).matches(Call("f", {"x": 1.0, "y": 2}))
    True
    """

    name: StrQueryType = None
    arguments: dict[str, AnyQueryType] | None = None
    metadata: dict[str, dict[str, Any]] | None = None
    module: str | None = None
    version: Version = None
    code_digest: Digest | None = None
    result: AnyQueryType = None

    @classmethod
    def from_call(cls, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> QueryCall:
        """The pattern of `func`'s calls with these arguments; those left out match everything.

        Raises:
            TypeError: if the arguments do not fit the function.
        """
        profile = FunctionProfile.of(func)
        bound = profile.take_files(bind(func, args, kwargs, partial=True))
        arguments = {name: bound.get(name) for name in profile.signature.parameters}
        profile.strip_for_key(arguments)
        return cls(profile.qualname, arguments, None, profile.module, profile.version)

    def matches(self, other: Call | LazyCall | DigestedCall) -> bool:
        """Whether a call fits the pattern.

        Args:
            other: a call with its values, or a record of one.

        Raises:
            Indigestible: if a value of the pattern has no digest.
        """
        return Matcher(self).matches(other)


class Matcher:
    """A pattern of calls, its values digested once.

    Raises:
        Indigestible: if a value of the pattern has no digest.
    """

    def __init__(self, template: QueryCall) -> None:
        self.template = template
        arguments = template.arguments or {}
        self.arguments = {
            name: None if value is None else _either_digest(value)
            for name, value in arguments.items()
        }
        result = template.result
        self.result = (
            None if result is None else (*_either_digest(result), *_core.result_digests(result))
        )

    def matches(self, call: Call | LazyCall | DigestedCall) -> bool:
        """Whether a call fits the pattern."""
        template = self.template
        return (
            _same_text(template.name, call.name)
            and _same_text(template.module, call.module)
            and _same_text(template.code_digest, call.code_digest)
            and (template.version is None or digest(template.version) == digest(call.version))
            and self._arguments_match(call)
            and self._metadata_match(call)
            and self._result_matches(call)
        )

    def _arguments_match(self, call: Call | LazyCall | DigestedCall) -> bool:
        if not self.arguments:
            return True
        held = call._arguments if isinstance(call, LazyCall) else call.arguments
        return all(
            name in held and (digests is None or digest(held[name]) in digests)
            for name, digests in self.arguments.items()
        )

    def _metadata_match(self, call: Call | LazyCall | DigestedCall) -> bool:
        for name, wanted in (self.template.metadata or {}).items():
            if name not in call.metadata:
                return False
            held = call.metadata[name]
            for key, value in (wanted or {}).items():
                if key not in held:
                    return False
                if value is not None and digest(held[key]) != digest(value):
                    return False
        return True

    def _result_matches(self, call: Call | LazyCall | DigestedCall) -> bool:
        if self.result is None:
            return True
        held = call._result if isinstance(call, LazyCall) else call.result
        if held is not None and not isinstance(held, Digest):
            held = _core.result_digest(held)
        return held in self.result


def is_plain(template: QueryCall) -> bool:
    """Whether a pattern matches by its fields, not by a `matches` of its own."""
    return getattr(type(template), "matches", None) is QueryCall.matches


def finder(template: QueryCall, matcher: Matcher | None = None) -> Callable[[DigestedCall], bool]:
    """What tells whether a stored record fits a pattern; where it cannot, it logs that and says no.

    Args:
        template: the pattern.
        matcher: that of a plain one, if there is one already.

    Raises:
        Indigestible: if a value of the pattern has no digest.
    """
    if matcher is None and is_plain(template):
        matcher = Matcher(template)
    matches = template.matches if matcher is None else matcher.matches

    def finds(record: DigestedCall) -> bool:
        try:
            return matches(record)
        except Exception as error:
            logger.warning("Cannot compare call %s, skipped: %r", name_of(record), error)
            return False

    return finds


def name_of(record: Any) -> str:
    """What a message calls a record: its key, if that can be told."""
    try:
        return str(record.to_lookup_key())
    except Exception:
        return f"of {getattr(record, 'name', record)!r}"


def _either_digest(value: Any) -> tuple[Digest, ...]:
    """The digests under which a value may be recorded."""
    if isinstance(value, Digest):
        return (value,)
    return (digest(value), digest(value, typed=True))


def _same_text(wanted: Any, held: str | None) -> bool:
    if wanted is None or wanted == held:
        return True
    return isinstance(wanted, Digest) and held is not None and wanted == digest(held)


# Pickles name them by `fleche.call`, as those of the reference do.
__test__ = {each.__name__: each for each in (QueryCall,)}
for _public in __test__.values():
    _public.__module__ = "fleche.call"
