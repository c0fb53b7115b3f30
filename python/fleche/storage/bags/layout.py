"""How the files of a root are laid out: one a key, or one for all keys of a prefix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from fleche.digest import DIGEST_LENGTH
from fleche.storage.bags import VERSION_VALIDATORS

_HEX = frozenset("0123456789abcdef")


def check_validator(validator: object) -> None:
    if validator is not None and validator not in VERSION_VALIDATORS:
        known = ", ".join(map(repr, VERSION_VALIDATORS))
        raise ValueError(f"version_validator must be one of {known}, or None, got {validator!r}")


def check_prefix_length(length: object) -> None:
    if type(length) is not int or not 0 <= length <= DIGEST_LENGTH:
        raise ValueError(
            "prefix_length must be an integer between 0 (one file per key) and "
            f"{DIGEST_LENGTH}, got {length!r}!"
        )


def _length_of(name: str) -> int | None:
    """The prefix length of a storage that has a file of this name."""
    stem, dot, rest = name.partition(".")
    if not stem or not _HEX.issuperset(stem) or len(stem) > DIGEST_LENGTH:
        return None
    if not dot:
        return 0 if len(stem) == DIGEST_LENGTH else None
    return len(stem) if rest == "h5" else None


def prefix_lengths(root: Path) -> list[int]:
    """The prefix lengths of all files in `root`, ascending."""
    try:
        lengths = {_length_of(name) for name in os.listdir(root)}
    except OSError:  # Whatever is wrong with it, saving will say.
        return []
    return sorted(length for length in lengths if length is not None)


def files_of(root: Path, prefix_length: int) -> list[Path]:
    """The files in `root` of one prefix length."""
    try:
        return [root / name for name in os.listdir(root) if _length_of(name) == prefix_length]
    except (FileNotFoundError, NotADirectoryError):
        return []


def cannot_move(path: Path, prefix_length: int, error: Exception) -> NoReturn:
    raise RuntimeError(
        f"{path} cannot be read ({error}); nothing was lost: remove or repair it, then call "
        f"refix({prefix_length}) of the same storage, or consolidate, to go on"
    ) from error
