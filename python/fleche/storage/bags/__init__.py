"""HDF5 bags: the files (`files`), what is put into them (`content`), and changes that can be undone
(`journal`).

May import digests, calls and `storage.destructuring`; the storages themselves are
`fleche.storage.bagofholding_file`. This module needs neither `h5py` nor `bagofholding`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

__all__ = ["VERSION_VALIDATORS", "VersionValidator"]

VersionValidator: TypeAlias = Literal["exact", "semantic-minor", "semantic-major", "none"]
VERSION_VALIDATORS: tuple[str, ...] = get_args(VersionValidator)
