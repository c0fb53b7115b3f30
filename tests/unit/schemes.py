"""What tests of both digest schemes share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fleche import _core


@contextmanager
def scheme(name: str) -> Iterator[None]:
    """A digest scheme, in force for a while."""
    before = _core.scheme()
    _core.set_scheme(name)
    try:
        yield
    finally:
        _core.set_scheme(before)
