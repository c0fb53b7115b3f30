"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded_home(path: str | os.PathLike[str]) -> Path:
    """A path with `~` expanded.

    Raises:
        ValueError: if it names a home folder that is not known.
    """
    text = os.fspath(path)
    who, home = text.partition("/")[0], os.environ.get("HOME")
    if who == "~" and home is not None and not os.path.isabs(home):
        raise ValueError(f"{text!r} needs a home folder, and HOME is {home!r}: give a whole path")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        lack = "HOME is not set" if who == "~" else f"there is no user {who[1:]!r}"
        raise ValueError(f"{text!r} needs a home folder, and {lack}: give a whole path") from None
