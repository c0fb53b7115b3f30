"""The options that a function was decorated with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fleche.call import Version

if TYPE_CHECKING:
    import inspect

    from fleche.metadata import MetaData

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

    @property
    def code_mode(self) -> str:
        """As the core calls it when the code counts."""
        return _MODES[self.hash_code]

    @property
    def needs_python(self) -> bool:
        """Whether a miss takes more than the core does."""
        return self.isolate or self.when is not None or bool(self.once)

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
