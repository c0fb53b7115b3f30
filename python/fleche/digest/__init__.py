"""Digests: 64 hex characters that stand for the content of a value.

Equal content has the same digest in every process and on every machine, so that digests can name
stored values and calls. Which bytes are hashed is the digest *scheme*: ``exact`` by default, or
``sha256``, that of the reference package, chosen by ``FLECHE_DIGEST`` or ``[default] digest`` in
a ``fleche.toml``.

Classes that cannot be digested by their content say their digest themselves, in a method
``__digest__``, or get a hook (`add_hook`). Packages provide hooks as entry points of the group
``fleche`` and the name ``digest``. Both are in `hooks`; what a digest is made of is in the core,
``src/py/digest``. May import `_foundation` only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from fleche import _core
from fleche._foundation import seam
from fleche._foundation.lazy import names_of

if TYPE_CHECKING:
    from logging import Logger

    from fleche.caches import BaseCache
    from fleche.digest.hooks import Hook, add_hook, get_hooks, load_entry_points
    from fleche.storage import CallStorage, ValueStorage

    logger: Logger
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

# Hooks are loaded when somebody gives one, or a value has no digest without.
__getattr__, __dir__ = names_of(
    __name__,
    dict.fromkeys(
        ("Hook", "add_hook", "get_hooks", "load_entry_points"),
        "fleche.digest.hooks",
    ),
    logger="fleche.digest",
)

#: Length of a digest's text, in characters.
DIGEST_LENGTH = 64

# Of a class that has a hook.
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
