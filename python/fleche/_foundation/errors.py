"""Errors that more than one floor raises, under the public names by which users catch them."""

from __future__ import annotations

from typing import Any

__all__ = ["AmbiguousDigestError", "BucketError", "SaveError", "Unreadable"]


class SaveError(Exception):
    """A storage could not save an object; nothing was changed."""


class Unreadable(KeyError):
    """Something is stored under a key but cannot be read as things are: a miss.

    It may be in order, so that nothing that it needs is to be removed: permissions or a package
    are missing, the secret key is another one, or the disk fails.
    """

    def __reduce__(self) -> tuple[type[KeyError], tuple[Any, ...]]:
        # Where it is sent to, the reference may be at work, which does not know this class.
        return KeyError, self.args


class AmbiguousDigestError(ValueError):
    """A shortened key stands for several keys; the message says how many characters it needs."""


class BucketError(OSError):
    """A bucket did not do what it was asked; the message names it, the object, and what to do.

    Args:
        text: the message.
        kind: one of "no bucket", "denied", "expired", "credentials", "clock", "busy", "region",
            "unreachable", "timeout", "other".
    """

    def __init__(self, text: str, kind: str = "other") -> None:
        super().__init__(text)
        self.kind = kind

    def __reduce__(self) -> tuple[type[OSError], tuple[Any, ...]]:
        return type(self), (str(self), self.kind)


# Pickled and shown by the names that the reference gives them.
for _error in (SaveError, Unreadable, AmbiguousDigestError):
    _error.__module__ = "fleche.storage.base"
