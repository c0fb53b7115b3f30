"""Digests."""
from fleche import _core

DIGEST_LENGTH = 64
digest = _core.digest
class Digest(str):
    __slots__ = ()
class Indigestible(Exception):
    pass
def D(value):
    return digest(value)
