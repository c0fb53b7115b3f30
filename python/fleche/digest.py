"""Digests: 64 hex characters that stand for the content of a value.

Equal content has the same digest in every process and on every machine, so that digests can name
stored values and calls. Which bytes are hashed is the digest *scheme*: ``exact`` by default, or
``sha256``, that of the reference package, chosen by ``FLECHE_DIGEST`` or ``[default] digest`` in
a ``fleche.toml``.

Classes that cannot be digested by their content say their digest themselves, in a method
``__digest__``, or get a hook (`add_hook`). Packages provide hooks as entry points of the group
``fleche`` and the name ``digest``.
"""

from __future__ import annotations

import builtins
import os
import sys
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

from fleche import _core
from fleche._foundation import seam
from fleche._foundation.log import logger_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.metadata import EntryPoint

    from fleche.caches import BaseCache
    from fleche.storage import CallStorage, ValueStorage

    Keys: TypeAlias = BaseCache | ValueStorage | CallStorage

__all__ = [
    "DIGEST_LENGTH",
    "D",
    "Digest",
    "Hook",
    "Indigestible",
    "add_hook",
    "digest",
    "digest_class",
    "get_hooks",
    "load_entry_points",
]

logger = logger_of("fleche.digest")

#: Length of a digest's text, in characters.
DIGEST_LENGTH = 64

T = TypeVar("T")


class Digest(str):
    """The digest of a value, or a prefix of one, as a text of hex characters.

    A `Digest` stands for the value that it names: it digests as that value does, alone and inside
    of containers, and as the argument of a cached call it is replaced by the value.

    >>> from fleche.digest import Digest, digest
    >>> digest([1, 2]) == digest([digest(1), 2])
    True
    """

    __slots__ = ()

    def expand(self, cache: Keys | None = None) -> Digest:
        """The whole digest that this prefix begins.

        Args:
            cache: the cache or storage in which to look; the active cache if not given.

        Raises:
            KeyError: nothing begins so, or the prefix has fewer than four characters.
            fleche.storage.AmbiguousDigestError: several do.

        >>> from fleche.storage import ValueMemory
        >>> values = ValueMemory({})
        >>> key = values.save("some text")
        >>> key.shrink(values).expand(values) == key
        True
        """
        return _keys(cache).expand(self)

    def shrink(self, cache: Keys | None = None) -> Digest:
        """The shortest prefix, four characters at least, that names nothing else.

        Args:
            cache: the cache or storage in which to look; the active cache if not given.

        Raises:
            KeyError: there is no such key.

        >>> from fleche.storage import ValueMemory
        >>> values = ValueMemory({})
        >>> len(values.save("some text").shrink(values))
        4
        """
        return cast(Digest, _keys(cache).shrink(self))


def _keys(cache: Keys | None) -> Keys:
    if cache is not None:
        return cache
    return cast("Keys", seam.look_up("active_cache")())


class Indigestible(Exception):
    """Raised for a value that has no digest; its argument is the value, or the reason.

    >>> from fleche.digest import Indigestible, digest
    >>> try:
    ...     digest([1, object()])
    ... except Indigestible as error:
    ...     print(type(error.args[0]).__name__)
    object
    """


class Hook(Generic[T]):
    """How to digest the instances of a class.

    Args:
        type: the class; instances of its subclasses count, too.
        digest: called with the instance, gives its digest.

    >>> from fleche.digest import Hook, digest
    >>> Hook(set, lambda value: digest(sorted(value))).type
    <class 'set'>
    """

    type: type[T]
    digest: Callable[[T], str | Digest]

    # By hand, as importing `dataclasses` takes longer than all of this package.
    __hash__ = None  # type: ignore[assignment]
    __match_args__ = ("type", "digest")

    def __init__(self, type: builtins.type[T], digest: Callable[[T], str | Digest]) -> None:
        self.type = type
        self.digest = digest

    def __repr__(self) -> str:
        return f"Hook(type={self.type!r}, digest={self.digest!r})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not Hook:
            return NotImplemented
        return (self.type, self.digest) == (other.type, other.digest)


def digest(value: Any, *, typed: bool = False) -> Digest:
    """The digest of a value's content.

    Args:
        value: any value; a `Digest` is its own digest.
        typed: whether equal values of different types (``1`` and ``1.0``) differ. In scheme
            ``sha256`` this changes nothing.

    Raises:
        Indigestible: the value, or one inside of it, has no digest.

    >>> from fleche.digest import digest
    >>> digest([1, 2.0]) == digest([1.0, 2])
    True
    >>> digest([1, 2.0], typed=True) == digest([1.0, 2], typed=True)
    False
    """
    return _core.digest(value, typed=typed)


def _configured_scheme() -> tuple[str, str]:
    """The name of the digest scheme, and where it stands."""
    if name := os.environ.get("FLECHE_DIGEST"):
        return name, "the environment variable FLECHE_DIGEST"
    return seam.look_up("default_section")().get("digest", "exact"), "[default] digest"


def digest_class(cls: type) -> Digest:
    """The digest of a class, by its module and qualified name.

    >>> from fleche.digest import digest, digest_class
    >>> digest_class(int) == digest(int)
    True
    """
    return _core.digest_class(cls)


def D(value: Any) -> Digest:  # noqa: N802
    """A `Digest` from hex characters as they are, or the digest of any other value.

    Args:
        value: text of at most 64 hex characters, taken as a digest or a prefix of one; anything
            else is digested.

    Raises:
        Indigestible: the value has no digest.

    >>> from fleche import D
    >>> D("3f2a")
    '3f2a'
    >>> len(D("no hex"))
    64
    """
    if isinstance(value, str) and 0 < len(value) <= DIGEST_LENGTH and _is_hex(value):
        return Digest(value)
    return digest(value)


def _is_hex(text: str) -> bool:
    return all(character in "0123456789abcdefABCDEF" for character in text)


def add_hook(hook: Hook[T] | tuple[type[T], Callable[[T], str]]) -> None:
    """Registers a hook; of several that fit a value the newest decides.

    A hook goes before the value's own ``__digest__`` and before everything built in.

    Args:
        hook: a `Hook`, or its class and function as a tuple.

    Raises:
        ValueError: anything else.

    >>> from fleche.digest import add_hook, digest
    >>> class Celsius:
    ...     def __init__(self, degrees):
    ...         self.degrees = degrees
    >>> add_hook((Celsius, lambda value: digest(("Celsius", value.degrees))))
    >>> digest(Celsius(20)) == digest(("Celsius", 20))
    True
    """
    _core.add_hook(_checked(hook))


def _checked(hook: Any) -> Hook[Any]:
    if isinstance(hook, Hook):
        checked = hook
    elif isinstance(hook, tuple) and len(hook) == 2:
        checked = Hook(*hook)
    else:
        raise _no_hook(hook)
    try:
        isinstance(None, checked.type)
    except TypeError:
        raise _no_hook(hook) from None
    if not callable(checked.digest):
        raise _no_hook(hook)
    return checked


def _no_hook(hook: object) -> ValueError:
    return ValueError(f"Must be a Hook instance or (type, digest function) tuple, not {hook!r}!")


def get_hooks() -> list[Hook[Any]]:
    """Every hook, in the order in which they are tried: newest first, then entry points."""
    return _core.get_hooks()


def load_entry_points() -> None:
    """Loads the hooks that installed packages provide, in place of those loaded before.

    Each entry point of the group ``fleche`` and the name ``digest`` is a hook, a tuple of class and
    function, or a list of them. Of two for one class the first counts, and one from `add_hook`
    goes before both (logged as INFO). One that fails to load is logged as ERROR and left out.
    """
    from importlib.metadata import entry_points

    manual = [hook.type for hook in _core.manual_hooks()]
    taken: list[tuple[type, str]] = []
    loaded: list[Hook[Any]] = []
    for point in entry_points(group="fleche", name="digest"):
        try:
            for hook in _hooks_of(point):
                earlier = next((source for of, source in taken if of is hook.type), None)
                if any(of is hook.type for of in manual):
                    logger.info("add_hook for %r overrides entry point %s", hook.type, point.value)
                elif earlier is not None:
                    logger.info(
                        "%s already provides a digest for %r; ignoring entry point %s",
                        earlier,
                        hook.type,
                        point.value,
                    )
                else:
                    taken.append((hook.type, point.value))
                    loaded.append(hook)
        except Exception as error:
            logger.error("Failed to load entry point %s: %s", point.value, error, exc_info=True)
    _core.set_entry_point_hooks(loaded)


def _hooks_of(point: EntryPoint) -> Iterator[Hook[Any]]:
    provided = point.load()
    for hook in provided if isinstance(provided, list) else [provided]:
        yield _checked(hook)


_entry_points_seen: object = None


def _refresh_entry_points() -> bool:
    """Loads entry points if packages may have come or gone; whether there are other hooks now.

    Called whenever a value is about to be given up as indigestible.
    """
    global _entry_points_seen
    installed = _installed()
    if installed == _entry_points_seen:
        return False
    # First, as what is loaded may digest values and come here again.
    _entry_points_seen = installed
    before = get_hooks()
    load_entry_points()
    after = get_hooks()
    return len(before) != len(after) or any(
        old is not new for old, new in zip(before, after, strict=True)
    )


def _installed() -> list[tuple[str, int]]:
    """The folders that packages are installed in, each with the time of its last change."""
    folders = []
    for path in sys.path:
        try:
            changed = os.stat(path or ".").st_mtime_ns
        except OSError:
            changed = -1
        folders.append((path, changed))
    return folders
