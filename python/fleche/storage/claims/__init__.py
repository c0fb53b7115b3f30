"""Claims: of all who want the same call at the same time, who computes it.

`base` says what a claim is, and what whoever makes another kind of store has to offer; `memory` is
for stores of this process, `files` for folders and databases in files, by kernel locks, which end
with their process. A database server has leases (`fleche.storage.databases.leases`). It may import
what is below the storages.
"""

from collections.abc import Hashable
from pathlib import Path

from fleche.storage.claims.base import Claim, Claims, Holder, Unclaimable

__all__ = ["Claim", "Claims", "Holder", "Unclaimable", "claims_at"]


def claims_at(place: Hashable) -> Claims:
    """The claims on the calls in a folder, or in a place of this process's own.

    >>> claims_at("memory").holder("key")
    """
    if isinstance(place, Path):
        from fleche.storage.claims.files import FileClaims

        return FileClaims(place / ".fleche-running")
    from fleche.storage.claims.memory import MemoryClaims

    return MemoryClaims(place)
