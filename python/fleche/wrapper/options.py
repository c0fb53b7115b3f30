"""The options that a function was decorated with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fleche.call import Version
from fleche.call.ages import Age, seconds_of

if TYPE_CHECKING:
    import inspect

    from fleche.call import LazyCall
    from fleche.metadata import MetaData
    from fleche.wrapper.freshness import Freshness
    from fleche.wrapper.moved import Moves

__all__ = ["HashCode", "Options", "names_of_parameters"]

#: When the code of a function counts.
HashCode: TypeAlias = bool | Literal["deep"] | None
_MODES: dict[HashCode, str] = {None: "unnamed", True: "always", "deep": "deep", False: "never"}


@dataclass(frozen=True)
class Options:
    """What `@fleche(...)` was given; see there.

    Raises:
        TypeError: if the version is neither text nor a number, `exceptions` holds something else,
            or `when` is no function.
        ValueError: if `hash_code` is none of its values.
    """

    version: Version = None
    meta: tuple[MetaData, ...] = ()
    hash_version: bool = True
    hash_module: bool = True
    hash_code: HashCode = None
    require: frozenset[str] = frozenset()
    ignore: frozenset[str] = frozenset()
    isolate: bool = False
    typed: bool = False
    strict: bool | None = None
    none: bool | None = None
    exceptions: tuple[type[BaseException], ...] | None = None
    when: Callable[[Any], bool] | None = None
    once: bool | None = None
    wait: float | None = None
    max_age: Age | None = None
    stale_ok: Age | bool = False
    valid: Callable[[LazyCall], bool] | None = None
    iterate: bool = False
    was: tuple[str, ...] = ()
    added: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hash_code, version = self.hash_code, self.version
        if not (hash_code is None or isinstance(hash_code, bool) or hash_code == "deep"):
            raise ValueError(f"hash_code={hash_code!r}: choose None, True, 'deep' or False")
        if version is not None and not isinstance(version, str | int | float | tuple):
            kind = type(version).__name__
            raise TypeError(f"fleche(version=...) takes a str or an int, not a {kind}")
        for error in self.exceptions or ():
            if not (isinstance(error, type) and issubclass(error, BaseException)):
                raise TypeError(f"fleche(exceptions=...) takes classes, not {error!r}")
        if self.when is not None and not callable(self.when):
            raise TypeError(f"fleche(when=...) takes a function, not a {type(self.when).__name__}")
        if self.wait is not None and not self.wait >= 0:
            raise ValueError(f"fleche(wait={self.wait!r}): seconds, of which there are 0 or more")
        if self.max_age is not None:
            seconds_of(self.max_age, "max_age")
        if not isinstance(self.stale_ok, bool):
            seconds_of(self.stale_ok, "stale_ok")
        if self.stale_ok and self.max_age is None:
            raise ValueError("stale_ok says nothing without a max_age: give one")
        if self.stale_ok and self.iterate:
            raise ValueError("stale_ok has no meaning with iterate: who iterates computes")
        if self.valid is not None and not callable(self.valid):
            kind = type(self.valid).__name__
            raise TypeError(f"valid takes a function of a stored call, not a {kind}")

    @property
    def code_mode(self) -> str:
        """As the core calls it when the code counts."""
        return _MODES[self.hash_code]

    @property
    def needs_python(self) -> bool:
        """Whether a miss takes more than the core does."""
        return self.isolate or self.when is not None or bool(self.once) or self.expires

    @property
    def expires(self) -> bool:
        """Whether what is stored may be no longer good."""
        return self.max_age is not None or self.valid is not None

    def moves(self, function: str, signature: inspect.Signature) -> Moves | None:
        """How the function was called before; `None`: as it is now.

        Raises:
            ValueError: if that does not fit the function.
        """
        if not (self.was or self.added or self.renamed):
            return None
        from fleche.wrapper.moved import Moves

        moves = Moves(self.was, self.added, self.renamed)
        moves.check(function, signature.parameters)
        return moves

    def freshness(self) -> Freshness | None:
        """What is good; `None`: everything."""
        if not self.expires:
            return None
        from fleche.wrapper.freshness import Freshness

        age = None if self.max_age is None else seconds_of(self.max_age, "max_age")
        stale: Any = self.stale_ok
        longer = (math.inf if stale else 0.0) if stale is bool(stale) else seconds_of(stale, "")
        return Freshness(age, longer, self.valid)

    def check_names(self, function: str, signature: inspect.Signature) -> None:
        """See that `require` and `ignore` name parameters.

        Raises:
            ValueError: if one does not.
        """
        parameters = signature.parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for option, names in (("ignore", self.ignore), ("require", self.require)):
            unknown = sorted(names - set(parameters))
            if unknown and not (option == "require" and takes_any):
                raise ValueError(
                    f"{option}={unknown[0]!r}: {function} has no such parameter; it has "
                    f"{', '.join(parameters) or 'none'}"
                )


def names_of_parameters(given: str | Iterable[str] | None) -> frozenset[str]:
    """One name, several, or none."""
    if given is None:
        return frozenset()
    return frozenset((given,) if isinstance(given, str) else given)
